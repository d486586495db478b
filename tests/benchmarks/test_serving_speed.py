"""Requests a CPU-second: generating and serving them, and against the same models step by step, or in SimPy."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pytest

from simulator.serving.central_queue import CentralQueue
from simulator.serving.model import RequestOptions, ServingModel
from simulator.serving.models import make_model
from simulator.serving.statistics import Objective, ServiceStatistics
from tests.benchmarks.measure import cpu_s, in_turn, ratio, slowness
from tests.simulator.serving.twins import QueueTwin, ServiceTwin
from workloads.requests import Requests, RequestSource, build_requests
from workloads.serving.batch_times import BatchTimes
from workloads.serving.llm_times import LlmTimes
from workloads.serving.service_times import ServiceTimes

pytestmark = pytest.mark.benchmark_suite
DECISION_S = 15.0
needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="Numba isn't installed (extra `fast`)")


def serve(
    source: RequestSource, model: ServingModel, num_replicas: int, statistics: ServiceStatistics | None = None
) -> int:
    """All requests of a stream, with a stop at each scaling decision; how many were answered."""

    def advance(requests: Requests, until_s: float) -> int:
        served = model.advance(requests, until_s)
        if statistics:
            statistics.add(served)
        return len(served)

    for replica in range(num_replicas):
        model.add(replica, 0.0)
    num, decided_s = 0, 0.0
    for chunk in source.chunks(np.random.default_rng(0)):
        begin = 0
        while True:
            end = int(np.searchsorted(chunk.arrival_s, decided_s + DECISION_S))
            if end == len(chunk):
                break
            num += advance(chunk.take(slice(begin, end)), decided_s + DECISION_S)
            begin, decided_s = end, decided_s + DECISION_S
        num += advance(chunk.take(slice(begin, None)), float(chunk.arrival_s[-1]))
    return num + advance(Requests(np.zeros(0), np.zeros(0, int), np.zeros(0, int)), 1e12)


def run_queue(hours: float, compiled: bool) -> dict[str, float]:
    """CPU seconds and MB of 1,000 requests/s on 115 replicas at 87% load, generated and summed up on the way."""
    begin_s = time.process_time()
    source = build_requests({"name": "poisson", "rate_per_s": 1000.0, "duration_s": 3600.0 * hours})
    model = CentralQueue(
        ServiceTimes(mean_s=0.1), RequestOptions(), np.random.default_rng(1), 5_000_000 if compiled else 10**18
    )
    statistics = ServiceStatistics(Objective(latency_s=0.5), has_tokens=False)
    num = serve(source, model, 115, statistics)
    used_s = time.process_time() - begin_s
    return {"num": num, "cpu_s": used_s, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_numba)])
def test_a_day_of_the_queue(compiled: bool) -> None:
    """86.4 M requests, a stop every 15 s: under 60 s and 500 MB, in a process of their own; 2 M requests a second."""
    command = f"import json; from {__name__} import run_queue; print(json.dumps(run_queue(24.0, {compiled})))"
    slow = slowness()
    told = json.loads(subprocess.run([sys.executable, "-c", command], check=True, capture_output=True).stdout)
    rate = told["num"] / told["cpu_s"]
    print(
        f"\nqueue, {'compiled' if compiled else 'plain'}: {told['num'] / 1e6:.1f} M requests in {told['cpu_s']:.1f} s "
        f"of CPU, {rate / 1e6:.2f} M/s; peak {told['peak_mb']:.0f} MB (machine {slow:.1f}× slower than quiet)"
    )
    assert told["num"] == pytest.approx(86.4e6, rel=1e-3)
    assert told["cpu_s"] / slow < 60.0
    assert rate * slow > 2e6
    assert told["peak_mb"] < 500.0


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


def test_against_the_same_models_in_simpy() -> None:
    """One stream of 8.6 requests/s per replica, 10 replicas; the event-by-event models cost several times the plain
    queue, and are still faster than a textbook SimPy model of the same queue.
    """
    num, num_replicas = 30_000, 10
    arrival_s = np.cumsum(np.random.default_rng(0).standard_exponential(num)) / 86.0
    times, batches = ServiceTimes(mean_s=0.1), BatchTimes(fixed_s=0.2, per_request_s=0.02, max_batch=8, max_wait_s=0.05)
    service_s = times.draw(num, np.random.default_rng(1))
    limits = RequestOptions(queue_limit=50, timeout_s=5.0, retries=1)

    def model(name: str, options: RequestOptions) -> None:
        of = make_model(name, options, np.random.default_rng(1), times, batches)
        for replica in range(num_replicas):
            of.add(replica, 0.0)
        of.advance(Requests(arrival_s), 1e9)

    def twin(options: RequestOptions, is_batch: bool) -> None:
        script = [(0.0, "add", replica) for replica in range(num_replicas)]
        if is_batch:
            time_of, size, wait_s = (lambda some: batches.time_s(len(some))), batches.max_batch, batches.max_wait_s
        else:
            time_of, size, wait_s = (lambda some: float(service_s[some[0]])), 1, 0.0
        ServiceTwin(arrival_s, options, time_of, script, size, wait_s, np.random.default_rng(2)).run()

    in_turns = RequestOptions(balancer="round_robin")
    cases: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "queue": (
            lambda: model("queue", RequestOptions()),
            lambda: QueueTwin(arrival_s, service_s, [(0.0, num_replicas)]).run(),
        ),
        "queue with limits": (lambda: model("queue", limits), lambda: twin(limits, False)),
        "queue, round robin": (lambda: model("queue", in_turns), lambda: twin(in_turns, False)),
        "batch": (lambda: model("batch", RequestOptions()), lambda: twin(RequestOptions(), True)),
    }
    for name, (mine, theirs) in cases.items():
        fast, slow = in_turn(3, mine, theirs)
        print(f"\n{name}: {num / min(fast):,.0f} requests/s of CPU, {ratio(slow, fast):.0f}× its SimPy twin", end="")
        assert ratio(slow, fast) > 2.0
