"""A recipe in small: the same stages, method and encoder, within seconds on a CPU.

What a number counts is the last word of its name: `start_step` is a step, `block` and `grid` are
sizes in pixels or cells, `feature_dim` and `width` numbers of channels. So a new setting needs no line
here; `SMALLEST` holds, for every such word, the value to which a smoke run reduces larger ones. Encoders and decoders say
themselves what their tiny form is (`models.catalog.tiny`).
"""

import inspect
from typing import Any

from jax_uda.run.config_dict import ConfigDict

NUM_STEPS, STOP_STEP = 4, 2  # a run, and a stage that ends before its schedule
BATCH_SIZE = 8  # at least one image for each of up to eight devices
IMAGE, SQUARE = (64, 96), (64, 64)  # drawn images, and crops that are not whole images

WIDTH = 16  # channels of the light decoder's tiny form
SMALLEST = {
  # steps
  **dict.fromkeys(("step", "start", "after"), 1),
  # pixels of a crop, or cells of a map
  **dict.fromkeys(("top", "bottom"), 0),
  **dict.fromkeys(("block", "cell"), 16),
  "grid": 8,
  "margins": 2,
  # pixels of a class
  "pixels": 4,
  # channels
  **dict.fromkeys(("dim", "width", "hidden"), WIDTH),
  # rows of a matrix of similarities, or of a bank
  "rows": 32,
}

# Parts of a network whose defaults are the published ones.
HRDA = dict(crop_size=(32, 32), attention_options=dict(embed_dim=8, channels=8))
TRANSLATOR = dict(
  num_patches=16,
  generator=dict(width=4, blocks=2, nce_layers=(0, 4, 8, 12, 13)),
  discriminator=dict(width=4),
  patch_mlp=dict(dim=8),
)


def shorten(config: ConfigDict) -> ConfigDict:
  """A few steps on a few images, in place; sizes stay. For recipes that are small already."""
  for part in (config, *config.stages.values()):
    for name, steps in (("num_steps", NUM_STEPS), ("stop_step", STOP_STEP)):
      if part.get(name):
        part[name] = steps
    if "batch_size" in part:
      part.batch_size = BATCH_SIZE
  for domain in (config.data.source, config.data.target):
    if domain.get("name") == "streets":
      domain.num_train, domain.num_val = 16, 8
  config.log_every_steps = 1
  config.eval.batch_size = BATCH_SIZE
  return config


def shrink(config: ConfigDict) -> ConfigDict:
  """The recipe in small, in place: drawn streets, a small network, few steps.

  The streets have the classes of the recipe, and its method keeps all its terms, which start at step 1.
  """
  shorten(config)
  streets = dict(
    name="streets", classes="cityscapes19", seed=0, size=IMAGE, num_train=16, num_val=8
  )
  domains = dict(source=streets | {"domain": "day"}, target=streets | {"domain": "dusk"})
  for part in (config, *config.stages.values()):
    _shrink_part(part, domains)
  for name in config.eval.targets:
    config.eval.targets[name] = domains["target"]
  if config.pseudo_label.label_size:
    config.pseudo_label.label_size = (2 * IMAGE[0], 2 * IMAGE[1])
  config.data.cache_mbytes = 16
  config.eval.every_steps = 0
  config.panel_images = 1
  config.init_required = False
  return config


def _shrink_part(part: ConfigDict, domains: dict[str, dict[str, Any]]) -> None:
  """Makes the sizes in a config, or in a stage's changes, small."""
  data, evaluation = part.get("data", {}), part.get("eval", {})
  for domain in set(data) & set(domains):
    data[domain] = domains[domain]
    if data.get(f"{domain}s"):
      data[f"{domain}s"] = (domains[domain], domains[domain] | {"seed": 1})
  if "crop_size" in data:
    data.crop_size = IMAGE if data.crop_size[1] > data.crop_size[0] else SQUARE
  for group, field in ((data, "target_margins"), (data, "rare_class")):
    if field in group:
      group[field] = _small(field, group[field])
  if evaluation.get("window"):
    evaluation.window, evaluation.stride = SQUARE, HRDA["crop_size"]
  if "init_weights" in part:
    part.init_weights = ""
  if "optimizer" in part:
    part.optimizer.groups = ()  # their patterns need not match the small network's parameters
  if "model" in part:
    _shrink_model(part.model)
  if "method" in part:
    _shrink_method(part.method)


def _shrink_model(model: ConfigDict) -> None:
  """Gives the networks the options of their tiny form.

  A decoder of several maps gives way to the light one, whose map has as many channels as `SMALLEST` allows
  a setting that must equal it.
  """
  from jax_uda.models import catalog  # JAX; a run in full needs none to be configured

  if "decoder" in model and model.decoder not in ("vit_head", "pyramid"):
    model.decoder, model.decoder_options = "light", {}
  for part in ("encoder", "decoder"):
    if part in model:
      options = model.get(f"{part}_options") or ConfigDict()
      model[f"{part}_options"] = options.to_dict() | dict(catalog.tiny(model[part]))
  if "hrda" in model:
    model.hrda = model.hrda.to_dict() | HRDA


def _shrink_method(method: ConfigDict) -> None:
  """Makes a method's settings small, those too that the recipe leaves at their defaults."""
  for name, value in (_defaults(method.get("name", "")) | dict(method)).items():
    if name == "foundation" and value:
      small = _small_foundation(value)
    else:
      small = TRANSLATOR if name == "translator" else _small(name, value)
    if name in method or small != value:
      method[name] = small


def _small_foundation(value: Any) -> dict[str, Any]:
  """A foundation model of the same kind with random weights."""
  from jax_uda.models import catalog  # JAX, too

  small = dict(weights="random", options=dict(catalog.tiny(value["encoder"])), size=SQUARE[0])
  return dict(value) | small


def _defaults(name: str) -> dict[str, Any]:
  """The keyword arguments of a method with their defaults."""
  from jax_uda import methods  # JAX, too

  if name not in methods.METHODS:
    return {}
  parameters = inspect.signature(methods.METHODS[name]).parameters
  return {
    key: value.default for key, value in parameters.items() if value.default is not value.empty
  }


def _small(name: str, value: Any) -> Any:
  """The value, or the smallest of its kind; in groups and tuples each value for itself."""
  if isinstance(value, ConfigDict):
    return {key: _small(key, item) for key, item in value.items()}
  if isinstance(value, tuple):
    return tuple(_small(name, item) for item in value)
  smallest = SMALLEST.get(name.rpartition("_")[2])
  if smallest is None or isinstance(value, bool) or not isinstance(value, int | float):
    return value
  return min(value, smallest)
