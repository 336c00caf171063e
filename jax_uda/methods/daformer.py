"""DAFormer (Hoyer et al., CVPR 2022): DACS plus the thing-class ImageNet feature distance.

Rare-class sampling, the schedule and the x10 decoder rate of the paper are settings of the data and
of the optimizer.
"""

import functools

from jax_uda.methods.dacs import dacs

# Traffic light and sign, person, rider and all vehicles, among the 19 Cityscapes classes.
CITYSCAPES_THINGS = (6, 7, 11, 12, 13, 14, 15, 16, 17, 18)

daformer = functools.partial(dacs, feature_distance_weight=0.005, thing_classes=CITYSCAPES_THINGS)
