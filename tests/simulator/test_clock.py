"""The clock: order within an instant, alarms, absolute times, and the private parts of SimPy that it relies on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import simpy

from simulator.clock import ARRIVAL, COMPLETION, DECISION, NODE, SAMPLE, Alarm, Call, Clock


def noting(log: list[Any], what: Any) -> Call:
    return Call(lambda: log.append(what))


def test_simpy_has_the_private_parts_that_the_clock_touches() -> None:
    env = simpy.Environment()
    assert env._queue == []
    assert env._now == 0
    assert isinstance(env._eid, type(itertools.count()))
    env.timeout(5.0)
    time_s, priority, _, event = env._queue[0]
    assert (time_s, priority) == (5.0, 1)
    assert event.callbacks == []
    assert event._ok is True
    assert not hasattr(event, "_defused")


def test_within_an_instant_completions_nodes_arrivals_samples_then_the_decision() -> None:
    clock, log = Clock(), []
    for priority in (DECISION, ARRIVAL, SAMPLE, NODE, COMPLETION, ARRIVAL):
        clock.call_at(3.0, noting(log, priority), priority)
    clock.run_all()
    assert log == [COMPLETION, NODE, ARRIVAL, ARRIVAL, SAMPLE, DECISION] == sorted(log)


def test_equal_priorities_keep_the_order_in_which_they_were_asked_for() -> None:
    clock, log = Clock(), []
    for i in range(5):
        clock.call_at(1.0, noting(log, i), ARRIVAL)
    clock.run_all()
    assert log == [0, 1, 2, 3, 4]


def test_processes_and_calls_share_one_time() -> None:
    clock, log = Clock(), []

    def process() -> Any:
        yield clock.timeout(2.0)
        log.append(("process", clock.now))
        yield clock.until(7.0, lambda _: log.append(("until", clock.now)))
        log.append(("process", clock.now))

    clock.process(process())
    clock.call_at(2.0, noting(log, "completion"), COMPLETION)
    clock.call_at(2.0, noting(log, "decision"), DECISION)
    clock.run_all()
    assert log == ["completion", ("process", 2.0), "decision", ("until", 7.0), ("process", 7.0)]


def test_an_absolute_time_is_met_to_the_last_bit() -> None:
    clock, seen = Clock(), []
    start_s, time_s = 0.2, 0.9
    assert start_s + (time_s - start_s) != time_s  # what a delay would make of it
    clock.call_at(start_s, Call(lambda: clock.call_at(time_s, Call(lambda: seen.append(clock.now)), NODE)), NODE)
    clock.run_all()
    assert seen == [time_s]


def test_the_horizon_is_included() -> None:
    clock, log = Clock(), []
    for time_s in (1.0, 2.0, 2.5):
        clock.call_at(time_s, noting(log, time_s), NODE)
    clock.run_all(2.0)
    assert log == [1.0, 2.0]
    assert clock.now == 2.0


def test_stop_ends_after_the_event_at_hand() -> None:
    clock, log = Clock(), []
    clock.call_at(1.0, Call(clock.stop), NODE)
    clock.call_at(1.0, noting(log, "later"), NODE)
    clock.run_all()
    assert log == []


def test_an_error_in_a_process_comes_out() -> None:
    clock = Clock()

    def process() -> Any:
        yield clock.timeout(1.0)
        raise KeyError("inside")

    clock.process(process())
    with pytest.raises(KeyError, match="inside"):
        clock.run_all()


@pytest.fixture
def alarm() -> tuple[Clock, Alarm, list[float]]:
    clock, rung = Clock(), []
    return clock, Alarm(clock, lambda: rung.append(clock.now), DECISION), rung


Sets = Callable[[Clock, Alarm], None]


def test_an_alarm_rings_once_at_the_earliest_time(alarm: tuple[Clock, Alarm, list[float]]) -> None:
    clock, it, rung = alarm
    for time_s in (9.0, 5.0, 7.0, 5.0):
        it.set(time_s)
    assert it.time_s == 5.0
    clock.run_all()
    assert rung == [5.0]  # what was set to 9 before is no longer wanted
    assert it.time_s == math.inf


def test_an_alarm_that_is_put_off_finds_its_early_ring_not_due(alarm: tuple[Clock, Alarm, list[float]]) -> None:
    """As a decision does: whatever was set before is void, and the new time counts."""
    clock, it, rung = alarm
    it.set(5.0)
    it.time_s = math.inf
    it.set(8.0)
    clock.run_all()
    assert rung == [8.0]


def test_an_alarm_may_be_set_again_from_its_own_ring() -> None:
    clock, rung = Clock(), []

    def ring() -> None:
        rung.append(clock.now)
        if len(rung) < 4:
            it.set(clock.now + 1.0)

    it = Alarm(clock, ring, DECISION)
    it.set(0.0)
    clock.run_all()
    assert rung == [0.0, 1.0, 2.0, 3.0]
