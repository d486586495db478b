"""How a scaling policy says that it need not be asked for a while, so that a loop with nothing to do costs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policies.view import ClusterView

Band = tuple[float, float]  # (lowest, highest) value, both included


@dataclass(frozen=True, slots=True)
class Quiet:
    """A promise: at each of its ticks before `until_s` the policy would want what there is.

    Whether it is asked at those ticks or not makes no difference later on. That holds as long as samples come as often
    as the last ones did, the counts and bounds of the target stay as they are, and with

    - `bands`: each new sample of the target's has these metrics within their bands (of others nothing is asked);
    - `by_jobs`: no job and no node of the cluster comes, goes or changes, nor the counts of any pool; or, with `holds`,
      the counts don't, and that stays true of jobs and nodes (it is asked whenever they change).

    It is one-sided: who can't say for how long, or exactly, says less, or nothing.
    """

    until_s: float = math.inf
    bands: Mapping[str, Band] = field(default_factory=dict)
    by_jobs: bool = False
    holds: Callable[[ClusterView], bool] | None = None

    def but(self, other: Quiet) -> Quiet:
        """What holds of two policies together, or of two things that one goes by."""
        bands = dict(self.bands)
        for metric, (low, high) in other.bands.items():
            mine = bands.get(metric, (-math.inf, math.inf))
            bands[metric] = max(mine[0], low), min(mine[1], high)
        by_jobs, holds = self.by_jobs or other.by_jobs, self.holds or other.holds
        if self.by_jobs and other.by_jobs and self.holds != other.holds:
            holds = None
        return Quiet(min(self.until_s, other.until_s), bands, by_jobs, holds)


def alike(answer: Callable[[float], int | None], value: float) -> Band:
    """The values that get the same answer as this one, nearly all of them; larger values get no smaller answers."""
    same, most = answer(value), 2.0**30 * max(1.0, abs(value))
    low, high = -math.inf if answer(0.0) == same else 0.0, 2.0 * max(1.0, abs(value))
    while high < most and answer(high) == same:
        high *= 2.0
    if low == 0.0:
        low = _edge(answer, same, value, low)
    return low, _edge(answer, same, value, high) if answer(high) != same else math.inf


def _edge(answer: Callable[[float], int | None], same: int | None, inside: float, outside: float) -> float:
    """The value nearest to `outside`, by halves, that still gets the answer."""
    for _ in range(30):
        middle = 0.5 * (inside + outside)
        if answer(middle) == same:
            inside = middle
        else:
            outside = middle
    return inside


def just_before(time_s: float) -> float:
    """A little earlier, by more than rounding: who wakes too early is asked in vain, who wakes too late is wrong."""
    return time_s - 1e-9 * max(1.0, abs(time_s)) if abs(time_s) < math.inf else time_s


def next_of(times_s: Iterable[float], now_s: float) -> float:
    """The first of these times that is not over; inf: none is to come."""
    return just_before(min((time_s for time_s in times_s if time_s >= now_s), default=math.inf))
