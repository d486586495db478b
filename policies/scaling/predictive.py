"""Order what will be needed by the time it is there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policies.errors import PolicyError
from policies.forecasting import Clairvoyant, Forecaster
from policies.reasons import Reasons
from policies.registry import register, registry
from policies.scaling.foresight import (
    DEMAND,
    LEAD_S,
    capacity_of_unit,
    decided,
    effective_max,
    lead_of,
    loads,
    units_of,
)
from policies.scaling.options import bounded, require, require_bounds, require_metric
from policies.view import ClusterView, PoolView, Target

_LOOKS = 4  # at the time until new units would be there


@register("scaling", "predictive")
@dataclass
class Predictive:
    """As many units as a forecast of the load takes, at a quantile of it and at the lead time of provisioning.

    `forecaster` has the name and the options of one of `policies.forecasting`. It is fed with the load as measured:
    `metric`, or where none is given the GPUs that jobs hold or wait for, of a service its requests in flight; a unit
    takes `per_unit` of it (None: the GPUs of a node). Units ordered now come in `lead_s` (None: as the target says,
    else 300 s), and the next order a period later: what is needed then is what is ordered. Units go only if none of
    what is forecast until then needs them. With `at_least_now` the load as it is counts too, and alone while there is
    no forecast; without it nothing changes while there is none.

    With `refresh_s` forecasts are made that often, for `horizon_s` ahead in steps of `step_s`, and kept; a unit is then
    ordered for the step that begins within the lead. `scales_in` False leaves the way in to others. `max_buffer_frac`
    lets a forecast above `max_units` raise it, by that share of the forecast.

    Predictive scaling of Amazon EC2 Auto Scaling is such a policy (hourly for 48 h, made anew every 6 h, never in; as
    of autumn 2026): `scaling=aws_predictive`, an emulation, since how AWS forecasts is not published.

    It promises no quiet (`policies.quiet`): a forecast is another one at each tick.
    """

    forecaster: Mapping[str, Any] = field(default_factory=lambda: {"name": "holt_winters"})
    quantile: float = 0.9
    lead_s: float | None = None
    metric: str | None = None
    per_unit: float | None = None
    at_least_now: bool = True
    scales_in: bool = True
    refresh_s: float = 0.0
    step_s: float = 3600.0
    horizon_s: float = 172800.0
    min_history_s: float = 0.0  # no forecast is trusted before
    min_units: int = 0
    max_units: int | None = None
    max_buffer_frac: float | None = None
    period_s: float = 60.0
    _forecaster: Forecaster = field(init=False, repr=False, compare=False)
    _seen: tuple[float, float] | None = field(default=None, init=False, repr=False, compare=False)  # the last sample
    _first_s: float = field(default=math.inf, init=False, repr=False, compare=False)  # of samples
    _plan: dict[int, float] = field(default_factory=dict, init=False, repr=False, compare=False)  # step -> load
    _refreshed_s: float = field(default=-math.inf, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.metric is not None:
            require_metric("predictive", self.metric)
        seconds = ("refresh_s", "min_history_s")
        rules = {name: (getattr(self, name), 0 <= getattr(self, name) < math.inf, "must be 0 or more")
                 for name in seconds}  # fmt: skip
        buffer = self.max_buffer_frac
        lead_s = LEAD_S if self.lead_s is None else self.lead_s
        rules |= {
            "lead_s": (self.lead_s, 0 <= lead_s < math.inf, "must be 0 or more"),
            "quantile": (self.quantile, 0 < self.quantile < 1, "must lie between 0 and 1, both excluded"),
            "per_unit": (self.per_unit, self.per_unit is None or self.per_unit > 0, "must be more than 0"),
            "step_s": (self.step_s, self.step_s > 0, "must be more than 0"),
            "horizon_s": (
                self.horizon_s,
                lead_s + self.refresh_s <= self.horizon_s < math.inf,
                "must not be less than lead_s and refresh_s together",
            ),
            "max_buffer_frac": (buffer, buffer is None or buffer >= 0, "must be 0 or more"),
            "period_s": (self.period_s, 0 < self.period_s < math.inf, "must be more than 0"),
        }
        require("predictive", rules)
        require_bounds("predictive", self.min_units, self.max_units)
        options = dict(self.forecaster)
        if "name" not in options:
            raise PolicyError(f"predictive: forecaster={options}: its name is needed")
        self._forecaster = registry.create("forecaster", str(options.pop("name")), **options)

    @property
    def knows_future(self) -> bool:
        """Whether its forecaster must be told the true series, by `reveal`."""
        return self._forecaster.knows_future

    def foresees(self, target: Target) -> str:
        """What a clairvoyant forecaster has to be told of: what others are fed with; others: nothing."""
        if not self.knows_future:
            return ""
        return self.metric or (DEMAND if isinstance(target, PoolView) else "concurrency")

    def reveal(self, times_s: Sequence[float], values: Sequence[float]) -> None:
        """Tells a clairvoyant forecaster the whole true series of the load."""
        if not isinstance(self._forecaster, Clairvoyant):
            raise PolicyError(f"predictive: forecaster={self.forecaster}: sees no future: there is nothing to reveal")
        self._forecaster.reveal(times_s, values)

    def desired(self, target: Target, view: ClusterView) -> int:
        now_s, count, most, why = view.now_s, target.num_units, self.max_units, view.explain
        self._observe(target, view)
        if why:
            self._say_load(why, target, view)
        if self._seen is None:
            return bounded(count, target, self.min_units, most, why)
        per_unit = capacity_of_unit("predictive", target, self.metric, self.per_unit)
        floor = units_of(self._seen[1], per_unit) if self.at_least_now else 0
        lead_s = lead_of(target, self.lead_s)
        come_s = now_s + lead_s  # of what is ordered now; the next order's comes a period later
        later = self._needed(now_s, [come_s, come_s + self.period_s], per_unit, why, lead_s=lead_s)
        if later is None:
            wanted = floor if self.at_least_now else count
        else:
            looks = [now_s + lead_s * look / _LOOKS for look in range(_LOOKS)]
            until_then = self._needed(now_s, looks, per_unit, why, until_s=lead_s) if later < count else later
            wanted = decided(count, max(later, floor), max(until_then or 0, floor))
            most = most if most is None else effective_max(most, later, self.max_buffer_frac)
        if why:
            now = {"now": floor} if self.at_least_now else {}
            why.say("recommendation", count=wanted, **now, holds=later is None and not self.at_least_now)
        if not self.scales_in:
            if why and wanted < count:
                why.say("note", text="scales_in=false: no units are taken away", holds=True)
            wanted = max(wanted, count)
        return bounded(wanted, target, self.min_units, most, why)

    def _observe(self, target: Target, view: ClusterView) -> None:
        """Feeds the forecaster with what has been measured since."""
        since_s = -math.inf if self._seen is None else self._seen[0]
        for time_s, load in loads(target, view, self.metric, since_s):
            self._forecaster.observe(time_s, load)
            self._seen = time_s, load
            self._first_s = min(self._first_s, time_s)

    def _say_load(self, why: Reasons, target: Target, view: ClusterView) -> None:
        """The last load that the forecaster was fed with."""
        metric = self.metric or (DEMAND if isinstance(target, PoolView) else "concurrency")
        value = None if self._seen is None else self._seen[1]
        why.measured(view, target.name, metric, value, holds=value is None)

    def _needed(
        self, now_s: float, times_s: Sequence[float], per_unit: float, why: Reasons | None = None, **when: Any
    ) -> int | None:
        """The most units that the load takes at these times; None where that can't be said yet."""
        if now_s < self._first_s + self.min_history_s:
            if why:
                why.say("delay", direction="forecast", have=now_s - self._first_s, need=self.min_history_s, unit="s")
            return None
        if self.refresh_s:
            self._refresh(now_s)
            forecasts = [self._plan.get(math.floor(at_s / self.step_s)) for at_s in times_s]
        else:
            forecasts = [self._forecaster.forecast(at_s, self.quantile) for at_s in times_s]
        known = [units_of(load, per_unit) for load in forecasts if load is not None]
        units = max(known) if len(known) == len(forecasts) else None
        if why:
            load = None if units is None else max(load for load in forecasts if load is not None)
            why.say("forecast", load=load, units=units, **when, quantile=self.quantile, by=self.forecaster["name"])
        return units

    def _refresh(self, now_s: float) -> None:
        """Makes the plan anew if it is time: the load at the beginning of each step, of this one that now."""
        if now_s < self._refreshed_s + self.refresh_s:
            return
        self._refreshed_s, self._plan = now_s, {}
        first = math.floor(now_s / self.step_s)
        for step in range(first, first + math.ceil(self.horizon_s / self.step_s) + 1):
            load = self._forecaster.forecast(max(step * self.step_s, now_s), self.quantile)
            if load is not None:
                self._plan[step] = load
