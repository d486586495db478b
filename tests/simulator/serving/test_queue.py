"""The queue against its discrete-event twins, and by hand where it may say no."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from simulator.serving.model import RequestOptions, ServingModel
from simulator.serving.models import make_model
from simulator.serving.outcome import Served
from tests.simulator.serving.scripts import led_through, random_script
from tests.simulator.serving.twins import QueueTwin, ServiceTwin
from workloads.requests import Requests
from workloads.serving.batch_times import BatchTimes
from workloads.serving.service_times import ServiceTimes

Change = tuple[float, int]  # when, and how many replicas there are from then on


def served(
    model: ServingModel, arrival_s: np.ndarray, changes: Sequence[Change], end_s: float, step_s: float = math.inf
) -> Served:
    """Runs a model through changes of its number of replicas, in steps of at most `step_s`."""
    times = {when for when, _ in changes} | {end_s}
    if step_s < math.inf:
        times |= set(np.arange(step_s, end_s, step_s).tolist())
    replicas: list[int] = []
    parts, now_s, num_added = [], 0.0, 0
    for until_s in sorted(times):
        begin, end = np.searchsorted(arrival_s, (now_s, until_s))
        parts.append(model.advance(Requests(arrival_s[begin:end]), until_s))
        now_s = until_s
        for _, count in (change for change in changes if change[0] == until_s):
            while len(replicas) < count:
                model.add(num_added, until_s)
                replicas.append(num_added)
                num_added += 1
            while len(replicas) > count:
                model.drain(replicas.pop(), until_s)
    whole = Served.concat(parts)
    order = np.argsort(whole.number)
    return Served(*(getattr(whole, name)[order] for name in Served.__slots__))


def bursts(rng: np.random.Generator, num: int, rate_per_s: float) -> np.ndarray:
    gaps = rng.standard_exponential(num) / rate_per_s * rng.choice([0.2, 3.0], num)
    return np.cumsum(gaps)


@pytest.mark.parametrize("seed", range(8))
def test_queue_is_its_discrete_event_twin_across_scalings(seed: int) -> None:
    """Every request within 1e-9 s, while replicas come and go with a backlog."""
    rng = np.random.default_rng(seed)
    arrival_s = bursts(rng, 3000, 10.0)
    changes = [(0.0, 2)] + [(float(t), int(rng.integers(1, 16))) for t in np.sort(rng.uniform(1, 250, 12))]
    times = ServiceTimes(mean_s=0.6, distribution="lognormal", cv=2.0)
    model = make_model("queue", RequestOptions(), np.random.default_rng(seed), times)
    mine = served(model, arrival_s, changes, 10_000.0, step_s=float(rng.choice([math.inf, 7.3])))
    service_s = times.draw(len(arrival_s), np.random.default_rng(seed))
    theirs = QueueTwin(arrival_s, service_s, changes).run()
    assert len(mine) == len(arrival_s)
    np.testing.assert_allclose(mine.finish_s, theirs, rtol=0, atol=1e-9)
    waited = mine.first_s - mine.arrival_s
    assert (waited > 1.0).mean() > 0.05  # there was a backlog


@pytest.mark.parametrize("seed", range(4))
def test_the_careful_queue_is_the_fast_one(seed: int) -> None:
    """Limits so wide that they never bind: the event-by-event model must say the same, while replicas come."""
    rng = np.random.default_rng(seed)
    arrival_s = bursts(rng, 2000, 10.0)
    changes = [(0.0, 3), (40.0, 5), (90.0, 7), (150.0, 9)]
    times = ServiceTimes(mean_s=0.6)
    fast = make_model("queue", RequestOptions(), np.random.default_rng(seed), times)
    draws = np.random.default_rng(seed)
    careful = make_model("queue", RequestOptions(queue_limit=10**9), draws, times)
    careful._service_draws = np.random.default_rng(seed)  # type: ignore[attr-defined]
    a, b = (served(model, arrival_s, changes, 10_000.0, step_s=11.0) for model in (fast, careful))
    np.testing.assert_allclose(a.finish_s, b.finish_s, rtol=0, atol=1e-9)
    assert careful.counts.served == fast.counts.served == len(arrival_s)


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("seed", range(6))
def test_queue_is_its_twin_while_replicas_are_drained_and_killed(seed: int, retries: int) -> None:
    """Every request within 1e-9 s, and who is lost, while replicas come and go with a backlog."""
    rng = np.random.default_rng(seed)
    arrival_s, script = bursts(rng, 2000, 14.0), random_script(rng, 120, 140.0, most=9)
    times = ServiceTimes(mean_s=0.6, distribution="lognormal", cv=2.0)
    options = RequestOptions(retries=retries, retry_delay_s=0.7)
    model = make_model("queue", options, np.random.default_rng(seed), times)
    mine = led_through(model, Requests(arrival_s), script, step_s=float(rng.choice([math.inf, 3.1])))
    service_s = times.draw(len(arrival_s), np.random.default_rng(seed))
    twin = ServiceTwin(arrival_s, options, lambda some: float(service_s[some[0]]), script, is_anonymous=True)
    twin.run()
    assert mine.number.tolist() == np.flatnonzero(twin.fate == "served").tolist()
    np.testing.assert_allclose(mine.finish_s, twin.finish_s[mine.number], rtol=0, atol=1e-9)
    np.testing.assert_allclose(mine.first_s, twin.start_s[mine.number], rtol=0, atol=1e-9)
    assert model.counts.lost == (twin.fate == "lost").sum()
    assert model.counts.retried == twin.retried
    assert (model.counts.lost if retries == 0 else model.counts.retried) >= 3
    assert (mine.first_s - mine.arrival_s > 1.0).mean() > 0.03  # there was a backlog


def test_power_of_two_lies_between() -> None:
    """Waits: one queue for all < the shorter of two < in turn (Mitzenmacher 2001)."""
    means = []
    for balancer in ("least_loaded", "power_of_two", "round_robin"):
        rng = np.random.default_rng(0)
        arrival_s = np.cumsum(rng.standard_exponential(40_000)) / (0.85 * 10)
        model = make_model(
            "queue", RequestOptions(balancer=balancer), np.random.default_rng(1), ServiceTimes(mean_s=1.0)
        )
        for replica in range(10):
            model.add(replica, 0.0)
        done = model.advance(Requests(arrival_s), 1e9)
        assert len(done) == len(arrival_s)
        means.append(float((done.first_s - done.arrival_s).mean()))
    assert means[0] < 0.7 * means[1] < 0.7 * 0.7 * means[2]


def test_a_full_queue_rejects_and_an_idle_replica_does_not() -> None:
    """One replica of 1 s, room for one that waits: of requests at 0, 0.1, 0.2 the third is rejected."""
    model = make_model(
        "queue",
        RequestOptions(queue_limit=1),
        np.random.default_rng(0),
        ServiceTimes(mean_s=1.0, distribution="constant"),
    )
    model.add(0, 0.0)
    done = model.advance(Requests(np.array([0.0, 0.1, 0.2, 5.0])), 10.0)
    assert done.number.tolist() == [0, 1, 3]
    assert done.finish_s.tolist() == [1.0, 2.0, 6.0]
    assert (model.counts.rejected, model.counts.in_flight) == (1, 0)


def test_of_those_who_come_at_once_as_many_are_served_at_once_as_there_are_idle_replicas() -> None:
    """Three replicas and room for two that wait: of ten requests at second 1 five are rejected."""
    for name in ("queue", "batch"):
        model = make_model(
            name, RequestOptions(queue_limit=2), np.random.default_rng(0), batch=BatchTimes(max_batch=1, max_wait_s=0.0)
        )
        for replica in range(3):
            model.add(replica, 0.0)
        assert len(model.advance(Requests(np.ones(10)), 1e6)) == 5
        assert model.counts.rejected == 5


def test_who_waits_too_long_gives_up_and_comes_again() -> None:
    """One replica of 10 s; the second gives up after 1 s, comes again at 1 + 4 and at 6 + 8, and is served at 14."""
    options = RequestOptions(timeout_s=1.0, retries=2, retry_delay_s=4.0)
    model = make_model("queue", options, np.random.default_rng(0), ServiceTimes(mean_s=10.0, distribution="constant"))
    model.add(0, 0.0)
    done = model.advance(Requests(np.array([0.0, 0.0])), 100.0)
    assert done.number.tolist() == [0, 1]
    assert done.first_s.tolist() == [0.0, 14.0]
    assert done.arrival_s.tolist() == [0.0, 0.0]
    assert (model.counts.retried, model.counts.timed_out) == (2, 0)


@pytest.mark.parametrize("balancer", ["least_loaded", "round_robin"])
def test_what_a_killed_replica_did_is_lost_or_tried_again(balancer: str) -> None:
    for retries in (0, 1):
        options = RequestOptions(retries=retries, retry_delay_s=0.5, balancer=balancer)
        times = ServiceTimes(mean_s=10.0, distribution="constant")
        model = make_model("queue", options, np.random.default_rng(0), times)
        model.add(0, 0.0)
        model.advance(Requests(np.array([1.0])), 5.0)
        model.kill(0, 5.0)
        model.add(1, 5.0)
        done = model.advance(Requests(np.zeros(0)), 100.0)
        assert model.counts.lost == 1 - retries
        assert done.finish_s.tolist() == [15.5] * retries
        assert model.counts.in_flight == 0


@pytest.mark.parametrize("balancer", ["least_loaded", "round_robin"])
def test_draining_finishes_what_runs(balancer: str) -> None:
    times = ServiceTimes(mean_s=10.0, distribution="constant")
    model = make_model("queue", RequestOptions(balancer=balancer), np.random.default_rng(0), times)
    model.add(0, 0.0)
    model.advance(Requests(np.array([1.0])), 5.0)
    model.drain(0, 5.0)
    assert list(model.drained(5.0)) == []
    assert len(model.advance(Requests(np.array([6.0])), 20.0)) == 1
    assert list(model.drained(20.0)) == [0]
    assert list(model.drained(20.0)) == []
    assert (model.num_waiting, model.num_in_service) == (1, 0)
    model.add(1, 20.0)
    assert model.advance(Requests(np.zeros(0)), 100.0).finish_s.tolist() == [30.0]
