"""VFM-UDA++ (Englert and Dubbelman, ICCV Workshops 2025): Cityscapes -> Dark Zurich.

  python main.py --workdir=runs/cityscapes_to_dark_zurich_vfm_uda_plus \
    --config=configs/cityscapes_to_dark_zurich/vfm_uda_plus.py:source=/data/cityscapes,target=/data/dark_zurich,weights=vit_adapter_large.ckpt,foundation=dinov2_vitl14_reg4_pretrain.pth

Published mIoU on Dark Zurich val, in percent. Ours: not run.

  arguments                  network                    mIoU  which number                           origin
  -                          DINOv2 ViT-L, ViT-Adapter  68.7  re-trained for the release, last step  README of VFM-UDA++
  wilddash2=/data/wilddash2  DINOv2 ViT-L, ViT-Adapter  70.3  the same run on WildDash 2             README of VFM-UDA++

The README heads the column of 68.7 "Cityscapes"; the released data list knows the 50 validation images of
Dark Zurich. They are scored at a height of 1024, and a class that is in none of them counts as 0 there, where
`results.json` leaves it out: its mean is not 68.7's. No published number starts from a random adapter:
`weights` is the authors' adapter pre-training of the same size.

The target is the whole training folder, day, twilight and night. What differs: see
`configs/gta_to_cityscapes/vfm_uda_plus.py`.

Arguments: see `published.start`, encoder=dinov2_vitl14_adapter|dinov2_vitb14_adapter, and foundation=FILE,
the weights of the frozen DINOv2 ViT-L with registers.
"""

from .. import published, vfm_uda_plus


def get_config(arg: str = ""):
  config, args = vfm_uda_plus.start(
    arg, "cityscapes_to_dark_zurich", encoder="dinov2_vitl14_adapter"
  )
  config.data.target.train = ("train/day", "train/twilight", "train")
  config.schedule = vfm_uda_plus.rate(5e-5, config.batch_size)
  return published.finish(config, args)
