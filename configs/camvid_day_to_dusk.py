"""Real photographs: CamVid by day -> CamVid at dusk without labels.

  python main.py --config=configs/camvid_day_to_dusk.py:path=FOLDER --workdir=runs/camvid
  python main.py --config=configs/camvid_day_to_dusk.py:path=FOLDER,method=sepico --workdir=runs/sepico

FOLDER holds CamVid in its 11-class form (train/, trainannot/, val/, … as in the SegNet tutorial). The
source are the day drives 0006R0 and 0016E5 (305 labelled images), the target are the 62 images of the
dusk drive 0001TP in train/: training sees them without labels. Scores are those of the same drive in
test/, which training never sees; where FOLDER has no test/, of the 62 training images themselves.

Images are reduced to 120x160. The network is EfficientNet-Lite0 with ImageNet weights (the extra
`efficientnet`) and a light decoder. 600 steps on the source come first (after 150, scores on the source's
validation images were still far from level), then 600 of the method; for vfm_uda a small DINOv2 with
random weights. The methods' settings are the demo's and were not searched here.

Arguments: path=FOLDER, method=<name> (see the demo; without it source-only and self-training), seed=
<training seed>, test=yes or no (whether FOLDER has test/; without it the folder decides, and a folder
that does not exist is taken for complete), smoke (a few steps).
Ours, with 400 steps of the method instead of 600 and without test/: docs/camvid_benchmark.md.
"""

from . import camvid


def get_config(arg: str = ""):
  config, args = camvid.start(arg)
  source = dict(train=("train/0006R0", "train/0016E5"), val=("val",))
  config.data.source = camvid.domain(args, **source)
  unseen = "test" if camvid.has_test(args) else "train"
  target = dict(train=("train/0001TP",), val=(f"{unseen}/0001TP",))
  config.data.target = camvid.domain(args, **target)
  return camvid.finish(config, args)
