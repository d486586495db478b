"""The loops of scaling: when each policy is asked, and when it need not be.

Each policy is asked at ticks, one period after the other from the first decision on, which is at second 0 whenever the
first job comes. One that promises to be quiet (`policies.quiet`) sleeps: its ticks pass without a decision until the
promise ends, or what it depends on changes; the first tick from then on is a decision again. Its ticks are the same
numbers as if it had been asked at each.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from policies.metrics_view import AGE
from policies.protocols import QuietPolicy, ScalingPolicy, SleepyPolicy
from policies.quiet import Band, Quiet
from policies.ticks import ticks_to
from policies.view import ClusterView, Target


@dataclass(frozen=True, slots=True)
class Scaled:
    """What is wanted of pools and services where it is another number."""

    nodes: dict[str, int] = field(default_factory=dict)  # by pool
    replicas: dict[str, int] = field(default_factory=dict)  # by service
    drains: dict[str, tuple[int, ...]] = field(default_factory=dict)  # by pool: nodes that go first


NOT_ASKED = Scaled()


class Loop:
    """One policy, and when it is asked next."""

    __slots__ = ("_tick_s", "due_s", "name", "period_s", "policy", "promise", "quiet_of", "seen", "told")

    def __init__(self, name: str, policy: ScalingPolicy) -> None:
        self.name, self.policy, self.period_s = name, policy, policy.period_s
        self.quiet_of = policy.quiet if isinstance(policy, QuietPolicy) else None
        self.told = policy.slept if isinstance(policy, SleepyPolicy) else None
        self.due_s = 0.0  # when it is to be asked
        self._tick_s = 0.0  # a tick at or before that
        self.promise: Quiet | None = None  # while it sleeps
        self.seen: Hashable = None  # what there was when it fell asleep

    def ask(self, view: ClusterView) -> int | None:
        """What it wants, within the bounds; None if that is what there is."""
        now_s, target, why = view.now_s, view.target(self.name), view.explain
        if self.promise is not None:
            self.promise = None
            if self.told and self._tick_s < now_s:
                self.told(ticks_to(self._tick_s, self.period_s, now_s)[0])
        if why:
            why.open(target)
        wanted = self.policy.desired(target, view)
        count = min(max(wanted, target.min_units), target.max_units)
        if why:
            why.close(target, wanted, count)
        self.due_s = self._tick_s = now_s + self.period_s
        return count if count != target.num_units else None

    def drains(self, view: ClusterView, count: int) -> tuple[int, ...]:
        """Which nodes are to go, of those that are more than `count`, as far as the policy says so."""
        surplus, drains = view.target(self.name).num_units - count, getattr(self.policy, "drains", None)
        return tuple(drains(view.target(self.name), view))[:surplus] if drains and surplus > 0 else ()

    def rest(self, view: ClusterView, version: Hashable) -> None:
        """Lets it sleep, if it promises to be quiet for longer than to its next tick."""
        assert self.quiet_of is not None
        promise = self.quiet_of(view.target(self.name), view)
        if promise is not None and promise.until_s > self.due_s:
            self.promise, self.due_s = promise, ticks_to(self._tick_s, self.period_s, promise.until_s)[1]
            self.seen = self._state(view, version)

    def wake(self, time_s: float) -> None:
        """Has it asked at its first tick from a time on, at the latest."""
        self.due_s = min(self.due_s, ticks_to(self._tick_s, self.period_s, time_s)[1])

    def is_stirred(self, view: ClusterView, version: Hashable) -> bool:
        """Whether anything but samples has changed that its promise depends on."""
        promise = self.promise
        if promise is None:
            return False
        if promise.holds and not promise.holds(view):
            return True
        return self._state(view, version) != self.seen

    def _state(self, view: ClusterView, version: Hashable) -> Hashable:
        assert self.promise is not None
        if self.promise.by_jobs:
            return None if self.promise.holds else version, *map(_counts, view.pools.values())
        return _counts(view.target(self.name))


def _counts(target: Target) -> tuple[float | None, ...]:
    return (
        *(target.num_ready, target.num_starting, target.num_draining, target.num_failed),
        *(target.min_units, target.max_units, target.usd_per_unit_h, target.lead_s),
        getattr(target, "num_without_gpus", 0),
    )


class Loops:
    """All of them.

    Args:
        scaling: a policy by the name of what it scales.
        skips_quiet: whether policies may sleep: only where ticks are met to the instant, and who runs them says what
            happens meanwhile (`stir`, `wake`).
    """

    def __init__(self, scaling: Mapping[str, ScalingPolicy], skips_quiet: bool) -> None:
        self._loops = [Loop(name, policy) for name, policy in scaling.items()]
        self._skips_quiet = skips_quiet
        self.due_s = 0.0 if self._loops else math.inf  # when one is to be asked next
        self.bands: list[tuple[Loop, str, Band]] = []  # (whose, metric, its band) of all that sleep on
        self.heed_age = False  # whether one sleeps by the age of the queue, which is another at each sample
        self.heed_jobs = False  # whether one sleeps only as long as jobs stay as they are

    def __bool__(self) -> bool:
        return bool(self._loops)

    def ask(self, view: ClusterView, version: Hashable) -> Scaled:
        """What those that are due want."""
        scaled = Scaled()
        for loop in self._loops:
            if view.now_s < loop.due_s:
                continue
            count = loop.ask(view)
            if count is not None:
                (scaled.replicas if loop.name in view.services else scaled.nodes)[loop.name] = count
                if drains := loop.drains(view, count):
                    scaled.drains[loop.name] = drains
            elif self._skips_quiet and loop.quiet_of and loop.name in view.pools:
                loop.rest(view, version)
        self._settle()
        return scaled

    def stir(self, view: ClusterView, version: Hashable, from_s: float) -> bool:
        """Wakes those whose targets, or jobs and nodes, are not as they were when they fell asleep; True if any is.

        They are asked at their first tick from `from_s` on.
        """
        stirred = [loop for loop in self._loops if loop.is_stirred(view, version)]
        for loop in stirred:
            self.wake(loop, from_s)
        return bool(stirred)

    def wake(self, loop: Loop, time_s: float) -> None:
        """A sample that a sleeping policy would not sleep through reaches it at `time_s`."""
        loop.wake(time_s)
        self.due_s = min(self.due_s, loop.due_s)

    def _settle(self) -> None:
        self.due_s = min(loop.due_s for loop in self._loops)
        if self._skips_quiet:
            asleep = [(loop, loop.promise) for loop in self._loops if loop.promise is not None]
            self.bands = [(loop, *each) for loop, promise in asleep for each in promise.bands.items()]
            self.heed_age = any(metric == AGE for _, metric, _ in self.bands)
            self.heed_jobs = any(promise.by_jobs for _, promise in asleep)
