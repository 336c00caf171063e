"""Drawn streets: the embedded demo's domains, generated from a seed with NumPy and OpenCV.

`draw("day", seed, index)` gives an image with its labels and depth. Domains differ in geometry, palette,
textures and class shares as well as in light, so that color jitter alone does not bridge them.
"""

from jax_uda.common import registry
from jax_uda.data.streets.classes import CLASSES, PALETTE
from jax_uda.data.streets.domains import DOMAINS, Domain
from jax_uda.data.streets.scene import Scene, render

VERSION = "1"  # changes whenever a drawing does; prepared data is kept by version

__all__ = ["CLASSES", "DOMAINS", "PALETTE", "VERSION", "Domain", "Scene", "draw", "render"]


def draw(domain: str, seed: int, index: int, size: tuple[int, int] = (96, 128)) -> Scene:
  """Scene `index` of `seed` in a domain of `DOMAINS`: a pure function of its arguments.

  Args:
    domain: A name in `DOMAINS`.
    seed: A non-negative integer; all scenes of a data set share it.
    index: A non-negative integer. Scenes are independent: any subset can be drawn in any order.
    size: (height, width) of the scene in pixels.

  Returns:
    Scene(image [H, W, 3] uint8 RGB, label [H, W] uint8, depth [H, W] float32 in metres).

  Raises:
    SettingError: The domain is unknown.
  """
  return render(registry.lookup(DOMAINS, domain, ("domain",)), seed, index, size)
