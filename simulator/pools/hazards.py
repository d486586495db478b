"""What may take a node away: a failure, or its provider's wish to have a spot machine back."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulator.errors import ConfigError
from simulator.pools.traces import FailureTrace, Market, read_failures, read_market

DEFAULT_NOTICE_S = 30.0  # the shortest of the large providers'
MEANINGS = ("available", "preempted", "launched")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Nodes that are there fail without notice: what their jobs have not saved is lost.

    Meta counted 419 unexpected interruptions in 54 days on 2,048 nodes of 8 H100 (The Llama 3 Herd of Models, July
    2024, section 3.3.4): one in 6,300 hours a node, `mtbf_s=2.3e7`.

    Args:
        mtbf_s: mean time between failures of one node, exponential; inf: none.
        repair_s: a node that failed is back after so long; None: another is ordered, which starts as any.
        trace: a CSV file of failures: time_s, and node, its place among the pool's nodes by age, counted from 0 and
            round and round.
    """

    mtbf_s: float = math.inf
    repair_s: float | None = None
    trace: str = ""

    def __post_init__(self) -> None:
        if not self.mtbf_s > 0:
            raise ConfigError(f"cluster.failures.mtbf_s={self.mtbf_s}: must be more than 0 (inf: none)")
        if self.repair_s is not None and not 0 <= self.repair_s < math.inf:
            raise ConfigError(f"cluster.failures.repair_s={self.repair_s}: must be a number of seconds, 0 or more")
        self.read()

    def read(self) -> FailureTrace | None:
        """What the trace says; None without one."""
        return read_failures(self.trace) if self.trace else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Nodes bought on the spot market are reclaimed, after a notice in which jobs may save and replicas may drain.

    Args:
        notice_s: from the notice to the end; None: 30 s, or what the instance's provider gives (AWS 2 minutes).
        mean_life_s: mean time from a node's being launched to its notice, exponential; inf: none at random.
        trace: availability, and prices where the file has them, in SkyPilot's format: `{"metadata": {"gap_seconds": …},
            "data": […], "prices": […]}`. It starts over at its end.
        means: of `data`: `available`, how many machines can be had, 1 being one; `preempted`, 1 where none can, 0 where
            any number can (as in the traces of "Can't Be Late", NSDI 2024); or `launched`, the other way round: 1 where
            an attempt to launch found a machine, and then any number can be had, 0 where it found none.
    """

    notice_s: float | None = None
    mean_life_s: float = math.inf
    trace: str = ""
    means: str = "available"

    def __post_init__(self) -> None:
        if self.notice_s is not None and not 0 <= self.notice_s < math.inf:
            raise ConfigError(f"cluster.spot.notice_s={self.notice_s}: must be a number of seconds, 0 or more")
        if not self.mean_life_s > 0:
            raise ConfigError(f"cluster.spot.mean_life_s={self.mean_life_s}: must be more than 0 (inf: none at random)")
        if self.means not in MEANINGS:
            raise ConfigError(f"cluster.spot.means={self.means!r}: must be one of {', '.join(MEANINGS)}")
        self.market()

    @property
    def warning_s(self) -> float:
        """From the notice to the end."""
        return DEFAULT_NOTICE_S if self.notice_s is None else self.notice_s

    def market(self) -> Market | None:
        """What the trace says; None without one."""
        return read_market(self.trace, self.means) if self.trace else None

    @property
    def is_on(self) -> bool:
        return self.mean_life_s < math.inf or bool(self.trace)
