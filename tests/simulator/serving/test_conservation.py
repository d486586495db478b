"""What no serving model may do, whatever comes in whatever order: lose a request, serve it twice, or without a replica.

Spies stand in for what serves inside each model, and tell which replica served which request when.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving import stations
from simulator.serving.llm import Replica
from simulator.serving.llm_request import LlmRequest
from simulator.serving.llm_serving import LlmServing
from simulator.serving.llm_steps import SteppedReplica
from simulator.serving.model import BALANCERS, RequestOptions, ServingModel
from simulator.serving.models import MODELS, make_model
from simulator.serving.outcome import Served
from simulator.serving.station import Station
from workloads.requests import Requests
from workloads.serving.batch_times import BatchTimes
from workloads.serving.llm_times import LlmTimes
from workloads.serving.service_times import ServiceTimes


@dataclass
class Watch:
    """What was seen of a model: replicas' lives, and who was served where and when."""

    ready_s: dict[int, float] = field(default_factory=dict)
    gone_s: dict[int, float] = field(default_factory=dict)  # killed, or drained and done
    served: list[tuple[int, int, float, float]] = field(default_factory=list)  # (replica, request, first, finish)

    def check(self, done: Served) -> None:
        """Each answer that was given is one that a replica gave during its life."""
        by_request: dict[int, list[tuple[int, float, float]]] = {}
        for replica, request, first_s, finish_s in self.served:
            by_request.setdefault(request, []).append((replica, first_s, finish_s))
        for number, first_s, finish_s in zip(
            done.number.tolist(), done.first_s.tolist(), done.finish_s.tolist(), strict=True
        ):
            replica, *times_s = by_request[number][-1]  # the ones before were lost with their replicas
            assert times_s == [first_s, finish_s]
            assert self.ready_s[replica] <= first_s <= finish_s <= self.gone_s.get(replica, math.inf)


class SpyStation(Station):
    """Tells what each replica of a station does."""

    watch: Watch

    def _start(self, start_s: float) -> None:
        replica = self._free[0][1]
        super()._start(start_s)
        work = self._work[replica]
        assert replica not in self.watch.gone_s
        self.watch.served += [(replica, ticket.number, work.start_s, work.finish_s) for ticket in work.tickets]


def spying(engine: type[Replica] | type[SteppedReplica], watch: Watch) -> Any:
    """A maker of LLM replicas that tell what they do; they are made in the order of their numbers."""

    class Spy(engine):  # type: ignore[valid-type, misc]
        def __init__(self, times: LlmTimes, now_s: float, patience_s: float) -> None:
            super().__init__(times, now_s, patience_s)
            self._number = max(watch.ready_s)
            assert watch.ready_s[self._number] == now_s

        def offer(self, request: LlmRequest) -> None:
            assert self._number not in watch.gone_s
            super().offer(request)

        def run(self, until_s: float) -> None:
            assert self._number not in watch.gone_s
            super().run(until_s)
            watch.served += [(self._number, r.number, r.first_s, r.finish_s) for r in self.done]

    return Spy


def watched_model(name: str, options: RequestOptions, rng: np.random.Generator, watch: Watch) -> ServingModel:
    model = make_model(
        name, options, rng, ServiceTimes(mean_s=0.4), BatchTimes(fixed_s=0.2, max_batch=4, max_wait_s=0.05),
        LlmTimes(kv_tokens=3000, chunk_tokens=int(rng.choice([0, 128])), max_batch=int(rng.choice([3, 100]))),
    )  # fmt: skip
    if isinstance(model, LlmServing):
        model._new_replica = spying(Replica if name == "llm" else SteppedReplica, watch)
    return model


class Puppeteer:
    """Scales a model at random."""

    def __init__(self, model: ServingModel, watch: Watch, rng: np.random.Generator) -> None:
        self._model, self._watch, self._rng = model, watch, rng
        self._open: list[int] = []
        self._draining: list[int] = []
        self._num_added = 0

    def add(self, now_s: float) -> None:
        self._watch.ready_s[self._num_added] = now_s
        self._model.add(self._num_added, now_s)
        self._open.append(self._num_added)
        self._num_added += 1

    def scale(self, now_s: float) -> None:
        self.see_who_is_done(now_s)
        for what in self._rng.choice(["add", "drain", "kill"], int(self._rng.integers(4))).tolist():
            pool = self._open + self._draining if what == "kill" else self._open
            if what == "add" or not pool:
                self.add(now_s)
                continue
            replica = int(self._rng.choice(pool))
            (self._open if replica in self._open else self._draining).remove(replica)
            getattr(self._model, what)(replica, now_s)
            if what == "drain":
                self._draining.append(replica)
            else:
                self._watch.gone_s[replica] = now_s
        self.see_who_is_done(now_s)

    def see_who_is_done(self, now_s: float) -> None:
        for replica in self._model.drained(now_s):
            self._draining.remove(replica)
            self._watch.gone_s[replica] = now_s
        for replica in self._draining:
            assert self._model.idle_from_s(replica) > now_s

    @property
    def num_present(self) -> int:
        return len(self._open) + len(self._draining)


