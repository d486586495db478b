"""Monitoring: what a scaling policy sees is sampled, averaged and late, as in life; or perfect, for the theorist."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import pyarrow as pa

from policies import METRICS, ClusterView
from simulator.clock import SAMPLE, Call, Clock
from simulator.cluster import Cluster
from simulator.errors import ConfigError
from simulator.pools import PoolSpec
from simulator.readings import Pools, Reading, Readings
from simulator.records import Recorder
from simulator.unit_samples import UnitSamples
from simulator.usage import Usage
from simulator.window import Window
from workloads import JobTable


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """What policies see of the cluster, and when.

    Args:
        interval_s: between two samples of each pool.
        delay_s: policies see a sample so much later.
        window_s: a sample is the mean over the time just past; 0: as it is at that moment.
        perfect: policies see the cluster as it is whenever they look, and its whole past; none of the above counts.
        nodes, jobs: samples of each node, of each job, are recorded too (`unit_samples`).
    """

    interval_s: float = 60.0
    delay_s: float = 0.0
    window_s: float = 0.0
    perfect: bool = False
    nodes: bool = False
    jobs: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.interval_s < math.inf:
            raise ConfigError(f"monitor.interval_s={self.interval_s}: must be a number of seconds, more than 0")
        for name in ("delay_s", "window_s"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"monitor.{name}={value}: must be a number of seconds, 0 or more")
            if value and self.perfect:
                raise ConfigError(f"monitor.{name}={value}: a perfect monitor has none; must be 0 with monitor=perfect")


class Watching(Protocol):
    """Who is told of each sample when it is taken."""

    @property
    def is_needed(self) -> bool:
        """Whether anybody has to be told at present."""
        ...

    @property
    def heeds_age(self) -> bool:
        """Whether the age of the queue matters."""
        ...

    def see(self, seen_s: float, pools: Pools) -> float:
        """Policies will see a sample of these values at `seen_s`; returns when that brings a decision; inf: none."""
        ...


class Monitor:
    """Measures every pool, into the view's metrics and the records, by an event at each sample."""

    def __init__(
        self,
        clock: Clock,
        cluster: Cluster,
        table: JobTable,
        pools: Mapping[str, PoolSpec],
        recorder: Recorder,
        options: MonitorOptions,
    ) -> None:
        self._clock, self._cluster, self._names = clock, cluster, list(pools)
        self._view, self._recorder, self._options = cluster.view(), recorder, options
        self._usage = Usage(table, self._names, self._view.nodes)
        if self._usage.is_needed or options.nodes or options.jobs:
            cluster.usage = self._usage
        self._readings = Readings(cluster, self._usage, pools)
        self._units = UnitSamples(cluster, self._usage, pools, recorder.folder, options.nodes, options.jobs)
        self._window = Window(options.window_s) if options.window_s else None
        self._seen: tuple[float, Reading] | None = None  # the last one of a perfect monitor
        self._late: deque[tuple[float, Pools]] = deque()  # (when policies see it, a sample)
        self._num_late = 0  # deliveries that are to come
        self._ticks = 0
        self._call = Call(self._tick)
        self._view.metrics.is_whole = options.perfect
        self.watch: Watching | None = None  # who wants to know of each sample
        self._begin()

    def _begin(self) -> None:
        if not self._options.perfect:
            self._clock.call_at(0.0, self._call, SAMPLE)

    def close(self, end_s: float) -> dict[str, pa.Table]:
        """The run is over; the tables that are its own, see `UnitSamples.close`."""
        return self._units.close()

    def on_their_way(self) -> Iterable[Pools]:
        """Samples that have been taken, and that policies don't see yet: all of them, or what they lie between."""
        while self._late and self._late[0][0] <= self._clock._now:
            self._late.popleft()
        return [pools for _, pools in self._late]

    # ---- time
    def catch_up(self, until_s: float) -> float:
        """Time goes on to `until_s`, and what is now holds until then; returns before what time to tell it again."""
        if self._window:
            self._window.add(self._clock.now, self._readings.now())
        if self._options.perfect and (self._seen is None or self._seen[1] != self._readings.now()):
            self._look()
        return self._told_again_s(until_s)

    def look(self) -> float:
        """A decision is about to be made; returns before what time to tell it again."""
        if self._options.perfect:
            self._look()
        return self._told_again_s(self._clock.now)

    def _told_again_s(self, next_s: float) -> float:
        return next_s if self._window or self._options.perfect else math.inf

    def _tick(self) -> None:
        now_s, delay_s = self._clock.now, self._options.delay_s
        samples = self._sample(self._cluster.view())
        for index, (name, values) in enumerate(samples.items()):
            self._record(now_s, index, values)
            if delay_s:
                self._num_late += 1
                self._clock.call_at(now_s + delay_s, Call(partial(self._deliver_late, name, now_s, values)), SAMPLE)
            else:
                self._view.metrics.add(name, now_s, values)
        if self.watch is not None:
            pools = tuple(tuple(values.values()) for values in samples.values())
            self.watch.see(now_s + delay_s, pools)
            if delay_s:
                self._late.append((now_s + delay_s, pools))
        self._units.take(now_s)
        self._ticks += 1  # a product, not a running sum: no drift
        if len(self._clock._queue) > self._num_late:  # else nothing is to come, and sampling is no reason to go on
            self._clock.call_at(self._ticks * self._options.interval_s, self._call, SAMPLE)

    def _deliver_late(self, name: str, time_s: float, values: Mapping[str, float]) -> None:
        self._num_late -= 1
        self._view.metrics.add(name, time_s, values)

    # ---- samples
    def _sample(self, view: ClusterView) -> dict[str, dict[str, float]]:
        """What is measured of each pool, by metric."""
        reading = self._readings.now()
        if self._window:
            self._window.add(view.now_s, reading)
            pools = self._window.mean(view.now_s)
        else:
            pools = reading.at(view.now_s)
        return {name: dict(zip(METRICS, values, strict=True)) for name, values in zip(self._names, pools, strict=True)}

    def _record(self, time_s: float, pool: int, values: Mapping[str, float]) -> None:
        self._recorder.metrics.numbers.extend((time_s, pool, *values.values()))
        if self._recorder.metrics.is_full:
            self._recorder.metrics.flush()

    def _look(self) -> None:
        """Of a perfect monitor: adds how it is, unless that is known."""
        now_s, reading = self._clock.now, self._readings.now()
        if self._seen == (now_s, reading):
            return
        self._seen = now_s, reading
        for index, (name, values) in enumerate(self._sample(self._cluster.view()).items()):
            self._record(now_s, index, values)
            self._view.metrics.add(name, now_s, values)
        self._units.take(now_s)
