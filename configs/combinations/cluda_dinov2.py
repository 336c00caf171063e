"""CLUDA's contrast with DINOv2: GTA5 -> Cityscapes.

  python main.py --workdir=runs/combinations_cluda_dinov2 \
    --config=configs/combinations/cluda_dinov2.py:source=/data/gta5,target=/data/cityscapes,weights=dinov2_vitb14.pth

Published: none, nobody tried. Ours: not run.

Arguments: see `published.start`.
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "gta_to_cityscapes")
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  config.model = dict(encoder="dinov2_vitb14", decoder="vit_head")
  # Rows of the crop without pseudo-labels: rectification artefacts above, the car's bonnet below.
  config.method = dict(name="dacs", self_training=dict(ignore_top=15, ignore_bottom=120))
  config.method.also = dict(pixel_contrasted=dict(grid=(65, 65)))
  config.optimizer.groups = ({"pattern": "^encoder", "learning_rate": 0.1},)
  config.schedule.learning_rate = 1e-4
  return published.finish(config, args)
