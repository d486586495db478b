"""The LLM model against its step-by-step reference, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.errors import ConfigError
from simulator.serving.model import BALANCERS, RequestOptions
from simulator.serving.models import make_model
from simulator.serving.outcome import Served
from tests.simulator.serving.scripts import led_through, random_script
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


@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.parametrize("chunk_tokens", [0, 128])
@pytest.mark.parametrize(("queue_limit", "timeout_s", "retries"), [(4, math.inf, 1), (None, 1.5, 0), (4, 1.5, 2)])
def test_those_who_are_told_to_go_give_up_and_come_again(
    balancer: str, chunk_tokens: int, queue_limit: int | None, timeout_s: float, retries: int
) -> None:
    """The same requests are served, at the same times, while replicas come, are drained and killed."""
    times = LlmTimes(kv_tokens=6000, chunk_tokens=chunk_tokens, max_batch=12, max_prefill_tokens=1024)
    options = RequestOptions(
        balancer=balancer, queue_limit=queue_limit, timeout_s=timeout_s, retries=retries, retry_delay_s=0.4
    )
    rng = np.random.default_rng(retries)
    requests, script = some_requests(rng, 500, 8.0), random_script(rng, 20, 60.0, most=4)
    (fast, fast_counts), (slow, slow_counts) = (
        (led_through(model, requests, script, step_s), model.counts)
        for name, step_s in (("llm", math.inf), ("llm_steps", 1.3))
        for model in [make_model(name, options, np.random.default_rng(3), llm=times)]
    )
    assert fast_counts == slow_counts
    assert fast_counts.served > 100
    assert fast_counts.rejected + fast_counts.timed_out + fast_counts.retried > 50
    assert fast.number.tolist() == slow.number.tolist()
    np.testing.assert_allclose(fast.first_s, slow.first_s, rtol=0, atol=1e-6)
    np.testing.assert_allclose(fast.finish_s, slow.finish_s, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["llm", "llm_steps"])
def test_who_waits_too_long_gives_up_at_that_time(name: str) -> None:
    """One at a time, a second each: the third has waited for 1.5 s at second 1.5, and comes again at 2.5."""
    times = LlmTimes(max_batch=1, prefill_fixed_s=1.0, prefill_per_token_s=0.0, prefill_per_token2_s=0.0)
    options = RequestOptions(timeout_s=1.5, retries=1, retry_delay_s=1.0)
    model = make_model(name, options, np.random.default_rng(0), llm=times)
    model.add(0, 0.0)
    one = np.ones(3, np.int64)
    done = model.advance(Requests(np.zeros(3), one, one), 1.4)
    assert (done.finish_s.tolist(), model.counts.in_flight, model.num_waiting) == ([1.0], 2, 1)
    done = model.advance(Requests(np.zeros(0), one[:0], one[:0]), 100.0)
    assert (done.number.tolist(), done.first_s.tolist()) == ([1, 2], [2.0, 3.5])
    assert (model.counts.retried, model.counts.timed_out) == (1, 0)


@pytest.mark.parametrize("name", ["llm", "llm_steps"])
def test_who_finds_no_replica_waits_within_the_limits(name: str) -> None:
    """Of those that come at 1, 2 and 3 s the first gives up, the last finds the queue full; then a replica comes."""
    options = RequestOptions(timeout_s=5.0, queue_limit=2)
    model = make_model(name, options, np.random.default_rng(0))
    one = np.ones(3, np.int64)
    model.advance(Requests(np.array([1.0, 2.0, 3.0]), one, one), 6.5)
    assert (model.counts.timed_out, model.counts.rejected, model.num_waiting) == (1, 1, 1)
    model.add(0, 6.5)
    assert model.advance(Requests(np.zeros(0), one[:0], one[:0]), 100.0).number.tolist() == [1]


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
