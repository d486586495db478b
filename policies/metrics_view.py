"""What monitoring has measured: the only window that scaling policies have on utilisation and queues."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from policies.errors import PolicyError
from policies.registry import nearest

# The names that every monitor uses, simulated or real, and what they mean.
METRICS = {
    "gpu_utilisation_frac": "busy share of the target's GPUs (held, times how busy the jobs keep them)",
    "gpu_allocation_frac": "held share of the target's GPUs",
    "gpu_memory_utilisation_frac": "share of the GPUs' memory that jobs use",
    "cpu_utilisation_frac": "share of the CPUs that jobs use",
    "memory_utilisation_frac": "share of the memory that jobs use",
    "network_utilisation_frac": "share of the inter-node bandwidth that jobs use",
    "queue_length": "jobs waiting",
    "queue_age_s": "how long the oldest waiting job has waited",
    "pending_gpus": "GPUs that waiting jobs ask for",
}

# The same of services; latencies are those of requests answered since the last sample, 0 where there was none.
SERVICE_METRICS = {
    "request_rate_per_s": "requests that arrived a second",
    "request_rate_per_replica_per_s": "the same a ready replica (all of it where there is none)",
    "concurrency": "requests waiting or being served",
    "concurrency_per_replica": "the same a ready replica (all of it where there is none)",
    "queue_length": "requests waiting",
    "gpu_utilisation_frac": "share of the ready replicas that serve a request",
    "latency_p50_s": "median time from arrival to the whole answer",
    "latency_p99_s": "its 99th percentile",
    "ttft_p99_s": "99th percentile of the time to the first token",
    "slo_attainment_frac": "share answered within the objective; 1 where none was",
    "pending_gpus": "GPUs that replicas wait for",
}


KEEP_S = 3600.0  # samples older than that are forgotten
AGE = "queue_age_s"


class Stretch(NamedTuple):
    """Samples that say the same, one or more; of several, number k was taken at k * `interval_s`."""

    last_s: float  # when the last of them was taken
    num: int
    first: int
    interval_s: float
    values: Mapping[str, float]
    head_s: float  # nan; else since when the oldest job has waited: the age of the queue grows from sample to sample

    @property
    def first_s(self) -> float:
        return self.last_s if self.num == 1 else self.first * self.interval_s


class MetricsView:
    """Samples by target (a pool or a service), oldest first; windows are averages over samples.

    With `is_whole` samples say all that has been, each standing until the next one: windows weigh by time then.
    """

    def __init__(self, keep_s: float = KEEP_S) -> None:
        self._keep_s = keep_s
        self.is_whole = False
        self.feed: Callable[[], None] | None = None  # adds what is there by now, before somebody looks
        self._stretches: dict[str, deque[Stretch]] = {}

    def add(self, target: str, time_s: float, values: Mapping[str, float]) -> None:
        """Records one sample; for the monitor."""
        if self.is_whole:
            known = self._stretches.get(target)
            if known and known[-1].last_s == time_s:
                known.pop()  # it was so for no time at all
        self.add_stretch(target, Stretch(time_s, 1, 0, 0.0, values, math.nan))

    def add_stretch(self, target: str, stretch: Stretch) -> None:
        """Records samples that say the same, at once."""
        known = self._stretches.setdefault(target, deque())
        known.append(stretch)
        while len(known) > 1 and known[1].first_s <= stretch.last_s - self._keep_s:
            known.popleft()

    def _kept(self, target: str) -> deque[Stretch] | None:
        if self.feed is not None:
            self.feed()
        return self._stretches.get(target)

    def _back(self, target: str, metric: str) -> Iterator[tuple[float, float]]:
        """(when, value) of all samples, newest first, back to the one that stood when those that are kept began."""
        known = self._kept(target)
        if not known:
            return
        since_s = known[-1].last_s - self._keep_s
        for last_s, num, first, interval_s, values, head_s in reversed(known):
            value, grows = _value(values, metric, target), metric == AGE and head_s == head_s
            for number in range(first + num - 1, first - 1, -1):
                time_s = last_s if num == 1 else number * interval_s
                yield time_s, time_s - head_s if grows else value
                if time_s <= since_s:
                    return

    def latest(self, target: str, metric: str) -> float | None:
        """The last value measured; None before the first sample."""
        return next((value for _, value in self._back(target, metric)), None)

    def newest_s(self, target: str) -> float | None:
        """When the last sample was taken; None before the first."""
        known = self._kept(target)
        return known[-1].last_s if known else None

    def interval_s(self, target: str) -> float | None:
        """How long it was from the last sample but one to the last; None before the second."""
        known = self._kept(target)
        if not known or (len(known) == 1 and known[0].num == 1):
            return None
        last = known[-1]
        return last.last_s - (known[-2].last_s if last.num == 1 else (last.first + last.num - 2) * last.interval_s)

    def mean(self, target: str, metric: str, since_s: float) -> float | None:
        """Mean of the samples taken after `since_s` (exclusive); None if there are none."""
        if self.is_whole:
            newest_s = self.newest_s(target)
            return None if newest_s is None else self._standing(target, metric, since_s, newest_s)
        values = [value for _, value in self.since(target, metric, since_s)]
        return sum(values) / len(values) if values else None

    def since(self, target: str, metric: str, since_s: float) -> list[tuple[float, float]]:
        """(when, value) of the samples taken after `since_s` (exclusive), oldest first."""
        found = []
        for sample in self._back(target, metric):
            if sample[0] <= since_s:
                break
            found.append(sample)
        return found[::-1]

    def points(self, target: str, metric: str, until_s: float, point_s: float, num: int) -> list[float | None]:
        """Means of `num` stretches of `point_s`, newest first, each without its beginning; None where nothing was.

        The newest ends at `until_s`.
        """
        if self.is_whole:
            ends_s = [until_s - i * point_s for i in range(num)]
            return [self._standing(target, metric, end_s - point_s, end_s) for end_s in ends_s]
        sums, counts = [0.0] * num, [0] * num
        for time_s, value in self._back(target, metric):
            if time_s > until_s:
                continue
            index = int((until_s - time_s) // point_s)
            if index >= num:
                break
            sums[index] += value
            counts[index] += 1
        return [total / count if count else None for total, count in zip(sums, counts, strict=True)]

    def since_within(self, target: str, metric: str, low: float, high: float, back_to_s: float) -> float | None:
        """Since when all samples lie within the bounds, both included; None: not now.

        Nobody looks further back than to the sample that stood at `back_to_s`.
        """
        since_s = None
        for time_s, value in self._back(target, metric):
            if not low <= value <= high:
                break
            since_s = time_s
            if time_s <= back_to_s:
                break
        return since_s

    def extremes(self, target: str, metric: str, since_s: float) -> tuple[float | None, float | None]:
        """(lowest, highest) value from `since_s` on, a sample standing until the next one.

        (None, None) unless measuring began by then.
        """
        values: list[float] = []
        for time_s, value in self._back(target, metric):
            values.append(value)
            if time_s <= since_s:
                return min(values), max(values)
        return None, None

    def _standing(self, target: str, metric: str, from_s: float, to_s: float) -> float | None:
        """The time-weighted mean of what stood from one time to another; None where nothing did."""
        total, weight_s, end_s, last = 0.0, 0.0, to_s, None
        for time_s, value in self._back(target, metric):
            if time_s > to_s:
                continue
            last = value
            if from_s >= to_s:
                break
            begin_s = max(time_s, from_s)
            total += value * (end_s - begin_s)
            weight_s, end_s = weight_s + (end_s - begin_s), begin_s
            if begin_s == from_s:
                break
        return total / weight_s if weight_s else last


def _value(sample: Mapping[str, float], metric: str, target: str) -> float:
    try:
        return sample[metric]
    except KeyError:
        why = nearest(metric, sample)
        if metric in SERVICE_METRICS and sample.keys() <= METRICS.keys():
            why = "it is one of inference services; of a pool there are " + ", ".join(METRICS)
        raise PolicyError(f"metric {metric!r} is not measured of {target!r}: {why}") from None
