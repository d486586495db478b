"""How fast jobs go on another type of GPU than the one on which their durations are stated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from workloads.errors import WorkloadError
from workloads.options import nearest
from workloads.profile import Profile, load_profile


@dataclass(frozen=True, kw_only=True)
class GpuSpeed:
    """Step times of one type of GPU.

    Args:
        profile: a name in workloads/profiles, or a file.
        times_as_fast: by model, where the profile is of another GPU and this one is known to be so many times as fast;
            empty: the profile is its own.
        source: where `times_as_fast` is from, with its day.
    """

    profile: str
    times_as_fast: Mapping[str, float] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        for model, factor in self.times_as_fast.items():
            if not 0 < factor < math.inf:
                raise WorkloadError(f"times_as_fast.{model}={factor}: must be more than 0")
        if self.times_as_fast and not self.source:
            raise WorkloadError("source=: is needed: where times_as_fast is from")

    @cached_property
    def loaded(self) -> Profile:
        return load_profile(self.profile)

    def step_time_s(self, model: str, num_gpus: int, num_nodes: int) -> float:
        if self.times_as_fast and model not in self.times_as_fast:
            raise WorkloadError(f"times_as_fast: none of model {model!r}{nearest(model, self.times_as_fast)}")
        return self.loaded.step_time_s(model, num_gpus, num_nodes) / self.times_as_fast.get(model, 1.0)


@dataclass(frozen=True)
class ByGpu:
    """Step times by the type of GPU, as a choice: `step_time=by_gpu cluster.instance=…`.

    A job's `duration_s` is what it takes on GPUs of the type `stated_on`, in nodes of `stated_gpus_per_node`; on those
    of the pool it goes faster or slower.
    """

    gpus: Mapping[str, GpuSpeed] = field(default_factory=dict)  # by gpu_type, as the catalogue has it
    stated_on: str = "A100-40GB"
    stated_gpus_per_node: int = 8

    def __post_init__(self) -> None:
        if self.stated_gpus_per_node < 1:
            raise WorkloadError(f"stated_gpus_per_node={self.stated_gpus_per_node}: must be 1 or more")
        self._known(self.stated_on, "stated_on")

    def on(self, gpu_type: str) -> OnGpu:
        """The step times of a pool's GPUs.

        Raises:
            WorkloadError: nothing is known of them.
        """
        return OnGpu(
            self._known(gpu_type, "gpu_type"), self._known(self.stated_on, "stated_on"), self.stated_gpus_per_node
        )

    def _known(self, gpu_type: str, option: str) -> GpuSpeed:
        if gpu_type not in self.gpus:
            raise WorkloadError(f"{option}={gpu_type}: step_time.gpus has no speed of it{nearest(gpu_type, self.gpus)}")
        return self.gpus[gpu_type]


@dataclass(frozen=True)
class OnGpu:
    """A `StepTimeModel` of one type of GPU that also knows that of the GPUs on which durations are stated."""

    mine: GpuSpeed
    stated: GpuSpeed
    stated_gpus_per_node: int

    def step_time_s(self, model: str, num_gpus: int, num_nodes: int = 1) -> float:
        return self.mine.step_time_s(model, num_gpus, num_nodes)

    def stated_step_time_s(self, model: str, num_gpus: int) -> float:
        """The same on the GPUs on which durations are stated, packed on as few nodes as can be."""
        return self.stated.step_time_s(model, num_gpus, -(-num_gpus // self.stated_gpus_per_node))

    def is_extrapolated(self, model: str, num_gpus: int, num_nodes: int = 1) -> bool:
        return self.mine.loaded.is_extrapolated(model, num_gpus, num_nodes)
