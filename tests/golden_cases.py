"""Numbers computed by the reference implementations, as pytest parameters.

`JAX_UDA_GOLDEN` names another folder of the same schema; the default is
`tests/golden`. A file `<method>/<name>.npz` belongs to the longest kind that
its name starts with.
"""

import dataclasses
import functools
import gzip
import json
import os
import pathlib
import re

import numpy as np
import pytest

ROOT = pathlib.Path(os.environ.get("JAX_UDA_GOLDEN", pathlib.Path(__file__).parent / "golden"))

# Kind -> the test module that checks it.
CLAIMED: dict[str, str] = {
  "base/adamw": "step/test_optimizer.py",
  "base/classmix": "views/test_classmix.py",
  "base/crop_accept": "data/pipeline/test_crop.py",
  "base/dacs_steps": "step/test_train_step.py",
  "base/daformer_head": "models/decoders/test_daformer.py",
  "base/deeplab_caffe": "models/encoders/test_resnet.py",
  "base/deeplab_tv_frozen": "models/encoders/test_resnet.py",
  "base/deeplab_v1c": "models/encoders/test_resnet.py",
  "base/dino_pos_embed": "models/encoders/test_dinov2.py",
  "base/dino_tiny": "models/encoders/test_dinov2.py",
  "base/dlv2_head": "models/decoders/test_dlv2.py",
  "base/ema": "step/test_teacher.py",
  "base/feature_distance": "losses/test_feature_distance.py",
  "base/hrda_attention_head": "models/decoders/test_segformer.py",
  "base/hrda_boxes": "ops/test_boxes.py",
  "base/hrda_fusion": "models/hrda/test_fusion.py",
  "base/hrda_tiny": "models/hrda/test_network.py",
  "base/image_rescale": "data/pipeline/test_rescale.py",
  "base/label_maps": "data/test_label_spaces.py",
  "base/lr_schedule": "step/test_optimizer.py",
  "base/lr_schedule_vfm": "step/test_optimizer.py",
  "base/mic_block_mask": "views/test_block_mask.py",
  "base/mic_hrda_steps": "methods/test_mic.py",
  "base/miou": "run/test_metrics.py",
  "base/mit_tiny": "models/encoders/test_mit.py",
  "base/mit_tiny_eps": "models/encoders/test_mit.py",
  "base/names": "models/weights/test_names.py",
  "base/param_groups": "step/test_optimizer.py",
  "base/pseudo_label": "views/test_pseudo_labels.py",
  "base/rcs": "data/pipeline/test_rare_class.py",
  "base/resize": "ops/test_resize.py",
  "base/slide_inference": "ops/test_windows.py",
  "base/strong_aug": "views/test_color.py",
  "base/weighted_ce": "losses/test_cross_entropy.py",
  "cluda/cl_grid": "losses/test_pixel_contrast_grid.py",
  "cluda/entropy_crop": "views/test_entropy_crop.py",
  "cluda/feat_weighter": "models/decoders/test_segformer.py",
  "cluda/fused_feature": "models/decoders/test_daformer.py",
  "cluda/hrda_head": "models/hrda/test_cluda.py",
  "cluda/multires_cl": "losses/test_pixel_contrast.py",
  "cluda/single_cl": "losses/test_pixel_contrast.py",
  "confeti/cam_head": "losses/test_cross_entropy.py",
  "confeti/cut_joint_step": "methods/test_confeti.py",
  "confeti/cut_nets": "models/translation/test_translation.py",
  "confeti/lsgan": "losses/test_adversarial.py",
  "confeti/patchnce": "losses/test_patch_nce.py",
  "confeti/pixel_proto": "losses/test_prototype_contrast.py",
  "confeti/proto_update": "memory/test_cam_prototypes.py",
  "confeti/resize_align_corners": "ops/test_resize.py",
  "confeti/semantic_consistency": "losses/test_consistency.py",
  "confeti/style_range": "methods/test_style_range.py",
  "confeti/train_step_stage": "methods/test_confeti.py",
  "rccr/classifier_two_branch": "models/decoders/test_dlv2.py",
  "rccr/classmix_consistency": "views/test_classmix.py",
  "rccr/color_blur": "views/test_color.py",
  "rccr/cutmix_box": "views/test_cutmix.py",
  "rccr/ema": "step/test_teacher.py",
  "rccr/projection_head": "models/heads/test_projection.py",
  "rccr/region_contrast": "losses/test_region_contrast.py",
  "rccr/schedules": "ops/test_ramp.py",
  "rccr/sgd_repeats": "step/test_optimizer.py",
  "rccr/supervised_ce": "losses/test_cross_entropy.py",
  "rccr/train_steps": "methods/test_rccr.py",
  "sepico/bank_loss": "losses/test_bank_contrast.py",
  "sepico/cbc_crop": "views/test_balanced_crop.py",
  "sepico/dark_class_weight": "views/test_day_night.py",
  "sepico/day_night_mix": "views/test_day_night.py",
  "sepico/delayed_adamw": "step/test_optimizer.py",
  "sepico/dist_loss": "losses/test_prototype_contrast.py",
  "sepico/estimator": "memory/test_class_statistics.py",
  "sepico/label_downscale": "ops/test_labels.py",
  "sepico/proj_head": "models/heads/test_projection.py",
  "sepico/proto_loss": "losses/test_prototype_contrast.py",
  "sepico/pseudo_label": "views/test_pseudo_labels.py",
  "sepico/step_bank": "methods/test_sepico.py",
  "sepico/step_dark_dist": "methods/test_sepico.py",
  "sepico/step_dist": "methods/test_sepico.py",
  "sepico/step_proto": "methods/test_sepico.py",
  "spcl/adv_warmup": "losses/test_adversarial.py",
  "spcl/cl_loss": "losses/test_prototype_contrast.py",
  "spcl/class_balance": "data/pipeline/test_class_balance.py",
  "spcl/groups": "memory/test_prototypes.py",
  "spcl/label_nearest": "ops/test_labels.py",
  "spcl/lr_poly": "step/test_optimizer.py",
  "spcl/median_index": "run/test_label_thresholds.py",
  "spcl/proto_init": "memory/test_prototypes.py",
  "spcl/proto_update_seq": "memory/test_prototypes.py",
  "spcl/pseudo_label": "run/test_label_thresholds.py",
  "spcl/seg_loss": "losses/test_cross_entropy.py",
  "spcl/train_steps": "methods/test_spcl.py",
}

