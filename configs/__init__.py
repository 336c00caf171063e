"""Recipes: each module with a function `get_config(arg)` is the config of a run, or of several.

They are installed as `jax_uda.recipes`. A recipe starts from `jax_uda.run.config.default()`, where each
field is described, and states everything that differs; `arg` is what follows the colon of `--config`.

A recipe of several runs adds its stages in order, each with what it changes. Groups are merged field by
field, unless `jax_uda.run.changes.replace` makes them:

  config.stages.warm_up = dict(num_steps=600)
  config.stages.adapted = dict(init_from="warm_up", method=replace(name="dacs"))

What several recipes share: the tasks of the literature (`published.py`), methods from a common warm-up
for small images (`small.py`), and CamVid (`camvid.py`).
"""
