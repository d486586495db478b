"""What a service did over time, from the records of its run: load, replicas, latencies, minutes in violation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from simulator.run import Run
from simulator.serving.heat import HEAT_BINS, HEAT_S, heat_edges_s
from simulator.timeline import Steps
from workloads.statistics import DAY_S, HOUR_S

_WIDTHS_S = (
    *(HEAT_S, 120.0, 300.0, 600.0, 900.0, 1800.0, HOUR_S, 2 * HOUR_S, 3 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S),
    *(DAY_S, 7 * DAY_S, 28 * DAY_S, 364 * DAY_S),
)
_MOST_BUCKETS, _FEWEST_BUCKETS = 240, 12
ENOUGH = 20  # requests in a bucket, for its percentiles to mean something


@dataclass(frozen=True)
class ServiceHistory:
    """One service over time; minutes are those in which requests came.

    Args:
        objective: latency_s, ttft_s (inf: none) and target_frac.
        sampled_s, num_arrived: requests that had come by each sample of monitoring; shape (S,).
        ready, starting, pending, draining: replicas: that take requests; that have GPUs and don't serve yet; that wait
            for GPUs; that serve what they have left.
        heat: by metric (latency, and ttft where there are tokens): requests by minute and bin of time; shape
            (M, HEAT_BINS).
        violated_s: when minutes in violation begin; shape (V,).
        until_s: where a time axis ends: with the last minute in which requests came or failed.
    """

    name: str
    objective: Mapping[str, float]
    sampled_s: np.ndarray
    num_arrived: np.ndarray
    ready: Steps
    starting: Steps
    pending: Steps
    draining: Steps
    heat: Mapping[str, np.ndarray]
    violated_s: np.ndarray
    until_s: float

    @classmethod
    def of(cls, run: Run, name: str, index: int, slo: Mapping[str, Any]) -> ServiceHistory:
        """From the tables service_metrics, replicas, latency_heat and slo_minutes.

        Args:
            index: its place in the configuration.
            slo: as summary.json has it: None where there is no limit.
        """
        objective = {what: math.inf if limit is None else float(limit) for what, limit in slo.items()}
        samples = run.columns("service_metrics", "service", "time_s", "request_rate_per_s")
        mine = samples["service"] == index
        sampled_s = samples["time_s"][mine]
        num_arrived = (samples["request_rate_per_s"][mine] * np.diff(sampled_s, prepend=0.0)).cumsum()
        minutes = run.columns("slo_minutes", "service", "from_s", "num_settled", "num_in_time")
        mine = minutes["service"] == name
        from_s, settled, in_time = (minutes[column][mine] for column in ("from_s", "num_settled", "num_in_time"))
        end_s = float(run.facts["end_s"])
        over_s = max(float(from_s.max(initial=0.0)) + HEAT_S, _last_rise_s(sampled_s, num_arrived))
        return cls(
            name,
            objective,
            sampled_s,
            num_arrived,
            *_replicas(run, name, end_s),
            _heat(run, name),
            from_s[in_time < objective["target_frac"] * settled],
            min(end_s, over_s),
        )

    def edges_s(self, enough: int = ENOUGH) -> np.ndarray:
        """Of equal buckets, from 0 to the end of the last minute; a short rest at the end goes with the last.

        Args:
            enough: requests that there should be in a bucket; there are at most 240, and 12 if there can be as many.
        """
        wanted_s = self.until_s / _MOST_BUCKETS
        num = float(self.num_arrived[-1]) if len(self.num_arrived) else 0.0
        wanted_s = max(wanted_s, min(self.until_s * enough / max(num, 1.0), self.until_s / _FEWEST_BUCKETS))
        width_s = next((width_s for width_s in _WIDTHS_S if width_s >= wanted_s), _WIDTHS_S[-1])
        edges_s = width_s * np.arange(max(1, math.floor(self.until_s / width_s + 0.75)) + 1)
        edges_s[-1] = HEAT_S * max(1, math.ceil(self.until_s / HEAT_S - 1e-9))
        return edges_s

    def load_per_s(self, edges_s: np.ndarray) -> np.ndarray:
        """Requests a second in each bucket, or the part of it before the end."""
        lasts_s = np.diff(np.minimum(edges_s, max(self.until_s, 1e-9)))
        return np.diff(np.interp(edges_s, self.sampled_s, self.num_arrived)) / lasts_s

    def heat_in(self, metric: str, edges_s: np.ndarray) -> np.ndarray:
        """Requests by bucket and bin of time; shape (len(edges_s) − 1, HEAT_BINS)."""
        counts = self.heat[metric]
        sums = np.zeros((len(edges_s) - 1, HEAT_BINS), np.int64)
        bucket = (np.arange(len(counts)) * HEAT_S).searchsorted(edges_s)
        for k, (begin, end) in enumerate(pairwise(bucket)):
            sums[k] = counts[begin:end].sum(axis=0)
        return sums

    def quantiles_s(self, metric: str, edges_s: np.ndarray, *shares: float) -> list[np.ndarray]:
        """What these shares of the requests of each bucket lie at or below; nan where there are none."""
        return [quantile_s(self.heat_in(metric, edges_s), share) for share in shares]


def quantile_s(counts: np.ndarray, share: float) -> np.ndarray:
    """By row of counts in bins of the heat map; a bin's requests are taken to be spread evenly over its logarithm."""
    edges_s = heat_edges_s()
    total = counts.cumsum(axis=1)
    rank = share * total[:, -1]
    row = np.arange(len(counts))
    column = np.minimum((total < rank[:, None]).sum(axis=1), counts.shape[1] - 1)
    inside = counts[row, column]
    before = total[row, column] - inside
    part = (rank - before) / np.maximum(inside, 1)
    quantile = edges_s[column] * (edges_s[column + 1] / edges_s[column]) ** part
    return np.where(total[:, -1] > 0, quantile, math.nan)


