"""Measured step times and the costs of moves under a name: `workloads/profiles/NAME.yaml`, or a file of one's own.

A profile is what was fitted (`python -m workloads fit`) or measured, with where it comes from. What lies outside the
settings that were measured is computed all the same, and `is_extrapolated` says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from workloads.errors import WorkloadError
from workloads.options import build, coerce, nearest
from workloads.profile_file import need_numbers, read_named, write_yaml
from workloads.step_time_fit import StepTimeFit

_GANG = re.compile(r"[1-9]\d*x[1-9]\d*$")
SYNCS = ("allreduce", "parameter_server")
METHODS = ("restart", "in_place")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRange:
    """The least and the most that was measured; all else is extrapolation."""

    gpus: tuple[int, ...]
    nodes: tuple[int, ...]
    batch_per_gpu: tuple[int, ...]

    def __post_init__(self) -> None:
        for each in fields(self):
            ends = getattr(self, each.name)
            if len(ends) != 2 or not 1 <= ends[0] <= ends[1]:
                raise WorkloadError(f"{each.name}={list(ends)}: must be the least and the most, 1 or more")

    def holds(self, num_gpus: int, num_nodes: int, batch_per_gpu: int) -> bool:
        given = ((self.gpus, num_gpus), (self.nodes, num_nodes), (self.batch_per_gpu, batch_per_gpu))
        return all(low <= value <= high for (low, high), value in given)


@dataclass(frozen=True, slots=True)
class HoldOut:
    """Relative errors on rows that were not fitted."""

    num_rows: int
    median_error_frac: float
    p90_error_frac: float

    def __post_init__(self) -> None:
        need_numbers(self, least=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveStages:
    """Mean seconds of each stage of a move: out (save, teardown) and in again (the others, in their order)."""

    spawn_s: float = 0.0
    import_s: float = 0.0
    rendezvous_s: float = 0.0
    restore_s: float = 0.0
    first_step_s: float = 0.0
    save_s: float = 0.0
    teardown_s: float = 0.0
    wait_s: float = 0.0  # what a pause is longer than its stages: messages, processes that end

    def __post_init__(self) -> None:
        need_numbers(self, least=0.0)

    @property
    def start_s(self) -> float:
        """The first start of a job, which has nothing to restore."""
        return self.spawn_s + self.import_s + self.rendezvous_s + self.first_step_s + self.wait_s

    @property
    def join_s(self) -> float:
        """What a worker takes that joins."""
        return self.start_s + self.restore_s

    @property
    def stall_s(self) -> float:
        """In place: how long nobody makes steps, from the old gang's last to the new one's first."""
        return self.teardown_s + self.rendezvous_s + self.restore_s + self.first_step_s + self.wait_s

    @property
    def restart_s(self) -> float:
        """Out and in again."""
        return self.save_s + self.teardown_s + self.join_s


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """One model on one device."""

    device: str  # cpu, or a type of GPU
    global_batch: int  # samples a step, whatever the number of GPUs
    max_batch_per_gpu: int  # more are done in several passes (gradient accumulation)
    step_time: StepTimeFit
    range: MeasuredRange
    num_rows: int
    sync: str = "allreduce"  # allreduce | parameter_server
    holdout: HoldOut | None = None
    moves: Mapping[str, MoveStages] = field(default_factory=dict)  # by method: restart, in_place
    measured_s: Mapping[str, float] = field(default_factory=dict)  # steps of the global batch, by "GPUSxNODES"

    def __post_init__(self) -> None:
        for name, step_s in self.measured_s.items():
            if not _GANG.match(name) or not 0 < step_s < math.inf:
                raise WorkloadError(f"measured_s.{name}={step_s}: must be seconds above 0, by GPUSxNODES such as 4x2")
        if self.sync not in SYNCS:
            raise WorkloadError(f"sync={self.sync}: must be one of {', '.join(SYNCS)}{nearest(self.sync, SYNCS)}")
        for name in ("global_batch", "max_batch_per_gpu", "num_rows"):
            if getattr(self, name) < 1:
                raise WorkloadError(f"{name}={getattr(self, name)}: must be 1 or more")
        for name in self.moves:
            if name not in METHODS:
                raise WorkloadError(f"moves.{name}: unknown method{nearest(name, METHODS)}")

    def step_time_s(self, num_gpus: int, num_nodes: int) -> float:
        """Seconds a step of the global batch takes: as measured on just these GPUs and nodes, else as fitted."""
        measured_s = self.measured_s.get(f"{num_gpus}x{num_nodes}")
        if measured_s is not None:
            return measured_s
        batch, num_passes = self.passes(num_gpus)
        return self.step_time.step_time_s(num_gpus, num_nodes, batch, num_passes)

    def passes(self, num_gpus: int) -> tuple[int, int]:
        """Samples a GPU in a pass, and passes a step: the global batch in even parts, rounded up."""
        share = -(-self.global_batch // num_gpus)
        num_passes = -(-share // self.max_batch_per_gpu)
        return -(-share // num_passes), num_passes


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Step times by model, and where they come from; a `StepTimeModel`."""

    name: str
    provenance: Mapping[str, Any] = field(default_factory=dict)  # texts and numbers: source, machine, versions, date, …
    provision_s: float | None = None  # mean time from ordering a node to its being ready
    models: Mapping[str, ModelProfile]
    path: str = field(default="", compare=False)  # for messages; not in the file

    def __post_init__(self) -> None:
        if not self.models:
            raise WorkloadError("models={}: must name one model or more")
        if self.provision_s is not None and not 0 <= self.provision_s < math.inf:
            raise WorkloadError(f"provision_s={self.provision_s}: must be a number of seconds, 0 or more")

    def of(self, model: str) -> ModelProfile:
        """What is known of a model.

        Raises:
            WorkloadError: nothing is; with the nearest names.
        """
        if model not in self.models:
            where = self.path or f"profile {self.name}"
            raise WorkloadError(f"{where}: models: no model {model!r}{nearest(model, self.models)}")
        return self.models[model]

    def step_time_s(self, model: str, num_gpus: int, num_nodes: int = 1) -> float:
        """Seconds a step of the model's global batch takes on GPUs spread evenly over nodes."""
        return float(self.of(model).step_time_s(num_gpus, num_nodes))

    def is_extrapolated(self, model: str, num_gpus: int, num_nodes: int = 1) -> bool:
        """Whether GPUs, nodes or the batch a GPU lie outside what was measured."""
        of = self.of(model)
        return not of.range.holds(num_gpus, num_nodes, of.passes(num_gpus)[0])


