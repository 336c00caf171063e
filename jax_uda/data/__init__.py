"""Data sets, their preparation, and the batches of a training step.

Nothing is imported here: the processes that draw scenes import `jax_uda.data.streets` and must stay
free of JAX.
"""
