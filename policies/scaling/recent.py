"""What was recommended lately: scaling policies hold back by the largest, or the smallest, of a window."""

from __future__ import annotations

import math
from collections import deque


class Recent:
    """Numbers by the time at which they were recommended, for `keep_s`."""

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._kept: deque[tuple[float, int]] = deque()

    def add(self, now_s: float, number: int) -> None:
        """Records one; time doesn't go back."""
        kept = self._kept
        kept.append((now_s, number))
        while kept[0][0] < now_s - self._keep_s:
            kept.popleft()

    def extend(self, until_s: float) -> None:
        """The last one was recommended again and again until then."""
        if self._kept and until_s > self._kept[-1][0]:
            self._kept[-1] = until_s, self._kept[-1][1]

    @property
    def newest(self) -> int:
        """The last one."""
        return self._kept[-1][1]

    def last_s(self, at_least: int) -> float:
        """When so many or more were last recommended; -inf: never, as far as is kept."""
        return max((time_s for time_s, number in self._kept if number >= at_least), default=-math.inf)

    def within(self, now_s: float, window_s: float, *, with_beginning: bool = False) -> list[int]:
        """Those recommended in the window; what was recommended at its very beginning only if asked for."""
        since_s = now_s - window_s
        return [number for time_s, number in self._kept if time_s > since_s or (with_beginning and time_s == since_s)]
