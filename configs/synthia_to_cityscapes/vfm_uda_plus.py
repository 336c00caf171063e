"""VFM-UDA++ (Englert and Dubbelman, ICCV Workshops 2025): SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_vfm_uda_plus \
    --config=configs/synthia_to_cityscapes/vfm_uda_plus.py:source=/data/synthia,target=/data/cityscapes,weights=vit_adapter_base.ckpt,foundation=dinov2_vitl14_reg4_pretrain.pth

Published mIoU of SYNTHIA's 16 classes on Cityscapes val, in percent. Ours: not run.

  arguments                  network                    mIoU  which number                           origin
  -                          DINOv2 ViT-B, ViT-Adapter  69.7  re-trained for the release, last step  README of VFM-UDA++
  wilddash2=/data/wilddash2  DINOv2 ViT-B, ViT-Adapter  56.1  the same run on WildDash 2             README of VFM-UDA++

That 69.7 is the mean of 16 classes follows from its size; the code prints that of 19. The code also maps
SYNTHIA's rare terrain, truck and train to their classes. No published number starts from a random adapter:
`weights` is the authors' adapter pre-training of the same size.

What differs: see `configs/gta_to_cityscapes/vfm_uda_plus.py`.

Arguments: see `published.start`, encoder=dinov2_vitb14_adapter|dinov2_vitl14_adapter, and foundation=FILE,
the weights of the frozen DINOv2 ViT-L with registers.
"""

from .. import published, vfm_uda_plus


def get_config(arg: str = ""):
  config, args = vfm_uda_plus.start(arg, "synthia_to_cityscapes", encoder="dinov2_vitb14_adapter")
  config.schedule = vfm_uda_plus.rate(5e-5, config.batch_size)
  return published.finish(config, args)
