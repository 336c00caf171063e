"""VFM-UDA++ (Englert and Dubbelman, ICCV Workshops 2025): three synthetic data sets -> five real ones.

  python main.py --workdir=runs/synthetic_to_real_vfm_uda_plus \
    --config=configs/synthetic_to_real/vfm_uda_plus.py:source=/data/gta5,synthia=/data/synthia,synscapes=/data/synscapes,target=/data/cityscapes,bdd100k=/data/bdd100k,mapillary=/data/mapillary,acdc=/data/acdc,dark_zurich=/data/dark_zurich,weights=vit_adapter_large.ckpt,foundation=dinov2_vitl14_reg4_pretrain.pth

Published mIoU on Cityscapes val, in percent. Ours: not run.

  arguments                      network                    mIoU  which number                           origin
  -                              DINOv2 ViT-L, ViT-Adapter  82.2  re-trained for the release, last step  README of VFM-UDA++
  wilddash2=/data/wilddash2      DINOv2 ViT-L, ViT-Adapter  71.3  the same run on WildDash 2             README of VFM-UDA++
  encoder=dinov2_vitb14_adapter  DINOv2 ViT-B, ViT-Adapter  -     the config alone is released           number not at hand

A data set is drawn as often as it has images, and rare classes with the statistics of each set. The target of
Dark Zurich is its whole training folder, day, twilight and night. Margins without pseudo-labels are those of
every target, also of those without a car in the picture. No published number starts from a random adapter:
`weights` is the authors' adapter pre-training of the same size.

What differs: see `configs/gta_to_cityscapes/vfm_uda_plus.py`. `results.json` scores the validation images of
every target; "target" is Cityscapes.

Arguments: see `published.start`; source is GTA5, target is Cityscapes, and the others have the names of
their data sets. encoder=dinov2_vitl14_adapter|dinov2_vitb14_adapter, and foundation=FILE, the weights of the
frozen DINOv2 ViT-L with registers.
"""

from .. import published, vfm_uda_plus

SOURCES = ("synthia", "synscapes")  # beside GTA5
TARGETS = ("bdd100k", "mapillary", "acdc", "dark_zurich")  # beside Cityscapes
MORE = {name: f"data/{name}" for name in (*SOURCES, "acdc", "dark_zurich")}


def get_config(arg: str = ""):
  config, args = vfm_uda_plus.start(
    arg, "synthetic_to_real", encoder="dinov2_vitl14_adapter", **MORE
  )

  def described(name: str) -> dict:
    path = args[name] or f"data/{name}"
    return dict(name=name, path=path, size=vfm_uda_plus.size_of(name))

  config.data.sources = (config.data.source.to_dict(), *map(described, SOURCES))
  config.data.sources[1]["classes"] = "cityscapes19"  # of SYNTHIA's
  config.data.targets = (config.data.target.to_dict(), *map(described, TARGETS))
  config.data.targets[-1]["train"] = ("train/day", "train/twilight", "train")
  config.data.target_margins = vfm_uda_plus.MARGINS  # shares, as the images differ in size
  config.schedule = vfm_uda_plus.rate(5e-5, config.batch_size)
  return published.finish(config, args)
