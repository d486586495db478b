"""So many units, or bounds on them, at set times."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policies.protocols import ClairvoyantPolicy, QuietPolicy, ScalingPolicy, SleepyPolicy
from policies.quiet import Quiet, just_before
from policies.registry import register, registry
from policies.scaling.options import bounded, made, require
from policies.view import ClusterView, Target

DAY_S = 86400.0
_SETTINGS = ("units", "min_units", "max_units")


@dataclass(frozen=True)
class Action:
    """What is set at a time of the cycle; None leaves a setting as it is."""

    at_s: float
    units: int | None = None
    min_units: int | None = None
    max_units: int | None = None


@register("scaling", "scheduled")
@dataclass
class Scheduled:
    """Scheduled actions (Amazon EC2 Auto Scaling, scheduled scaling, as of autumn 2026; cron triggers elsewhere).

    `actions` are lists of `at_s`, from the beginning of a cycle of `cycle_s` (a day; a week is 604800; inf: once), and
    what is set then: `units` wanted, and bounds `min_units` and `max_units` that hold until an action sets others. At
    time 0 it is `offset_s` past the beginning of a cycle, and what the actions before, one cycle back at most, have set
    holds. An action takes effect when the policy is next asked.

    `policy` is the name and the options of another scaling policy that decides between the bounds, at its own period;
    without one what there is stays, within them.
    """

    actions: Sequence[Action] = field(default_factory=list)
    cycle_s: float = DAY_S
    offset_s: float = 0.0
    policy: Mapping[str, Any] = field(default_factory=dict)
    period_s: float = 60.0
    _inner: ScalingPolicy | None = field(default=None, init=False, repr=False, compare=False)
    _asked_s: float = field(default=-math.inf, init=False, repr=False, compare=False)
    _wished: int = field(default=0, init=False, repr=False, compare=False)  # by the other policy, last time
    _set: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        actions = [made(Action, action, f"scheduled: actions[{i}]") for i, action in enumerate(self.actions)]
        self.actions = sorted(actions, key=lambda action: action.at_s)
        rules = {
            "cycle_s": (self.cycle_s, self.cycle_s > 0, "must be more than 0 (inf: once)"),
            "offset_s": (self.offset_s, 0 <= self.offset_s < self.cycle_s, "must lie in 0..cycle_s"),
            "period_s": (self.period_s, self.period_s > 0, "must be more than 0"),
        }
        require("scheduled", rules)
        for i, action in enumerate(self.actions):
            within = 0 <= action.at_s < self.cycle_s
            require("scheduled", {f"actions[{i}].at_s": (action.at_s, within, "must lie in 0..cycle_s")})
            given = {name: value for name in _SETTINGS if (value := getattr(action, name)) is not None}
            require("scheduled", {f"actions[{i}]": (action, bool(given), f"must set one of {', '.join(_SETTINGS)}")})
            require(
                "scheduled",
                {f"actions[{i}].{name}": (value, value >= 0, "must be 0 or more") for name, value in given.items()},
            )
        if self.policy:
            options = dict(self.policy)
            self._inner = registry.create("scaling", str(options.pop("name", "")), **options)
            if self._inner.period_s < math.inf:
                self.period_s = self._inner.period_s

    @property
    def wants_pods(self) -> bool:
        return bool(getattr(self._inner, "wants_pods", False))

    def foresees(self, target: Target) -> str:
        return self._inner.foresees(target) if isinstance(self._inner, ClairvoyantPolicy) else ""

    def reveal(self, times_s: Sequence[float], values: Sequence[float]) -> None:
        assert isinstance(self._inner, ClairvoyantPolicy)
        self._inner.reveal(times_s, values)

    def desired(self, target: Target, view: ClusterView) -> int:
        units, why = None, view.explain
        for action in self._due(view.now_s):
            units = action.units if action.units is not None else units
            self._set |= {name: value for name in _SETTINGS[1:] if (value := getattr(action, name)) is not None}
        self._asked_s = view.now_s
        wanted = self._wished = self._inner.desired(target, view) if self._inner else target.num_units
        least, most = self._set.get("min_units", 0), self._set.get("max_units")
        if why:
            has_set = {"units": units, "least": self._set.get("min_units"), "most": most}
            facts = {name: value for name, value in has_set.items() if value is not None}
            why.say("schedule", **facts, holds=units is None and self._inner is None)
        return bounded(wanted if units is None else units, target, least, most, why)  # `most` wins where they cross

    def quiet(self, target: Target, view: ClusterView) -> Quiet | None:
        """Until the next action, and as long as the other policy is, which must have got what it wants."""
        until_s = Quiet(just_before(self._next_s(view.now_s)))
        if self._inner is None:
            return until_s
        if self._wished != target.num_units or not isinstance(self._inner, QuietPolicy):
            return until_s if self._inner.period_s == math.inf else None
        of_inner = self._inner.quiet(target, view)
        return of_inner and until_s.but(of_inner)

    def slept(self, last_tick_s: float) -> None:
        if isinstance(self._inner, SleepyPolicy):
            self._inner.slept(last_tick_s)

    def _next_s(self, now_s: float) -> float:
        """When the next action is due; inf: never."""
        if not self.actions:
            return math.inf
        now = now_s + self.offset_s
        begin = 0.0 if self.cycle_s == math.inf else now // self.cycle_s * self.cycle_s
        later = [begin + action.at_s for action in self.actions if begin + action.at_s > now]
        return min(later, default=begin + self.cycle_s + self.actions[0].at_s) - self.offset_s

    def _due(self, now_s: float) -> Iterator[Action]:
        """The actions since it was last asked, in order; the first time those of the cycle before."""
        now = now_s + self.offset_s
        if self.cycle_s == math.inf:
            yield from (action for action in self.actions if self._asked_s < action.at_s <= now)
            return
        since = now - self.cycle_s if self._asked_s == -math.inf else self._asked_s + self.offset_s
        for cycle in range(math.floor(since / self.cycle_s), math.floor(now / self.cycle_s) + 1):
            yield from (action for action in self.actions if since < cycle * self.cycle_s + action.at_s <= now)
