"""What it costs to move a job: time in which it holds its GPUs and makes no progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from simulator.errors import ConfigError


@dataclass(frozen=True, slots=True)
class MoveCosts:
    """Seconds a move takes, by kind.

    | move | from -> to | pause |
    |---|---|---|
    | start | pending, never run -> k | `start_s` |
    | restart | preempted -> k: what saving it cost, and fetching it back | `restart_s` |
    | rescale | j -> k, or other nodes | `rescale_s` |

    With `rescale=restart_all` every worker waits for `rescale_s`; with `in_place` only joining workers do: the gang
    goes on at its old rate until they are in, and then all wait for `stall_s`, in which the new gang is formed; a gang
    that shrinks only stalls (not part of a job's `overhead_gpu_s`). `preempt=checkpoint` saves the work at a
    preemption; `lose` falls back to the job's last checkpoint of its own (`checkpoint_interval_s`), or to its last
    move, unless the job was told `save_s` or longer before (`Plan.notices`) and has saved its work since: then what it
    has done after the time of which it was told is lost.
    """

    start_s: float = 0.0
    restart_s: float = 0.0
    rescale_s: float = 0.0
    rescale: str = "restart_all"
    preempt: str = "checkpoint"
    stall_s: float = 0.0
    save_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("start_s", "restart_s", "rescale_s", "stall_s", "save_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"overheads.{name}={getattr(self, name)}: must be a number of seconds, 0 or more")
        for name, known in (("rescale", ("restart_all", "in_place")), ("preempt", ("checkpoint", "lose"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"overheads.{name}={getattr(self, name)!r}: must be {' or '.join(known)}")


@dataclass(frozen=True)
class Overheads:
    """Move costs, with exceptions by model: `by_model={'bert': {'restart_s': 120}}`."""

    default: MoveCosts = field(default_factory=MoveCosts)
    by_model: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, model: str) -> MoveCosts:
        """The costs of a model."""
        special = self.by_model.get(model, {})
        known = [f.name for f in fields(MoveCosts)]
        for name in special:
            if name not in known:
                raise ConfigError(f"overheads.by_model.{model}: unknown field {name!r}: known: {', '.join(known)}")
        return replace(self.default, **special)
