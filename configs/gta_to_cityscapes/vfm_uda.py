"""VFM-UDA (Englert et al., CVPR Workshops 2024): GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_vfm_uda \
    --config=configs/gta_to_cityscapes/vfm_uda.py:source=/data/gta5,target=/data/cityscapes,weights=dinov2_vitb14.pth

Published mIoU on Cityscapes val, in percent. Ours: not run.

  arguments                                        network       mIoU  which number                           origin
  -                                                DINOv2 ViT-B  77.1  re-trained for the release, last step  README of VFM-UDA
  encoder=dinov2_vitl14                            DINOv2 ViT-L  78.4  re-trained for the release, last step  README of VFM-UDA
  wilddash2=/data/wilddash2                        DINOv2 ViT-B  60.8  the same run on WildDash 2             README of VFM-UDA
  encoder=dinov2_vitl14,wilddash2=/data/wilddash2  DINOv2 ViT-L  64.7  the same run on WildDash 2             README of VFM-UDA

What differs, without likely effect: images are resized twice, to 1440 rows and then by 0.9 to 1.1 with
bicubic interpolation, where the code resizes once, bilinearly; what a small target image lacks of the crop
has the mean color, not black; the share of confident pixels is that of the whole batch; masks of the
margins are mirrored with their images; bfloat16 in place of float16.

Arguments: see `published.start`, and encoder=dinov2_vitb14|dinov2_vitl14.
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "gta_to_cityscapes", crop=1024, encoder="dinov2_vitb14")
  config.compute_dtype = "bfloat16"
  config.batch_size = 8
  config.data.source.size = (1440, 2880)  # the short side decides: 1440x2620
  # Both conditions on a crop at once: 20 tries that are checked, and a last one.
  config.data.rare_class = dict(
    temperature=0.05, min_pixels=3000, crop_min_pixels=6000, tries=21, joint_tries=True
  )
  config.data.source_scale = config.data.target_scale = (0.9, 1.1)
  config.data.target_margins = (30, 256, 61, 61)  # 3 %, 25 %, 3 %, 3 % of 1024x2048, rounded down
  config.model = dict(encoder=args.encoder, decoder="vit_head")
  # Attention among 6400 tokens takes 25 GiB per block and pass of 8 images: it is computed again in
  # the backward pass instead of kept.
  config.model.encoder_options = dict(remat=True)
  config.method = dict(name="vfm_uda")
  config.ema = dict(decay=0.999, after_update=True, offset=1, statistics=True)
  config.optimizer.groups = ({"pattern": "^encoder", "learning_rate": 0.1},)
  config.schedule = dict(name="warmup_linear", learning_rate=1.4142e-4, warmup_steps=1500)
  config.eval.window, config.eval.stride = (1024, 1024), (512, 512)
  config.eval.average = "probabilities"
  if args.wilddash2:
    config.eval.targets.wilddash2.size = (1024, 2048)  # the short side decides
  return published.finish(config, args)
