"""The line that training prints at each log interval."""

from collections.abc import Mapping


def duration(seconds: float) -> str:
  """`75.2` -> `1m15s`; from one hour on with hours: `2h05m`."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f"{hours}h{minutes:02d}m"
  return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"


def line(
  step: int, end: int, means: Mapping[str, float], speed: Mapping[str, float], eta: float
) -> str:
  """One line: step, losses by term, speed, share of time waiting for data, time to go.

  Args:
    step: Number of completed steps.
    end: Number of steps at the end.
    means: Means of the metrics; losses are `loss` and `loss/<term>`.
    speed: `images_per_second` and `data_wait_fraction`.
    eta: Seconds until the end.
  """
  terms = "  ".join(
    f"{name.removeprefix('loss/')} {value:.3f}"
    for name, value in means.items()
    if name.startswith("loss/")
  )
  width = len(str(end))
  return (
    f"step {step:{width}d}/{end}  loss {means['loss']:.3f} ({terms})  "
    f"{speed['images_per_second']:.0f} images/s  "
    f"data wait {100 * speed['data_wait_fraction']:.0f} %  ETA {duration(eta)}"
  )
