"""Mean and standard deviation of ImageNet's colors, RGB in 0–255."""

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
