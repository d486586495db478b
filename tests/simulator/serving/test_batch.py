"""Batches, limits, time-outs, retries and balancers against a discrete-event twin."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from simulator.serving.model import BALANCERS, RequestOptions
from simulator.serving.models import make_model
from tests.simulator.serving.scripts import Script, led_through, random_script
from tests.simulator.serving.twins import ServiceTwin
from workloads.requests import Requests
from workloads.serving.batch_times import BatchTimes
from workloads.serving.service_times import ServiceTimes


def bursts(rng: np.random.Generator, num: int, rate_per_s: float) -> np.ndarray:
    gaps = rng.standard_exponential(num) / rate_per_s * rng.choice([0.2, 3.0], num)
    return np.cumsum(gaps)


def check(name: str, options: RequestOptions, script: Script, seed: int, times: BatchTimes, rate_per_s: float) -> dict:
    """Runs model and twin, and holds every request's times (1e-9 s) and fate against each other; the twin's fates."""
    rng = np.random.default_rng(seed)
    arrival_s = bursts(rng, 1200, rate_per_s)
    alone = ServiceTimes(mean_s=0.2, distribution="gamma", cv=1.5)
    model = make_model(name, options, np.random.default_rng(seed), alone, times)
    mine = led_through(model, Requests(arrival_s), script, step_s=float(rng.choice([math.inf, 1.7])))
    draws = np.random.default_rng(seed).spawn(2)
    if name == "batch":
        twin = ServiceTwin(
            arrival_s,
            options,
            lambda some: times.time_s(len(some)),
            script,
            times.max_batch,
            times.max_wait_s,
            draws[1],
        )
    else:
        service_s = alone.draw(len(arrival_s), draws[0])
        twin = ServiceTwin(arrival_s, options, lambda some: float(service_s[some[0]]), script, draws=draws[1])
    twin.run()
    assert mine.number.tolist() == np.flatnonzero(twin.fate == "served").tolist()
    np.testing.assert_allclose(mine.finish_s, twin.finish_s[mine.number], rtol=0, atol=1e-9)
    np.testing.assert_allclose(mine.first_s, twin.start_s[mine.number], rtol=0, atol=1e-9)
    fates = {how: int((twin.fate == how).sum()) for how in ("served", "rejected", "timed_out", "lost")}
    assert fates == {how: getattr(model.counts, how) for how in fates}
    assert (model.counts.retried, model.counts.in_flight) == (twin.retried, 0)
    return fates | {"retried": twin.retried}


@pytest.mark.parametrize("seed", range(6))
def test_batch_is_its_discrete_event_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = BatchTimes(fixed_s=0.05, per_request_s=0.004, max_batch=int(rng.integers(1, 20)), max_wait_s=0.03)
    script = [(0.0, "add", replica) for replica in range(int(rng.integers(1, 5)))]
    fates = check("batch", RequestOptions(), script, seed, times, 60.0)
    assert fates["served"] == 1200


CASES = [
    (
        name,
        RequestOptions(balancer=balancer, queue_limit=limit, timeout_s=patience_s, retries=retries, retry_delay_s=0.3),
    )
    for name, balancer, limit, patience_s, retries in itertools.product(
        ("queue", "batch"), BALANCERS, (None, 0, 3), (math.inf, 0.25), (0, 2)
    )
]


@pytest.mark.parametrize(
    ("name", "options"), [case for case in CASES if case[0] == "batch" or not case[1].is_plain], ids=str
)
def test_those_who_are_told_to_go_give_up_and_come_again(name: str, options: RequestOptions) -> None:
    """While replicas come, are drained and killed; the plain queue has a twin of its own."""
    seed = (options.queue_limit or 0) + 10 * options.retries
    script = random_script(np.random.default_rng(seed), 30, 30.0, most=6)
    times = BatchTimes(fixed_s=0.1, per_request_s=0.02, max_batch=5, max_wait_s=0.05)
    fates = check(name, options, script, seed, times, 30.0 if name == "queue" else 100.0)
    assert fates["served"] > 100
    if options.queue_limit is not None:
        assert fates["rejected"] + fates["retried"] > 20
    elif options.timeout_s < math.inf:
        assert fates["timed_out"] + fates["retried"] > 20
