"""Recipes: each module with a function `get_config(arg)` is the config of a run.

Installed as `jax_uda.recipes`. A recipe states everything in which it differs from
`jax_uda.run.config.default()`. What several recipes share is in `published.py` (the tasks of the
literature), `small.py` (methods from a common warm-up, for small images) and `camvid.py`.
"""
