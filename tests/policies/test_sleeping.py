"""Ticks without ticking, what is said alike, and loops that sleep and wake."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.controller import Controller
from policies.fake_cluster import FakeCluster, FakeJob
from policies.loops import Loops
from policies.placement.pooled import Pooled
from policies.quiet import Quiet, alike, just_before, next_of
from policies.ticks import after_turns, ticks_to
from policies.view import ClusterView, Target

numbers = st.one_of(st.integers(0, 300).map(float), st.floats(0.0, 300.0), st.integers(0, 3000).map(lambda x: x / 8))
periods = st.one_of(st.integers(1, 20).map(float), st.floats(0.05, 20.0), st.sampled_from([0.1, 0.125, 7.3]))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(numbers, periods, st.one_of(numbers, st.floats(0.0, 3000.0)))
def test_ticks_are_those_of_adding_up(tick_s: float, period_s: float, time_s: float) -> None:
    before_s, now_s = -math.inf, tick_s
    while now_s < time_s:
        before_s, now_s = now_s, now_s + period_s
    assert ticks_to(tick_s, period_s, time_s) == (before_s, now_s)
    assert ticks_to(tick_s, period_s, now_s) == (before_s, now_s)


def test_ticks_to_no_end() -> None:
    assert ticks_to(0.0, 10.0, math.inf) == (-math.inf, math.inf)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    numbers, periods, st.floats(0.0, 50.0) | st.integers(0, 5).map(float), periods | st.just(0.0), st.integers(1, 90)
)
def test_turns_are_those_of_ticking(asked_s: float, period_s: float, wait_s: float, every_s: float, num: int) -> None:
    due_s = asked_s + wait_s
    ticks, tick_s, expected_s = [], asked_s, due_s
    for _ in range(num):
        tick_s += period_s
        ticks.append(tick_s)
        if tick_s >= expected_s:
            expected_s = tick_s + every_s
    assert after_turns(asked_s, period_s, due_s, every_s, ticks[-1]) == expected_s


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(0.0, 3.0), st.floats(0.1, 5.0), st.floats(0.0, 1.0))
def test_a_band_gets_one_answer(value: float, per_unit: float, place: float) -> None:
    def answer(x: float) -> int:
        return min(math.ceil(x / per_unit), 7)

    low, high = alike(answer, value)
    assert low <= value <= high
    for bound in (max(low, 0.0), min(high, 1e6)):
        assert answer(bound + place * (value - bound)) == answer(value)


def test_next_of() -> None:
    assert next_of([5.0, 20.0, 30.0], 10.0) == just_before(20.0) < 20.0
    assert next_of([5.0, math.inf, -math.inf], 10.0) == math.inf
    assert next_of([10.0], 10.0) == pytest.approx(10.0)


def test_two_promises_are_kept_together() -> None:
    one = Quiet(50.0, {"a": (0.0, 2.0), "b": (1.0, 1.0)})
    assert one.but(Quiet(70.0, {"a": (1.0, 5.0)}, by_jobs=True)) == Quiet(
        50.0, {"a": (1.0, 2.0), "b": (1.0, 1.0)}, True
    )


# ---- loops
@dataclass
class Sleeper:
    """Wants what there is, and promises what it is told to."""

    promise: Quiet | None
    period_s: float = 10.0
    asked_s: list[float] = field(default_factory=list)
    slept_s: list[float] = field(default_factory=list)

    def desired(self, target: Target, view: ClusterView) -> int:
        self.asked_s.append(view.now_s)
        return target.num_units

    def quiet(self, target: Target, view: ClusterView) -> Quiet | None:
        return self.promise

    def slept(self, last_tick_s: float) -> None:
        self.slept_s.append(last_tick_s)


def asleep(promise: Quiet | None, now_s: float = 3.0, skips_quiet: bool = True) -> tuple[Sleeper, Loops, FakeCluster]:
    """A policy that has just been asked, at 3 s."""
    cluster, policy = FakeCluster({"a": FakeJob()}, nodes=[8], max_nodes=4, now_s=now_s), Sleeper(promise)
    loops = Loops({"default": policy}, skips_quiet)
    loops.ask(cluster.view(), 0)
    return policy, loops, cluster


@pytest.mark.parametrize(
    ("promise", "due_s"),
    [
        (None, 13.0),
        (Quiet(12.0), 13.0),
        (Quiet(13.0), 13.0),
        (Quiet(13.5), 23.0),
        (Quiet(103.0), 103.0),
        (Quiet(), math.inf),
    ],
)
def test_it_is_asked_at_its_first_tick_from_then_on(promise: Quiet | None, due_s: float) -> None:
    assert asleep(promise)[1].due_s == due_s
    assert asleep(promise, skips_quiet=False)[1].due_s == 13.0


def test_it_is_told_of_ticks_it_slept_through() -> None:
    policy, loops, cluster = asleep(Quiet(40.0))
    cluster.now_s = loops.due_s
    loops.ask(cluster.view(), 0)
    assert (policy.asked_s, policy.slept_s) == ([3.0, 43.0], [33.0])
    policy, loops, cluster = asleep(Quiet(13.0))
    cluster.now_s = 13.0
    loops.ask(cluster.view(), 0)
    assert policy.slept_s == []


def test_it_wakes_when_its_target_changes() -> None:
    _, loops, cluster = asleep(Quiet())
    assert not loops.stir(cluster.view(), 1, 20.0)
    assert loops.due_s == math.inf
    cluster.view().pools["default"].num_starting += 1
    assert loops.stir(cluster.view(), 1, 20.0)
    assert loops.due_s == 23.0


def test_by_jobs_it_wakes_when_they_change() -> None:
    _, loops, cluster = asleep(Quiet(by_jobs=True))
    assert loops.heed_jobs
    assert not loops.stir(cluster.view(), 0, 20.0)
    assert loops.stir(cluster.view(), 1, 23.0)
    assert loops.due_s == 23.0


def test_by_jobs_as_long_as_something_holds_of_them() -> None:
    _, loops, cluster = asleep(Quiet(by_jobs=True, holds=lambda view: view.nodes.free[0] == 8))
    assert not loops.stir(cluster.view(), 1, 20.0)
    cluster.view().nodes.free[0] = 7
    assert loops.stir(cluster.view(), 1, 20.0)
    assert loops.due_s == 23.0


def test_two_that_hold_together_become_one_that_nothing_changes() -> None:
    one, other = Quiet(by_jobs=True, holds=lambda _: True), Quiet(by_jobs=True)
    assert one.but(Quiet(5.0)) == Quiet(5.0, by_jobs=True, holds=one.holds)
    assert one.but(one) == one
    assert one.but(other) == other.but(one) == Quiet(by_jobs=True)


def test_the_first_that_wakes_it_counts() -> None:
    _, loops, _ = asleep(Quiet(60.0, {"queue_length": (0.0, 1.0)}))
    ((loop, metric, band),) = loops.bands
    assert (metric, band) == ("queue_length", (0.0, 1.0))
    loops.wake(loop, 200.0)
    assert loops.due_s == 63.0
    loops.wake(loop, 31.0)
    assert loops.due_s == 33.0


class Counts:
    """An allocation that changes nothing and counts how often it is asked."""

    def __init__(self, wake_s: float = math.inf) -> None:
        self.num_asked, self.wake_s = 0, wake_s

    def allocate(self, view: ClusterView, draft: object) -> None:
        self.num_asked += 1
        draft.wake_at(self.wake_s)  # type: ignore[attr-defined]


def test_a_tick_of_a_loop_asks_scaling_alone() -> None:
    counts, cluster = Counts(wake_s=25.0), FakeCluster({"a": FakeJob()}, nodes=[8], now_s=0.0)
    policy = Sleeper(None)
    controller = Controller(counts, Pooled(), {"default": policy})
    assert controller.decide(cluster.view()).wake_at_s == 10.0
    for now_s, wake_s in ((10.0, 20.0), (20.0, 25.0)):
        cluster.now_s = now_s
        assert controller.decide(cluster.view(), has_changed=False).wake_at_s == wake_s
    assert counts.num_asked == 1
    cluster.now_s, counts.wake_s = 25.0, math.inf
    assert controller.decide(cluster.view(), has_changed=False).wake_at_s == 30.0
    assert (counts.num_asked, policy.asked_s) == (2, [0.0, 10.0, 20.0])
