"""Adapt a segmentation model to a domain without labels.

  python main.py --config=configs/demo.py --workdir=runs/demo               train, or continue
  python main.py --config=configs/demo.py --workdir=runs/demo --mode=eval   evaluate again

A recipe takes arguments after a colon (--config=configs/demo.py:target=night,seed=1); a single field
is set with --config.<field>=<value>. An installed package has the same command as `jax-uda`. Flags whose
description begins with a mode, as in "predict: …", belong to that --mode alone.
"""

import signal

if __name__ == "__main__":
  # Until the program listens to Ctrl-C itself, and behind its end, it leaves without a traceback of Python's.
  signal.signal(signal.SIGINT, signal.SIG_DFL)

from jax_uda.cli import main  # noqa: E402

if __name__ == "__main__":
  main.run()
