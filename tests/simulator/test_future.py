"""What clairvoyant policies are told, and what they do with it in a run; by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from policies import ClairvoyantPolicy, registry
from policies.scaling.oracle import Oracle
from policies.scaling.predictive import Predictive
from policies.scaling.scheduled import Scheduled
from simulator.errors import ConfigError
from simulator.future import gpu_demand, request_rate
from simulator.pools import PoolSpec
from simulator.serving.router import Route, RoutingOptions
from simulator.serving.services import ServicePlan
from simulator.simulation import stream
from tests.simulator.serving.small_services import Listed, lives, plan, serve
from tests.simulator.small_runs import jobs_of, run_jobs
from workloads import JobTable
from workloads.requests.generators import PoissonRequests

BURST = [1.0, *(100.0 + 0.1 * n for n in range(60))]  # 60 requests from 100 s on, each of 2 s
RATE = "request_rate_per_s"


def rate_of(*arrival_s: float, **options: Any) -> list[tuple[float, float]]:
    chunks = Listed(arrival_s=arrival_s).chunks(np.random.default_rng(0))
    return until_it_is_over(request_rate(chunks, 10.0, **options))


def until_it_is_over(course: tuple[list[float], list[float]]) -> list[tuple[float, float]]:
    """The course but for its last point, at which nothing has come for long."""
    *known, (last_s, last) = zip(*course, strict=True)
    assert (last_s - known[-1][0], last, known[-1][1]) == (1e9, 0.0, 0.0)
    return known


def test_the_rate_of_requests() -> None:
    assert rate_of(0.0, 9.9, 10.0, 35.0, 36.0) == [(0.0, 0.2), (10.0, 0.1), (20.0, 0.0), (30.0, 0.2), (40.0, 0.0)]
    assert rate_of(0.0, 9.9, 10.0, 35.0, 36.0, until_s=30.0) == [(0.0, 0.2), (10.0, 0.1), (20.0, 0.0)]
    assert rate_of() == [(0.0, 0.0), (10.0, 0.0)]  # one interval at least


def test_it_is_that_of_the_run() -> None:
    """The same stream, drawn another time."""
    source = PoissonRequests(rate_per_s=5.0, duration_s=300.0)
    service = ServicePlan(plan([], sample_s=15.0, replicas=20).spec, source)
    run = serve(service)
    _, values = request_rate(source.chunks(stream(0, "requests chat")), 15.0)
    measured = run.table("service_metrics", [RATE]).to_pydict()[RATE]
    assert values[:20] == pytest.approx(measured[1:21])


def test_the_demand_of_jobs() -> None:
    """8 GPUs for 100 s, 4 more for a second, 2 from the end of the first one on."""
    jobs = jobs_of((0.0, 8, 100.0), (70.0, 4, 1.0), (100.0, 2, 80.0))
    all_of_it = [(0.0, 8.0), (60.0, 12.0), (120.0, 2.0), (180.0, 0.0), (240.0, 0.0)]
    assert until_it_is_over(gpu_demand(jobs)) == all_of_it
    assert until_it_is_over(gpu_demand(jobs, 100.0)) == [(0.0, 8.0), (60.0, 12.0), (120.0, 0.0)]
    assert until_it_is_over(gpu_demand(JobTable.none())) == [(0.0, 0.0)]


@pytest.mark.parametrize(
    "policy",
    [
        Oracle(per_unit=1.0, period_s=5.0),
        Predictive(forecaster={"name": "oracle"}, metric=RATE, per_unit=1.0, period_s=5.0),
        Scheduled(policy={"name": "oracle", "per_unit": 1.0, "period_s": 5.0}),
    ],
)
def test_replicas_are_there_before_the_burst(policy: Any) -> None:
    """6 requests a second from 100 s to 110 s. A replica takes 17 s to come, 7 s where the node has its image."""
    assert isinstance(policy, ClairvoyantPolicy)
    run = serve(plan(BURST, max_replicas=10, sample_s=10.0), scaling={"chat": policy})
    came = [life for life in lives(run) if life[0] > 0.0]
    assert [life[:3] for life in came] == [(80.0, 80.0, 87.0)] * 5


def test_without_a_look_ahead_they_are_late() -> None:
    """The same forecaster and no future: last value."""
    policy = Predictive(forecaster={"name": "last_value"}, metric=RATE, per_unit=1.0, period_s=5.0)
    run = serve(plan(BURST, max_replicas=10, sample_s=10.0), scaling={"chat": policy})
    assert all(life[0] > 100.0 for life in lives(run) if life[0] > 0.0)


def test_nodes_are_there_before_the_job() -> None:
    """Nodes take 120 s: ordered by the minute in which the job comes, at 600 s."""
    pool = PoolSpec(num_nodes=1, min_nodes=0, max_nodes=3, gpus_per_node=8, provision_s=120.0)
    jobs = jobs_of((0.0, 8, 60.0), (600.0, 24, 60.0))
    for name, options in (("oracle", {}), ("predictive", {"forecaster": {"name": "oracle"}})):
        policy = registry.create("scaling", name, **options)
        run = run_jobs(jobs, pools=[pool], scaling={"default": policy})
        assert run.jobs.set_index("job_id").loc["b"].start_s == 600.0, name
        ordered_s = run.table("nodes").to_pandas()["ordered_s"]
        assert ordered_s.max() > 300.0


def test_a_policy_that_was_told_is_not_told_again() -> None:
    policy = Oracle(times_s=[0.0], values=[3.0], per_unit=1.0)
    run = serve(plan([1.0], max_replicas=4), scaling={"chat": policy})
    assert len(lives(run)) == 3


ORACLE = Oracle(per_unit=1.0)


@pytest.mark.parametrize(
    ("service", "pools", "scaling", "more", "message"),
    [
        (
            plan([1.0]), 1, {"chat": Predictive(forecaster={"name": "oracle"}, per_unit=1.0)}, {},
            "service 'chat': the future concurrency depends on how it is scaled and can't be revealed; "
            "request_rate_per_s can: set metric=request_rate_per_s",
        ),
        (
            plan([1.0]), 1, {"p0": Predictive(forecaster={"name": "oracle"}, metric="queue_length", per_unit=1.0)}, {},
            "pool 'p0': the future queue_length depends on how it is scaled and can't be revealed; the GPUs that jobs",
        ),
        (plan([1.0]), 1, {"p0": ORACLE}, {}, "pool 'p0': how many replicas service 'chat' has there is settled as"),
        (plan([1.0]), 2, {"p0": ORACLE}, {}, "pool 'p0': which pool a job is on is settled .*; set training_pool"),
        (
            ServicePlan(plan([1.0], pool="p0").spec, Listed(arrival_s=[1.0]), Route("chat", "here", RoutingOptions())),
            1, {"chat": ORACLE}, {}, "service 'chat': which requests a site gets is settled as the run goes on",
        ),
    ],
)  # fmt: skip
def test_what_is_not_settled_before_a_run(
    service: ServicePlan, pools: int, scaling: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    specs = [PoolSpec(name=f"p{n}", num_nodes=1) for n in range(pools)]
    with pytest.raises(ConfigError, match=message):
        serve(service, scaling=scaling, pools=specs, **more)


def test_a_pool_for_services_alone_may_be_another() -> None:
    """The jobs' own pool is told of their demand, and lets its node go until then; the other one of none."""
    pools = [PoolSpec(name=name, num_nodes=1, min_nodes=0, max_nodes=2) for name in ("train", "spare", "serve")]
    policy = {name: Oracle(period_s=60.0) for name in ("train", "spare")}
    run = serve(
        plan([1.0], pool="serve"),
        jobs=jobs_of((400.0, 16, 100.0)),
        pools=pools, scaling=policy, training_pool="train",
    )  # fmt: skip
    nodes = run.table("nodes").to_pandas()
    assert nodes.groupby("pool").size().to_dict() == {"serve": 1, "spare": 1, "train": 3}
