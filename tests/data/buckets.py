"""A bucket in a folder: what fsspec asks of `gs://`, `s3://` and `az://`, without a network."""

import datetime
import pathlib

import fsspec
import pytest
from etils.epath import backend
from fsspec.implementations.local import LocalFileSystem


class Buckets(LocalFileSystem):
  """`gs://a/b` is the file `a/b` below `root`."""

  protocol = ("gcs", "gs", "s3", "az")
  cachable = False
  root: pathlib.Path

  def __init__(self, **kwargs):
    kwargs.pop("finalize_on_close", None)
    super().__init__(auto_mkdir=True, **kwargs)

  @classmethod
  def _strip_protocol(cls, path):
    place = str(path).rstrip("/").partition("://")[2]
    return str(cls.root / place) if "://" in str(path) else str(path)

  def ls(self, path, detail=False):
    """Takes no other argument, like that of s3fs."""
    return super().ls(path, detail=detail)

  def info(self, path):
    """Without the time that etils understands, like those of s3fs and adlfs."""
    details = super().info(path)
    details["LastModified"] = datetime.datetime.fromtimestamp(details.pop("mtime"), datetime.UTC)
    return details

  def modified(self, path):
    return self.info(path)["LastModified"]


def install(root: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> type[Buckets]:
  """Serves the folders in `root` as buckets; returns the class of their file system."""
  installed = type("Installed", (Buckets,), {"root": root})
  monkeypatch.setenv("EPATH_USE_TF", "false")
  monkeypatch.setattr(fsspec, "get_filesystem_class", lambda scheme: installed)
  monkeypatch.setattr(backend.fsspec_backend, "_get_filesystem", lambda scheme: installed())
  return installed
