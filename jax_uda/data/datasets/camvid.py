"""CamVid in SegNet's 11-class form, from a folder of the user's.

  config.data.source = dict(name="camvid", path="~/CamVid", train=("train/0006R0", "train/0016E5"), val=("val",))
  config.data.target = dict(name="camvid", path="~/CamVid", train=("train/0001TP",), val=("test/0001TP",))

The folder holds `train/`, `trainannot/`, and the same for `val` and `test`: images as .png or .jpg, labels as
8-bit .png of the same name with ids 0..10 and 11 = void. The first six letters of a file name are its
sequence: 0001TP was filmed at dusk; 0006R0, 0016E5 and Seq05VD in daylight.
"""

from jax_uda.data import label_spaces
from jax_uda.data.datasets import from_layout
from jax_uda.data.datasets.layouts import Labels, Layout, Part

LAYOUT = Layout(
  title=(
    "CamVid in SegNet's form: train/, val/, test/ with images and trainannot/, valannot/, testannot/ with "
    "labels"
  ),
  label_space=label_spaces.CAMVID11,
  splits={split: ((Part(split, f"{split}annot"),),) for split in ("train", "val", "test")},
  image_endings=(".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG"),
  labels=(Labels(".png", label_spaces.CAMVID_IDS, num_ids=12),),
  full_size_labels=False,
)

builder = from_layout.DataSet("camvid", LAYOUT, digest=False)
