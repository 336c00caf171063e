"""RCCR's region contrast on HRDA: GTA5 -> Cityscapes.

  python main.py --workdir=runs/combinations_rccr_hrda \
    --config=configs/combinations/rccr_hrda.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: none, nobody tried. Ours: not run.

Arguments: see `published.start`.
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "gta_to_cityscapes", crop=1024)
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=6000)
  # Margins of the image without pseudo-labels; the widest is for the car's bonnet.
  config.data.target_margins = (30, 240, 30, 30)
  config.model = dict(encoder="mit_b5", decoder="daformer", hrda=dict(crop_size=(512, 512)))
  config.method = dict(name="daformer")
  # Cells of 16 pixels: the fused map of the context has a stride of 8 in the image.
  config.method.also = dict(
    region_consistent=dict(
      source="fused",
      pool=2,
      cell=16,
      contrast=dict(num_rows=4000, ramp_steps=config.get_ref("num_steps")),
    )
  )
  config.eval.window, config.eval.stride = (1024, 1024), (512, 512)
  return published.finish(config, args)
