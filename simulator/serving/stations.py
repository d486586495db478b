"""Requests that find their replica by a balancer, wait within limits, give up, are tried again; alone or in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

import numpy as np

from simulator.serving.model import RequestOptions, ServingModel
from simulator.serving.outcome import Counts, Served
from simulator.serving.station import BatchRule, Station, Ticket
from workloads.requests import Requests
from workloads.serving.service_times import ServiceTimes


class Stations(ServingModel):
    """One station for all replicas (least_loaded), or one each, and the way to them.

    A replica that is drained finishes what is in its own queue. Requests that find no replica at all wait for the
    first that comes.

    Args:
        service_times: of requests alone; None where the batch rule doesn't ask for them.
        rng: draws service times and, apart, the two replicas of power_of_two.
    """

    def __init__(
        self, rule: BatchRule, service_times: ServiceTimes | None, options: RequestOptions, rng: np.random.Generator
    ) -> None:
        self._rule, self._service_times, self._options = rule, service_times, options
        self._service_draws, self._balance_draws = rng.spawn(2)
        self.counts = Counts()
        self._now_s = 0.0
        self._is_central = options.balancer == "least_loaded"
        self._may_come_again = options.retries > 0 and options.timeout_s < math.inf
        self._lobby = self._new_station()  # of all replicas, or where requests wait while there is none
        self._stations: dict[int, Station] = {}  # of a replica each
        self._open: list[int] = []  # replicas that take requests, oldest first
        self._turn = 0
        self._draining: set[int] = set()
        self._later: list[tuple[float, Ticket]] = []  # to be tried again, a heap

    def _new_station(self) -> Station:
        return Station(self._rule, self._options.queue_limit, self._options.timeout_s)

    # ---- time
    def advance(self, new: Requests, until_s: float) -> Served:
        self._now_s = until_s
        num = len(new)
        service_s = self._service_times.draw(num, self._service_draws) if self._service_times else np.zeros(num)
        first = self.counts.arrived
        self.counts.arrived += num
        for number, (arrival_s, service) in enumerate(
            zip(new.arrival_s.tolist(), service_s.tolist(), strict=True), first
        ):
            self._go(arrival_s)
            self._come(Ticket(number, arrival_s, 0, service), arrival_s)
        self._go(until_s)
        self._run_all(until_s)
        return self._collect(until_s)

    def _go(self, until_s: float) -> None:
        """Time goes on, through everybody who comes again on the way."""
        while True:
            next_s = self._later[0][0] if self._later else math.inf
            if self._may_come_again:  # not past anyone who may give up, and then come again
                quit_s = min(station.next_quit_s for station in self._all)
                if quit_s < min(next_s, until_s):
                    self._run_all(math.nextafter(quit_s, math.inf))
                    continue
            if next_s >= until_s:
                return
            _, ticket = heappop(self._later)
            self._come(ticket, next_s)

    def _come(self, ticket: Ticket, now_s: float) -> None:
        station = self._choose(now_s)
        self._run(station, now_s)
        if station.is_full:  # what starts at this very time makes room
            self._run(station, math.nextafter(now_s, math.inf))
        if not station.offer(ticket, now_s):
            self._fail(ticket, now_s, "rejected")

    @property
    def _all(self) -> Iterator[Station]:
        yield self._lobby
        yield from self._stations.values()

    def _run_all(self, until_s: float) -> None:
        for station in self._all:
            self._run(station, until_s)

    def _run(self, station: Station, until_s: float) -> None:
        station.run(until_s)
        if station.quitters:
            quitters, station.quitters = station.quitters, []
            for when_s, ticket in quitters:
                self._fail(ticket, when_s, "timed_out")

    def _fail(self, ticket: Ticket, now_s: float, how: str) -> None:
        if ticket.tries < self._options.retries:
            self.counts.retried += 1
            again_s = now_s + self._options.delay_s(ticket.tries)
            heappush(self._later, (again_s, ticket._replace(tries=ticket.tries + 1)))
        else:
            setattr(self.counts, how, getattr(self.counts, how) + 1)

    def _choose(self, now_s: float) -> Station:
        """Where a request goes."""
        replicas = self._open
        if self._is_central or not replicas:
            return self._lobby
        if self._options.balancer == "round_robin" or len(replicas) == 1:
            self._turn += 1
            return self._stations[replicas[(self._turn - 1) % len(replicas)]]
        both = [self._stations[replicas[k]] for k in self._balance_draws.choice(len(replicas), 2, replace=False)]
        for station in both:
            self._run(station, now_s)
        return min(both, key=lambda station: station.outstanding(now_s))

    def _collect(self, now_s: float) -> Served:
        rows = [
            (ticket.number, ticket.arrival_s, work.start_s, work.finish_s, 0)
            for station in self._all
            for work in station.collect(now_s)
            for ticket in work.tickets
        ]
        rows.sort(key=lambda row: (row[3], row[0]))
        self.counts.served += len(rows)
        return Served.of(rows)

    # ---- replicas
    def add(self, replica: int, now_s: float) -> None:
        self._open.append(replica)
        if self._is_central:
            self._lobby.add(replica, now_s)
            return
        station = self._stations[replica] = self._new_station()
        station.add(replica, now_s)
        for joined_s, ticket in self._lobby.empty_queue():
            if not station.offer(ticket, joined_s):
                self._fail(ticket, now_s, "rejected")

    def drain(self, replica: int, now_s: float) -> None:
        self._open.remove(replica)
        self._draining.add(replica)
        if self._is_central:
            self._lobby.remove(replica)

    def kill(self, replica: int, now_s: float) -> None:
        if replica in self._open:
            self._open.remove(replica)
        self._draining.discard(replica)
        station = self._lobby if self._is_central else self._stations.pop(replica)
        victims = station.kill(replica, now_s)
        if not self._is_central:
            victims += [ticket for _, ticket in station.empty_queue()]
        for ticket in victims:
            self._fail(ticket, now_s, "lost")

    def drained(self, now_s: float) -> Sequence[int]:
        gone = [replica for replica in sorted(self._draining) if not self._has_work(replica, now_s)]
        self._draining.difference_update(gone)
        for replica in gone:
            self._stations.pop(replica, None)
        return gone

    def _has_work(self, replica: int, now_s: float) -> bool:
        station = self._stations.get(replica, self._lobby)
        return station.is_busy(replica, now_s) or (not self._is_central and station.num_waiting > 0)

    def idle_from_s(self, replica: int) -> float:
        own = self._stations.get(replica)
        return max(own.idle_from_s() if own else self._lobby.finish_s(replica), self._now_s)

    @property
    def num_busy(self) -> int:
        return sum(station.num_busy for station in self._all)

    @property
    def num_waiting(self) -> int:
        return sum(station.num_waiting for station in self._all)

    @property
    def num_in_service(self) -> int:
        return sum(station.num_in_service for station in self._all)
