import os
import subprocess
import sys

import pytest

from jax_uda.cli import host_memory

# A script that begins as `main.py` does.
PROGRAM = """
import os, sys
print("started", flush=True)
from jax_uda.cli import host_memory
host_memory.use_huge_pages()
print(sys.argv[1:], os.environ.get("GLIBC_TUNABLES"), sys.flags.optimize)
"""


def run(tmp_path, **environment):
  script = tmp_path / "script.py"
  script.write_text(PROGRAM)
  plain = {k: v for k, v in os.environ.items() if k not in ("GLIBC_TUNABLES", "LD_PRELOAD")}
  done = subprocess.run(
    [sys.executable, "-O", script, "--config=a b:c", "x"],
    capture_output=True,
    text=True,
    check=True,
    env=plain | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | environment,
  )
  return done.stdout.splitlines()


@pytest.mark.skipif(host_memory._glibc_version() < (2, 35), reason="needs glibc 2.35 or newer")
def test_a_script_starts_once_more_with_the_same_arguments_and_flags(tmp_path):
  arguments = "['--config=a b:c', 'x'] glibc.malloc.hugetlb=1 1"
  assert run(tmp_path) == ["started", "started", arguments]


@pytest.mark.parametrize("name", ("GLIBC_TUNABLES", "LD_PRELOAD"))
def test_settings_of_the_environment_stay(tmp_path, name):
  lines = run(tmp_path, **{name: ""})
  assert lines[0] == "started" and len(lines) == 2 and "hugetlb" not in lines[1]
