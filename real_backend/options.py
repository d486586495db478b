"""The settings of the live backend, as dataclasses; those of policies, workload and cluster are the simulator's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from real_backend.channel import parse_address
from real_backend.errors import BackendError
from real_backend.gangs import METHODS
from real_backend.launch import START_METHODS
from real_backend.providers import PROVIDERS
from real_backend.task import Task
from workloads.errors import WorkloadError
from workloads.options import build, nearest

DEVICES = ("auto", "cpu", "cuda")
COMPUTES = ("auto", "real", "paced")


@dataclass(kw_only=True)
class LiveOptions:
    """How jobs are run for real.

    Args:
        start: workers are forked from a server that has imported torch, or spawned from nothing.
        backend: of torch.distributed; `auto`: gloo on CPU and where workers share a GPU, else nccl.
        slots_per_gpu: workers that share a GPU.
        num_threads: of torch, a worker.
        listen: where agents join, HOST:PORT; only this host can reach 127.0.0.1.
        host: under which agents that this host starts are reached by others.
        token: shared with agents; empty: a new one, in the run's folder.
        provider: where nodes come from: local, command, join.
        join_timeout_s: how long to wait for the first nodes, and for each that is ordered later (provider=join: for
            ever).
        checkpoint_interval_s: between two checkpoints of a running job.
        heartbeat_timeout_s: a worker that makes no step and says nothing for so long hangs, and is killed.
        away_s: an agent that is gone for so long is lost.
        orphan_s: how long agents go on without a controller, for one that is restarted.
        max_failures: a job whose workers are lost more often has failed.
        prometheus_port: 0: no endpoint.
        network_gib_per_s: bandwidth of a node, for how busy it is; 0: not known.
        faults: what is to go wrong, for tests: job: [{rank, step, how: kill|hang|raise}].
    """

    start: str = "forkserver"
    backend: str = "auto"
    slots_per_gpu: int = 1
    num_threads: int = 1
    listen: str = "127.0.0.1:0"
    host: str = "127.0.0.1"
    token: str = ""
    provider: str = "local"
    create_command: str = ""
    delete_command: str = ""
    join_timeout_s: float = 120.0
    checkpoint_interval_s: float = 30.0
    heartbeat_timeout_s: float = 60.0
    away_s: float = 3.0
    orphan_s: float = 60.0
    max_failures: int = 3
    prometheus_port: int = 0
    network_gib_per_s: float = 0.0
    keep_checkpoints: bool = False  # when the run is over
    faults: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parse_address(self.listen)
        rules: dict[str, tuple[bool, str]] = {
            "start": (self.start in START_METHODS, f"must be one of {', '.join(START_METHODS)}"),
            "backend": (self.backend in ("auto", "gloo", "nccl"), "must be auto, gloo or nccl"),
            "provider": (self.provider in PROVIDERS, f"must be one of {', '.join(PROVIDERS)}"),
            "slots_per_gpu": (self.slots_per_gpu >= 1, "must be 1 or more"),
            "num_threads": (self.num_threads >= 1, "must be 1 or more"),
            "max_failures": (self.max_failures >= 0, "must be 0 or more"),
            "prometheus_port": (0 <= self.prometheus_port < 65536, "must be a port, or 0 for none"),
        }
        for name in ("join_timeout_s", "heartbeat_timeout_s", "checkpoint_interval_s"):
            rules[name] = (getattr(self, name) > 0, "must be more than 0")
        for name in ("away_s", "orphan_s"):
            rules[name] = (0 <= getattr(self, name) < math.inf, "must be a number of seconds, 0 or more")
        for name, (holds, rule) in rules.items():
            if not holds:
                raise BackendError(f"live.{name}={getattr(self, name)}: {rule}")


@dataclass(kw_only=True)
class Settings:
    """What stands beside the simulator's settings in conf/live.yaml."""

    device: str = "auto"  # auto | cpu | cuda
    compute: str = "auto"  # auto: real on a GPU, paced on a CPU | real | paced
    method: str = "in_place"  # in_place | restart
    profile: str = "auto"
    live: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, known in (("device", DEVICES), ("compute", COMPUTES), ("method", METHODS)):
            value = getattr(self, name)
            if value not in known:
                raise BackendError(f"{name}={value}: unknown{nearest(value, known)}")
        if not self.models:
            raise BackendError("models: must say what each model of the workload is")

    def options(self) -> LiveOptions:
        return build(LiveOptions, self.live, prefix="live.")

    def tasks(self) -> dict[str, Task]:
        """What each model is when it runs; without a pace where compute is real."""
        tasks = {}
        for name, given in self.models.items():
            options = dict(given)
            if not self.is_paced:
                options.pop("pace_base_s", None)
                options.pop("pace_per_sample_s", None)
            elif options.get("pace_base_s") is None:
                raise BackendError(f"models.{name}.pace_base_s: compute=paced needs it: seconds of compute of a step")
            try:
                tasks[name] = build(Task, options, prefix=f"models.{name}.")
            except WorkloadError:  # has the prefix
                raise
            except ValueError as error:
                raise BackendError(f"models.{name}.{error}") from None
        return tasks

    def resolved(self) -> Settings:
        """With cpu or cuda, and real or paced, in place of auto.

        Raises:
            BackendError: cuda is asked for and isn't there.
        """
        device = self._device()
        compute = self.compute
        if compute == "auto":
            compute = "real" if device == "cuda" else "paced"
        return replace(self, device=device, compute=compute)

    @property
    def is_paced(self) -> bool:
        return self.compute == "paced"

    def _device(self) -> str:
        if self.device == "cpu":
            return "cpu"
        import torch

        if torch.cuda.is_available():
            return "cuda"
        if self.device == "cuda":
            raise BackendError("device=cuda: torch finds no NVIDIA GPU here; use device=cpu")
        return "cpu"


def backend_of(options: LiveOptions, device: str) -> str:
    """gloo or nccl; nccl refuses two ranks on one GPU."""
    if options.backend == "nccl" and (device == "cpu" or options.slots_per_gpu > 1):
        why = "there is no GPU" if device == "cpu" else "workers share GPUs (live.slots_per_gpu)"
        raise BackendError(f"live.backend=nccl: {why}; use gloo")
    if options.backend != "auto":
        return options.backend
    return "nccl" if device == "cuda" and options.slots_per_gpu == 1 else "gloo"
