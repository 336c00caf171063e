"""Adapt a segmentation model to a domain without labels.

  python main.py --config=configs/demo.py --workdir=runs/demo

The same command again continues an interrupted run.
"""

from jax_uda import cli

if __name__ == "__main__":
  cli.run()
