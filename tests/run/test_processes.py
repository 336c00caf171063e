"""Two processes with two devices each, over loopback, are one process with four."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

# Adams make rounding errors of tiny gradients as large as gradients; CONFETI's stages pile them up.
CALM = ("--config.optimizer.name=sgd", "--config.schedule.learning_rate=1e-3") + tuple(
  f"--config.stages.{stage}.method.translator.learning_rate=1e-6"
  for stage in ("translator", "joint", "confeti")
)
ROOT = pathlib.Path(__file__).parents[2]


def free_port() -> int:
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


def start(recipe: str, workdir: pathlib.Path, devices: int, *flags: str) -> subprocess.Popen:
  """`main.py` on a number of simulated devices."""
  environment = os.environ | {
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0",
    "JAX_PLATFORMS": "cpu",
  }
  return subprocess.Popen(
    [sys.executable, "main.py", f"--config={recipe}", f"--workdir={workdir}", *flags],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def losses_of(workdir: pathlib.Path) -> dict[str, np.ndarray]:
  """The total loss of each logged step, by stage."""
  found = {}
  for path in sorted(workdir.rglob("metrics.jsonl")):
    rows = map(json.loads, path.read_text().splitlines())
    found[path.parent.name] = np.array([row["loss"] for row in rows if "loss" in row])
  return found


def check(recipe: str, tmp_path: pathlib.Path, *flags: str) -> None:
  port = free_port()
  address = lambda index: f"--distributed=127.0.0.1:{port},2,{index}"
  one, two = tmp_path / "run" / "one", tmp_path / "run" / "two"
  processes = [start(recipe, one, 4, *flags)]
  outputs = [processes[0].communicate(timeout=900)[0]]  # it prepares the data
  processes += [start(recipe, two, 2, *flags, address(index)) for index in range(2)]
  try:
    outputs += [process.communicate(timeout=900)[0] for process in processes[1:]]
  finally:
    for process in processes:
      process.kill()  # SIGTERM is caught by jax.distributed
  assert [process.returncode for process in processes] == [0, 0, 0], "\n".join(outputs)
  assert "mIoU" in outputs[1] and "mIoU" not in outputs[2]
  expected, found = losses_of(one), losses_of(two)
  assert [len(rows) for rows in expected.values()] == [len(rows) for rows in found.values()]
  for a, b in zip(expected.values(), found.values(), strict=True):
    np.testing.assert_allclose(b, a, rtol=1e-4)


# The devices of the two processes alternate, as they do on some TPU pods.
ROWS = """
import sys
import jax, numpy as np
from jax.sharding import Mesh
from jax_uda.common import mesh as mesh_lib
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
devices = np.array(jax.devices()).reshape(2, 2).T.ravel()
mesh = Mesh(devices, ("data",))
twice = jax.jit(lambda x: 2 * x, out_shardings=mesh_lib.replicated(mesh))
print(np.asarray(twice(mesh_lib.put_whole(mesh, np.arange(8)))).tolist())
"""


# On CPUs, processes that are not connected yet wait 30 seconds for each other at an exchange, and not more.
LATE = """
import sys, time
from jax_uda.cli import distributed
distributed.start(sys.argv[1], 300)
import jax, jax.numpy as jnp, numpy as np
from jax.experimental import multihost_utils
from jax_uda.common import mesh as mesh_lib
mesh = mesh_lib.data_mesh(4)
rows = mesh_lib.put_batch(mesh, np.ones((2, 3)))
mean = jax.jit(jnp.mean, out_shardings=mesh_lib.replicated(mesh))
for exchange in (lambda: mean(rows), lambda: multihost_utils.process_allgather(np.ones(3)).mean()):
  if jax.process_index():
    time.sleep(32)
  print(float(exchange()))
