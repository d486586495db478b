"""What a forecaster does: it is told one series sample by sample, and asked for quantiles of what is to come.

    forecaster = registry.create("forecaster", "holt_winters", season_s=86400.0)
    forecaster.observe(view.now_s, demand)
    wanted = forecaster.forecast(view.now_s + provision_s, 0.9)  # None: too little seen yet

Forecast at the lead time that provisioning takes, at the quantile that its costs call for, not the mean at the next
tick. An instance belongs to one series of one run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable


@runtime_checkable
class Forecaster(Protocol):
    """Learns online. Its forecasts are a function of its options and of the samples that it was told before.

    It uses numbers that were measured, so that a forecast may well be negative or more than what is possible.
    """

    knows_future: ClassVar[bool]  # False, but for `Clairvoyant` ones

    def observe(self, time_s: float, value: float) -> None:
        """The series was `value` at `time_s`; samples come in the order of time.

        Raises:
            PolicyError: a time before the last one, or a value that is not finite.
        """
        ...

    def forecast(self, at_s: float, quantile: float) -> float | None:
        """What the series will not exceed at `at_s` with probability `quantile`; None: not enough seen.

        Of two quantiles at one time the larger has no smaller forecast.

        Raises:
            PolicyError: a time before the last sample, or a quantile that does not lie between 0 and 1.
        """
        ...


@runtime_checkable
class Clairvoyant(Forecaster, Protocol):
    """Sees the future (`knows_future = True`): what the best forecast would be worth, and out of reach of a cluster."""

    def reveal(self, times_s: Sequence[float], values: Sequence[float]) -> None:
        """The whole true series, by ascending time; a value stands until the next one."""
        ...
