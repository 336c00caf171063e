"""SePiCo for the dark (Xie et al., TPAMI 2023): Cityscapes -> Dark Zurich.

  python main.py --workdir=runs/cityscapes_to_dark_zurich_sepico \
    --config=configs/cityscapes_to_dark_zurich/sepico.py:source=/data/cityscapes,target=/data/dark_zurich,weights=mit_b5.pth

Published mIoU on Dark Zurich test, in percent. Ours: not run.

  arguments                          network    mIoU  which number                           origin
  -                                  DAFormer   54.2  test server, one seed (42), last step  README of SePiCo
  variant=bank                       DAFormer   53.3  test server, one seed (42), last step  README of SePiCo
  variant=prototype                  DAFormer   52.7  test server, one seed (42), last step  README of SePiCo
  network=deeplab                    DeepLabV2  45.4  test server, one seed (42), last step  README of SePiCo
  variant=bank,network=deeplab       DeepLabV2  44.1  test server, one seed (42), last step  README of SePiCo
  variant=prototype,network=deeplab  DeepLabV2  42.6  test server, one seed (42), last step  README of SePiCo
  nighttime_driving=/data/nighttime  DAFormer   56.9  the same run on Nighttime Driving      README of SePiCo

Each night image brings the day image of the same place, whose predictions help to label it. As in the
published protocol, the target's probabilities are reweighted at test time, validation images and
`--mode=predict` alike: one factor per class, larger for rare classes. `--config.eval.class_weights="()"`
evaluates without. The score of `results.json` is that of the validation images, which differs from the
test's by more than 10 points. On Nighttime Driving, that images are fitted into 720x1280 and
probabilities are not reweighted is an assumption; of BDD100K-night (40.6) the split is not public here.

Arguments: see `published.start`, variant=distribution|bank|prototype, and network=daformer|segformer|deeplab.
"""

from jax_uda.views import day_night

from .. import networks, published

# Shares of the 19 classes in the pixels of Cityscapes, in percent.
SHARES = (
  *(36.869696, 6.084986, 22.824049, 0.655399, 0.877272, 1.227341, 0.207795, 0.55127, 15.928651),
  *(1.157818, 4.018982, 1.218957, 0.135122, 6.994545, 0.267456, 0.235192, 0.232904, 0.098658),
  0.413907,
)


def class_weights(strength: float) -> tuple[float, ...]:
  """Weights that are larger for rare classes; `strength` is their standard deviation."""
  return tuple(day_night.frequency_weights(SHARES, strength).tolist())


def get_config(arg: str = ""):
  config, args = published.start(
    arg, "cityscapes_to_dark_zurich", variant="distribution", network="daformer"
  )
  config.num_steps = 60_000
  config.data.crop_size = (640, 640)
  config.data.source.size = (640, 1280)
  config.data.target.update(size=(720, 1280), day_images=True)
  config.data.crop_target = False  # the method chooses the crop
  # Labels are counted before images are made smaller, but in a crop after it.
  config.data.rare_class = dict(temperature=0.01, min_pixels=3000, crop_min_pixels=1500)
  networks.choose(config, args.network, branches=4)
  config.method = dict(
    name="sepico",
    start_step=3000,
    contrast=dict(variant=args.variant, temperature=100.0, weight=1.0),
    day_night_fusion=not args.smoke,  # drawn streets have no day images
    class_weights=class_weights(0.05),
  )
  if args.network == "deeplab":
    config.method.head_options = dict(levels="last", hidden=2048)
  config.eval.class_weights = class_weights(0.16)
  if args.nighttime_driving:
    config.eval.targets.nighttime_driving.size = (720, 1280)
  return published.finish(config, args)
