"""What monitoring has measured: the only window that scaling policies have on utilisation and queues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

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
_NO_SAMPLES: deque[tuple[float, Mapping[str, float]]] = deque(maxlen=0)


class MetricsView:
    """Samples by target (a pool or a service), oldest first; windows are averages over samples.

    With `is_whole` samples say all that has been, each standing until the next one: windows weigh by time then.
    """

    def __init__(self, keep_s: float = KEEP_S) -> None:
        self._keep_s = keep_s
        self.is_whole = False
        self.feed: Callable[[], None] | None = None  # adds what is there by now, before somebody looks
        self._samples: dict[str, deque[tuple[float, Mapping[str, float]]]] = {}

    def add(self, target: str, time_s: float, values: Mapping[str, float]) -> None:
        """Records one sample; for the monitor."""
        samples = self._samples.setdefault(target, deque())
        if self.is_whole and samples and samples[-1][0] == time_s:
            samples.pop()  # it was so for no time at all
        samples.append((time_s, values))
        while len(samples) > 1 and samples[1][0] <= time_s - self._keep_s:  # the one that stood then stays
            samples.popleft()

    def _kept(self, target: str) -> deque[tuple[float, Mapping[str, float]]]:
        if self.feed is not None:
            self.feed()
        return self._samples.get(target) or _NO_SAMPLES

    def latest(self, target: str, metric: str) -> float | None:
        """The last value measured; None before the first sample."""
        samples = self._kept(target)
        return _value(samples[-1][1], metric, target) if samples else None

    def newest_s(self, target: str) -> float | None:
        """When the last sample was taken; None before the first."""
        samples = self._kept(target)
        return samples[-1][0] if samples else None

    def interval_s(self, target: str) -> float | None:
        """How long it was from the last sample but one to the last; None before the second."""
        samples = self._kept(target)
        return samples[-1][0] - samples[-2][0] if len(samples) > 1 else None

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
        for time_s, sample in reversed(self._kept(target)):
            if time_s <= since_s:
                break
            found.append((time_s, _value(sample, metric, target)))
        return found[::-1]

    def points(self, target: str, metric: str, until_s: float, point_s: float, num: int) -> list[float | None]:
        """Means of `num` stretches of `point_s`, newest first, each without its beginning; None where nothing was.

        The newest ends at `until_s`.
        """
        if self.is_whole:
            ends_s = [until_s - i * point_s for i in range(num)]
            return [self._standing(target, metric, end_s - point_s, end_s) for end_s in ends_s]
        sums, counts = [0.0] * num, [0] * num
        for time_s, sample in reversed(self._kept(target)):
            if time_s > until_s:
                continue
            index = int((until_s - time_s) // point_s)
            if index >= num:
                break
            sums[index] += _value(sample, metric, target)
            counts[index] += 1
        return [total / count if count else None for total, count in zip(sums, counts, strict=True)]

    def since_within(self, target: str, metric: str, low: float, high: float, back_to_s: float) -> float | None:
        """Since when all samples lie within the bounds, both included; None: not now.

        Nobody looks further back than to the sample that stood at `back_to_s`.
        """
        since_s = None
        for time_s, sample in reversed(self._kept(target)):
            if not low <= _value(sample, metric, target) <= high:
                break
            since_s = time_s
            if time_s <= back_to_s:
                break
        return since_s

    def extremes(self, target: str, metric: str, since_s: float) -> tuple[float | None, float | None]:
        """(lowest, highest) value from `since_s` on, a sample standing until the next one.

        (None, None) unless measuring began by then.
        """
        samples = self._kept(target)
        if not samples or samples[0][0] > since_s:
            return None, None
        values: list[float] = []
        for time_s, sample in reversed(samples):
            values.append(_value(sample, metric, target))
            if time_s <= since_s:
                break
        return min(values), max(values)

    def _standing(self, target: str, metric: str, from_s: float, to_s: float) -> float | None:
        """The time-weighted mean of what stood from one time to another; None where nothing did."""
        total, weight_s, end_s, value = 0.0, 0.0, to_s, None
        for time_s, sample in reversed(self._kept(target)):
            if time_s > to_s:
                continue
            value = _value(sample, metric, target)
            if from_s >= to_s:
                break
            begin_s = max(time_s, from_s)
            total += value * (end_s - begin_s)
            weight_s, end_s = weight_s + (end_s - begin_s), begin_s
            if begin_s == from_s:
                break
        return total / weight_s if weight_s else value


def _value(sample: Mapping[str, float], metric: str, target: str) -> float:
    try:
        return sample[metric]
    except KeyError:
        raise PolicyError(f"metric {metric!r} is not measured of {target!r}: {nearest(metric, sample)}") from None
