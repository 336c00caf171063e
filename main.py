"""Adapt a segmentation model to a domain without labels.

  python main.py --config=configs/demo.py --workdir=runs/demo               train, or continue
  python main.py --config=configs/demo.py --workdir=runs/demo --mode=eval   evaluate again

A recipe takes arguments after a colon (--config=configs/demo.py:target=night,seed=1); a single field
is set with --config.<field>=<value>.
"""

from absl import flags

from jax_uda.cli import host_memory, main

if __name__ == "__main__":
  host_memory.use_huge_pages()
  flags.adopt_module_key_flags(main)
  main.run()
