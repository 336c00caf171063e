"""The eleven classes of a drawn street and their display colors."""

import numpy as np

CLASSES = (
  "sky",
  "building",
  "pole",
  "road",
  "sidewalk",
  "vegetation",
  "sign",
  "fence",
  "car",
  "person",
  "bicycle",  # with its rider
)
SKY, BUILDING, POLE, ROAD, SIDEWALK, VEGETATION, SIGN, FENCE, CAR, PERSON, BICYCLE = range(11)

PALETTE = np.array(
  [
    (70, 130, 180),
    (70, 70, 70),
    (153, 153, 153),
    (128, 64, 128),
    (244, 35, 232),
    (107, 142, 35),
    (220, 220, 0),
    (190, 153, 153),
    (0, 0, 142),
    (220, 20, 60),
    (119, 11, 32),
  ],
  np.uint8,
)  # [11, 3] RGB