# Kinds whose code is still to be written. This list only shrinks.
NOT_YET: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Case:
  """One golden file; arrays are attributes or items, sub-cases `c0_…` come from `parts`."""

  name: str
  arrays: dict[str, np.ndarray]

  def __getitem__(self, key: str) -> np.ndarray:
    """Returns the array stored under `key`."""
    return self.arrays[key]

  def __getattr__(self, key: str) -> np.ndarray:
    """Returns the array stored under `key`."""
    try:
      return self.arrays[key]
    except KeyError:
      raise AttributeError(f"{self.name} holds no array {key!r}") from None

  def __contains__(self, key: str) -> bool:
    """Whether the file holds `key`."""
    return key in self.arrays

  def group(self, prefix: str) -> dict[str, np.ndarray]:
    """All arrays whose name starts with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in self.arrays.items() if k.startswith(prefix)}

  def parts(self, letter: str = "c") -> list["Case"]:
    """The sub-cases `<letter>0_…`, `<letter>1_…`; arrays without a number belong to all."""
    numbered = re.compile(rf"{letter}(\d+)_(.*)", re.DOTALL)
    common, parts = {}, {}
    for key, value in self.arrays.items():
      match = numbered.fullmatch(key)
      if match:
        parts.setdefault(int(match[1]), {})[match[2]] = value
      else:
        common[key] = value
    return [Case(f"{self.name}#{letter}{i}", {**common, **parts[i]}) for i in sorted(parts)]


@functools.cache
def load(path: pathlib.Path) -> Case | dict:
  """Reads one golden file: `.npz` as a Case, `.json.gz` as plain data."""
  if path.suffix == ".gz":
    return json.loads(gzip.decompress(path.read_bytes()))
  with np.load(path) as arrays:
    return Case(name_of(path), dict(arrays))


def name_of(path: pathlib.Path) -> str:
  """`<method>/<file name without endings>`."""
  return f"{path.parent.name}/{path.name.split('.')[0]}"


def files() -> list[pathlib.Path]:
  """Every golden file below ROOT."""
  return sorted([*ROOT.glob("*/*.npz"), *ROOT.glob("*/*.json.gz")])


def kind_of(name: str) -> str | None:
  """The longest known kind that `name` starts with, or None."""
  kinds = [kind for kind in (*CLAIMED, *NOT_YET) if name.startswith(kind)]
  return max(kinds, key=len, default=None)


def golden(kind: str) -> list:
  """Pytest parameters of all files of `kind`; the ids are `golden[<method>/<file>]`."""
  assert kind in CLAIMED, f"add {kind!r} to CLAIMED"
  assert files(), f"no golden files in {ROOT}: JAX_UDA_GOLDEN must hold folders such as base/"
  paths = [path for path in files() if kind_of(name_of(path)) == kind]
  return [pytest.param(load(path), id=f"golden[{name_of(path)}]") for path in paths]


def assert_close(actual, expected, rtol: float, atol: float = 0.0) -> None:
  """|actual - expected| <= rtol * max|expected| + atol, as the golden README defines it."""
  actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
  assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
  bound = rtol * np.max(np.abs(expected), initial=0.0) + atol
  error = np.max(np.abs(actual - expected), initial=0.0)
  assert error <= bound, f"largest error {error:.3g} exceeds {bound:.3g}"