def _last_rise_s(time_s: np.ndarray, count: np.ndarray) -> float:
    rises = np.diff(count, prepend=0.0).nonzero()[0]
    return float(time_s[rises[-1]]) if len(rises) else 0.0


def _replicas(run: Run, name: str, end_s: float) -> tuple[Steps, Steps, Steps, Steps]:
    of = run.columns("replicas", "service", "requested_s", "allocated_s", "ready_s", "drain_s", "end_s")
    mine = of["service"] == name
    requested_s, allocated_s, ready_s, drain_s, ended_s = (
        of[column][mine] for column in ("requested_s", "allocated_s", "ready_s", "drain_s", "end_s")
    )
    until_s = np.where(ended_s >= end_s, math.inf, ended_s)  # those that the run's end found

    def between(begin_s: np.ndarray, *ends_s: np.ndarray) -> Steps:
        first_s = np.fmin.reduce(ends_s)  # nan: never
        kept = ~np.isnan(begin_s) & (first_s > begin_s)
        left = kept & np.isfinite(first_s)
        change = np.concatenate([np.ones(kept.sum()), -np.ones(left.sum())])
        return Steps.of(np.concatenate([begin_s[kept], first_s[left]]), change)

    return (
        between(ready_s, drain_s, until_s),
        between(allocated_s, ready_s, until_s),
        between(requested_s, allocated_s, until_s),
        between(drain_s, until_s),
    )


def _heat(run: Run, name: str) -> dict[str, np.ndarray]:
    table = run.columns("latency_heat", "service", "metric", "from_s", "seconds", "num_requests")
    mine = table["service"] == name
    row = (table["from_s"][mine] / HEAT_S).astype(np.int64)
    column = heat_edges_s().searchsorted(table["seconds"][mine]) - 1
    metric, count = table["metric"][mine], table["num_requests"][mine]
    shape = (int(row.max(initial=-1)) + 1, HEAT_BINS)
    heat = {}
    for each in dict.fromkeys(metric.tolist()):
        heat[each] = np.zeros(shape, np.int64)
        of = metric == each
        heat[each][row[of], column[of]] = count[of]
    return heat
