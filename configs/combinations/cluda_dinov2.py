"""CLUDA's contrast with DINOv2: GTA5 -> Cityscapes.

  python main.py --workdir=runs/combinations_cluda_dinov2 \
    --config=configs/combinations/cluda_dinov2.py:source=/data/gta5,target=/data/cityscapes,weights=dinov2_vitb14.pth

Published: none, nobody tried. Ours: not run.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "gta_to_cityscapes")
  config.model = dict(encoder="dinov2_vitb14", decoder="vit_head")
  config.optimizer.groups = ({"pattern": "^encoder", "learning_rate": 0.1},)
  config.schedule.learning_rate = 1e-4
  config.method.name = "dacs"
  config.method.also = dict(pixel_contrasted=dict(grid=(65, 65)))
  return published.finish(config, arg)