@dataclass(frozen=True)
class Profiled:
    """Step times of a profile, as a choice: `step_time=profile step_time.profile=NAME`."""

    profile: str  # a name in workloads/profiles, or a file
    default_model: str | None = None  # what a model that isn't in it runs as; None: an error

    def __post_init__(self) -> None:
        if self.default_model not in (None, *self.loaded.models):
            known = nearest(str(self.default_model), self.loaded.models)
            raise WorkloadError(f"default_model={self.default_model}: not in {self.loaded.path}{known}")

    @cached_property
    def loaded(self) -> Profile:
        return load_profile(self.profile)

    def step_time_s(self, model: str, num_gpus: int, num_nodes: int = 1) -> float:
        return self.loaded.step_time_s(self._name(model), num_gpus, num_nodes)

    def is_extrapolated(self, model: str, num_gpus: int, num_nodes: int = 1) -> bool:
        return self.loaded.is_extrapolated(self._name(model), num_gpus, num_nodes)

    def _name(self, model: str) -> str:
        if model in self.loaded.models or self.default_model is None:
            return model
        return self.default_model


def load_profile(name_or_path: str | Path) -> Profile:
    """The profile of a name (`workloads/profiles/NAME.yaml`), or of a file (what has a suffix or a folder).

    Raises:
        WorkloadError: no such profile, with the nearest; a file that can't be read, or breaks a rule, with the field.
    """
    content, where = read_named(name_or_path, "workloads", "profiles")
    try:
        models = coerce(content.get("models", {}), Mapping[str, Mapping[str, Any]], "models")
        return build(Profile, {**content, "models": {name: _model(name, models[name]) for name in models}}, path=where)
    except WorkloadError as error:
        raise WorkloadError(f"{where}: {error}") from None


def _model(name: str, content: Mapping[str, Any]) -> ModelProfile:
    try:
        return build(ModelProfile, content)
    except WorkloadError as error:
        raise WorkloadError(f"models.{name}: {error}") from None


def write_profile(profile: Profile, path: str | Path) -> None:
    """Writes the file, whole or not at all."""
    write_yaml(profile, path)
