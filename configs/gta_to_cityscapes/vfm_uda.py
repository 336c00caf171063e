"""VFM-UDA (Englert et al., CVPR Workshops 2024): GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_vfm_uda \
    --config=configs/gta_to_cityscapes/vfm_uda.py:source=/data/gta5,target=/data/cityscapes,weights=dinov2_vitb14.pth

Published: 77.1 mIoU with ViT-B, 78.4 with ViT-L (README of VFM-UDA). Ours: not run.

Not reproduced: the random scaling of images by 0.9 to 1.1; the color jitter of torchvision; up to 20
tries of a crop (ours: 11); GTA5 at a short side of 1440 (ours fits within 1440x2560: 1407x2560).

Arguments: see `published.start`, and encoder=dinov2_vitb14|dinov2_vitl14.
"""

from .. import published


def get_config(arg: str = ""):
  config, args = published.start(arg, "gta_to_cityscapes", crop=1024, encoder="dinov2_vitb14")
  config.compute_dtype = "bfloat16"
  config.batch_size = 8
  config.data.rare_class = dict(temperature=0.05, min_pixels=3000, crop_min_pixels=6000)
  config.data.target_margins = (31, 256, 61, 61)  # 3 %, 25 %, 3 %, 3 % of 1024x2048
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
  return published.finish(config, args)
