"""How fast a job goes on a number of GPUs: step-time models.

A model gives the time of one step at a fixed global batch. The simulator uses only ratios: a job's `duration_s` is
stated on the GPUs it asks for, so its rate on others is step_time(asked) / step_time(held), and exactly 1 where
they are the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from workloads.errors import WorkloadError


@runtime_checkable
class StepTimeModel(Protocol):
    """The time of one training step."""

    def step_time_s(self, model: str, num_gpus: int, num_nodes: int = 1) -> float:
        """Seconds a step of `model` takes on a gang of `num_gpus` GPUs over `num_nodes` nodes (any unit will do)."""
        ...


@dataclass(frozen=True)
class Linear:
    """Perfect scaling: k GPUs take 1/k of the time; each node beyond the first costs `cross_node_frac` of a step."""

    cross_node_frac: float = 0.0

    def step_time_s(self, model: str, num_gpus: int, num_nodes: int = 1) -> float:
        return (1.0 + self.cross_node_frac * (num_nodes - 1)) / num_gpus


@dataclass(frozen=True)
class Amdahl:
    """Amdahl's law: a share `serial_frac` of a step on one GPU does not get faster with more.

    Amdahl, "Validity of the single processor approach", AFIPS 1967. `serial_frac_by_model` overrides by model name.
    """

    serial_frac: float = 0.05
    serial_frac_by_model: Mapping[str, float] = field(default_factory=dict)
    cross_node_frac: float = 0.0

    def __post_init__(self) -> None:
        for name, value in {"": self.serial_frac, **self.serial_frac_by_model}.items():
            if not 0.0 <= value <= 1.0:
                raise WorkloadError(f"serial_frac{f' of {name}' if name else ''}={value}: must lie in 0..1")

    def step_time_s(self, model: str, num_gpus: int, num_nodes: int = 1) -> float:
        serial = self.serial_frac_by_model.get(model, self.serial_frac)
        return (serial + (1.0 - serial) / num_gpus) * (1.0 + self.cross_node_frac * (num_nodes - 1))


@dataclass(frozen=True)
class Table:
    """Measured step times: model -> {number of GPUs: seconds}; between two points, linear in the throughput.

    Beyond the last point `beyond` says what holds: `error`, `flat` (no faster than the last point) or `linear`
    (throughput grows on at the last point's rate per GPU). Below the first point: linear through the origin.
    """

    times_s: Mapping[str, Mapping[int, float]]
    default_model: str | None = None  # what a model that isn't listed runs as; None: an error
    beyond: str = "error"
    cross_node_frac: float = 0.0

    def __post_init__(self) -> None:
        if self.beyond not in ("error", "flat", "linear"):
            raise WorkloadError(f"beyond={self.beyond!r}: must be error, flat or linear")
        for model, times in self.times_s.items():
            if not times:
                raise WorkloadError(f"step-time table of {model!r} is empty")
            for num_gpus, step_s in times.items():
                if num_gpus < 1 or not step_s > 0:
                    raise WorkloadError(f"step-time table of {model!r}: {num_gpus} GPUs: {step_s} s: both must be > 0")
        if self.default_model is not None and self.default_model not in self.times_s:
            raise WorkloadError(f"default_model={self.default_model!r}: not in the table ({', '.join(self.times_s)})")

    def step_time_s(self, model: str, num_gpus: int, num_nodes: int = 1) -> float:
        times = self.times_s.get(model)
        if times is None:
            if self.default_model is None:
                known = ", ".join(sorted(self.times_s))
                raise WorkloadError(f"no step times for model {model!r} (known: {known}); set default_model")
            times = self.times_s[self.default_model]
        return (1.0 + self.cross_node_frac * (num_nodes - 1)) / self._throughput(model, times, num_gpus)

    def _throughput(self, model: str, times: Mapping[int, float], num_gpus: int) -> float:
        points = sorted(times)
        if num_gpus <= points[0]:
            return num_gpus / points[0] / times[points[0]]
        if num_gpus > points[-1]:
            if self.beyond == "error":
                raise WorkloadError(
                    f"step times of {model!r} end at {points[-1]} GPUs, {num_gpus} asked; set beyond=flat or linear"
                )
            return (num_gpus / points[-1] if self.beyond == "linear" else 1.0) / times[points[-1]]
        i = bisect_left(points, num_gpus)
        low, high = points[i - 1], points[i]
        share = (num_gpus - low) / (high - low)
        return (1.0 - share) / times[low] + share / times[high]
