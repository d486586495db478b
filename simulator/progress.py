"""How a job gets on: a closed form between two changes of what it holds.

A job that holds GPUs is a constant: work `left_s` at `anchor_s`, then `rate`, hence `finish_s`. The pause of a move
puts the anchor ahead of the change; during it the job goes on at `joining_rate` (0 unless it rescales in place, and
then credited to `left_s` in advance).
"""

from __future__ import annotations

import math

from policies.job import Job, Placement
from policies.jobs_view import JobsView
from simulator.overheads import MoveCosts


class SimJob(Job):
    """A job with the truth that policies don't see."""

    __slots__ = (
        "finish_s",
        "first_start_s",
        "idle_moves",
        "joining_rate",
        "left_s",
        "lost_s",
        "notice",
        "num_rescales",
        "overhead_gpu_s",
        "paused_gpus",
        "record",
    )

    def __init__(
        self,
        jobs: JobsView,
        row: int,
        submit_s: float,
        num_gpus: int,
        min_gpus: int,
        max_gpus: int,
        estimate_s: float,
        duration_s: float,
    ) -> None:
        # Job.__init__, written out: at 100,000 jobs a second the call counts.
        self._jobs = jobs
        self.row = self.seq = self.record = row  # record: its number in the table allocations
        self.submit_s = self.since_s = self.anchor_s = submit_s
        self.num_gpus = num_gpus
        self.min_gpus = min_gpus
        self.max_gpus = max_gpus
        self.gpus_held = self.num_preemptions = self.num_rescales = self.idle_moves = self.paused_gpus = 0
        self.nodes = ()
        self.service_at_since_gpu_s = self.executed_at_since_s = self.rate = self.joining_rate = 0.0
        self.overhead_gpu_s = self.lost_s = 0.0
        self.left_at_anchor_s = estimate_s
        self.left_s = duration_s
        self.finish_s = self.first_start_s = math.inf
        self.notice: tuple[float, float] | None = None  # when it was told that GPUs will be taken, and from when on

    def settle(self, now_s: float) -> None:
        """Books what happened since the last change, up to now."""
        held = self.gpus_held
        if held:
            stretch_s = now_s - self.since_s
            self.service_at_since_gpu_s += held * stretch_s
            self.executed_at_since_s += stretch_s
            ran_s = now_s - self.anchor_s
            if ran_s >= 0:
                done_s = self.rate * ran_s
                self.overhead_gpu_s += self.paused_gpus * (stretch_s - ran_s)
            else:
                done_s = self.joining_rate * ran_s  # less than was credited
                self.overhead_gpu_s += self.paused_gpus * stretch_s
            if done_s:
                left_s = self.left_s - done_s
                self.left_s = left_s if left_s > 0.0 else 0.0
                self.left_at_anchor_s -= done_s
            self.idle_moves = 0 if ran_s > 0 or self.joining_rate else self.idle_moves + 1
        self.since_s = now_s

    def left_now_s(self, now_s: float) -> float:
        """Work left at a time since the last change."""
        ran_s = now_s - self.anchor_s
        return self.left_s - (self.rate if ran_s > 0 else self.joining_rate) * ran_s

    def start(self, now_s: float, rate: float, num_gpus: int, costs: MoveCosts) -> float:
        """Goes from nothing to `num_gpus`; returns the pause."""
        self.since_s = now_s
        if self.first_start_s == math.inf:
            self.first_start_s = now_s
            pause_s = costs.start_s
        else:
            pause_s = costs.restart_s
        self.anchor_s = now_s + pause_s
        self.rate, self.joining_rate, self.paused_gpus = rate, 0.0, num_gpus
        self.finish_s = self.anchor_s + self.left_s / rate
        return pause_s

    def rescale(self, now_s: float, rate: float, num_gpus: int, nodes: Placement, costs: MoveCosts) -> float:
        """Goes from one size or place to another (settled before); returns the pause."""
        self.num_rescales += 1
        if costs.rescale == "restart_all":
            pause_s = costs.rescale_s
            self.anchor_s = now_s + pause_s
            self.joining_rate, self.paused_gpus = 0.0, num_gpus
        else:
            pause_s = self._join(now_s, num_gpus, nodes, costs)
        self.rate = rate
        self.finish_s = self.anchor_s + self.left_s / rate
        return pause_s

    def _join(self, now_s: float, num_gpus: int, nodes: Placement, costs: MoveCosts) -> float:
        """In place: those of the old gang that stay go on while others come; their work until then is credited now.

        They go on at the old rate, or where the gang shrinks or moves at its share of them. With nobody to wait for
        the new rate holds at once.
        """
        moving = now_s < self.anchor_s
        going = self.joining_rate if moving else self.rate
        working = self.gpus_held - (self.paused_gpus if moving else 0)
        stay = min(num_gpus, self.gpus_held)
        if self.nodes != nodes:
            old = dict(self.nodes)
            stay = sum(min(gpus, old.get(node, 0)) for node, gpus in nodes)
        go_on = min(working, stay)
        if go_on < working:
            going *= go_on / working
        joined_s = now_s
        if num_gpus > stay:
            joined_s = now_s + costs.rescale_s
        if num_gpus > go_on and moving:
            joined_s = max(joined_s, self.anchor_s)
        if going and self.left_s < going * (joined_s - now_s):
            joined_s = now_s + self.left_s / going  # done before they are in
        credit_s = min(self.left_s, going * (joined_s - now_s))
        self.left_s -= credit_s
        self.left_at_anchor_s -= credit_s
        self.paused_gpus = num_gpus - go_on
        if costs.stall_s and self.left_s:  # spread over the whole pause: it may be cut short by the next move
            joined_s += costs.stall_s
            going = credit_s / (joined_s - now_s)
        self.anchor_s, self.joining_rate = joined_s, going
        return joined_s - now_s

    def tell(self, now_s: float, at_s: float) -> None:
        """GPUs will be taken at `at_s`. A notice that has lapsed counts no more; else the first one counts."""
        told_s = now_s
        if self.notice and now_s <= self.notice[1]:
            told_s, at_s = self.notice[0], max(at_s, self.notice[1])
        self.notice = told_s, at_s

    def preempt(self, now_s: float, checkpoint_interval_s: float, costs: MoveCosts) -> None:
        """Gives up all GPUs (settled before), and with `preempt=lose` the work since its last checkpoint."""
        self.num_preemptions += 1
        if costs.preempt == "lose" and now_s > self.anchor_s:
            since_s = math.fmod(now_s - self.anchor_s, checkpoint_interval_s)
            if self.notice and self.notice[0] + costs.save_s <= now_s:
                since_s = min(since_s, max(0.0, now_s - max(self.notice[1], self.notice[0] + costs.save_s)))
            lost_s = self.rate * since_s
            self.left_s += lost_s
            self.left_at_anchor_s += lost_s
            self.lost_s += lost_s
        self.stop(now_s)

    def stop(self, now_s: float) -> None:
        """Holds nothing from now on."""
        self.notice = None
        self.rate = self.joining_rate = 0.0
        self.anchor_s = now_s
        self.finish_s = math.inf