def check_counts(model: ServingModel, done: Served, seen: set[int], since_s: float, now_s: float) -> None:
    numbers = done.number.tolist()
    assert len(set(numbers)) == len(numbers)
    assert not seen & set(numbers)  # nobody is served twice
    seen |= set(numbers)
    counts = model.counts
    assert counts.served == len(seen)
    assert min(counts.served, counts.rejected, counts.timed_out, counts.lost) >= 0
    assert counts.in_flight >= model.num_waiting + model.num_in_service  # the others are to be tried again
    assert ((since_s < done.finish_s) & (done.finish_s <= now_s)).all()
    assert ((done.arrival_s <= done.first_s) & (done.first_s <= done.finish_s)).all()


@pytest.mark.parametrize("name", ["plain queue", *MODELS])
@settings(max_examples=50, deadline=None)
@given(
    balancer=st.sampled_from(BALANCERS),
    queue_limit=st.sampled_from([None, 0, 3]),
    timeout_s=st.sampled_from([math.inf, 0.5]),
    retries=st.sampled_from([0, 2]),
    seed=st.integers(0, 10**6),
)
def test_nothing_is_lost_served_twice_or_without_a_replica(
    name: str, balancer: str, queue_limit: int | None, timeout_s: float, retries: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    options = RequestOptions(
        balancer=balancer, queue_limit=queue_limit, timeout_s=timeout_s, retries=retries, retry_delay_s=0.3
    )
    if name == "plain queue":
        name, options = "queue", RequestOptions(retries=retries, retry_delay_s=0.3)
    watch, num = Watch(), 120
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stations, "Station", type("Spy", (SpyStation,), {"watch": watch}))
        model = watched_model(name, options, rng, watch)
        puppeteer = Puppeteer(model, watch, rng)
        arrival_s = np.round(np.cumsum(rng.standard_exponential(num) / 10.0), int(rng.choice([1, 9])))  # ties or none
        requests = Requests(arrival_s, rng.integers(1, 600, num), rng.integers(1, 60, num))
        seen, parts, begin, now_s = set[int](), [], 0, 0.0
        for until_s in [*np.sort(rng.uniform(0.0, 15.0, 15)).tolist(), 1e6]:
            end = int(np.searchsorted(requests.arrival_s, until_s))
            parts.append(model.advance(requests.take(slice(begin, end)), until_s))
            check_counts(model, parts[-1], seen, now_s, until_s)
            assert model.counts.arrived == end
            assert model.num_busy <= min(puppeteer.num_present, model.num_in_service)
            assert (model.num_busy > 0) == (model.num_in_service > 0)
            begin, now_s = end, until_s
            puppeteer.scale(until_s)
        puppeteer.add(now_s)
        parts.append(model.advance(requests.take(slice(begin, None)), 2e6))
        check_counts(model, parts[-1], seen, now_s, 2e6)
    counts = model.counts
    assert counts.in_flight == model.num_waiting + model.num_in_service == model.num_busy == 0
    assert counts.arrived == counts.served + counts.rejected + counts.timed_out + counts.lost == num
    if retries == 0:
        assert counts.retried == 0
    whole = Served.concat(parts)
    if name == "queue" and options.is_plain:
        check_crowd(whole, watch)
    else:
        watch.check(whole)


def check_crowd(done: Served, watch: Watch) -> None:
    """Of a queue whose replicas have no names: at no time are more requests served than there are replicas."""
    # at one time who is done leaves, and who is ready comes, before anybody begins
    events = [(when_s, 0, -1, 0) for when_s in done.finish_s.tolist()]
    events += [(when_s, 1, 0, 1) for when_s in watch.ready_s.values()]
    events += [(when_s, 2, 0, -1) for when_s in watch.gone_s.values()]
    events += [(when_s, 3, 1, 0) for when_s in done.first_s.tolist()]
    num_served = num_replicas = 0
    for _, _, more_served, more_replicas in sorted(events):
        num_served, num_replicas = num_served + more_served, num_replicas + more_replicas
        assert num_served <= num_replicas
