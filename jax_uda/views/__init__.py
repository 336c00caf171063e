"""Augmentation on the device, under jit: ClassMix, colour jitter, blur, pseudo-labels.

No function here draws anything unless its name says `draw`: every random number is an argument.
"""
