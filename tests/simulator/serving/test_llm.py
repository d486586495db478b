"""The LLM model against its step-by-step reference, and what no model of serving may do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import ConfigError
from simulator.serving.model import BALANCERS, RequestOptions, ServingModel
from simulator.serving.models import MODELS, make_model
from simulator.serving.outcome import Served
from workloads.requests import Requests
from workloads.serving.llm_times import LlmTimes


def some_requests(
    rng: np.random.Generator, num: int, rate_per_s: float, prompt: int = 400, output: int = 80
) -> Requests:
    arrival_s = np.cumsum(rng.standard_exponential(num) / rate_per_s)
    draws = np.exp(rng.standard_normal((2, num)))
    prompts, outputs = np.rint(np.array([[prompt], [output]]) * draws).astype(np.int64).clip(1, 4000)
    return Requests(arrival_s, prompts, outputs)


def both(
    times: LlmTimes, options: RequestOptions, requests: Requests, num_replicas: int, step_s: float
) -> list[Served]:
    told = []
    for name in ("llm", "llm_steps"):
        model = make_model(name, options, np.random.default_rng(3), llm=times)
        for replica in range(num_replicas):
            model.add(replica, 0.0)
        parts, begin = [], 0
        for until_s in [*np.arange(step_s, requests.arrival_s[-1] + step_s, step_s).tolist(), math.inf]:
            end = int(np.searchsorted(requests.arrival_s, until_s))
            parts.append(model.advance(requests.take(slice(begin, end)), until_s))
            begin = end
        served = Served.concat(parts)
        order = np.argsort(served.number)
        told.append(Served(*(getattr(served, name)[order] for name in Served.__slots__)))
    return told


@pytest.mark.parametrize("chunk_tokens", [0, 64, 512])
@pytest.mark.parametrize("kv_tokens", [10_000, 100_000])
@pytest.mark.parametrize("num_replicas", [1, 3])
def test_many_steps_at_once_are_as_many_steps(chunk_tokens: int, kv_tokens: int, num_replicas: int) -> None:
    """Every time of every request within 1 µs, with preemptions where memory is short."""
    times = LlmTimes(kv_tokens=kv_tokens, chunk_tokens=chunk_tokens, max_batch=48, max_prefill_tokens=2048)
    requests = some_requests(np.random.default_rng(kv_tokens), 400, 3.0 * num_replicas)
    fast, slow = both(times, RequestOptions(), requests, num_replicas, step_s=9.7)
    assert fast.number.tolist() == slow.number.tolist() == list(range(400))
    np.testing.assert_allclose(fast.first_s, slow.first_s, rtol=0, atol=1e-6)
    np.testing.assert_allclose(fast.finish_s, slow.finish_s, rtol=0, atol=1e-6)


def test_one_request_by_hand() -> None:
    """Prefill of 100 tokens, then two decode steps with 101 and 102 tokens of context."""
    times = LlmTimes(
        prefill_fixed_s=1.0, prefill_per_token_s=0.01, prefill_per_token2_s=1e-4, decode_fixed_s=0.5,
        decode_per_request_s=0.25, decode_per_token_s=0.001,
    )  # fmt: skip
    model = make_model("llm", RequestOptions(), np.random.default_rng(0), llm=times)
    model.add(0, 0.0)
    done = model.advance(Requests(np.array([2.0]), np.array([100]), np.array([3])), 100.0)
    assert done.first_s.tolist() == [pytest.approx(2.0 + 1.0 + 1.0 + 1.0)]
    assert done.finish_s.tolist() == [pytest.approx(5.0 + 2 * 0.75 + 0.101 + 0.102)]


def test_a_request_that_never_fits_is_rejected() -> None:
    model = make_model("llm", RequestOptions(retries=3), np.random.default_rng(0), llm=LlmTimes(kv_tokens=1000))
    model.add(0, 0.0)
    done = model.advance(Requests(np.array([1.0, 2.0]), np.array([990, 900]), np.array([11, 100])), 1e4)
    assert (done.number.tolist(), model.counts.rejected, model.counts.retried) == ([1], 1, 0)


def test_requests_without_tokens_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"service\.model=llm: its requests need prompt_tokens and output_tokens"):
        make_model("llm", RequestOptions(), np.random.default_rng(0)).advance(Requests(np.ones(1)), 2.0)
    with pytest.raises(ConfigError, match=r"service\.model=lm: unknown model; did you mean llm"):
        make_model("lm", RequestOptions(), np.random.default_rng(0))


class Watched:
    """Scales a model at random, and sees that nothing is lost, served twice, or served by who isn't there."""

    def __init__(self, model: ServingModel, rng: np.random.Generator) -> None:
        self._model, self._rng = model, rng
        self._open: list[int] = []
        self._draining: set[int] = set()
        self._num_added = 0
        self._seen: set[int] = set()

    def scale(self, now_s: float) -> None:
        for _ in range(int(self._rng.integers(3))):
            kind = self._rng.integers(3)
            if kind == 0 or not self._open:
                self._model.add(self._num_added, now_s)
                self._open.append(self._num_added)
                self._num_added += 1
            else:
                replica = self._open.pop(int(self._rng.integers(len(self._open))))
                if kind == 1:
                    self._model.drain(replica, now_s)
                    self._draining.add(replica)
                else:
                    self._model.kill(replica, now_s)
        for replica in self._model.drained(now_s):
            self._draining.remove(replica)

    def check(self, done: Served, since_s: float, now_s: float) -> None:
        counts = self._model.counts
        numbers = done.number.tolist()
        assert not self._seen & set(numbers)
        assert len(set(numbers)) == len(numbers)
        self._seen |= set(numbers)
        assert counts.served == len(self._seen)
        assert (done.finish_s <= now_s).all()
        assert (done.finish_s > since_s - 1e-9).all()
        assert (done.arrival_s <= done.first_s).all()
        assert (done.first_s <= done.finish_s).all()
        assert counts.in_flight >= self._model.num_waiting + self._model.num_in_service


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(MODELS),
    balancer=st.sampled_from(BALANCERS),
    queue_limit=st.sampled_from([None, 0, 3]),
    timeout_s=st.sampled_from([math.inf, 0.5]),
    retries=st.sampled_from([0, 2]),
    seed=st.integers(0, 10**6),
)
def test_nothing_is_lost_or_served_twice(
    name: str, balancer: str, queue_limit: int | None, timeout_s: float, retries: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    options = RequestOptions(
        balancer=balancer, queue_limit=queue_limit, timeout_s=timeout_s, retries=retries, retry_delay_s=0.3
    )
    model = make_model(name, options, rng, llm=LlmTimes(kv_tokens=3000, chunk_tokens=int(rng.choice([0, 128]))))
    requests = some_requests(rng, 120, 10.0, prompt=200, output=20)
    watched, begin, now_s = Watched(model, rng), 0, 0.0
    for until_s in np.sort(rng.uniform(0.0, 15.0, 12)).tolist():
        end = int(np.searchsorted(requests.arrival_s, until_s))
        watched.check(model.advance(requests.take(slice(begin, end)), until_s), now_s, until_s)
        assert model.counts.arrived == end
        watched.scale(until_s)
        begin, now_s = end, until_s
    model.add(10_000, now_s)
    watched.check(model.advance(requests.take(slice(begin, None)), 1e6), now_s, 1e6)
    assert model.counts.in_flight == model.num_waiting + model.num_in_service == 0
    counts = model.counts
    assert counts.arrived == counts.served + counts.rejected + counts.timed_out + counts.lost == len(requests)
