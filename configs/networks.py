"""The networks of the published recipes, and what goes with them. Not a recipe itself."""

from typing import Any

from jax_uda.common import registry
from jax_uda.run.config_dict import ConfigDict

# What the argument `network` takes. DeepLabV2 has two dilations, as in the code of AdaptSegNet, DACS and
# DAFormer; "segformer256" is SegFormer with the 256 channels of DAFormer's decoder.
NETWORKS: dict[str, dict[str, Any]] = {
  "daformer": dict(encoder="mit_b5", decoder="daformer"),
  "segformer": dict(encoder="mit_b5", decoder="segformer"),
  "segformer256": dict(
    encoder="mit_b5", decoder="segformer", decoder_options=dict(embed_dim=256, channels=256)
  ),
  "deeplab": dict(encoder="resnet101_v1c", decoder="dlv2red"),
}


def choose(config: ConfigDict, name: str, *, hrda: bool = False, branches: int = 2) -> None:
  """Sets the network of a recipe, in place.

  Args:
    config: The recipe.
    name: One of `NETWORKS`.
    hrda: Whether the network looks at two resolutions (HRDA); the details are crops of 512.
    branches: DeepLabV2's dilated convolutions, 2 or 4 (SePiCo, CONFETI).

  Raises:
    SettingError: There is no such network.
  """
  config.model = dict(registry.lookup(NETWORKS, name, "argument network"))
  if name == "deeplab":
    config.model.decoder = {2: "dlv2red", 4: "dlv2"}[branches]
    # No parameter is exempt from weight decay.
    config.optimizer.groups = ({"pattern": "^(decoder|heads)", "learning_rate": 10.0},)
  if hrda:
    config.model.hrda = dict(crop_size=(512, 512))
    if name == "deeplab":
      config.model.hrda.attention = "decoder"
