"""Replicas of an LLM, and how requests find theirs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Protocol

import numpy as np

from simulator.errors import ConfigError
from simulator.serving.llm_request import LlmRequest, next_quit_s, take_impatient
from simulator.serving.model import RequestOptions, ServingModel
from simulator.serving.outcome import Counts, Served
from workloads.requests import Requests
from workloads.serving.llm_times import LlmTimes


class LlmReplica(Protocol):
    """One replica; `llm.Replica`, or `llm_steps.SteppedReplica`, the reference."""

    now_s: float  # the end of its last step
    waiting: deque[LlmRequest]
    done: list[LlmRequest]
    quitters: list[LlmRequest]  # who gave up

    @property
    def num_outstanding(self) -> int: ...
    @property
    def num_in_service(self) -> int: ...
    @property
    def next_finish_s(self) -> float: ...
    @property
    def idle_from_s(self) -> float: ...
    @property
    def next_quit_s(self) -> float: ...
    def offer(self, request: LlmRequest) -> None: ...
    def run(self, until_s: float) -> None: ...
    def give_up(self, before_s: float) -> None: ...
    def take_all(self) -> list[LlmRequest]: ...


@dataclass(slots=True, eq=False)
class _Place:
    """A replica as the balancer sees it."""

    number: int
    engine: LlmReplica
    load: int = 0  # requests that have come and not finished
    next_s: float = math.inf  # before which none of them finishes or gives up
    is_open: bool = True  # takes requests


class LlmServing(ServingModel):
    """A service of LLM replicas, each with a queue of its own.

    Requests go to the replica with the fewest requests (least_loaded; the oldest on a tie), in turn, or to the better
    of two. One whose prompt and output don't fit into a replica's memory at all is rejected. One that has waited for
    the time-out, and whose prefill hasn't begun, gives up. Those that find no replica wait for the first that comes.

    Args:
        new_replica: makes one of (step times, when it is ready, seconds after which who waits gives up).
        rng: of power_of_two.
    """

    def __init__(
        self,
        times: LlmTimes,
        new_replica: Callable[[LlmTimes, float, float], LlmReplica],
        options: RequestOptions,
        rng: np.random.Generator,
    ) -> None:
        self._times, self._new_replica, self._options, self._rng = times, new_replica, options, rng
        self._gives_up = options.timeout_s < math.inf
        self._may_come_again = self._gives_up and options.retries > 0
        self.counts = Counts()
        self._now_s = 0.0
        self._places: dict[int, _Place] = {}  # draining ones too
        self._open: list[_Place] = []  # that take requests, oldest first
        self._next_s = math.inf  # before which no request finishes, or gives up, on any of those
        self._finishing: list[tuple[float, int, _Place, LlmRequest]] = []  # (when, number, where, it), a heap
        self._homeless: deque[LlmRequest] = deque()  # came when there was no replica
        self._later: list[tuple[float, int, LlmRequest]] = []  # to be tried again: (when, number, it), a heap
        self._done: list[LlmRequest] = []  # and not yet told of
        self._turn = 0

    # ---- time
    def advance(self, new: Requests, until_s: float) -> Served:
        if new.prompt_tokens is None or new.output_tokens is None:
            raise ConfigError("service.model=llm: its requests need prompt_tokens and output_tokens")
        self._now_s = until_s
        first = self.counts.arrived
        self.counts.arrived += len(new)
        columns = (new.arrival_s.tolist(), new.prompt_tokens.tolist(), new.output_tokens.tolist())
        later, may_come_again = self._later, self._may_come_again
        for number, (arrival_s, prompt, output) in enumerate(zip(*columns, strict=True), first):
            if later or may_come_again:
                self._go(arrival_s)
            self._come(LlmRequest(number, arrival_s, prompt, output))
        self._go(until_s)
        self._run_all(until_s)
        return self._collect(until_s)

    def _go(self, until_s: float) -> None:
        """Time goes on, through everybody who comes again on the way."""
        while True:
            next_s = self._later[0][0] if self._later else math.inf
            if self._may_come_again:  # not past anyone who may give up, and then come again
                quit_s = min(place.engine.next_quit_s for place in self._places.values()) if self._places else math.inf
                quit_s = min(quit_s, next_quit_s(self._homeless, self._options.timeout_s))
                if quit_s < min(next_s, until_s):
                    self._run_all(math.nextafter(quit_s, math.inf))
                    continue
            if next_s >= until_s:
                return
            again_s, _, request = heappop(self._later)
            request.joined_s = again_s
            self._come(request)

    def _run_all(self, until_s: float) -> None:
        for place in self._places.values():
            self._run(place, until_s)
        for request in take_impatient(self._homeless, self._options.timeout_s, until_s):
            self._fail(request, request.joined_s + self._options.timeout_s, "timed_out")

    def _come(self, request: LlmRequest) -> None:
        now_s = request.joined_s
        if request.prompt + request.output > self._times.kv_tokens:
            self.counts.rejected += 1  # trying again won't help
        elif not self._open:
            self._wait_for_one(request, now_s)
        else:
            place = self._open[0] if len(self._open) == 1 else self._choose(now_s)
            if self._gives_up or place.engine.now_s < now_s:
                self._run(place, now_s)
            self._offer(request, place, now_s)

    def _wait_for_one(self, request: LlmRequest, now_s: float) -> None:
        limit = self._options.queue_limit
        for gone in take_impatient(self._homeless, self._options.timeout_s, now_s):
            self._fail(gone, gone.joined_s + self._options.timeout_s, "timed_out")
        if limit is not None and len(self._homeless) >= limit:
            self._fail(request, now_s, "rejected")
        else:
            self._homeless.append(request)

    def _offer(self, request: LlmRequest, place: _Place, now_s: float) -> None:
        engine, limit = place.engine, self._options.queue_limit
        if limit is not None and len(engine.waiting) >= limit:
            if engine.num_outstanding and engine.now_s <= now_s:  # the step that begins at this very time makes room
                self._run(place, math.nextafter(now_s, math.inf))
            if len(engine.waiting) >= limit and (engine.num_outstanding or engine.now_s > now_s):
                self._fail(request, now_s, "rejected")
                return
        engine.offer(request)
        place.load += 1
        next_s = now_s if now_s > engine.now_s else engine.now_s
        if next_s < place.next_s:
            place.next_s = next_s
            self._next_s = min(self._next_s, next_s)

    def _choose(self, now_s: float) -> _Place:
        places, balancer = self._open, self._options.balancer
        if balancer == "round_robin":
            self._turn += 1
            return places[(self._turn - 1) % len(places)]
        if balancer == "power_of_two":
            places = [places[k] for k in self._rng.choice(len(places), 2, replace=False).tolist()]
            for place in places:
                self._run(place, now_s)
        elif self._next_s < now_s:
            next_s = math.inf
            for place in places:
                if place.next_s < now_s:
                    self._run(place, now_s)
                if place.next_s < next_s:
                    next_s = place.next_s
            self._next_s = next_s
        self._finish_until(now_s)
        best = places[0]
        for place in places:
            if place.load < best.load:
                best = place
        return best

    def _run(self, place: _Place, until_s: float) -> None:
        engine = place.engine
        engine.run(until_s)
        if engine.done:
            for request in engine.done:
                heappush(self._finishing, (request.finish_s, request.number, place, request))
            engine.done = []
        place.next_s = engine.next_finish_s
        if self._gives_up:
            engine.give_up(until_s)
            quitters, engine.quitters = engine.quitters, []
            for request in quitters:
                place.load -= 1
                self._fail(request, request.joined_s + self._options.timeout_s, "timed_out")
            place.next_s = min(place.next_s, engine.next_quit_s)

    def _finish_until(self, now_s: float) -> None:
        finishing = self._finishing
        while finishing and finishing[0][0] <= now_s:
            _, _, place, request = heappop(finishing)
            place.load -= 1
            self._done.append(request)

    def _fail(self, request: LlmRequest, now_s: float, how: str) -> None:
        if request.tries < self._options.retries:
            self.counts.retried += 1
            again_s = now_s + self._options.delay_s(request.tries)
            request.tries += 1
            request.forget()
            heappush(self._later, (again_s, request.number, request))
        else:
            setattr(self.counts, how, getattr(self.counts, how) + 1)

    def _collect(self, now_s: float) -> Served:
        self._finish_until(now_s)
        done, self._done = self._done, []
        self.counts.served += len(done)
        self.counts.prompt_tokens += sum(request.prompt for request in done)
        self.counts.output_tokens += sum(request.output for request in done)
        return Served.of([(r.number, r.arrival_s, r.first_s, r.finish_s, r.output) for r in done])

    # ---- replicas
    def add(self, replica: int, now_s: float) -> None:
        engine = self._new_replica(self._times, now_s, self._options.timeout_s)
        place = self._places[replica] = _Place(replica, engine)
        self._open.append(place)
        homeless, self._homeless = self._homeless, deque()
        for request in homeless:
            self._offer(request, place, now_s)

    def drain(self, replica: int, now_s: float) -> None:
        place = self._places[replica]
        self._open.remove(place)
        place.is_open = False

    def kill(self, replica: int, now_s: float) -> None:
        place = self._places.pop(replica)
        if place.is_open:
            self._open.remove(place)
        victims = place.engine.take_all()
        victims += [entry[3] for entry in self._finishing if entry[2] is place]  # would have finished after now
        self._finishing = [entry for entry in self._finishing if entry[2] is not place]
        heapify(self._finishing)
        for request in sorted(victims, key=lambda request: request.number):
            self._fail(request, now_s, "lost")

    def drained(self, now_s: float) -> Sequence[int]:
        gone = [place.number for place in self._places.values() if not place.is_open and not place.load]
        for number in gone:
            del self._places[number]
        return gone

    def idle_from_s(self, replica: int) -> float:
        place = self._places[replica]
        if place.engine.num_outstanding:
            return max(place.engine.idle_from_s, self._now_s)
        return max((entry[0] for entry in self._finishing if entry[2] is place), default=self._now_s)

    @property
    def num_busy(self) -> int:
        finishing = {entry[2].number for entry in self._finishing}
        return sum(number in finishing or place.engine.num_in_service > 0 for number, place in self._places.items())

    @property
    def num_waiting(self) -> int:
        return len(self._homeless) + sum(len(place.engine.waiting) for place in self._places.values())

    @property
    def num_in_service(self) -> int:
        return len(self._finishing) + sum(place.engine.num_in_service for place in self._places.values())
