"""Quiet time is skipped exactly: a run whose loops may sleep is the run that ticks, byte by byte.

Both runs of a scenario must give the same tables. Of the facts only the number of decisions differs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import jobs_of, run_jobs, simulated

from policies import registry
from policies.scaling.cluster_autoscaler import ClusterAutoscaler
from policies.scaling.joint import jointly
from simulator import ending
from simulator.cluster import DecideOptions
from simulator.monitor import MonitorOptions
from simulator.overheads import MoveCosts, Overheads
from simulator.pools import PoolSpec
from simulator.run import Run
from simulator.scenario import Scenario
from simulator.simulation import simulate
from tests.simulator.serving import test_services_properties as serving
from tests.simulator.test_properties import ALLOCATIONS, PLACEMENTS, specs
from workloads import JobTable

# Policies of every kind, their times cut to those of small runs; (name, options), a period among them.
SCALINGS: list[tuple[str, dict[str, Any]]] = [
    ("static", {}),
    ("threshold", {"sustained_s": 12.0, "cooldown_out_s": 20.0, "cooldown_in_s": 30.0}),
    ("threshold", {"metric": "pending_gpus", "upper": 2.5, "lower": 0.5, "sustained_s": 0.0, "cooldown_in_s": 15.0}),
    ("threshold", {"metric": "queue_age_s", "upper": 12.0, "lower": 1.0, "sustained_s": 5.0, "step_out": 2}),
    ("threshold", {"sustained_s": 8.0, "cooldown_out_s": 0.0, "cooldown_in_s": 0.0, "max_units": 3, "min_units": 1}),
    ("step", {"point_s": 10.0, "late_s": 30.0, "cooldown_out_s": 25.0, "cooldown_in_s": 15.0}),
    (
        "step",
        {
            "metric": "queue_length",
            "upper": 3.0,
            "lower": 0.5,
            "steps_out": {0.0: 1.0, 2.0: 2.0},
            "steps_in": {0.0: -1.0},
            "adjustment": "change",
            "points_out": 2,
            "points_in": 3,
            "point_s": 7.5,
            "late_s": 15.0,
        },
    ),
    ("target_tracking", {"point_s": 10.0, "points_out": 2, "points_in": 3, "late_s": 30.0, "cooldown_in_s": 20.0}),
    (
        "target_tracking",
        {"point_s": 5.0, "points_out": 1, "points_in": 2, "cooldown_out_s": 10.0, "also": {"queue_length": 2.0}},
    ),
    ("target_tracking", {"metric": "queue_age_s", "target": 20.0, "point_s": 10.0, "disable_scale_in": True}),
    ("queue_depth", {"window_s": 15.0, "delay_in_s": 25.0, "per_unit": 2.0}),
    ("queue_depth", {"metric": "pending_gpus", "window_s": 10.0, "delay_in_s": 0.0, "counts_busy": False}),
    ("kubernetes_hpa", {"stabilization_s": 40.0}),
    (
        "kubernetes_hpa",
        {
            "metrics": [
                {"metric": "gpu_allocation_frac", "target": 60.0},
                {"metric": "queue_length", "source": "External", "target_type": "AverageValue", "target": 2.0},
            ],
            "behavior": {"scale_down": {"window_s": 30.0, "policies": [{"type": "Pods", "value": 1, "period_s": 20}]}},
            "min_units": 0,
        },
    ),
    ("keda", {"cooldown_s": 30.0, "polling_s": 10.0, "stabilization_s": 20.0, "max_units": 4}),
    ("knative_kpa", {"metric": "queue_length", "target": 2.0}),
    ("ray_serve", {"metric": "queue_length", "look_back_s": 10.0, "upscale_delay_s": 10.0, "downscale_delay_s": 20.0}),
    ("skyserve", {"metric": "queue_length", "qps_per_unit": 2.0, "window_s": 10.0, "upscale_delay_s": 15.0}),
    ("predictive", {"forecaster": {"name": "moving_quantile"}, "lead_s": 20.0}),
    ("oracle", {"times_s": [0.0, 60.0, 75.0, 200.0], "values": [4.0, 30.0, 2.0, 16.0], "lead_s": 10.0}),
    ("ray_autoscaler", {"idle_timeout_s": 20.0}),
    ("cluster_autoscaler", {"unneeded_s": 30.0, "delay_after_add_s": 20.0, "new_gpu_pod_s": 4.0}),
    (
        "cluster_autoscaler",
        {"unneeded_s": 15.0, "delay_after_delete_s": 12.0, "max_provision_s": 6.0, "backoff_s": 20.0, "seed": 3},
    ),
    ("karpenter", {"validate_s": 6.0}),
    ("karpenter", {"consolidate_after_s": 20.0, "consolidation": "WhenEmpty", "disruption_s": 7.0, "validate_s": 0.0}),
    (
        "scheduled",
        {
            "cycle_s": 100.0,
            "offset_s": 30.0,
            "actions": [{"at_s": 10.0, "units": 3, "min_units": 1}, {"at_s": 60.0, "units": 1, "max_units": 4}],
        },
    ),
    (
        "scheduled",
        {
            "cycle_s": 80.0,
            "actions": [{"at_s": 20.0, "min_units": 2, "max_units": 4}, {"at_s": 50.0, "min_units": 0}],
            "policy": {"name": "kubernetes_hpa", "stabilization_s": 20.0, "min_units": 1},
        },
    ),
]
_NO_PERIOD = ("static",)
_JOINS = ("cluster_autoscaler", "karpenter")


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    """What `scenario` makes a scenario of; plain values, so that a failing case can be read and copied."""
    return {
        "jobs": draw(specs()),
        "allocation": draw(st.sampled_from(ALLOCATIONS)),
        "placement": draw(st.sampled_from(PLACEMENTS)),
        "scaling": draw(st.lists(st.sampled_from(SCALINGS), min_size=1, max_size=2)),
        "joint": draw(st.booleans()),
        "period_s": draw(st.sampled_from([1.0, 2.5, 5.0, 7.3])),
        "monitor": MonitorOptions(
            draw(st.sampled_from([2.0, 5.0, 6.1, 20.0])),
            draw(st.sampled_from([0.0, 0.0, 3.0, 20.0])),
            draw(st.sampled_from([0.0, 0.0, 0.0, 12.0])),
        ),
        "nodes": draw(st.integers(0, 3)),
        "gpus": draw(st.sampled_from([1, 4, 8])),
        "provision_s": draw(st.sampled_from([0.0, 9.0])),
        "drain_timeout_s": draw(st.sampled_from([float("inf"), float("inf"), 12.0])),
        "restart_s": draw(st.sampled_from([0.0, 3.0])),
        "from_s": draw(st.sampled_from([0.0, 0.3])),
        "stretch": draw(st.sampled_from([1.0, 1.0, 30.0])),
        "horizon_s": draw(st.sampled_from([float("inf"), float("inf"), 140.0, 3141.7])),
        "starve_after_s": draw(st.sampled_from([100.0, 333.3])),
    }


def scenario(given: dict[str, Any], skip_quiet: bool) -> Scenario:
    pools, scaling = [], {}
    period_s = given["period_s"] if given["stretch"] == 1.0 else 10.0 * given["period_s"]
    for i, (name, options) in enumerate(given["scaling"]):
        pool = PoolSpec(
            name=f"pool{i}", num_nodes=given["nodes"], min_nodes=0, max_nodes=5, gpus_per_node=given["gpus"] + i,
            usd_per_node_h=1.0 + i, provision_s=given["provision_s"], provision_cv=0.5,
            drain_timeout_s=given["drain_timeout_s"],
        )  # fmt: skip
        pools.append(pool)
        more = {} if name in _NO_PERIOD else {"period_s": period_s}
        scaling[pool.name] = registry.create("scaling", name, **options, **more)
    first = given["scaling"][0]
    if given["joint"] and first[0] in _JOINS and len(pools) > 1:
        scaling = jointly(registry.create("scaling", first[0], **first[1], period_s=period_s), list(scaling))
    jobs = [replace(spec, submit_s=given["from_s"] + given["stretch"] * spec.submit_s) for spec in given["jobs"]]
    allocation, placement = given["allocation"], given["placement"]
    return Scenario(
        jobs=JobTable.from_specs(jobs),
        allocation=registry.create("allocation", allocation[0], **allocation[1]),
        placement=registry.create("placement", placement[0], **placement[1]),
        pools=pools,
        scaling=scaling,
        overheads=Overheads(MoveCosts(restart_s=given["restart_s"])),
        monitor=given["monitor"],
        horizon_s=given["horizon_s"],
        starve_after_s=given["starve_after_s"],
        skip_quiet=skip_quiet,
    )


def assert_same(skipping: Run | None, ticking: Run | None) -> None:
    assert (skipping is None) == (ticking is None)
    if skipping is None or ticking is None:
        return
    for name in skipping._tables:
        frames = [run.table(name).to_pandas() for run in (skipping, ticking)]
        pd.testing.assert_frame_equal(*frames, check_exact=True, obj=name)
    facts = [{k: v for k, v in run.facts.items() if k != "num_decisions"} for run in (skipping, ticking)]
    assert facts[0] == facts[1]


@settings(max_examples=150, deadline=None, derandomize=True, print_blob=True)
@given(scenarios())
def test_a_run_that_skips_quiet_time_is_the_run_that_ticks(given: dict[str, Any]) -> None:
    assert_same(*(simulated(scenario(given, skip_quiet)) for skip_quiet in (True, False)))


@settings(max_examples=60, deadline=None, derandomize=True, print_blob=True)
@given(serving.scenarios(), st.sampled_from(SCALINGS), st.sampled_from([1.0, 5.0, 7.3]))
def test_with_services_too(given: dict[str, Any], scaling: tuple[str, dict[str, Any]], period_s: float) -> None:
    """Loops of services are asked at each tick, those of pools sleep."""
    name, options = scaling
    more = {} if name in _NO_PERIOD else {"period_s": period_s}
    case = serving.scenario({**given, "interval_s": 0.0})
    scaling_of = {**case.scaling, "default": registry.create("scaling", name, **options, **more)}
    assert_same(*(simulated(replace(case, scaling=scaling_of, skip_quiet=skips)) for skips in (True, False)))


AUTOSCALERS = [each for each in SCALINGS if each[0] == "cluster_autoscaler"]


@settings(max_examples=60, deadline=None, derandomize=True, print_blob=True)
@given(scenarios(), st.sampled_from(AUTOSCALERS), st.sampled_from([0.0, 0.5, 1.0]))
def test_where_nothing_can_follow_packing_changes_nothing(
    given: dict[str, Any], scaling: tuple[str, dict[str, Any]], threshold: float
) -> None:
    """cluster_autoscaler packs nothing where it is stuck; the run is that in which it packs all the same."""
    scaling = scaling[0], {**scaling[1], "utilization_threshold": threshold}
    case = {**given, "scaling": [scaling] * len(given["scaling"])}
    fast = simulated(scenario(case, True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClusterAutoscaler, "_stuck", lambda *_: None)
        assert_same(fast, simulated(scenario(case, True)))


# ---- by hand
def both(jobs: Any, **more: Any) -> list[Run]:
    """The same run, skipping and ticking."""
    pool = PoolSpec(num_nodes=2, min_nodes=1, max_nodes=4, gpus_per_node=8, provision_s=30.0)
    scenario: dict[str, Any] = {
        "allocation": registry.create("allocation", "fifo"),
        "placement": registry.create("placement", "consolidate", strict=False),
        "pools": [pool],
        "scaling": {"default": registry.create("scaling", "threshold", period_s=10.0)},
    }
    runs = [simulate(Scenario(jobs=jobs, **(scenario | more), skip_quiet=skips)) for skips in (True, False)]
    assert_same(*runs)
    return runs


def test_idle_loops_make_no_decisions() -> None:
    """Two jobs a day apart: a handful of decisions, and every sample there is."""
    day_s = 86400.0
    skipping, ticking = both(jobs_of((0.0, 4, 600.0), (day_s, 4, 600.0)))
    assert skipping.facts["num_decisions"] < 50
    assert ticking.facts["num_decisions"] > day_s / 10.0
    assert len(skipping.metrics) == (day_s + 600.0) / 60.0


def test_a_loop_that_sleeps_takes_no_decision_from_jobs_that_do_not_wait() -> None:
    """200 jobs come and go on 16 GPUs: fifo decides at each arrival alone, as it does without loops."""
    jobs = jobs_of(*((100.0 * i, 1, 50.0) for i in range(200)))
    alone = run_jobs(jobs, nodes=2)
    quiet = registry.create("scaling", "threshold", lower=0.0, period_s=10.0)
    skipping, _ = both(jobs, scaling={"default": quiet})
    assert alone.facts["num_decisions"] == 200
    assert skipping.facts["num_decisions"] <= 203


@pytest.mark.parametrize("starve_after_s", [3600.0, float("inf")])
def test_a_run_that_waits_for_ever_ends_though_its_loops_sleep(
    starve_after_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """b would fit on one node and never gets one to itself; without patience set so many periods are enough."""
    monkeypatch.setattr(ending, "_MAX_IDLE_DECISIONS", 2000)
    jobs = jobs_of((0.0, 8, 100.0), (5.0, 12, 100.0))
    sleeps = registry.create("scaling", "threshold", metric="cpu_utilisation_frac", period_s=10.0)
    runs = both(
        jobs,
        scaling={"default": sleeps},
        pools=[PoolSpec(num_nodes=1, max_nodes=2, gpus_per_node=8)],
        starve_after_s=starve_after_s,
    )
    assert runs[0].facts["end_s"] == 100.0 + min(starve_after_s, 20000.0)
    assert "never got the GPUs" in runs[0].facts["notes"][-2]
    assert runs[0].facts["num_decisions"] < 60


def test_rounds_and_perfect_monitoring_tick() -> None:
    jobs = jobs_of((0.0, 4, 600.0), (4000.0, 4, 600.0))
    for more in ({"decide": DecideOptions(interval_s=30.0)}, {"monitor": MonitorOptions(perfect=True)}):
        skipping, ticking = both(jobs, **more)
        assert skipping.facts["num_decisions"] == ticking.facts["num_decisions"]


def test_a_horizon_in_quiet_time() -> None:
    runs = both(jobs_of((0.0, 8, 9000.0)), horizon_s=4000.0)
    assert runs[0].facts["end_s"] == 4000.0
    assert runs[0].metrics["time_s"].tolist()[-1] == 3960.0


def test_loops_sleep_beside_samples_of_nodes_and_jobs() -> None:
    options = MonitorOptions(interval_s=20.0, nodes=True, jobs=True)
    skipping, ticking = both(jobs_of((0.0, 4, 300.0), (900.0, 2, 50.0)), monitor=options)
    for name in ("node_metrics", "job_metrics"):
        frames = [run.table(name).to_pandas() for run in (skipping, ticking)]
        pd.testing.assert_frame_equal(*frames, check_exact=True)
    assert skipping.facts["num_decisions"] < ticking.facts["num_decisions"] / 3
