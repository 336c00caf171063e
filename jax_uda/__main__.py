"""`python -m jax_uda COMMAND …` is the command `jax-uda COMMAND …`."""

from jax_uda.cli import main

if __name__ == "__main__":
  main.run()
