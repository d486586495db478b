"""Shortest remaining time first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from policies.errors import PolicyError
from policies.plan import Draft
from policies.registry import register
from policies.serving import KeptOrder, serve_in_order
from policies.view import ClusterView


@register("allocation", "srtf")
@dataclass
class Srtf:
    """Runs the jobs with the least estimated work left, whole, preempting others; skips what does not fit.

    `key`: `time` is the run time left, `gpu_time` that times the GPUs asked for. Ties keep their previous order, new
    arrivals come last among equals.
    """

    idle_without_pending: ClassVar[bool] = True

    key: str = "time"
    _order: KeptOrder = field(default_factory=KeptOrder, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.key not in ("time", "gpu_time"):
            raise PolicyError(f"srtf: key={self.key!r}: must be time or gpu_time")

    def allocate(self, view: ClusterView, draft: Draft) -> None:
        jobs = view.jobs
        key = jobs.remaining_s
        if self.key == "gpu_time":
            key = key * jobs.num_gpus
        serve_in_order(view, draft, self._order.sort(view, key))
