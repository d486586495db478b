"""Random mixes of training and services: the books balance, every request is accounted for, nobody serves alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import registry
from simulator.checks import check
from simulator.cluster import DecideOptions
from simulator.monitor import MonitorOptions
from simulator.overheads import MoveCosts, Overheads
from simulator.pools import PoolSpec
from simulator.scenario import Scenario
from simulator.serving.model import BALANCERS
from simulator.serving.models import MODELS
from simulator.serving.outcome import Served
from simulator.serving.services import ServicePlan
from simulator.serving.spec import ServiceSpec
from simulator.serving.startup import Startup
from tests.simulator.serving.small_services import Listed, Script, spied
from tests.simulator.small_runs import simulated
from workloads import JobSpec, JobTable
from workloads.serving.batch_times import BatchTimes
from workloads.serving.llm_times import LlmTimes
from workloads.serving.service_times import ServiceTimes

TABLES = (
    *("jobs", "allocations", "nodes", "decisions", "metrics"),
    *("service_metrics", "replicas", "latencies", "latency_heat", "slo_minutes", "requests"),
)
ALLOCATIONS: list[tuple[str, dict[str, Any]]] = [
    *[("fifo", {"backfill": b}) for b in ("false", "true", "easy")],
    ("fair_share", {}),
    ("priority", {}),
    ("priority", {"preemptive": False, "backfill": True}),
    ("lend", {"notice_s": 0.0}),
    ("lend", {"notice_s": 7.0, "headroom_gpus": 1}),
    ("lend", {"notice_s": 20.0, "guaranteed_gpus": 2}),
]
PLACEMENTS: list[tuple[str, dict[str, Any]]] = [
    ("pooled", {}),
    ("consolidate", {"strict": False}),
    ("consolidate", {"strict": True}),
    ("spread", {}),
]
MAX_BATCH = 4


# ---- what is drawn: plain values, so that a failing case can be read and copied
@st.composite
def jobs(draw: st.DrawFn) -> list[JobSpec]:
    specs, now_s = [], 0.0
    for i in range(draw(st.integers(0, 8))):
        now_s += draw(st.sampled_from([0.0, 1.0, 7.5, 40.0]))
        asked = draw(st.sampled_from([1, 1, 2, 4, 8]))
        low = draw(st.integers(1, asked)) if draw(st.booleans()) else asked
        high = asked if low == asked else asked + draw(st.integers(0, 6))
        specs.append(
            JobSpec(
                f"j{i}", now_s, asked, draw(st.sampled_from([0.25, 5.0, 33.3, 90.0])), min_gpus=low, max_gpus=high,
                priority=draw(st.integers(0, 2)), cpus_per_gpu=draw(st.sampled_from([0.0, 0.0, 3.0])),
            )
        )  # fmt: skip
    return specs


@st.composite
def services(draw: st.DrawFn, name: str) -> dict[str, Any]:
    most = draw(st.integers(1, 4))
    replicas = draw(st.integers(0, most))
    count, span_s = draw(st.integers(0, 25)), draw(st.sampled_from([2.0, 60.0, 150.0]))
    return {
        "name": name,
        "model": draw(st.sampled_from(MODELS)),
        "replicas": replicas,
        "min_replicas": 0,
        "max_replicas": most,
        "gpus_per_replica": draw(st.sampled_from([1, 1, 2, 3])),
        "cpus_per_gpu": draw(st.sampled_from([0.0, 0.0, 4.0])),
        "priority": draw(st.integers(0, 2)),
        "activation": draw(st.booleans()),
        "drain_timeout_s": draw(st.sampled_from([math.inf, 0.0, 6.0])),
        "sample_s": 5.0,
        "balancer": draw(st.sampled_from(BALANCERS)),
        "queue_limit": draw(st.sampled_from([None, None, 0, 2])),
        "timeout_s": draw(st.sampled_from([math.inf, math.inf, 9.0])),
        "retries": draw(st.integers(0, 2)),
        "is_cold": draw(st.booleans()),
        "chunk_tokens": draw(st.sampled_from([0, 64])),
        "requests": (count, span_s, draw(st.integers(0, 2**16))),
        "script": draw(st.lists(st.tuples(st.sampled_from([0.0, 3.0, 10.0, 25.0, 60.0, 90.0]), st.integers(0, most)))),
    }


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "jobs": draw(jobs()),
        "services": [draw(services(name)) for name in ("chat", "rank")[: draw(st.integers(1, 2))]],
        "allocation": draw(st.sampled_from(ALLOCATIONS)),
        "placement": draw(st.sampled_from(PLACEMENTS)),
        "nodes": draw(st.integers(1, 3)),
        "gpus": draw(st.sampled_from([1, 3, 8])),
        "cpus": draw(st.sampled_from([math.inf, 12.0])),
        "node_script": draw(st.lists(st.tuples(st.sampled_from([0.0, 8.0, 30.0, 70.0]), st.integers(0, 4)))),
        "node_drain_timeout_s": draw(st.sampled_from([math.inf, 0.0, 12.0])),
        "costs": MoveCosts(
            draw(st.sampled_from([0.0, 3.0])), draw(st.sampled_from([0.0, 3.0])), draw(st.sampled_from([0.0, 3.0])),
            preempt=draw(st.sampled_from(["checkpoint", "lose"])), save_s=draw(st.sampled_from([0.0, 10.0])),
        ),
        "interval_s": draw(st.sampled_from([0.0, 0.0, 10.0])),
        "horizon_s": draw(st.sampled_from([math.inf, 200.0])),
        "seed": draw(st.integers(0, 3)),
    }  # fmt: skip


# ---- and what becomes of it
def plan_of(given: dict[str, Any], most_gpus: int) -> ServicePlan:
    own = dict(given)
    count, span_s, seed = own.pop("requests")
    is_cold, chunk_tokens, _ = own.pop("is_cold"), own.pop("chunk_tokens"), own.pop("script")
    own["gpus_per_replica"] = min(own["gpus_per_replica"], most_gpus)
    rng = np.random.default_rng(seed)
    spec = ServiceSpec(
        **own,
        service_times=ServiceTimes(mean_s=2.0),
        batch=BatchTimes(fixed_s=0.5, per_request_s=0.5, max_batch=MAX_BATCH, max_wait_s=0.2),
        llm=LlmTimes(max_batch=MAX_BATCH, kv_tokens=400, decode_fixed_s=0.1, chunk_tokens=chunk_tokens),
        startup=Startup(scheduling_s=1.0, image_s=4.0, weights_s=2.0, weights_sigma=0.5, engine_s=3.0)
        if is_cold
        else Startup(scheduling_s=0.0, image_s=0.0, weights_s=0.0, engine_s=0.0),
    )
    tokens = list(zip(rng.integers(1, 250, count).tolist(), rng.integers(1, 60, count).tolist(), strict=True))
    return ServicePlan(spec, Listed(arrival_s=np.sort(rng.uniform(0.0, span_s, count)).tolist(), tokens=tokens))


def scenario(given: dict[str, Any]) -> Scenario:
    most_nodes = max(4, given["nodes"])
    there_may_be = most_nodes if given["node_script"] else given["nodes"]
    pool = PoolSpec(
        num_nodes=given["nodes"], min_nodes=0, max_nodes=most_nodes, gpus_per_node=given["gpus"],
        cpus_per_node=given["cpus"], provision_s=9.0, drain_timeout_s=given["node_drain_timeout_s"],
    )  # fmt: skip
    scaling = {of["name"]: Script(sorted(of["script"])) for of in given["services"] if of["script"]}
    if given["node_script"]:
        scaling["default"] = Script(sorted(given["node_script"]))
    allocation, placement = given["allocation"], given["placement"]
    return Scenario(
        jobs=JobTable.from_specs(given["jobs"]) if given["jobs"] else JobTable.none(),
        allocation=registry.create("allocation", allocation[0], **allocation[1]),
        placement=registry.create("placement", placement[0], **placement[1]),
        pools=[pool],
        services=[plan_of(of, there_may_be * given["gpus"]) for of in given["services"]],
        scaling=scaling,
        overheads=Overheads(given["costs"]),
        decide=DecideOptions(given["interval_s"]),
        monitor=MonitorOptions(interval_s=5.0),
        horizon_s=given["horizon_s"],
        starve_after_s=100.0,
        seed=given["seed"],
    )


@settings(max_examples=120, deadline=None, derandomize=True, print_blob=True)
@given(scenarios())
def test_the_books_balance_and_no_request_is_lost_sight_of(given: dict[str, Any]) -> None:
    case = scenario(given)
    with spied() as spies:
        run = simulated(case)
    if run is None:
        return
    check(run)
    assert len(run.jobs) == len(given["jobs"])
    replicas = run.table("replicas").to_pandas()
    for plan, spy in zip(case.services, spies, strict=True):
        of = run.facts["services"][plan.spec.name]
        fates = ("served", "rejected", "timed_out", "lost", "in_flight")
        came = sum(time_s < run.facts["end_s"] for time_s in plan.requests.arrival_s)  # type: ignore[attr-defined]
        assert of["num_requests"] == came == sum(of[f"num_{fate}"] for fate in fates)
        if run.facts["end_s"] < case.horizon_s and plan.spec.activation and not given["jobs"]:
            assert came == len(plan.requests.arrival_s)  # type: ignore[attr-defined]
        answers = Served.concat([Served(), *spy.answers])
        assert len(answers) == of["num_served"] == len(set(answers.number.tolist()))
        assert not len(answers) or answers.number.max() < came
        assert (answers.finish_s <= run.facts["end_s"]).all()
        assert_somebody_serves(answers, replicas[replicas["service"] == plan.spec.name], plan.spec)


def assert_somebody_serves(answers: Served, replicas: pd.DataFrame, spec: ServiceSpec) -> None:
    """At no time are more answers being given than replicas, ready and not yet gone, can give."""
    ready = replicas[replicas["ready_s"].notna()]
    at_once = 1 if spec.model == "queue" else MAX_BATCH
    changes = [(time_s, 0, at_once) for time_s in ready["ready_s"]]
    changes += [(time_s, 1, 1) for time_s in answers.finish_s.tolist()]
    changes += [(time_s, 2, -1) for time_s in answers.first_s.tolist()]
    changes += [(time_s, 3, -at_once) for time_s in ready["end_s"]]
    spare = 0
    for time_s, _, more in sorted(changes):
        spare += more
        assert spare >= 0, f"more answers than replicas at {time_s} s"


@settings(max_examples=15, deadline=None, derandomize=True)
@given(scenarios())
def test_the_same_scenario_gives_the_same_run(given: dict[str, Any]) -> None:
    first, second = (simulated(scenario(given)) for _ in range(2))
    if first is None or second is None:
        assert first is second
        return
    for name in TABLES:
        pd.testing.assert_frame_equal(first.table(name).to_pandas(), second.table(name).to_pandas(), check_exact=True)
    assert str(first.facts) == str(second.facts)
