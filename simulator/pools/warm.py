"""Machines that are kept prepared beside a pool, to be ready sooner than new ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulator.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmPool:
    """So many nodes that have been through every stage of the start-up and were then stopped.

    A node that is wanted comes from here first, after `resume_s`, and another is prepared in its place. Stopped ones
    cost their disks alone (`usd_per_node_h`), running ones what the pool's nodes do; so do Amazon's warm pools (EC2
    Auto Scaling, as of autumn 2026).

    Args:
        nodes: how many, beside those of the pool; prepared when the run begins.
        resume_s: median from being wanted to taking jobs; `resume_sigma` the standard deviation of its logarithm.
        usd_per_node_h: what one costs while it waits; None: nothing, as 0, but a run whose nodes have a price notes it.
        reuses: whether nodes that are scaled in go back to it while it isn't full.
    """

    nodes: int = 0
    resume_s: float = 60.0
    resume_sigma: float = 0.0
    usd_per_node_h: float | None = None
    reuses: bool = False

    def __post_init__(self) -> None:
        for name in ("nodes", "resume_s", "resume_sigma", "usd_per_node_h"):
            value = getattr(self, name)
            if not (value is None or 0 <= value < math.inf):
                raise ConfigError(f"cluster.warm.{name}={value}: must be a number, 0 or more")

    def draw_s(self, rng: np.random.Generator) -> float:
        """How long one takes to resume."""
        return self.resume_s * math.exp(self.resume_sigma * float(rng.standard_normal()))