"""


@pytest.mark.long
def test_a_process_that_is_late_at_an_exchange_is_waited_for():
  address = f"127.0.0.1:{free_port()}"
  environment = os.environ | {
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    "JAX_PLATFORMS": "cpu",
  }
  pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", LATE, f"{address},2,{index}"], cwd=ROOT, env=environment, **pipes
    )
    for index in range(2)
  ]
  try:
    outputs = [process.communicate(timeout=300)[0] for process in processes]
  finally:
    for process in processes:
      process.kill()
  for out in outputs:
    assert [line for line in out.splitlines() if line == "1.0"] == ["1.0", "1.0"], out


def test_rows_that_all_processes_have_stay_in_order():
  address = f"127.0.0.1:{free_port()}"
  environment = os.environ | {
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    "JAX_PLATFORMS": "cpu",
  }
  command = [sys.executable, "-c", ROWS, address]
  pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  processes = [
    subprocess.Popen([*command, str(index)], cwd=ROOT, env=environment, **pipes)
    for index in range(2)
  ]
  try:
    outputs = [process.communicate(timeout=300) for process in processes]
  finally:
    for process in processes:
      process.kill()
  for out, errors in outputs:
    assert out.splitlines()[-1:] == [str([0, 2, 4, 6, 8, 10, 12, 14])], errors


def test_self_training(tmp_path):
  check(f"tests/tiny_recipe.py:data_dir={tmp_path / 'data'},steps=4", tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(
  "method", ["daformer", "hrda", "mic", "sepico", "spcl", "cluda", "rccr", "confeti", "vfm_uda"]
)
def test_every_method_of_the_demo(method, tmp_path):
  data = f"--config.data.dir={tmp_path / 'data'}"
  calm = CALM if method == "confeti" else ()
  check(f"configs/demo.py:method={method},smoke", tmp_path, data, *calm)


def start_two(workdir: pathlib.Path, data: pathlib.Path, steps: int) -> list[subprocess.Popen]:
  """Two processes that train a tiny recipe together."""
  port = free_port()
  recipe = f"tests/tiny_recipe.py:data_dir={data},steps={steps},method=source_only"
  flags = ["--config.checkpoint.every_steps=0", "--distributed_timeout=300"]
  address = lambda index: f"--distributed=127.0.0.1:{port},2,{index}"
  return [start(recipe, workdir, 2, *flags, address(index)) for index in range(2)]


def wait_for_step(process: subprocess.Popen, workdir: pathlib.Path, step: int) -> None:
  path, deadline = workdir / "metrics.jsonl", time.monotonic() + 300
  while not path.exists() or path.read_text().count("\n") < step:
    assert time.monotonic() < deadline and process.poll() is None, process.communicate()[0]
    time.sleep(0.02)


@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1])
def test_survivors_of_a_killed_process_name_it_and_end(victim, tmp_path):
  processes = start_two(tmp_path / "run", tmp_path / "data", steps=5000)
  try:
    wait_for_step(processes[0], tmp_path / "run", 3)
    processes[victim].kill()
    survivor = processes[1 - victim]
    out, _ = survivor.communicate(timeout=300)
  finally:
    for process in processes:
      process.kill()
  assert survivor.returncode == 75, out
  assert f"process {victim} of this run is gone" in out.splitlines()[-1]
  assert "stack trace" not in out and "Traceback" not in out


@pytest.mark.long
@pytest.mark.parametrize("told", [(0,), (1,), (0, 1)])
def test_processes_that_are_told_to_stop_agree_and_continue_on_another_number(told, tmp_path):
  workdir, data = tmp_path / "run", tmp_path / "data"
  processes = start_two(workdir, data, steps=200)
  try:
    wait_for_step(processes[0], workdir, 3)
    for index in told:
      processes[index].terminate()
    outputs = [process.communicate(timeout=300)[0] for process in processes]
  finally:
    for process in processes:
      process.kill()
  assert [process.returncode for process in processes] == [75, 75], "\n".join(outputs)
  rows = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  assert [int(path.name) for path in (workdir / "checkpoints").iterdir()] == [rows[-1]]
  recipe = f"tests/tiny_recipe.py:data_dir={data},steps=200,method=source_only"
  one = start(recipe, workdir, 4, f"--config.stop_step={rows[-1] + 2}")
  out = one.communicate(timeout=300)[0]
  assert one.returncode == 0 and f"training from step {rows[-1]} to" in out, out


@pytest.mark.long
def test_a_count_that_differs_is_said(tmp_path):
  port = free_port()
  recipe = f"tests/tiny_recipe.py:data_dir={tmp_path},steps=2"
  flags = "--distributed_timeout=20"
  places = (f"127.0.0.1:{port},2,0", f"127.0.0.1:{port},3,1")
  processes = [
    start(recipe, tmp_path / "run", 1, flags, f"--distributed={place}") for place in places
  ]
  try:
    out = processes[1].communicate(timeout=300)[0]
  finally:
    for process in processes:
      process.kill()
  assert "process 1 has COUNT = 3, process 0 has COUNT = 2" in out
