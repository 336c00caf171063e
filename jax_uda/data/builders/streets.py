"""Drawn street scenes: generated once, on all CPUs. See `jax_uda.data.streets` for the drawing."""

from collections.abc import Iterator

import tensorflow_datasets as tfds

from jax_uda import options
from jax_uda.data import label_spaces, streets
from jax_uda.data.builders import base, workers
from jax_uda.data.builders.example import Example

# Scene indices of `val` start here, so that they do not move when `num_train` changes.
FIRST_VAL = 1_000_000


class Streets(base.SegmentationBuilder):
  """Scenes of one domain.

  The folder's name holds all arguments and the version of the drawing, so different scenes never share a
  folder.
  """

  VERSION = tfds.core.Version(streets.VERSION)
  label_space = label_spaces.CAMVID11

  def __init__(
    self,
    *,
    data_dir: str,
    domain: str,
    seed: int = 0,
    size: tuple[int, int] = (96, 128),
    num_train: int = 800,
    num_val: int = 200,
  ):
    options.lookup(dict.fromkeys(streets.DOMAINS), domain, "data.<domain>.domain")
    self._counts = {"train": num_train, "val": num_val}
    if not 0 < num_train <= FIRST_VAL or num_val < 1:
      raise ValueError(
        f"streets: num_train = {num_train} must be in 1..{FIRST_VAL} and num_val = {num_val} at least 1."
      )
    self._scene = dict(domain=domain, seed=int(seed), size=(int(size[0]), int(size[1])))
    height, width = self._scene["size"]
    name = f"{domain}-seed{seed}-{height}x{width}-train{num_train}-val{num_val}"
    config = tfds.core.BuilderConfig(name=name, version=self.VERSION)
    super().__init__(data_dir=data_dir, config=config)

  def num_examples(self, split: str) -> int:
    """As the arguments say."""
    return self._counts[split]

  def examples(self, split: str) -> Iterator[Example]:
    """Draws the scenes; `train` and `val` have different indices."""
    return workers.call_all(
      "jax_uda.data.builders.draw_streets:draw",
      self._counts[split],
      first=FIRST_VAL if split == "val" else 0,
      **self._scene,
    )
