"""VFM-UDA++ (Englert and Dubbelman, ICCV Workshops 2025): GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_vfm_uda_plus \
    --config=configs/gta_to_cityscapes/vfm_uda_plus.py:source=/data/gta5,target=/data/cityscapes,weights=vit_adapter_large.ckpt,foundation=dinov2_vitl14_reg4_pretrain.pth

Published mIoU on Cityscapes val, in percent. Ours: not run.

  arguments                       network                    mIoU  which number                           origin
  -                               DINOv2 ViT-L, ViT-Adapter  79.8  re-trained for the release, last step  README of VFM-UDA++
  encoder=dinov2_vitb14_adapter   DINOv2 ViT-B, ViT-Adapter  -     the config alone is released           number not at hand
  wilddash2=/data/wilddash2       DINOv2 ViT-L, ViT-Adapter  69.0  the same run on WildDash 2             README of VFM-UDA++

No published number starts from a random adapter: `weights` is the authors' adapter pre-training of the same
size, which holds the ViT, too. With DINOv2's own file the adapter is random, and a line says so.

The rate of ViT-L is that of the released checkpoint's config, 1e-5 times the root of 8 images. All other
published configs have 5e-5, and nothing explains the difference; --config.schedule.learning_rate=1.4142e-4
is theirs. ViT-B's config has 4 images on each of 4 devices.

What differs, without likely effect: images are resized twice, where the code resizes once; what a small
target image lacks of the crop has the mean color, not black; coins for mirroring are drawn per image; the
share of confident pixels and the classes to mix are those of the whole batch (--config.method.groups=4:
of each two images, as on four devices); masks of the margins are mirrored with their images; bfloat16 in
place of float16. Scores are taken at the labels' size.

Arguments: see `published.start`, encoder=dinov2_vitl14_adapter|dinov2_vitb14_adapter, and foundation=FILE,
the weights of the frozen DINOv2 ViT-L with registers, whatever the encoder.
"""

from .. import published, vfm_uda_plus

LARGE = "dinov2_vitl14_adapter"


def get_config(arg: str = ""):
  config, args = vfm_uda_plus.start(arg, "gta_to_cityscapes", encoder=LARGE)
  config.batch_size = 8 if args.encoder == LARGE else 16
  base = 1e-5 if args.encoder == LARGE else 5e-5
  config.schedule = vfm_uda_plus.rate(base, config.batch_size)
  return published.finish(config, args)
