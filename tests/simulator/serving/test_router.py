"""Requests of one stream for several sites: by hand, and what always holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import ServiceView, registry
from simulator.checks import check
from simulator.errors import ConfigError
from simulator.metrics import summarise
from simulator.pools import PoolSpec
from simulator.run import Run
from simulator.scenario import Scenario
from simulator.serving.feed import Feed
from simulator.serving.router import Route, RoutedFeed, Router, RoutingOptions
from simulator.serving.services import ServicePlan
from simulator.serving.settings import service_plans
from simulator.serving.spec import ServiceSpec
from simulator.serving.startup import Startup
from simulator.serving.statistics import Objective
from simulator.simulation import simulate
from workloads import JobTable, WorkloadError
from workloads.requests import Requests, RequestSource
from workloads.serving.service_times import ServiceTimes


@dataclass(kw_only=True)
class Given(RequestSource):
    """Requests at given times, in chunks."""

    times_s: Sequence[float] = ()
    chunk: int = 3

    @property
    def has_tokens(self) -> bool:
        return False

    def read(self, rng: np.random.Generator) -> Iterator[Requests]:
        for begin in range(0, len(self.times_s), self.chunk):
            yield Requests(np.array(self.times_s[begin : begin + self.chunk], float))


@dataclass
class FakeSite:
    """Serves a request in `takes_s`, at once, and keeps a diary of when it was looked at."""

    spec: ServiceSpec
    feed: RoutedFeed
    view: ServiceView
    takes_s: float = math.inf
    got_s: list[float] = field(default_factory=list)
    looked_s: list[float] = field(default_factory=list)

    def load_at(self, time_s: float) -> int:
        self.looked_s.append(time_s)
        self.advance(time_s)
        return sum(arrival_s + self.takes_s > time_s for arrival_s in self.got_s)

    def advance(self, time_s: float) -> None:
        self.feed.prepare(time_s)
        self.got_s += self.feed.until(time_s).arrival_s.tolist()


def sites_of(
    times_s: Sequence[float], options: RoutingOptions, sites: Mapping[str, tuple[float, float, int]], takes_s: float
) -> dict[str, FakeSite]:
    """By name, from (network_s, usd_per_unit_h, ready replicas); the objective is 0.1 s."""
    router = Router(Feed(Given(times_s=times_s), np.random.default_rng(0)), options)
    made = {}
    for name, (network_s, usd_per_h, ready) in sites.items():
        spec = ServiceSpec(name=name, network_s=network_s, slo=Objective(latency_s=0.1))
        view = ServiceView(
            name=name, gpus_per_unit=1, min_units=0, max_units=9, usd_per_unit_h=usd_per_h, num_ready=ready
        )
        feed = router.feed()
        made[name] = FakeSite(spec, feed, view, takes_s)
        router.join(made[name], feed)
    return made


TWO = {"near": (0.005, 3.0, 1), "far": (0.06, 1.0, 2)}


def test_a_waterfall_by_hand() -> None:
    """Two in flight fill the near site; in slice 1 both are still there, in slice 3 both are done."""
    times_s = [0.1, 0.2, 0.3, 0.9, 1.5, 3.2, 3.3, 3.4]
    options = RoutingOptions(spill_per_replica=2.0)
    sites = sites_of(times_s, options, TWO, takes_s=1.9)
    sites["far"].advance(9.0)
    sites["near"].advance(9.0)
    assert sites["near"].got_s == [0.1, 0.2, 3.2, 3.3]
    assert sites["far"].got_s == [0.3, 0.9, 1.5, 3.4]
    assert sites["near"].looked_s == [0.0, 1.0, 3.0]  # slice 2 is empty
    assert sites["far"].looked_s == []  # the last takes the rest, however full it is


@pytest.mark.parametrize(
    ("routing", "sites", "order"),
    [
        ("latency", {"far": (0.06, 1.0, 1), "near": (0.005, 3.0, 1), "mid": (0.02, 9.0, 1)}, ["near", "mid", "far"]),
        ("cost", {"far": (0.06, 1.0, 1), "near": (0.005, 3.0, 1), "mid": (0.02, 2.0, 1)}, ["far", "mid", "near"]),
        ("cost", {"off": (0.1, 1.0, 1), "near": (0.005, 3.0, 1), "mid": (0.02, 2.0, 1)}, ["mid", "near", "off"]),
        ("cost", {"same": (0.06, 2.0, 1), "near": (0.005, 2.0, 1)}, ["near", "same"]),
        ("latency", {"none_ready": (0.001, 1.0, 0), "far": (0.06, 1.0, 1)}, ["far"]),
    ],
)  # fmt: skip
def test_who_is_preferred(routing: str, sites: Mapping[str, tuple[float, float, int]], order: list[str]) -> None:
    """One request fills a site, so that they come to the sites in the order of preference."""
    made = sites_of([0.1, 0.2, 0.3][: len(order)], RoutingOptions(routing=routing, spill_per_replica=1.0), sites, 9.0)
    for site in made.values():
        site.advance(1.0)
    first_s = {name: site.got_s[0] for name, site in made.items() if site.got_s}
    assert sorted(first_s, key=first_s.__getitem__) == order


def test_of_sites_as_near_the_one_that_waits_less_comes_first() -> None:
    sites = sites_of(
        [0.1, 0.2, 0.3, 1.1], RoutingOptions(spill_per_replica=2.0), {"a": (0.01, 1.0, 1), "b": (0.01, 1.0, 1)}, 9.0
    )
    for site in sites.values():
        site.advance(2.0)
    assert (sites["a"].got_s, sites["b"].got_s) == ([0.1, 0.2], [0.3, 1.1])


def test_the_last_resort_gets_requests_without_a_replica() -> None:
    sites = sites_of([0.1, 0.2], RoutingOptions(), {"near": (0.005, 3.0, 0), "far": (0.06, 1.0, 0)}, 1.0)
    sites["near"].advance(1.0)
    sites["far"].advance(1.0)
    assert (sites["near"].got_s, sites["far"].got_s) == ([], [0.1, 0.2])


@settings(max_examples=60, deadline=None)
@given(
    times_s=st.lists(st.floats(0.0, 20.0), max_size=40).map(sorted),
    route_s=st.sampled_from([0.001, 0.3, 1.0, 7.0]),
    spill=st.sampled_from([0.4, 1.0, 3.0]),
    readies=st.lists(st.integers(0, 2), min_size=1, max_size=3),
    looks=st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 25.0)), max_size=8),
    routing=st.sampled_from(["latency", "cost"]),
)
def test_every_request_comes_to_one_site_whoever_asks_when(
    times_s: list[float], route_s: float, spill: float, readies: list[int], looks: list[Any], routing: str
) -> None:
    options = RoutingOptions(routing=routing, route_s=route_s, spill_per_replica=spill)
    asked = {str(k): (0.01 * (k // 2), 1.0 + k, ready) for k, ready in enumerate(readies)}
    sites, others = (list(sites_of(times_s, options, asked, 1.5).values()) for _ in range(2))
    for k, time_s in sorted(looks, key=lambda look: look[1]):
        sites[k % len(sites)].advance(time_s)
    for site in [*sites, *others]:
        site.advance(30.0)
    assert sorted(arrival_s for site in sites for arrival_s in site.got_s) == times_s
    for site, other in zip(sites, others, strict=True):
        assert site.got_s == sorted(site.got_s) == other.got_s
        assert site.feed.is_over
        assert site.feed.next_s == math.inf


def test_a_feed_hands_out_parts_of_what_it_was_given() -> None:
    sites = sites_of([0.1, 0.2, 0.6, 1.7], RoutingOptions(spill_per_replica=9.0), TWO, 9.0)
    feed = sites["near"].feed
    assert feed.next_s == 0.1
    feed.prepare(0.2)
    assert sites["far"].feed.next_s == 1.7  # nobody comes there before: that isn't routed yet
    assert feed.until(0.2).arrival_s.tolist() == [0.1]
    assert feed.next_s == 0.2
    assert not feed.is_over
    assert feed.until(1.0).arrival_s.tolist() == [0.2, 0.6]
    assert len(feed.until(1.0)) == 0


# ---- whole runs
def run_of(
    times_s: Sequence[float],
    options: RoutingOptions,
    pools: Sequence[PoolSpec],
    sites: Mapping[str, Mapping[str, Any]],
    scaling: str = "static",
    takes_s: float = 0.5,
    **more: Any,
) -> Run:
    source = Given(times_s=times_s)
    common = {
        "service_times": ServiceTimes(mean_s=takes_s, distribution="constant"),
        "slo": Objective(latency_s=0.65, target_frac=0.5),
        "startup": Startup(scheduling_s=2.0, image_s=0.0, weights_s=0.0, engine_s=0.0),
    }
    plans = [
        ServicePlan(ServiceSpec(name=f"shop@{site}", **common, **own), source, Route("shop", site, options))
        for site, own in sites.items()
    ]
    return simulate(
        Scenario(
            jobs=JobTable.none(),
            allocation=registry.get("allocation", "fifo")(),
            placement=registry.get("placement", "consolidate")(),
            pools=pools,
            services=plans,
            scaling={plan.spec.name: registry.get("scaling", scaling)() for plan in plans},
            **more,
        )
    )


POOLS = (
    PoolSpec("edge", num_nodes=1, gpus_per_node=1, usd_per_node_h=3.6),
    PoolSpec("cloud", num_nodes=1, gpus_per_node=2, usd_per_node_h=3.6),
)
SITES = {"near": {"pool": "edge", "network_s": 0.1}, "far": {"pool": "cloud", "network_s": 0.3, "replicas": 2}}


def test_a_run_by_hand() -> None:
    """One at a time at the near site; those that come while it works go far, where there are two replicas.

    0.0 and 1.0 are served near in 0.6 s, 0.2 and 0.3 far in 0.8 s.
    """
    run = run_of([0.0, 0.2, 0.3, 1.0], RoutingOptions(route_s=0.1, spill_per_replica=1.0), POOLS, SITES)
    summary = summarise(run)
    of = summary["routed"]["shop"]
    assert of["sites"] == {"near": "shop@near", "far": "shop@far"}
    assert of["share_by_site"] == {"near": 0.5, "far": 0.5}
    assert (of["num_requests"], of["num_served"], of["num_in_flight"]) == (4, 4, 0)
    assert of["latency_mean_s"] == pytest.approx(0.7)
    assert of["latency_p50_s"] == pytest.approx(0.6, rel=0.01)
    assert of["latency_p99_s"] == pytest.approx(0.8, rel=0.01)
    assert of["latency_max_s"] == pytest.approx(0.8)
    assert of["slo_attainment_frac"] == 0.5
    assert of["slo_minutes_in_violation"] == 0
    lasted_h = run.facts["end_s"] / 3600
    assert of["cost_usd"] == pytest.approx(7.2 * lasted_h)
    assert of["cost_per_1k_requests_usd"] == pytest.approx(7.2 * lasted_h * 250)
    assert of["cost_usd"] == pytest.approx(sum(each["cost_usd"] for each in summary["services"].values()))
    check(run)


def test_cost_prefers_the_cheap_pool() -> None:
    """A far replica-hour costs half of a near one, and 0.3 s leaves time within 0.65 s."""
    run = run_of([0.0, 0.2, 0.3], RoutingOptions(routing="cost", route_s=0.1, spill_per_replica=1.0), POOLS, SITES)
    assert summarise(run)["routed"]["shop"]["share_by_site"] == {
        "near": pytest.approx(1 / 3),
        "far": pytest.approx(2 / 3),
    }


def test_the_last_resort_is_woken_from_nothing() -> None:
    """No replica anywhere: the first request starts one at the far site 2 s later, and is served then."""
    sites = {name: {**own, "replicas": 0, "max_replicas": 1} for name, own in SITES.items()}
    run = run_of([5.2, 5.4], RoutingOptions(), POOLS, sites)
    of = summarise(run)["services"]
    assert of["shop@near"]["num_requests"] == of["shop@near"]["num_replicas"] == 0
    assert of["shop@far"]["num_replicas"] == 1
    assert of["shop@far"]["latency_max_s"] == pytest.approx(2.0 + 0.5 + 0.5 + 0.3 - 0.2)
    replicas = run.table("replicas").to_pandas()
    assert replicas["requested_s"].tolist() == [5.2]
    check(run)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    routing=st.sampled_from(["latency", "cost"]),
    route_s=st.sampled_from([0.05, 1.0, 20.0]),
    spill=st.sampled_from([1.0, 4.0]),
    replicas=st.tuples(st.integers(0, 1), st.integers(0, 2)),
    scaling=st.sampled_from(["static", "knative_kpa"]),
)
def test_runs_serve_each_request_once(
    seed: int, routing: str, route_s: float, spill: float, replicas: tuple[int, int], scaling: str
) -> None:
    rng = np.random.default_rng(seed)
    times_s = np.cumsum(rng.exponential(0.4, 60)).tolist()
    sites = {
        "near": {**SITES["near"], "replicas": replicas[0], "min_replicas": 0, "max_replicas": 1},
        "far": {**SITES["far"], "replicas": replicas[1], "min_replicas": 0, "max_replicas": 2},
    }
    options = RoutingOptions(routing=routing, route_s=route_s, spill_per_replica=spill)
    run = run_of(times_s, options, POOLS, sites, scaling)
    summary = summarise(run)
    of, services = summary["routed"]["shop"], summary["services"]
    assert of["num_requests"] == of["num_served"] == 60
    assert sum(each["num_requests"] for each in services.values()) == 60
    arrived_s = run.table("requests").to_pandas()["arrival_s"]
    assert np.array_equal(np.sort(arrived_s), times_s)
    assert sum(of["share_by_site"].values()) == pytest.approx(1.0)
    check(run)


# ---- settings
REQUESTS = {"name": "poisson", "rate_per_s": 1.0}
EDGE = {"pool": "edge", "network_s": 0.005}


def plans_of(service: Mapping[str, Any]) -> list[Any]:
    return list(service_plans(REQUESTS, service, {}))


def test_sites_from_settings() -> None:
    service = {
        "name": "shop",
        "replicas": 2,
        "routing": "cost",
        "route_s": 0.5,
        "spill_per_replica": 3,
        "sites": {"edge": EDGE, "cloud": {"pool": "cloud", "replicas": 5, "scaling": {"name": "static"}}},
    }
    (edge, of_edge), (cloud, of_cloud) = plans_of(service)
    assert (edge.spec.name, edge.spec.replicas, edge.spec.network_s, edge.spec.pool) == ("shop@edge", 2, 0.005, "edge")
    assert (cloud.spec.name, cloud.spec.replicas, cloud.spec.network_s) == ("shop@cloud", 5, 0.0)
    assert edge.route == Route("shop", "edge", RoutingOptions(routing="cost", route_s=0.5, spill_per_replica=3.0))
    assert edge.requests is cloud.requests
    assert (of_edge, of_cloud) == (None, {"name": "static"})


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ({"sites": 3}, r"service\.sites=3: must be a mapping such as \{near: \{pool: edge"),
        ({"sites": {"edge": 3}}, r"service\.sites\.edge=3: must be a mapping of options of a service"),
        ({"sites": {"edge": {}}}, r"service\.sites\.edge\.pool: is needed: whose nodes its replicas are on"),
        ({"sites": {"edge": {**EDGE, "slo": {}}}}, r"service\.sites\.edge\.slo: is the same for all sites; set it for"),
        ({"sites": {"edge": {**EDGE, "routing": "cost"}}}, r"sites\.edge\.routing: is the same for all sites"),
        ({"sites": {"edge": {**EDGE, "netwrok_s": 1}}}, r"service\.sites\.edge\.netwrok_s: unknown option.*network_s"),
        ({"routing": "price"}, r"service\.routing=price: unknown routing.*known: cost, latency"),
        ({"route_s": 0}, r"service\.route_s=0\.0: must be a number of seconds, 0\.001 or more"),
        ({"spill_per_replica": "x"}, r"service\.spill_per_replica=x: must be a number"),
        ({"spill_per_replica": 0}, r"service\.spill_per_replica=0\.0: must be more than 0"),
    ],
)
def test_settings_that_cant_be(service: Mapping[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, WorkloadError), match=message):
        plans_of({"name": "shop", **service})
