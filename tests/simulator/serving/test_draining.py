"""When a replica that was drained is done, and how many are at work, of every model."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.serving.model import BALANCERS, RequestOptions, ServingModel
from simulator.serving.models import MODELS, make_model
from workloads.requests import Requests
from workloads.serving.batch_times import BatchTimes
from workloads.serving.llm_times import LlmTimes
from workloads.serving.service_times import ServiceTimes

NOBODY = Requests(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))
DRAIN_S = 3.0


def drained_at_3(name: str, options: RequestOptions, seed: int = 0) -> ServingModel:
    """Two replicas under a burst of requests; both are drained at second 3, amid their work."""
    rng = np.random.default_rng(seed)
    model = make_model(
        name, options, rng, ServiceTimes(mean_s=2.0), BatchTimes(fixed_s=0.4, per_request_s=0.1, max_batch=4),
        LlmTimes(max_batch=8, chunk_tokens=int(rng.choice([0, 64]))),
    )  # fmt: skip
    for replica in (0, 1):
        model.add(replica, 0.0)
    arrival_s = np.sort(rng.uniform(0.0, DRAIN_S, 40))
    model.advance(Requests(arrival_s, rng.integers(1, 300, 40), rng.integers(1, 60, 40)), DRAIN_S)
    for replica in (0, 1):
        model.drain(replica, DRAIN_S)
    return model


@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_who_is_drained_is_followed_to_the_end_without_polling(name: str, balancer: str, seed: int) -> None:
    """Each time asked lies ahead, few are needed, and the last is when its last request is done."""
    model = drained_at_3(name, RequestOptions(balancer=balancer), seed)
    assert model.num_busy == 2
    now_s, draining, finishes_s, asked = DRAIN_S, {0, 1}, [DRAIN_S], 0
    while draining:
        next_s = min(model.idle_from_s(replica) for replica in draining)
        assert next_s > now_s
        now_s, asked = next_s, asked + 1
        finishes_s += model.advance(NOBODY, now_s).finish_s.tolist()
        gone = set(model.drained(now_s))
        if gone:
            assert max(finishes_s) == pytest.approx(now_s, abs=1e-9)
        draining -= gone
        assert model.num_busy == len(draining) or name.startswith("llm")
    assert (model.num_busy, model.num_in_service) == (0, 0)
    assert model.num_waiting == model.counts.in_flight
    assert asked == 2 if not name.startswith("llm") else asked <= 40


def followed(model: ServingModel) -> dict[int, float]:
    """When each was seen to be done by who advances to the times that the model tells."""
    now_s, seen_s = DRAIN_S, dict[int, float]()
    while len(seen_s) < 2:
        now_s = min(model.idle_from_s(replica) for replica in {0, 1} - set(seen_s))
        model.advance(NOBODY, now_s)
        seen_s |= dict.fromkeys(model.drained(now_s), now_s)
    return seen_s


def polled(model: ServingModel, step_s: float) -> dict[int, float]:
    """The same, by who looks every `step_s`."""
    now_s, seen_s = DRAIN_S, dict[int, float]()
    while len(seen_s) < 2:
        now_s += step_s
        model.advance(NOBODY, now_s)
        seen_s |= dict.fromkeys(model.drained(now_s), now_s)
    return seen_s


@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("timeout_s", [0.3, math.inf])
def test_who_is_drained_is_seen_to_be_done_in_time(name: str, balancer: str, timeout_s: float) -> None:
    """Within 10 ms of a poll of every 10 ms, also where some of those who wait give up."""
    options = RequestOptions(balancer=balancer, timeout_s=timeout_s, retries=1)
    told_s, polled_s = followed(drained_at_3(name, options)), polled(drained_at_3(name, options), 0.01)
    for replica in (0, 1):
        assert told_s[replica] <= polled_s[replica] < told_s[replica] + 0.01 + 1e-9


@pytest.mark.parametrize("name", MODELS)
def test_an_idle_replica_is_done_at_once(name: str) -> None:
    model = make_model(name, RequestOptions(), np.random.default_rng(0))
    model.add(0, 0.0)
    model.advance(NOBODY, 5.0)
    assert model.num_busy == 0
    model.drain(0, 5.0)
    model.advance(NOBODY, 6.0)
    assert model.idle_from_s(0) == 6.0
    assert list(model.drained(6.0)) == [0]


def test_those_who_give_up_end_a_batching_replicas_work() -> None:
    """Batches of 1 s: of three in its queue one is served, and two give up 0.5 s after they came."""
    options = RequestOptions(balancer="round_robin", timeout_s=0.5)
    times = BatchTimes(fixed_s=0.5, per_request_s=0.5, max_batch=1, max_wait_s=0.0)
    model = make_model("batch", options, np.random.default_rng(0), batch=times)
    model.add(0, 0.0)
    model.advance(Requests(np.array([1.0, 1.1, 1.8])), 1.9)
    model.drain(0, 1.9)
    done_s = model.idle_from_s(0)
    assert done_s == 3.0  # the last came at 1.8, and is served from 2.0 on
    assert len(model.advance(NOBODY, done_s)) == 2
    assert list(model.drained(done_s)) == [0]
    assert model.counts.timed_out == 1


def test_a_bound_that_is_no_time_away_still_makes_progress() -> None:
    """Prefills that take no time at all: no step can be bounded, and yet each time asked lies ahead."""
    free = LlmTimes(prefill_fixed_s=0.0, prefill_per_token_s=0.0, prefill_per_token2_s=0.0)
    for name in ("llm", "llm_steps"):
        model = make_model(name, RequestOptions(), np.random.default_rng(0), llm=free)
        model.add(0, 0.0)
        model.advance(Requests(np.array([0.0]), np.array([10]), np.array([30])), 0.1)
        model.drain(0, 0.1)
        now_s, asked = 0.1, 0
        while not model.drained(now_s):
            next_s = model.idle_from_s(0)
            assert now_s < next_s < math.inf
            model.advance(NOBODY, next_s)
            now_s, asked = next_s, asked + 1
        assert asked <= 30
