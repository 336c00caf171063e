"""Unsupervised domain adaptation for semantic segmentation in JAX.

A method is a set of *views* of the batch plus a chain of *objectives* over
them; one pure `train_step(state, batch)` serves every method.
"""

__version__ = "0.1.0"
