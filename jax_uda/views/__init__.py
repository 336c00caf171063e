"""What a step looks at: ClassMix, color jitter, blur, masks, crops and pseudo-labels, under jit.

No function here draws anything unless its name says `draw`: every random number is an argument.
"""
