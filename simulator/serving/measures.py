"""What monitoring measures of a service, from one sample to the next."""

from __future__ import annotations

import numpy as np

from policies import SERVICE_METRICS, ServiceView
from simulator.serving.model import ServingModel
from simulator.serving.outcome import Served
from simulator.serving.statistics import Objective

SHARED = frozenset({"request_rate_per_s", "concurrency", "queue_length", "pending_gpus"})  # totals, not averages


class Measures:
    """Gathers answers, and makes one sample of them."""

    def __init__(self, objective: Objective, has_tokens: bool) -> None:
        self._objective, self._has_tokens = objective, has_tokens
        self._answers: list[Served] = []
        self._since_s = 0.0
        self._num_arrived = self._num_failed = 0

    def add(self, served: Served) -> None:
        """Takes answers in."""
        if len(served):
            self._answers.append(served)

    def sample(self, now_s: float, model: ServingModel, view: ServiceView) -> dict[str, float]:
        """The metrics since the last sample, by the names and in the order of SERVICE_METRICS."""
        counts, ready = model.counts, view.num_ready
        lasted_s = now_s - self._since_s
        rate = (counts.arrived - self._num_arrived) / lasted_s if lasted_s else 0.0
        concurrency = float(model.num_waiting + model.num_in_service)
        failed = counts.rejected + counts.timed_out + counts.lost
        p50_s, p99_s, ttft_s, attained = self._latencies(failed - self._num_failed)
        self._since_s, self._num_arrived, self._num_failed = now_s, counts.arrived, failed
        values = {
            "request_rate_per_s": rate,
            "request_rate_per_replica_per_s": rate / max(1, ready),
            "concurrency": concurrency,
            "concurrency_per_replica": concurrency / max(1, ready),
            "queue_length": float(model.num_waiting),
            "gpu_utilisation_frac": min(1.0, model.num_busy / ready) if ready else 0.0,
            "latency_p50_s": p50_s,
            "latency_p99_s": p99_s,
            "ttft_p99_s": ttft_s,
            "slo_attainment_frac": attained,
            "pending_gpus": float(view.num_pending * view.gpus_per_unit),
        }
        assert list(values) == list(SERVICE_METRICS)
        return values

    def _latencies(self, num_failed: int) -> tuple[float, float, float, float]:
        """(latency p50, p99, TTFT p99, share in time) of the answers since the last sample."""
        answers, self._answers = self._answers, []
        if not answers:
            return 0.0, 0.0, 0.0, 0.0 if num_failed else 1.0
        of = answers[0] if len(answers) == 1 else Served.concat(answers)
        latency_s = of.finish_s - of.arrival_s
        first_s = of.first_s - of.arrival_s if self._has_tokens else None
        in_time = self._objective.met(latency_s, first_s)
        ttft_s = 0.0 if first_s is None else float(np.quantile(first_s, 0.99))
        p50_s, p99_s = np.quantile(latency_s, (0.5, 0.99)).tolist()
        return p50_s, p99_s, ttft_s, float(in_time.sum()) / (len(of) + num_failed)
