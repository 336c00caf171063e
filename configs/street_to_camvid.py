"""From drawings to photographs: drawn streets -> CamVid without labels.

  python main.py --config=configs/street_to_camvid.py:path=FOLDER --workdir=runs/street_to_camvid
  python main.py --config=configs/street_to_camvid.py:path=FOLDER,method=sepico --workdir=runs/sepico

FOLDER holds CamVid in its 11-class form (train/, trainannot/, val/, … as in the SegNet tutorial). The
source are 800 drawn streets of the domain `wide`, whose 11 classes are CamVid's; the target are the
367 images of train/: training sees them without labels. Scores are those of test/, or of val/ where
FOLDER has no test/.

Network, steps and methods are those of camvid_day_to_dusk.py.

Arguments: path=FOLDER, method=<name> (see the demo; without it source-only and self-training), seed=
<training seed>, test=yes or no (whether FOLDER has test/; without it the folder decides, and a folder
that does not exist is taken for complete), smoke (a few steps).
Ours, with 400 steps of the method instead of 600 and without test/: docs/camvid_benchmark.md.
"""

from . import camvid


def get_config(arg: str = ""):
  config, args = camvid.start(arg)
  streets = dict(domain="wide", seed=1, size=camvid.SIZE, num_train=800, num_val=200)
  config.data.source = dict(name="streets", **streets)
  unseen = "test" if camvid.has_test(args) else "val"
  config.data.target = camvid.domain(args, train=("train",), val=(unseen,))
  return camvid.finish(config, args)
