"""What monitoring has measured: the only window that scaling policies have on utilisation and queues."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

# The names that every monitor uses, simulated or real, and what they mean.
METRICS = {
    "gpu_utilisation_frac": "busy share of the target's GPUs (held, times how busy the jobs keep them)",
    "gpu_allocation_frac": "held share of the target's GPUs",
    "cpu_utilisation_frac": "share of the CPUs that jobs use",
    "memory_utilisation_frac": "share of the memory that jobs use",
    "network_utilisation_frac": "share of the inter-node bandwidth that jobs use",
    "queue_length": "jobs waiting",
    "queue_age_s": "how long the oldest waiting job has waited",
    "pending_gpus": "GPUs that waiting jobs ask for",
}


KEEP_S = 3600.0  # samples older than that are forgotten


class MetricsView:
    """Samples by target (a pool or a service), oldest first; windows are averages over samples."""

    def __init__(self, keep_s: float = KEEP_S) -> None:
        self._keep_s = keep_s
        self._samples: dict[str, deque[tuple[float, Mapping[str, float]]]] = {}

    def add(self, target: str, time_s: float, values: Mapping[str, float]) -> None:
        """Records one sample; for the monitor."""
        samples = self._samples.setdefault(target, deque())
        samples.append((time_s, values))
        while len(samples) > 1 and samples[1][0] <= time_s - self._keep_s:  # the one that stood then stays
            samples.popleft()

    def latest(self, target: str, metric: str) -> float | None:
        """The last value measured; None before the first sample."""
        samples = self._samples.get(target)
        return samples[-1][1][metric] if samples else None

    def mean(self, target: str, metric: str, since_s: float) -> float | None:
        """Mean of the samples taken after `since_s` (exclusive); None if there are none."""
        values = [values[metric] for time_s, values in self._samples.get(target, ()) if time_s > since_s]
        return sum(values) / len(values) if values else None

    def extremes(self, target: str, metric: str, since_s: float) -> tuple[float | None, float | None]:
        """(lowest, highest) value from `since_s` on, a sample standing until the next one.

        (None, None) unless measuring began by then.
        """
        samples = self._samples.get(target)
        if not samples or samples[0][0] > since_s:
            return None, None
        values: list[float] = []
        for time_s, sample in reversed(samples):
            values.append(sample[metric])
            if time_s <= since_s:
                break
        return min(values), max(values)
