"""SePiCo for the dark (Xie et al., TPAMI 2023): Cityscapes -> Dark Zurich.

  python main.py --workdir=runs/cityscapes_to_dark_zurich_sepico \
    --config=configs/cityscapes_to_dark_zurich/sepico.py:source=/data/cityscapes,target=/data/dark_zurich,weights=mit_b5.pth

Published: 54.2 mIoU on the test server with DAFormer's network, 45.4 with DeepLabV2 (DistCL; README of SePiCo). Ours: not run.

Each night image brings the day image of the same place, whose predictions help to label it. The target
is evaluated without the reweighting of its probabilities that the published scores use at test time.

Arguments: see `configs/published.py`, variant=distribution|bank|prototype, and network=daformer|deeplab.
"""

import numpy as np

from configs import published

# Shares of the 19 classes in the pixels of Cityscapes, in percent.
SHARES = (
  *(36.87, 6.08, 22.82, 0.66, 0.88, 1.23, 0.21, 0.55, 15.93, 1.16),
  *(4.02, 1.22, 0.14, 6.99, 0.27, 0.24, 0.23, 0.10, 0.41),
)


def class_weights(std: float = 0.05) -> tuple[float, ...]:
  """1 + std * z of the negative log shares: rare classes count more."""
  logs = np.log(SHARES)
  return tuple((1 + std * (logs.mean() - logs) / logs.std(ddof=1)).tolist())


def get_config(arg: str = ""):
  config, arg = published.start(
    arg, "cityscapes_to_dark_zurich", variant="distribution", network="daformer"
  )
  config.num_steps = 60_000
  config.method = dict(
    name="sepico",
    variant=arg.variant,
    start_step=3000,
    day_night_fusion=True,
    class_weights=class_weights(),
  )
  config.data.crop_size = (640, 640)
  config.data.source.size = (640, 1280)
  config.data.target.update(size=(720, 1280), day_images=True)
  config.data.crop_target = False  # the method chooses the crop
  if arg.network == "deeplab":
    published.deeplab(config)
    config.method.head_options = dict(levels="last", hidden=2048)
  return published.finish(config, arg)
