"""From times to steps: what forecasters of equidistant samples share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from policies.errors import PolicyError
from policies.forecasting.extras import require_module

_MOST_MISSING = 100_000  # steps


@dataclass(kw_only=True)
class OnGrid(ABC):
    """Samples at `step_s`, `2 step_s` … after the first one.

    A sample counts for the nearest step. Of several in a step the first counts; a step without one repeats the step
    before, since a sample stands until the next. `step_s` is None: as far apart as the first two samples are. A lead
    rounds up to whole steps; a time that no step lies before is that of the last sample, which is known.
    """

    knows_future: ClassVar[bool] = False
    needs: ClassVar[str] = ""  # a module beyond numpy that it imports when it learns

    step_s: float | None = None
    _width_s: float = field(default=0.0, init=False, repr=False)  # of a step; 0: not known yet
    _first: tuple[float, float] | None = field(default=None, init=False, repr=False)  # the first sample
    _step: int = field(default=-1, init=False, repr=False)  # of the last sample that counted
    _time_s: float = field(default=-math.inf, init=False, repr=False)  # of it
    _value: float = field(default=math.nan, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.needs:
            require_module(self.needs, type(self).__name__)
        self._require("step_s", self.step_s is None or 0 < self.step_s < math.inf, "must be more than 0, or null")

    def observe(self, time_s: float, value: float) -> None:
        if not (-math.inf < value < math.inf and time_s >= self._time_s):
            raise self._refusal(time_s, value)
        if not self._width_s and not self._begin_with(time_s, value):
            return
        assert self._first is not None
        step = int((time_s - self._first[0]) / self._width_s + 0.5)
        missing = step - self._step - 1
        if missing:
            if missing < 0:
                return
            self._repeat(missing)
        self._step, self._time_s, self._value = step, time_s, value
        self._update(value)

    def forecast(self, at_s: float, quantile: float) -> float | None:
        if not 0 < quantile < 1:
            raise PolicyError(f"quantile={quantile}: must lie between 0 and 1, both excluded")
        if not at_s >= self._time_s:
            raise PolicyError(f"at_s={at_s}: is before the last sample, at {self._time_s} s")
        if not self._width_s:
            return None
        lead = math.ceil((at_s - self._time_s) / self._width_s - 1e-6)
        return self._quantile(lead, quantile) if lead > 0 else self._value

    def _steps(self, option: str) -> int:
        """How many steps the duration is that an option says; once the width of a step is known."""
        num = round(getattr(self, option) / self._width_s)
        self._require(option, num >= 1, f"must not be less than step_s, {self._width_s:g}")
        return num

    def _require(self, option: str, holds: bool, rule: str) -> None:
        """Refuses an option's value unless the rule holds."""
        if not holds:
            raise PolicyError(f"{type(self).__name__}: {option}={getattr(self, option)}: {rule}")

    @abstractmethod
    def _begin(self) -> None:
        """The width of a step has become known; the first sample follows."""

    @abstractmethod
    def _update(self, value: float) -> None:
        """One more step; `_step` and `_value` are those of it already."""

    @abstractmethod
    def _quantile(self, lead: int, quantile: float) -> float | None:
        """The forecast for `lead` steps from the last, 1 or more."""

    def _begin_with(self, time_s: float, value: float) -> bool:
        """Starts if the width of a step is known, or can be told by now; else keeps the sample."""
        first = self._first = self._first or (time_s, value)
        width_s = self.step_s or time_s - first[0]
        self._time_s = time_s
        if width_s <= 0:
            return False
        self._width_s = width_s
        self._begin()
        if time_s > first[0]:
            self._step, self._time_s, self._value = 0, first[0], first[1]
            self._update(first[1])
        return True

    def _repeat(self, num: int) -> None:
        if num > _MOST_MISSING:
            raise PolicyError(f"step_s={self._width_s:g}: is too short: {num:,} steps have no sample")
        for _ in range(num):
            self._step += 1
            self._update(self._value)

    def _refusal(self, time_s: float, value: float) -> PolicyError:
        if not -math.inf < value < math.inf:
            return PolicyError(f"sample at {time_s} s: value={value}: must be finite")
        return PolicyError(f"sample at {time_s} s: is before the last sample, at {self._time_s} s")
