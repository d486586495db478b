"""A replica: a job that serves for as long as it is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable

from policies import JobsView, Placement
from simulator.overheads import MoveCosts
from simulator.progress import SimJob


class Replica(SimJob):
    """A gang of GPUs that serves requests.

    | state | from | until |
    |---|---|---|
    | pending | `requested_s` | it has GPUs |
    | starting | `allocated_s` | its stages are done |
    | ready | `ready_s` | it drains, or is killed |
    | draining | `drain_s` | what it had is served |
    | gone | `end_s` | |

    `end` says how it went: drained, cancelled (before it was ready), killed (its GPUs were taken), timed_out (draining
    took too long), running (the run ended).
    """

    __slots__ = (
        "_on_change",
        "_pool",
        "_service",
        "allocated_s",
        "drain_s",
        "end",
        "end_s",
        "is_warm",
        "ready_s",
        "started_s",
    )

    is_replica = True

    def __init__(
        self,
        jobs: JobsView,
        row: int,
        record: int,
        now_s: float,
        num_gpus: int,
        service: str,
        pool: str,
        is_warm: bool,
        on_change: Callable[[Replica], None],
    ) -> None:
        super().__init__(jobs, row, now_s, num_gpus, num_gpus, num_gpus, math.inf, math.inf)
        self.record = record
        self._service, self._pool, self._on_change = service, pool, on_change
        self.is_warm = is_warm  # needs no start-up
        self.allocated_s = self.ready_s = self.drain_s = self.end_s = math.nan
        self.started_s = math.nan  # its process runs from then on, and has yet to load
        self.end = "running"

    @property
    def job_id(self) -> str:
        return f"{self._service}/{self.record}"

    @property
    def service(self) -> str:
        return self._service

    @property
    def pool(self) -> str:
        return self._pool

    @property
    def requested_s(self) -> float:
        return self.submit_s

    @property
    def is_ready(self) -> bool:
        """Takes requests."""
        return self.ready_s == self.ready_s and self.drain_s != self.drain_s and self.end_s != self.end_s

    # ---- what the cluster does to a job
    def start(self, now_s: float, rate: float, num_gpus: int, costs: MoveCosts) -> float:
        """Has GPUs from now on; the service sees to its start-up. There is no pause: nothing is trained."""
        self.since_s = self.anchor_s = self.allocated_s = now_s
        self._on_change(self)
        return 0.0

    def rescale(self, now_s: float, rate: float, num_gpus: int, nodes: Placement, costs: MoveCosts) -> float:
        """Never: who would move it kills it (`SimulatedCluster`)."""
        raise AssertionError(f"replica {self.job_id} is moved while it runs")

    def preempt(self, now_s: float, checkpoint_interval_s: float, costs: MoveCosts) -> None:
        """Its GPUs are taken; the service sees to its requests."""
        self.num_preemptions += 1
        self.stop(now_s)
        self._on_change(self)
