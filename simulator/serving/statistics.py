"""What a service is measured by: latencies, and how many requests were answered in time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.errors import ConfigError
from simulator.serving.heat import HeatMap
from simulator.serving.histogram import LatencyHistogram
from simulator.serving.outcome import Counts, Served


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A service-level objective.

    Args:
        latency_s: a request is in time if its last token, or its answer, comes within it ...
        ttft_s: ... and its first token within this.
        target_frac: the share of requests that should be in time; a minute with less is one in violation.
    """

    latency_s: float = math.inf
    ttft_s: float = math.inf
    target_frac: float = 0.99

    def __post_init__(self) -> None:
        rules = {
            "latency_s": (self.latency_s > 0, "must be more than 0"),
            "ttft_s": (self.ttft_s > 0, "must be more than 0"),
            "target_frac": (0 < self.target_frac <= 1, "must be above 0, and 1 at most"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ConfigError(f"service.slo.{name}={getattr(self, name)}: {rule}")

    def met(self, latency_s: np.ndarray, ttft_s: np.ndarray | None) -> np.ndarray:
        """Whether each request was in time; shape (N,). None: answers without tokens."""
        in_time = latency_s <= self.latency_s
        if ttft_s is not None:
            in_time &= ttft_s <= self.ttft_s
        return in_time


class ServiceStatistics:
    """Counts of one service, gathered as requests are answered.

    By minute of arrival: requests answered, and answered in time; latencies, and times to first token, in coarse bins.
    Requests that were rejected, gave up or were lost count as not in time, in the minute in which that was booked.

    Args:
        has_tokens: whether time to first token and time per output token mean something.
    """

    def __init__(self, objective: Objective, has_tokens: bool) -> None:
        self._objective = objective
        self.latency, self.ttft, self.per_token = LatencyHistogram(), LatencyHistogram(), LatencyHistogram()
        self.has_tokens = has_tokens
        self.num_in_time = 0
        self.answered = np.zeros(0, np.int64)  # by minute; or failed
        self.in_time = np.zeros(0, np.int64)  # likewise, up to the last minute with one in time
        self.heat, self.ttft_heat = HeatMap(), HeatMap()
        self._failed = 0  # booked so far

    def add(self, served: Served) -> None:
        """Takes answers in."""
        if not len(served):
            return
        latency_s = served.finish_s - served.arrival_s
        ttft_s = served.first_s - served.arrival_s if self.has_tokens else None
        in_time = self._objective.met(latency_s, ttft_s)
        self.latency.add(latency_s)
        if ttft_s is not None:
            self.ttft.add(ttft_s)
            self.ttft_heat.add(served.arrival_s, ttft_s)
            more = served.output_tokens > 1
            took_s = (served.finish_s - served.first_s)[more]
            self.per_token.add(took_s / (served.output_tokens[more] - 1))
        self.num_in_time += int(in_time.sum())
        minutes = (served.arrival_s / 60.0).astype(np.int64)
        self.answered = _added(self.answered, minutes)
        self.in_time = _added(self.in_time, minutes[in_time])
        self.heat.add(served.arrival_s, latency_s)

    def book_failures(self, counts: Counts, now_s: float) -> None:
        """Takes in what has become of requests that were not answered, so far."""
        failed = counts.rejected + counts.timed_out + counts.lost
        if failed > self._failed:
            more = np.full(failed - self._failed, int(now_s / 60.0))
            self.answered = _added(self.answered, more)
            self._failed = failed

    def merge(self, other: ServiceStatistics) -> None:
        """Takes in what another has of requests with the same objective; the maps over time aside."""
        self.latency.merge(other.latency)
        self.ttft.merge(other.ttft)
        self.per_token.merge(other.per_token)
        self.num_in_time += other.num_in_time
        self.answered = _sum(self.answered, other.answered)
        self.in_time = _sum(self.in_time, other.in_time)
        self._failed += other._failed

    @property
    def attainment_frac(self) -> float:
        """In time, of all whose fate is known; nan of none."""
        settled = self.latency.num + self._failed
        return self.num_in_time / settled if settled else math.nan

    @property
    def minutes_in_violation(self) -> int:
        """Minutes in which fewer than the target were in time."""
        answered, in_time = self.by_minute()
        return int(((answered > 0) & (in_time < self._objective.target_frac * answered)).sum())

    def by_minute(self) -> tuple[np.ndarray, np.ndarray]:
        """(requests answered or failed, of these answered in time), by minute; shape (M,) each."""
        in_time = np.zeros(len(self.answered), np.int64)
        in_time[: len(self.in_time)] = self.in_time
        return self.answered, in_time

    def summary(self, counts: Counts) -> dict[str, Any]:
        """As summary.json has it; nan where there is none."""
        told: dict[str, Any] = {
            "num_requests": counts.arrived,
            "num_served": counts.served,
            "num_rejected": counts.rejected,
            "num_timed_out": counts.timed_out,
            "num_lost": counts.lost,
            "num_retries": counts.retried,
            "num_in_flight": counts.in_flight,
            **_spread("latency", self.latency),
        }
        if self.has_tokens:
            told |= {**_spread("ttft", self.ttft), **_spread("time_per_output_token", self.per_token)}
            told |= {"num_prompt_tokens": counts.prompt_tokens, "num_output_tokens": counts.output_tokens}
        return told | {
            "slo_attainment_frac": self.attainment_frac,
            "slo_minutes_in_violation": self.minutes_in_violation,
        }


def merged(parts: Sequence[ServiceStatistics]) -> ServiceStatistics:
    """Of several services with the same objective, as if they were one."""
    first = parts[0]
    whole = ServiceStatistics(first._objective, first.has_tokens)
    for part in parts:
        whole.merge(part)
    return whole


def _spread(name: str, of: LatencyHistogram) -> dict[str, float]:
    quantiles = {f"p{100 * share:g}".replace(".", "_"): of.quantile_s(share) for share in (0.5, 0.9, 0.95, 0.99, 0.999)}
    values = {"mean": of.mean_s, **quantiles, "max": of.max_s if of.num else math.nan}
    return {f"{name}_{what}_s": value for what, value in values.items()}


def _sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of two that may differ in length; what one lacks is 0."""
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    total = longer.copy()
    total[: len(shorter)] += shorter
    return total


def _added(counts: np.ndarray, at: np.ndarray) -> np.ndarray:
    """`counts` with one more at each place of `at`; longer where need be."""
    more = np.bincount(at, minlength=len(counts))
    more[: len(counts)] += counts
    return more
