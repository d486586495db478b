"""One first-come-first-served queue and the replicas behind it, event by event: limits, time-outs, batches.

The careful counterpart of `central_queue`: several times slower, and able to say no.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import NamedTuple


class Ticket(NamedTuple):
    """A request on its way through queues."""

    number: int  # in order of arrival, from 0
    arrival_s: float  # the first time
    tries: int  # before this one
    service_s: float  # alone on a replica; with batches it isn't used


@dataclass(frozen=True, slots=True)
class BatchRule:
    """When a replica starts a batch: as soon as `size` requests wait, or the first has waited `wait_s`.

    Args:
        time_s: how long requests take together.
    """

    size: int
    wait_s: float
    time_s: Callable[[Sequence[Ticket]], float]


def one_by_one(tickets: Sequence[Ticket]) -> float:
    """No batches: each request takes its own time."""
    return tickets[0].service_s


@dataclass(slots=True)
class Work:
    """What a replica is doing."""

    start_s: float
    finish_s: float
    tickets: list[Ticket]


class Station:
    """A queue and its replicas. `run` makes time go on; what is done or has failed is taken from `done`, `quitters`.

    Args:
        rule: batches, or one request after the other.
        limit: most requests that wait; None: any number.
        patience_s: after which one that waits gives up.
    """

    def __init__(self, rule: BatchRule, limit: int | None, patience_s: float) -> None:
        self._rule, self._limit, self._patience_s = rule, limit, patience_s
        self._free: list[tuple[float, int]] = []  # (when, replica), a heap
        self._queue: deque[tuple[float, Ticket]] = deque()  # (joined, ticket)
        self._work: dict[int, Work] = {}
        self.done: list[Work] = []
        self.quitters: list[tuple[float, Ticket]] = []  # (when, ticket)

    @property
    def num_waiting(self) -> int:
        return len(self._queue)

    @property
    def is_full(self) -> bool:
        return self._limit is not None and len(self._queue) >= self._limit

    @property
    def num_in_service(self) -> int:
        return sum(len(work.tickets) for work in self._work.values())

    @property
    def num_busy(self) -> int:
        """Replicas that are at work, after `collect` up to now."""
        return len(self._work)

    @property
    def next_quit_s(self) -> float:
        """When the next one gives up, unless it is served before."""
        return self._queue[0][0] + self._patience_s if self._queue else math.inf

    # ---- requests
    def offer(self, ticket: Ticket, now_s: float) -> bool:
        """A request comes, after `run(now_s)`; False: the queue is full. One that is served at once never waits."""
        queue, free = self._queue, self._free
        if self.is_full:
            starts_now = free and free[0][0] <= now_s and len(queue) < self._rule.size
            if not starts_now:
                return False
        queue.append((now_s, ticket))
        return True

    def run(self, until_s: float) -> None:
        """All that happens before `until_s`: batches that start, requests that give up."""
        queue, free, rule = self._queue, self._free, self._rule
        while queue:
            joined_s = queue[0][0]
            start_s = math.inf
            if free:
                is_full = len(queue) >= rule.size
                ripe_s = queue[rule.size - 1][0] if is_full else joined_s + rule.wait_s
                start_s = max(free[0][0], ripe_s)
            quit_s = joined_s + self._patience_s
            if quit_s < start_s:
                if quit_s >= until_s:
                    return
                self.quitters.append((quit_s, queue.popleft()[1]))
            elif start_s < until_s:
                self._start(start_s)
            else:
                return

    def _start(self, start_s: float) -> None:
        _, replica = heappop(self._free)
        queue = self._queue
        tickets: list[Ticket] = []
        while queue and len(tickets) < self._rule.size and queue[0][0] <= start_s:
            tickets.append(queue.popleft()[1])
        if replica in self._work:
            self.done.append(self._work[replica])
        finish_s = start_s + self._rule.time_s(tickets)
        self._work[replica] = Work(start_s, finish_s, tickets)
        heappush(self._free, (finish_s, replica))

    def outstanding(self, now_s: float) -> int:
        """Requests that wait or are being served, after `run(now_s)`."""
        return len(self._queue) + sum(len(work.tickets) for work in self._work.values() if work.finish_s > now_s)

    def collect(self, now_s: float) -> list[Work]:
        """What has been finished by then, once each."""
        done, self.done = self.done, []
        for replica in [replica for replica, work in self._work.items() if work.finish_s <= now_s]:
            done.append(self._work.pop(replica))
        return done

    # ---- replicas
    def add(self, replica: int, now_s: float) -> None:
        heappush(self._free, (now_s, replica))

    def remove(self, replica: int) -> None:
        """Takes no more requests; what it does, it finishes."""
        self._free = [entry for entry in self._free if entry[1] != replica]
        heapify(self._free)

    def kill(self, replica: int, now_s: float) -> list[Ticket]:
        """It is gone; returns what it was doing."""
        self.remove(replica)
        work = self._work.get(replica)
        if work is None or work.finish_s <= now_s:
            return []
        del self._work[replica]
        return work.tickets

    def is_busy(self, replica: int, now_s: float) -> bool:
        work = self._work.get(replica)
        return work is not None and work.finish_s > now_s

    def finish_s(self, replica: int) -> float:
        """When it is done with what it does; -inf where that is nothing."""
        return self._work[replica].finish_s if replica in self._work else -math.inf

    def idle_from_s(self) -> float:
        """When the last has been served, or has given up, if nobody else comes; -inf if there is nobody."""
        ahead = Station(self._rule, self._limit, self._patience_s)
        ahead._free, ahead._queue, ahead._work = list(self._free), self._queue.copy(), dict(self._work)
        ahead.run(math.inf)
        ends_s = [work.finish_s for work in (*ahead.done, *ahead._work.values())]
        # what happens at a time is seen by a `run` that goes beyond it
        begins_s = [when_s for when_s, _ in ahead.quitters] + [work.start_s for work in ahead._work.values()]
        return max(ends_s + [math.nextafter(when_s, math.inf) for when_s in begins_s], default=-math.inf)

    def empty_queue(self) -> list[tuple[float, Ticket]]:
        """Takes out all who wait: (joined, ticket), in order."""
        waiting = list(self._queue)
        self._queue.clear()
        return waiting
