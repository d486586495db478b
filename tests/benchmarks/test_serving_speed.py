"""Requests a CPU-second: generating them, serving them, and of `llm` against its step-by-step reference."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.serving.model import RequestOptions, ServingModel
from simulator.serving.models import make_model
from tests.benchmarks.measure import cpu_s, slowness
from workloads.requests import Requests, RequestSource, build_requests
from workloads.serving.llm_times import LlmTimes
from workloads.serving.service_times import ServiceTimes

pytestmark = pytest.mark.benchmark_suite
DECISION_S = 15.0


def serve(source: RequestSource, model: ServingModel, num_replicas: int) -> int:
    """All requests of a stream, with a stop at each scaling decision."""
    for replica in range(num_replicas):
        model.add(replica, 0.0)
    num, decided_s = 0, 0.0
    for chunk in source.chunks(np.random.default_rng(0)):
        begin = 0
        while True:
            end = int(np.searchsorted(chunk.arrival_s, decided_s + DECISION_S))
            if end == len(chunk):
                break
            num += len(model.advance(chunk.take(slice(begin, end)), decided_s + DECISION_S))
            begin, decided_s = end, decided_s + DECISION_S
        num += len(model.advance(chunk.take(slice(begin, None)), float(chunk.arrival_s[-1])))
    return num + len(model.advance(Requests(np.zeros(0), np.zeros(0, int), np.zeros(0, int)), 1e12))


def test_queue() -> None:
    """2 M requests a second; 1,000 a second for an hour, 115 replicas at 87% load."""
    source = build_requests({"name": "poisson", "rate_per_s": 1000.0, "duration_s": 3600.0})
    model = make_model("queue", RequestOptions(), np.random.default_rng(1), ServiceTimes(mean_s=0.1))
    done: list[int] = []
    used_s = cpu_s(lambda: done.append(serve(source, model, 115)))
    slow = slowness()
    rate = done[0] / used_s
    print(f"\nqueue: {rate / 1e6:.2f} M requests/s of CPU ({used_s * 86.4e6 / done[0]:.0f} s for a day of 86.4 M; "
          f"machine {slow:.1f}× slower than quiet)")  # fmt: skip
    assert rate * slow > 2e6


@pytest.mark.parametrize(("name", "num_replicas"), [("llm", 1), ("llm", 4), ("llm_steps", 4)])
def test_llm(name: str, num_replicas: int) -> None:
    """`llm`: 150,000 requests a second at moderate load; choosing among replicas costs some of it."""
    num = 100_000 if name == "llm" else 2_000
    source = build_requests(
        {
            "name": "poisson", "rate_per_s": 3.0 * num_replicas, "duration_s": 1e6, "limit": num,
            "prompt_tokens": {"median": 300, "sigma": 0.8}, "output_tokens": {"median": 60, "sigma": 0.8},
        }
    )  # fmt: skip
    model = make_model(name, RequestOptions(), np.random.default_rng(1), llm=LlmTimes())
    done: list[int] = []
    used_s = cpu_s(lambda: done.append(serve(source, model, num_replicas)))
    slow = slowness()
    print(
        f"\n{name}, {num_replicas} replicas: {done[0] / used_s:,.0f} requests/s of CPU "
        f"(machine {slow:.1f}× slower than quiet)"
    )
    assert done[0] == num
    if name == "llm":
        assert done[0] / used_s * slow > (150_000 if num_replicas == 1 else 110_000)
