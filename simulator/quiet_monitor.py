"""Monitoring without events: samples are filled in once it is known that nothing has happened in between.

The same samples at the same times as `Monitor` takes; what stays alike from one to the next is read once, and kept as a
run (tests/simulator/test_quiet.py holds it against `Monitor`, tests/benchmarks/test_loops.py says what it is worth).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from policies import METRICS
from policies.metrics_view import KEEP_S, Stretch
from simulator.monitor import Monitor
from simulator.readings import AGE_COLUMN, Pools, Reading

_MOST_NUMBERS = 1 << 19  # of runs, before they become rows


class QuietMonitor(Monitor):
    """Samples every pool as it is at that moment. Runs only under a `Watch`, which says when time passes."""

    def _begin(self) -> None:
        self._interval_s = self._options.interval_s
        self._num_kept = (
            math.ceil((KEEP_S + self._options.delay_s) / self._interval_s) + 3
        )  # samples that may be asked for
        self._next_s = 0.0  # of the next sample
        self._runs: list[float] = []  # laid end to end: first sample, how many, and the reading's numbers
        self._unseen: deque[tuple[int, int, Reading]] = deque()  # (first, behind the last, ...) not yet for policies
        self._view.metrics.feed = self._deliver

    def close(self, end_s: float) -> dict[str, pa.Table]:
        self.catch_up(end_s)
        self._write()
        return super().close(end_s)

    def look(self) -> float:
        if self._next_s <= self._clock._now and not self._clock.stopped:
            reading = self._readings.now()
            assert self.watch is not None
            self.watch.see(self._next_s + self._options.delay_s, reading.at(self._next_s))
            self._take(reading, self._ticks + 1)
        return self._next_s

    def catch_up(self, until_s: float) -> float:
        """Takes the samples before `until_s`, or before the decision that one of them brings about."""
        if self._next_s >= until_s:
            return self._next_s
        reading, watch, delay_s = self._readings.now(), self.watch, self._options.delay_s
        assert watch is not None
        if watch.is_needed:
            if watch.heeds_age and reading.head_s == reading.head_s:
                while self._next_s < until_s:  # one by one: each finds another age
                    until_s = min(until_s, watch.see(self._next_s + delay_s, reading.at(self._next_s)))
                    if self._next_s < until_s:
                        self._take(reading, self._ticks + 1)
                return self._next_s
            until_s = min(until_s, watch.see(self._next_s + delay_s, reading.pools))
            if until_s <= self._next_s:
                return self._next_s
        self._take(reading, self._num_before(until_s))
        return self._next_s

    def on_their_way(self) -> Iterable[Pools]:
        interval_s, delay_s, now_s = self._options.interval_s, self._options.delay_s, self._clock._now
        for first, end, reading in reversed(self._unseen):
            last_s = (end - 1) * interval_s
            if last_s + delay_s <= now_s:
                return
            yield reading.at(last_s)
            yield reading.at(max(now_s - delay_s, first * interval_s))

    def _num_before(self, time_s: float) -> int:
        """How many samples come before a time."""
        interval_s = self._interval_s
        num = math.ceil(time_s / interval_s)  # one too many or too few, maybe, by rounding
        while (num - 1) * interval_s >= time_s:
            num -= 1
        while num * interval_s < time_s:
            num += 1
        return num

    def _take(self, reading: Reading, end: int) -> None:
        """The samples from the next one to the one before number `end` all say the same."""
        first, self._ticks = self._ticks, end
        self._next_s = end * self._interval_s
        runs, unseen = self._runs, self._unseen
        runs += (first, end - first, reading.head_s)
        for values in reading.pools:
            runs += values
        if len(runs) > _MOST_NUMBERS:
            self._write()
        unseen.append((first, end, reading))
        if unseen[0][1] < end - self._num_kept:
            unseen.popleft()  # and soon the next one: more than one a time is not needed

    def _deliver(self) -> None:
        """Somebody looks: gives what policies may see by now."""
        unseen, interval_s, delay_s = self._unseen, self._interval_s, self._options.delay_s
        now_s = self._clock._now
        while unseen and unseen[0][0] * interval_s + delay_s <= now_s:
            first, end, reading = unseen.popleft()
            seen = end
            while (seen - 1) * interval_s + delay_s > now_s:
                seen -= 1
            self._give(first, seen, reading)
            if seen < end:
                unseen.appendleft((seen, end, reading))
                return

    def _give(self, first: int, end: int, reading: Reading) -> None:
        interval_s = self._interval_s
        for name, numbers in zip(self._names, reading.pools, strict=True):
            values = dict(zip(METRICS, numbers, strict=True))
            last_s = (end - 1) * interval_s
            if reading.head_s == reading.head_s:
                values["queue_age_s"] = last_s - reading.head_s
            stretch = Stretch(last_s, end - first, first, interval_s, values, reading.head_s)
            self._view.metrics.add_stretch(name, stretch)

    def _write(self) -> None:
        """Turns the runs so far into rows."""
        num_pools, num_metrics = len(self._names), len(METRICS)
        runs = np.array(self._runs).reshape(-1, 3 + num_pools * num_metrics)
        self._runs.clear()
        if not len(runs):
            return
        counts = runs[:, 1].astype(np.int64)
        samples = np.arange(runs[0, 0], runs[0, 0] + counts.sum())  # without gaps
        time_s = (samples * self._options.interval_s).repeat(num_pools)
        age_s = time_s - runs[:, 2].repeat(counts).repeat(num_pools)
        by_metric = np.ascontiguousarray(runs[:, 3:].reshape(-1, num_pools, num_metrics).transpose(2, 0, 1))
        columns = [values.repeat(counts, axis=0).ravel() for values in by_metric]
        columns[AGE_COLUMN] = np.where(np.isnan(age_s), 0.0, age_s)
        self._recorder.metrics.write([time_s, np.tile(np.arange(num_pools), len(samples)), *columns])
