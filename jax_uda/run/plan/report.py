"""A plan in words."""

from jax_uda.run.plan.plan import Plan

GIB = 2**30
SHOWN = 5  # exchanges


def size(num_bytes: float | None) -> str:
  """Bytes as a person reads them."""
  if num_bytes is None:
    return "unknown"
  for unit, name in ((GIB, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
    if num_bytes >= unit / 10:
      return f"{num_bytes / unit:.2f} {name}"
  return f"{num_bytes:.0f} bytes"


def text(plan: Plan) -> str:
  """What a person wants to know of a plan, in lines."""
  number, kind = plan.devices
  lines = [
    f"{plan.title} on {number} x {kind}, batch {plan.batch_size} + {plan.batch_size}, the step from "
    f"step {plan.phase} on",
    _verdict(plan),
    f"  state {size(plan.state)}, batch {size(plan.batch)}, temporaries {size(plan.temporaries)} on "
    "each device",
    f"  {plan.operations / 1e12:.3f} TFLOP a step in matrix units, over all devices",
  ]
  if plan.seconds:
    slowest = max(plan.seconds, key=lambda name: plan.seconds[name])
    parts = ", ".join(f"{name} {1e3 * value:.2f} ms" for name, value in plan.seconds.items())
    lines.append(
      f"  a step takes at least {1e3 * plan.seconds[slowest]:.2f} ms, bounded by {slowest} ({parts}; "
      "computed from published peaks, not measured)"
    )
  if plan.collectives:
    total = sum(item.num_bytes * item.times for item in plan.collectives)
    lines.append(f"  {len(plan.collectives)} exchanges between devices, {size(total)} a step:")
    lines += [
      f"    {item.kind} of {size(item.num_bytes)}, {item.times} x: {item.origin}"
      for item in plan.collectives[:SHOWN]
    ]
  lines.append(f"  traced and compiled in {plan.compile_seconds:.0f} s")
  return "\n".join(lines)


def _verdict(plan: Plan) -> str:
  peak = f"  peak {size(plan.peak)} of {size(plan.memory)}"
  if plan.fits is None:
    return f"{peak}: the memory of this device is unknown"
  if plan.fits:
    return f"{peak}: it fits"
  advice = [*plan.remedies, "a smaller --config.batch_size, or more devices"]
  return f"{peak}: IT DOES NOT FIT; what needs less, in this order: {', '.join(advice)}"
