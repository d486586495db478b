"""A job that really runs: how far it is, is what its workers say."""

from __future__ import annotations

import math

from simulator.progress import SimJob


class LiveJob(SimJob):
    """The same row for policies and records as a simulated job's.

    Work is counted in steps: `left_s` is the share of steps still to be done, times the job's stated duration.
    """

    __slots__ = ()

    def settle(self, now_s: float) -> None:
        """Books GPU-seconds and run time up to now; work is booked by `progress`."""
        if self.gpus_held:
            stretch_s = now_s - self.since_s
            self.service_at_since_gpu_s += self.gpus_held * stretch_s
            self.executed_at_since_s += stretch_s
        self.since_s = now_s

    def left_now_s(self, now_s: float) -> float:
        """Work left, as far as is known."""
        return self.left_s

    def progress(self, now_s: float, left_s: float, rate: float) -> None:
        """Workers have got so far, and go on at about this rate."""
        done_s = self.left_s - left_s
        self.left_s = left_s
        self.left_at_anchor_s -= done_s
        self.anchor_s, self.rate = now_s, rate

    def expect(self, now_s: float, rate: float, pause_s: float) -> None:
        """A move begins, at the end of which the job is expected to go on at a rate."""
        if self.first_start_s == math.inf:
            self.first_start_s = now_s
        self.anchor_s, self.rate = now_s + pause_s, rate

    def fall_back(self, now_s: float, left_s: float) -> None:
        """Work since the last checkpoint is lost."""
        lost_s = max(0.0, left_s - self.left_s)
        self.lost_s += lost_s
        self.left_s += lost_s
        self.left_at_anchor_s += lost_s
        self.anchor_s, self.rate = now_s, 0.0
