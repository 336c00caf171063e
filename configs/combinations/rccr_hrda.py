"""RCCR's region contrast on HRDA: GTA5 -> Cityscapes.

  python main.py --workdir=runs/combinations_rccr_hrda \
    --config=configs/combinations/rccr_hrda.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: none, nobody tried. Ours: not run.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "gta_to_cityscapes", crop=1024)
  # Cells of 16 pixels: the fused map of the context has a stride of 8 in the image.
  config.method.also = dict(
    region_consistent=dict(
      source="fused", pool=2, cell=16, num_rows=4000, ramp_steps=config.get_ref("num_steps")
    )
  )
  return published.finish(config, arg)
