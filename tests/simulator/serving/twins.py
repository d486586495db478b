"""The serving models told again as textbook SimPy models: a process a replica, a store of requests."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from simulator.serving.model import RequestOptions

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


@dataclass
class _Replica:
    """What the twin knows of a replica."""

    number: int
    queue: list[tuple[int, float]]  # (request, joined), shared where there is one queue for all
    free_s: float
    batch: list[int] = field(default_factory=list)  # being served
    work: simpy.Process | None = None
    is_open: bool = True  # a request may be sent to it
    is_done: bool = False  # takes nothing from its queue


class ServiceTwin:
    """Queues, batches and balancers, replicas that come, are drained and killed, requests that are told to go, give up
    and come again; a process for each alarm and each batch.

    Args:
        size, wait_s: a batch starts when so many wait, or the first of them for so long.
        time_s: of a batch of requests, by their numbers.
        script: (when, add | drain | kill, replica).
        draws: of power_of_two.
        is_anonymous: a drain takes the replica that is free first, a kill the one at a rank by when they are free.
    """

    def __init__(
        self,
        arrival_s: np.ndarray,
        options: RequestOptions,
        time_s: Callable[[Sequence[int]], float],
        script: Sequence[tuple[float, str, int]],
        size: int = 1,
        wait_s: float = 0.0,
        draws: np.random.Generator | None = None,
        is_anonymous: bool = False,
    ) -> None:
        self._arrival_s, self._options, self._time_s, self._script = arrival_s, options, time_s, script
        self._size, self._wait_s, self._draws, self._is_anonymous = size, wait_s, draws, is_anonymous
        self._world = simpy.Environment()
        self._replicas: dict[int, _Replica] = {}  # in order of their coming
        self._lobby: list[tuple[int, float]] = []
        self._turn = 0
        self._tries = np.zeros(len(arrival_s), int)
        self.start_s, self.finish_s = np.full((2, len(arrival_s)), math.nan)
        self.fate = np.full(len(arrival_s), "in flight", object)
        self.retried = 0

    def run(self) -> None:
        self._world.process(self._arrive())
        self._world.process(self._scale())
        self._world.run()

    # ---- requests
    def _arrive(self) -> Events:
        for number, time_s in enumerate(self._arrival_s.tolist()):
            yield self._world.timeout(time_s - self._world.now)
            self._come(number)

    def _come(self, number: int) -> None:
        queue, limit = self._choose(), self._options.queue_limit
        starts_now = self._idle(queue) and len(queue) < self._size
        if limit is not None and len(queue) >= limit and not starts_now:
            self._fail(number, "rejected")
            return
        queue.append((number, self._world.now))
        self._world.process(self._alarm(number, self._world.now))
        self._look(queue)

    def _choose(self) -> list[tuple[int, float]]:
        open_ = [replica for replica in self._replicas.values() if replica.is_open]
        if self._options.balancer == "least_loaded" or not open_:
            return self._lobby
        if self._options.balancer == "round_robin" or len(open_) == 1:
            self._turn += 1
            return open_[(self._turn - 1) % len(open_)].queue
        assert self._draws
        a, b = (open_[k] for k in self._draws.choice(len(open_), 2, replace=False))
        return a.queue if len(a.queue) + len(a.batch) <= len(b.queue) + len(b.batch) else b.queue

    def _alarm(self, number: int, joined_s: float) -> Events:
        for wait_s in sorted({self._wait_s, self._options.timeout_s} - {math.inf}):
            yield self._world.timeout(max(0.0, joined_s + wait_s - self._world.now))
            for queue in (self._lobby, *(replica.queue for replica in self._replicas.values())):
                if (number, joined_s) in queue:
                    self._look(queue, is_due=number)
                    if wait_s == self._options.timeout_s and (number, joined_s) in queue:
                        queue.remove((number, joined_s))
                        self._fail(number, "timed_out")
                    break

    def _fail(self, number: int, how: str) -> None:
        if self._tries[number] < self._options.retries:
            self._world.process(self._again(number, self._options.delay_s(int(self._tries[number]))))
            self._tries[number] += 1
            self.retried += 1
        else:
            self.fate[number] = how

    def _again(self, number: int, delay_s: float) -> Events:
        yield self._world.timeout(delay_s)
        self._come(number)

    # ---- service
    def _idle(self, queue: list[tuple[int, float]]) -> list[_Replica]:
        idle = [each for each in self._replicas.values() if each.queue is queue and not each.batch and not each.is_done]
        return sorted(idle, key=lambda each: (each.free_s, each.number))

    def _look(self, queue: list[tuple[int, float]], is_due: int = -1) -> None:
        while queue and (idle := self._idle(queue)):
            first, joined_s = queue[0]
            is_ripe = first == is_due or self._world.now - joined_s >= self._wait_s
            if len(queue) < self._size and not is_ripe:
                return
            idle[0].batch = [number for number, _ in queue[: self._size]]
            del queue[: self._size]
            idle[0].work = self._world.process(self._serve(idle[0]))

    def _serve(self, replica: _Replica) -> Events:
        self.start_s[replica.batch] = self._world.now
        duration_s = self._time_s(replica.batch)
        replica.free_s = self._world.now + duration_s
        try:
            yield self._world.timeout(duration_s)
        except simpy.Interrupt:
            return
        self.finish_s[replica.batch] = self._world.now
        self.fate[replica.batch] = "served"
        replica.batch = []
        self._look(replica.queue)

    # ---- replicas
    def _scale(self) -> Events:
        for when_s, what, number in self._script:
            yield self._world.timeout(when_s - self._world.now)
            if what == "add":
                is_central = self._options.balancer == "least_loaded"
                queue = self._lobby
                if not is_central:
                    queue, self._lobby = self._lobby, []
                self._replicas[number] = _Replica(number, queue, when_s)
                self._look(queue)
            else:
                getattr(self, f"_{what}")(number)

    def _drain(self, number: int) -> None:
        replica = self._replicas[number]
        if self._is_anonymous:
            replica = min((each for each in self._replicas.values() if each.is_open), key=lambda each: each.free_s)
            self._swap(replica, number)
        replica.is_open = False
        replica.is_done = self._options.balancer == "least_loaded"

    def _kill(self, number: int) -> None:
        replica = self._replicas[number]
        if self._is_anonymous and replica.is_open:
            by_time = sorted((each for each in self._replicas.values() if each.is_open), key=lambda each: each.free_s)
            replica = by_time[number % len(by_time)]
            self._swap(replica, number)
        del self._replicas[number]
        victims, replica.batch = replica.batch, []
        if replica.work and victims:
            replica.work.interrupt()
        if self._options.balancer != "least_loaded":
            victims = victims + [request for request, _ in replica.queue]
        for victim in sorted(victims):
            self._fail(victim, "lost")

    def _swap(self, replica: _Replica, number: int) -> None:
        """Gives a replica another's number, and the other its own."""
        other = self._replicas[number]
        self._replicas[replica.number], self._replicas[number] = other, replica
        other.number, replica.number = replica.number, number
