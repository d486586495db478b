"""Small runs with services in a line: arrivals as numbers, replicas by a script."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest

from policies import ClusterView, registry
from policies.view import Target
from simulator.checks import check
from simulator.pools import PoolSpec
from simulator.run import Run
from simulator.scenario import Scenario
from simulator.serving import services as services_module
from simulator.serving.model import ServingModel
from simulator.serving.models import make_model
from simulator.serving.outcome import Counts, Served
from simulator.serving.services import ServicePlan
from simulator.serving.spec import ServiceSpec
from simulator.serving.startup import Startup
from simulator.simulation import simulate
from workloads import JobTable
from workloads.requests import Requests, RequestSource
from workloads.serving.service_times import ServiceTimes

STARTUP = Startup(scheduling_s=1.0, image_s=10.0, weights_s=4.0, weights_sigma=0.0, engine_s=2.0)
COLD_S, CACHED_S = 17.0, 7.0  # of a replica, without and with the image on its node
TWO_S = ServiceTimes(mean_s=2.0, distribution="constant")


@dataclass(kw_only=True)
class Listed(RequestSource):
    """The requests that a test lists, in chunks of two."""

    arrival_s: Sequence[float]
    tokens: Sequence[tuple[int, int]] | None = None  # (prompt, output) of each

    @property
    def has_tokens(self) -> bool:
        return self.tokens is not None

    def read(self, rng: np.random.Generator) -> Iterator[Requests]:
        times_s = np.array(self.arrival_s, float)
        prompts = outputs = None
        if self.tokens is not None:
            prompts, outputs = np.array(self.tokens, np.int64).reshape(-1, 2).T
        all_of_them = Requests(times_s, prompts, outputs)
        for begin in range(0, len(times_s), 2):
            yield all_of_them.take(slice(begin, begin + 2))


@dataclass
class Script:
    """A scaling policy: so many units from a second on, each told once."""

    counts: Sequence[tuple[float, int]]
    period_s: float = 1.0
    _done: int = field(default=0, init=False)

    def desired(self, target: Target, view: ClusterView) -> int:
        wanted = target.num_units
        while self._done < len(self.counts) and self.counts[self._done][0] <= view.now_s:
            wanted = self.counts[self._done][1]
            self._done += 1
        return wanted


def plan(arrival_s: Sequence[float], tokens: Sequence[tuple[int, int]] | None = None, **spec: Any) -> ServicePlan:
    """A service; requests take 2 s each unless `spec` says otherwise."""
    spec = {"service_times": TWO_S, "startup": STARTUP, "name": "chat", **spec}
    return ServicePlan(ServiceSpec(**spec), Listed(arrival_s=arrival_s, tokens=tokens))


def serve(
    services: ServicePlan | Sequence[ServicePlan],
    counts: Sequence[tuple[float, int]] | None = None,
    *,
    jobs: JobTable | None = None,
    allocation: Any = "fifo",
    placement: Any = "consolidate",
    options: Mapping[str, Any] | None = None,
    pool: Mapping[str, Any] | None = None,
    scaling: Mapping[str, Any] | None = None,
    checked: bool = True,
    **scenario: Any,
) -> Run:
    """Runs services, the first scaled by a script, on a node of 8 GPUs unless `pool` says otherwise; audits it."""
    plans = [services] if isinstance(services, ServicePlan) else list(services)
    if isinstance(allocation, str):
        allocation = registry.create("allocation", allocation, **(options or {}))
    policies = {plans[0].spec.name: Script(counts)} if counts else {}
    scenario.setdefault("pools", [PoolSpec(**{"num_nodes": 1, **(pool or {})})])
    run = simulate(
        Scenario(
            jobs=JobTable.none() if jobs is None else jobs,
            allocation=allocation,
            placement=registry.create("placement", placement) if isinstance(placement, str) else placement,
            services=plans,
            scaling={**policies, **(scaling or {})},
            **scenario,
        )
    )
    if checked:
        check(run)
    return run


def lives(run: Run) -> list[tuple[Any, ...]]:
    """Of each replica (requested, allocated, ready, drains, ends, how); None: never."""
    names = ["requested_s", "allocated_s", "ready_s", "drain_s", "end_s", "end"]
    rows = run.table("replicas", names).to_pandas().itertuples(index=False)
    return [tuple(None if value != value else value for value in row) for row in rows]


def requests(run: Run) -> pd.DataFrame:
    return run.table("requests").to_pandas()


def answers(run: Run) -> list[tuple[float, float, float]]:
    """(arrival, beginning of the answer, its end) of each request that was answered, in order of arrival."""
    return list(requests(run)[["arrival_s", "first_s", "finish_s"]].itertuples(index=False, name=None))


def samples(run: Run, name: str) -> dict[float, float]:
    """A column of service_metrics by time."""
    table = run.table("service_metrics", ["time_s", name]).to_pandas()
    return dict(zip(table["time_s"].tolist(), table[name].tolist(), strict=True))


def fates(run: Run, service: str = "chat") -> dict[str, int]:
    """How many requests were served, lost, …; those that there are."""
    of = run.facts["services"][service]
    names = ("served", "rejected", "timed_out", "lost", "in_flight")
    assert of["num_requests"] == sum(of[f"num_{name}"] for name in names)
    return {name: of[f"num_{name}"] for name in names if of[f"num_{name}"]}


class Spy(ServingModel):
    """A model that notes what it is told of replicas, and answers; and minds that nothing is told out of order."""

    def __init__(self, model: ServingModel) -> None:
        self._model = model
        self.changes: list[tuple[float, str, int]] = []
        self.answers: list[Served] = []
        self.reached_s = 0.0
        self._open: set[int] = set()
        self._draining: set[int] = set()
        self._gone: set[int] = set()

    @property
    def counts(self) -> Counts:  # type: ignore[override]
        return self._model.counts

    def advance(self, new: Requests, until_s: float) -> Served:
        assert until_s > self.reached_s
        assert not len(new) or (new.arrival_s[-1] < until_s and new.arrival_s[0] >= self.reached_s)
        self.reached_s = until_s
        served = self._model.advance(new, until_s)
        self.answers.append(Served(*(getattr(served, name).copy() for name in Served.__slots__)))
        return served

    def add(self, replica: int, now_s: float) -> None:
        assert replica not in self._open | self._draining | self._gone
        self._open.add(replica)
        self._note(now_s, "add", replica)

    def drain(self, replica: int, now_s: float) -> None:
        self._open.remove(replica)
        self._draining.add(replica)
        self._note(now_s, "drain", replica)

    def kill(self, replica: int, now_s: float) -> None:
        (self._open if replica in self._open else self._draining).remove(replica)
        self._gone.add(replica)
        self._note(now_s, "kill", replica)

    def _note(self, now_s: float, what: str, replica: int) -> None:
        assert now_s <= self.reached_s <= math.nextafter(now_s, math.inf)  # all before has been served, and no more
        self.changes.append((now_s, what, replica))
        getattr(self._model, what)(replica, now_s)

    def drained(self, now_s: float) -> Sequence[int]:
        gone = self._model.drained(now_s)
        for replica in gone:
            self._draining.remove(replica)
            self._gone.add(replica)
        return gone

    def idle_from_s(self, replica: int) -> float:
        assert replica in self._draining
        return self._model.idle_from_s(replica)

    @property
    def num_busy(self) -> int:
        return self._model.num_busy

    @property
    def num_waiting(self) -> int:
        return self._model.num_waiting

    @property
    def num_in_service(self) -> int:
        return self._model.num_in_service


@contextmanager
def spied() -> Iterator[list[Spy]]:
    """The models of the services that are run meanwhile, in order."""
    spies: list[Spy] = []

    def make(*arguments: Any) -> Spy:
        spies.append(Spy(make_model(*arguments)))
        return spies[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services_module, "make_model", make)
        yield spies
