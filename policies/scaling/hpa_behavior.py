"""How fast a Kubernetes HPA may go: stabilisation and rate limits, with `behavior` and without (autoscaling/v2).

Source: the controller and the defaults of its API, as of autumn 2026.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from policies.scaling.options import made, require
from policies.scaling.recent import Recent

STABILIZATION_S = 300.0  # of the way down, where nothing else is said
MAX_WINDOW_S, MAX_PERIOD_S = 3600.0, 1800.0


@dataclass(frozen=True)
class RatePolicy:
    """At most `value` pods, or percent, in `period_s`."""

    type: str  # Pods | Percent
    value: int
    period_s: float

    def __post_init__(self) -> None:
        rules = {
            "type": (self.type, self.type in ("Pods", "Percent"), "must be Pods or Percent"),
            "value": (self.value, self.value > 0, "must be more than 0"),
            "period_s": (self.period_s, 0 < self.period_s <= MAX_PERIOD_S, f"must lie in 0..{MAX_PERIOD_S:g}, not 0"),
        }
        require("behavior.policies", rules)


@dataclass(frozen=True)
class ScalingRules:
    """Of one direction; None: the default of that direction."""

    window_s: float | None = None
    select: str = "Max"  # of the policies: that of the most change (Max), of the least (Min), or none at all (Disabled)
    policies: Sequence[RatePolicy] | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if self.policies is not None:
            policies = [made(RatePolicy, each, f"behavior.policies[{i}]") for i, each in enumerate(self.policies)]
            object.__setattr__(self, "policies", policies)
        rule = f"must lie in 0..{MAX_WINDOW_S:g}"
        rules = {
            "window_s": (self.window_s, self.window_s is None or 0 <= self.window_s <= MAX_WINDOW_S, rule),
            "select": (self.select, self.select in ("Max", "Min", "Disabled"), "must be Max, Min or Disabled"),
            "policies": (self.policies, self.policies is None or bool(self.policies), "must have one or more"),
            "tolerance": (self.tolerance, self.tolerance is None or self.tolerance >= 0, "must be 0 or more"),
        }
        require("behavior", rules)


@dataclass(frozen=True)
class Behavior:
    """Both directions, with the defaults of what is left out."""

    scale_up: ScalingRules = field(default_factory=ScalingRules)
    scale_down: ScalingRules = field(default_factory=ScalingRules)

    def __post_init__(self) -> None:
        for name, window_s, policies in (
            ("scale_up", 0.0, [RatePolicy("Pods", 4, 15.0), RatePolicy("Percent", 100, 15.0)]),
            ("scale_down", STABILIZATION_S, [RatePolicy("Percent", 100, 15.0)]),
        ):
            given = made(ScalingRules, getattr(self, name), f"behavior.{name}")
            rules = ScalingRules(
                window_s if given.window_s is None else given.window_s,
                given.select,
                policies if given.policies is None else given.policies,
                given.tolerance,
            )
            object.__setattr__(self, name, rules)


def up_limit(current: int, rules: ScalingRules, changes: Changes, now_s: float) -> int:
    """The most replicas that the way up allows; never less than there are."""
    if rules.select == "Disabled":
        return current
    limits = []
    for policy in rules.policies or ():
        start = changes.at_start(current, policy.period_s, now_s)
        limits.append(
            start + policy.value if policy.type == "Pods" else math.ceil(start * (1.0 + policy.value / 100.0))
        )
    return max(min(limits) if rules.select == "Min" else max(limits), current)


def down_limit(current: int, rules: ScalingRules, changes: Changes, now_s: float) -> int:
    """The fewest replicas that the way down allows; never more than there are."""
    if rules.select == "Disabled":
        return current
    limits = []
    for policy in rules.policies or ():
        start = changes.at_start(current, policy.period_s, now_s)
        limits.append(start - policy.value if policy.type == "Pods" else int(start * (1.0 - policy.value / 100.0)))
    return min(max(limits) if rules.select == "Min" else min(limits), current)


class Changes:
    """What was added and removed lately."""

    def __init__(self) -> None:
        self._added, self._removed = Recent(MAX_PERIOD_S), Recent(MAX_PERIOD_S)

    def add(self, now_s: float, change: int) -> None:
        if change:
            (self._added if change > 0 else self._removed).add(now_s, abs(change))

    def at_start(self, current: int, period_s: float, now_s: float) -> int:
        """How many there were when the period began."""
        return current - sum(self._added.within(now_s, period_s)) + sum(self._removed.within(now_s, period_s))


def stabilized(current: int, wanted: int, earlier_up: Sequence[int], earlier_down: Sequence[int]) -> int:
    """What there is, raised to the least of the window of the way up, then lowered to the most of that down."""
    return min(max(current, min([wanted, *earlier_up])), max([wanted, *earlier_down]))


class Normalizer:
    """From what metrics ask for to what the controller sets; remembers what was recommended and changed.

    Without behavior: the most that was recommended in the last 300 s (their beginning included), and at most the
    larger of 4 and twice what there is. With one: see `stabilized`, over windows without their beginning, then the
    limits on the rate.
    """

    def __init__(self, behavior: Behavior | None, stabilization_s: float = STABILIZATION_S) -> None:
        self._behavior, self._stabilization_s = behavior, stabilization_s
        self._recommended = Recent(max(MAX_WINDOW_S, stabilization_s))
        self._changes = Changes()
        self._is_new = True

    def start(self, now_s: float, current: int) -> None:
        """The first time it is asked, what there is counts as recommended."""
        if self._is_new:
            self._is_new = False
            self._recommended.add(now_s, current)

    def set(self, now_s: float, current: int, replicas: int) -> None:
        """Notes what is set."""
        self._changes.add(now_s, replicas - current)

    def quiet_until_s(self, current: int, wanted: int, fewest: int, most: int) -> float:
        """Until when what is set stays as it is, if metrics go on asking for `wanted`; -inf: that is not known."""
        if wanted == current or (wanted > current == most) or (wanted < current == fewest):
            return math.inf
        if self._behavior is None and wanted < current:
            return self._recommended.last_s(current) + self._stabilization_s
        return -math.inf

    def slept(self, last_tick_s: float) -> None:
        """The last number was recommended at each tick until then."""
        self._recommended.extend(last_tick_s)

    def normalized(self, now_s: float, current: int, wanted: int, fewest: int, most: int) -> int:
        """What of `wanted` can be had now."""
        behavior, recommended = self._behavior, self._recommended
        if behavior is None:
            stable = max([wanted, *recommended.within(now_s, self._stabilization_s, with_beginning=True)])
            recommended.add(now_s, wanted)
            return min(max(stable, fewest), most, max(2 * current, 4))
        up, down = behavior.scale_up, behavior.scale_down
        windows = [recommended.within(now_s, rules.window_s or 0.0) for rules in (up, down)]
        recommended.add(now_s, wanted)
        stable = stabilized(current, wanted, *windows)
        if stable > current:
            return min(stable, most, up_limit(current, up, self._changes, now_s))
        if stable < current:
            return max(stable, fewest, down_limit(current, down, self._changes, now_s))
        return stable
