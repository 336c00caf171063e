"""Painting faces, so that image, label and depth agree by construction.

The canvas has four channels: red, green, blue and the number of the surface. One fill writes all four;
class and depth of a pixel are looked up afterwards from the number of its surface.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from jax_uda.data.streets import camera as cameras
from jax_uda.data.streets import light as lights
from jax_uda.data.streets import noise, shapes

_SHIFT = 4  # OpenCV polygons have 4 binary digits after the point
_TINY = 48  # pixels; textures of smaller faces are not worth drawing
_OPAQUE = 0.25  # a textured pixel belongs to its face from this opacity on


class Canvas:
  """A picture in the making: `pixels` [H, W, 4] float32 on top of a painted background."""

  def __init__(self, camera: cameras.Camera, background: np.ndarray, label, depth):
    """Starts from an image [H, W, 3] with the label [H, W] and the depth [H, W] of sky and ground."""
    self.camera = camera
    self.pixels = np.dstack([background, np.zeros_like(depth)]).astype(np.float32)
    self._background = label, depth
    self._labels = [0]
    self._planes = [np.zeros(3)]  # inverse depth = plane . ray

  def paint(self, faces: Sequence[shapes.Face], light: lights.Light, grain: noise.Grain) -> None:
    """Paints faces in the order given; `light` shades them by their direction, `grain` roughens textures."""
    counts = np.array([len(face.points) for face in faces])
    starts = np.cumsum(counts) - counts
    points = self.camera.view(np.concatenate([face.points for face in faces]))
    normals, planes = _planes(points, starts, counts)
    pixels = self.camera.project(np.maximum(points, (-np.inf, -np.inf, cameras.NEAR)))
    low, high = np.minimum.reduceat(pixels, starts), np.maximum.reduceat(pixels, starts)
    cut = np.minimum.reduceat(points[:, 2], starts) < cameras.NEAR
    visible = np.maximum.reduceat(points[:, 2], starts) > cameras.NEAR
    visible &= np.einsum("ij,ij->i", normals, points[starts]) < 0  # not turned away
    visible &= cut | ((high > 0) & (low < (self.camera.width, self.camera.height))).all(1)
    plain = (high - low).prod(1) < _TINY

    shades = light.shade(normals @ self.camera.rotation())
    colors = np.array([face.color for face in faces])
    colors = np.minimum(colors, 1) * shades[:, None] + light.lamps * np.maximum(colors - 1, 0)
    colors, fixed = colors.tolist(), _fixed(np.clip(pixels, -(2**15), 2**15))
    for i in np.flatnonzero(visible).tolist():
      face, part = faces[i], slice(starts[i], starts[i] + counts[i])
      polygon, corners = pixels[part], fixed[part]
      if cut[i]:
        polygon = self.camera.project(cameras.clip_near(points[part]))
        corners = _fixed(polygon)
      number = self._surface(face.label, planes[i])
      if face.texture is None or plain[i]:
        cv2.fillPoly(self.pixels, [corners], (*colors[i], number), shift=_SHIFT)
      else:
        texture = face.texture(self._resolution(polygon, points[part]), light, grain)
        self._paste(polygon, points[part], texture, number, shades[i])

  def label(self) -> np.ndarray:
    """The class [H, W] uint8 of each pixel."""
    number = self.numbers()
    return np.where(number > 0, np.array(self._labels, np.uint8)[number], self._background[0])

  def depth(self) -> np.ndarray:
    """The depth [H, W] float32 of each pixel in metres; the sky has `camera.FAR`."""
    number = self.numbers()
    planes = np.array(self._planes, np.float32)[number]
    inverse = np.einsum("hwc,hwc->hw", planes, self.camera.rays())
    drawn = 1 / np.clip(inverse, 2 / cameras.FAR, 1 / cameras.NEAR)
    return np.where(number > 0, drawn, self._background[1]).astype(np.float32)

  def numbers(self) -> np.ndarray:
    """The number of the surface [H, W] int32 of each pixel; 0 is sky and ground."""
    return self.pixels[..., 3].astype(np.int32)

  def _surface(self, label: int, plane: np.ndarray) -> int:
    self._labels.append(label)
    self._planes.append(plane)
    return len(self._labels) - 1

  def _paste(self, polygon, corners, texture, number: int, shade: float) -> None:
    """Warps a texture onto the parallelogram with the camera points `corners` [4, 3], within `polygon`."""
    size = (self.camera.width, self.camera.height)
    low = np.clip(np.floor(polygon.min(0)), 0, size).astype(int)
    high = np.clip(np.ceil(polygon.max(0)), 0, size).astype(int)
    if (high <= low).any():
      return
    shape = tuple((high - low).tolist())
    warp = self._warp(corners, texture.shape, low)
    patch = cv2.warpPerspective(texture, warp, shape, borderMode=cv2.BORDER_REPLICATE)
    mask = np.zeros(shape[::-1], np.uint8)
    cv2.fillPoly(mask, [_fixed(polygon - low)], 1, shift=_SHIFT)
    shine = np.maximum(patch[..., :3] - 1, 0)
    patch[..., :3] = (patch[..., :3] - shine) * shade + shine
    target = self.pixels[low[1] : high[1], low[0] : high[0]]
    if texture[..., 3].min() == 1:  # the usual case, and a fast one
      patch[..., 3] = number
      cv2.copyTo(patch, mask, target)
      return
    opacity = patch[..., 3:] * mask[..., None]
    target[..., :3] += opacity * (patch[..., :3] - target[..., :3])
    np.copyto(target[..., 3], number, where=opacity[..., 0] >= _OPAQUE)

  def _warp(self, corners: np.ndarray, shape: tuple[int, ...], origin: np.ndarray) -> np.ndarray:
    """The matrix [3, 3] from texture pixels to canvas pixels relative to `origin`.

    Texture coordinates -> camera point -> pixel is one such matrix, exact on both sides of the lens.
    """
    right, down = (corners[1] - corners[0]) / shape[1], (corners[0] - corners[3]) / shape[0]
    camera = self.camera
    column, row = camera.width / 2 - origin[0], camera.horizon - origin[1]
    lens = np.array([[camera.focal, 0, column], [0, -camera.focal, row], [0, 0, 1]])
    centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # of a pixel, in both pictures
    corner = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    return corner @ lens @ np.column_stack([right, down, corners[3]]) @ centre

  def _resolution(self, polygon: np.ndarray, corners: np.ndarray) -> tuple[int, int]:
    """(rows, columns) that a texture on this parallelogram deserves."""
    # Walls beside the road enter the picture only where they are about as far ahead as aside.
    distance = max(corners[:, 2].mean(), 1.5 * np.abs(corners[:, 0]).min(), 2.5)
    sides = np.linalg.norm(corners[[1, 3]] - corners[0], axis=1) * self.camera.focal / distance
    columns, rows = np.minimum(sides, 1.1 * np.ptp(polygon, axis=0) + 2)
    most = int(0.8 * self.camera.width)
    return min(max(int(rows + 1), 2), most), min(max(int(columns + 1), 2), most)


def _planes(points, starts, counts) -> tuple[np.ndarray, np.ndarray]:
  """Unit normals [F, 3] (outward) of polygons and their planes [F, 3], so that plane . ray = 1 / depth."""
  following = np.arange(1, len(points) + 1)
  following[starts + counts - 1] = starts
  origin = np.repeat(points[starts], counts, axis=0)
  area = -np.add.reduceat(np.cross(points - origin, points[following] - origin), starts)
  normals = area / np.maximum(np.linalg.norm(area, axis=1, keepdims=True), 1e-12)
  offset = np.einsum("ij,ij->i", normals, points[starts])
  return normals, normals / np.where(np.abs(offset) < 1e-6, 1e-6, offset)[:, None]


def _fixed(polygon: np.ndarray) -> np.ndarray:
  """Pixels [N, 2] as OpenCV's fixed-point numbers, in which whole numbers are pixel centres."""
  return np.round((polygon - 0.5) * (1 << _SHIFT)).astype(np.int32)
