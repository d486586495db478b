"""One queue, first come first served, for all replicas: G/G/c, exact while c changes with a backlog.

Kiefer and Wolfowitz (Transactions of the AMS, 1955): what matters of c identical servers is when each is free. A
request takes the one that is free first; it is served for good once it starts before the time that is simulated to,
else it waits for the next call, when there may be more servers or fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

import numpy as np

from simulator.serving.first_free import compiled, serve
from simulator.serving.model import RequestOptions, ServingModel
from simulator.serving.outcome import Counts, Served
from simulator.serving.tickets import Tickets
from workloads.requests import Requests
from workloads.serving.service_times import ServiceTimes

_MANY = 5_000_000  # requests, after which compiling the loop pays


class CentralQueue(ServingModel):
    """Requests of drawn service times in one queue, in which each waits for as long as it takes.

    Its replicas are alike, and only how many there are and when each is free is known: the one that is drained is the
    one that is free first, the one that is killed any of them.

    Args:
        service_times: of requests, in seconds, on one replica.
        rng: draws them, in order of arrival: scaling and balancing change no request.
        compile_after: so many requests; then the loop over them is compiled, where Numba is installed.
    """

    def __init__(
        self,
        service_times: ServiceTimes,
        options: RequestOptions,
        rng: np.random.Generator,
        compile_after: int = _MANY,
    ) -> None:
        assert options.is_plain, options
        self._service_times, self._options, self._rng = service_times, options, rng
        self._compile_after = compile_after
        self.counts = Counts()
        self._now_s = 0.0
        self._free_s: list[float] = []  # a heap
        self._draining: dict[int, float] = {}  # replica -> when it is done
        self._waiting = Tickets.none()
        self._serving = Tickets.none()
        self._start_s = self._finish_s = np.zeros(0)  # of those being served
        self._later: list[tuple[float, int, float, float, int]] = []  # to be tried again: (join, number, …), a heap

    def advance(self, new: Requests, until_s: float) -> Served:
        self._now_s = until_s
        service_s = self._service_times.draw(len(new), self._rng)
        tickets = self._waiting.then(Tickets.new(new.arrival_s, service_s, self.counts.arrived))
        self.counts.arrived += len(new)
        if self._later:
            tickets = self._with_retries(tickets, until_s)
        starts = self._starts_s(tickets, until_s)
        begun = tickets.take(slice(len(starts)))
        self._waiting = tickets.take(slice(len(starts), None))
        serving = self._serving.then(begun)
        start_s = np.concatenate([self._start_s, starts])
        finish_s = np.concatenate([self._finish_s, starts + begun.service_s])
        is_done = finish_s <= until_s
        done, done_s = serving.take(is_done), finish_s[is_done]
        self._keep(serving, start_s, finish_s, ~is_done)
        self.counts.served += len(done_s)
        return Served(done.number, done.arrival_s, start_s[is_done], done_s, np.zeros(len(done_s), np.int64))

    def _starts_s(self, tickets: Tickets, until_s: float) -> np.ndarray:
        """When the requests start that start before `until_s`, the first ones; they take their servers."""
        loop = compiled() if self.counts.arrived > self._compile_after else None
        if loop is None or not self._free_s:
            return np.array(serve(tickets.join_s.tolist(), tickets.service_s.tolist(), self._free_s, until_s))
        free_s, start_s = np.array(self._free_s), np.empty(len(tickets.join_s))
        num = loop(tickets.join_s, tickets.service_s, free_s, until_s, start_s)
        self._free_s = free_s.tolist()
        return start_s[:num]

    def _keep(self, serving: Tickets, start_s: np.ndarray, finish_s: np.ndarray, rows: np.ndarray) -> None:
        """These rows are being served."""
        self._serving, self._start_s, self._finish_s = serving.take(rows), start_s[rows], finish_s[rows]

    def _with_retries(self, tickets: Tickets, until_s: float) -> Tickets:
        due = []
        while self._later and self._later[0][0] < until_s:
            due.append(heappop(self._later))
        if not due:
            return tickets
        join_s, number, arrival_s, service_s, tries = (np.array(column) for column in zip(*due, strict=True))
        both = tickets.then(Tickets(join_s, number, arrival_s, service_s, tries))
        return both.take(np.argsort(both.join_s, kind="stable"))

    def add(self, replica: int, now_s: float) -> None:
        heappush(self._free_s, now_s)

    def drain(self, replica: int, now_s: float) -> None:
        self._draining[replica] = heappop(self._free_s)

    def kill(self, replica: int, now_s: float) -> None:
        if replica in self._draining:
            free_s = self._draining.pop(replica)
        else:
            free_s = sorted(self._free_s)[replica % len(self._free_s)]
            self._free_s.remove(free_s)
            heapify(self._free_s)
        if free_s <= now_s:
            return
        is_victim = np.zeros(len(self._finish_s), bool)
        is_victim[np.flatnonzero(self._finish_s == free_s)[:1]] = True
        victim = self._serving.take(is_victim)
        self._keep(self._serving, self._start_s, self._finish_s, ~is_victim)
        for number, arrival_s, service_s, tries in zip(
            victim.number.tolist(), victim.arrival_s.tolist(), victim.service_s.tolist(), victim.tries.tolist(),
            strict=True,
        ):  # fmt: skip
            if tries < self._options.retries:
                self.counts.retried += 1
                again_s = now_s + self._options.delay_s(tries)
                heappush(self._later, (again_s, number, arrival_s, service_s, tries + 1))
            else:
                self.counts.lost += 1

    def drained(self, now_s: float) -> Sequence[int]:
        gone = [replica for replica, free_s in self._draining.items() if free_s <= now_s]
        for replica in gone:
            del self._draining[replica]
        return gone

    def idle_from_s(self, replica: int) -> float:
        return max(self._draining[replica], self._now_s)

    @property
    def num_busy(self) -> int:
        return len(self._finish_s)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting.join_s)

    @property
    def num_in_service(self) -> int:
        return len(self._finish_s)
