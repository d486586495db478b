"""The serving models told again as textbook SimPy models: a process a replica, a store of requests."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import simpy

from workloads.serving.batch_times import BatchTimes

Events = Generator[Any, Any, None]


class QueueTwin:
    """One queue, served in order; replicas come, and leave when they are next free (the one that is free first).

    Args:
        changes: (when, how many replicas from then on).
    """

    def __init__(self, arrival_s: np.ndarray, service_s: np.ndarray, changes: Sequence[tuple[float, int]]) -> None:
        self._arrival_s, self._service_s, self._changes = arrival_s, service_s, changes
        self._world = simpy.Environment()
        self._queue = simpy.Store(self._world)
        self._num, self._num_to_leave = 0, 0
        self._free_at: dict[simpy.Process, float] = {}
        self.finish_s = np.full(len(arrival_s), math.nan)

    def run(self) -> np.ndarray:
        self._world.process(self._arrive())
        self._world.process(self._scale())
        self._world.run()
        return self.finish_s

    def _arrive(self) -> Events:
        for number, time_s in enumerate(self._arrival_s.tolist()):
            yield self._world.timeout(time_s - self._world.now)
            self._queue.put(number)

    def _scale(self) -> Events:
        for when_s, count in self._changes:
            yield self._world.timeout(when_s - self._world.now)
            for _ in range(count - self._num):
                replica = self._world.process(self._replica())
                self._free_at[replica] = when_s
            for _ in range(self._num - count):
                first = min(self._free_at, key=self._free_at.__getitem__)
                if self._free_at.pop(first) <= when_s:
                    first.interrupt()  # it was waiting for a request
            self._num = count

    def _replica(self) -> Events:
        me = self._world.active_process
        while me in self._free_at:
            wish = self._queue.get()
            try:
                number = yield wish
            except simpy.Interrupt:
                wish.cancel()
                return
            service_s = float(self._service_s[number])
            self._free_at[me] = self._world.now + service_s
            yield self._world.timeout(service_s)
            self.finish_s[number] = self._world.now


class BatchTwin:
    """A fixed number of replicas that start a batch when it is full, or its first request has waited long enough."""

    def __init__(self, arrival_s: np.ndarray, times: BatchTimes, num_replicas: int) -> None:
        self._arrival_s, self._times = arrival_s, times
        self._world = simpy.Environment()
        self._queue: list[tuple[int, float]] = []
        self._num_free = num_replicas
        self.finish_s = np.full(len(arrival_s), math.nan)

    def run(self) -> np.ndarray:
        self._world.process(self._arrive())
        self._world.run()
        return self.finish_s

    def _arrive(self) -> Events:
        for number, time_s in enumerate(self._arrival_s.tolist()):
            yield self._world.timeout(time_s - self._world.now)
            self._queue.append((number, self._world.now))
            self._world.process(self._alarm(number))
            self._look()

    def _alarm(self, number: int) -> Events:
        yield self._world.timeout(self._times.max_wait_s)
        self._look(is_due=number)

    def _look(self, is_due: int = -1) -> None:
        times = self._times
        while self._num_free and self._queue:
            first, joined_s = self._queue[0]
            is_ripe = first == is_due or self._world.now - joined_s >= times.max_wait_s
            if len(self._queue) < times.max_batch and not is_ripe:
                return
            batch, self._queue = self._queue[: times.max_batch], self._queue[times.max_batch :]
            self._num_free -= 1
            self._world.process(self._serve([number for number, _ in batch]))

    def _serve(self, numbers: list[int]) -> Events:
        yield self._world.timeout(self._times.fixed_s + self._times.per_request_s * len(numbers))
        self.finish_s[numbers] = self._world.now
        self._num_free += 1
        self._look()
