"""Random scenarios: the books of every run balance, no job is lost, and the same scenario gives the same run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import registry
from simulator.checks import check
from simulator.cluster import DecideOptions
from simulator.metrics import summarise
from simulator.monitor import MonitorOptions
from simulator.overheads import MoveCosts, Overheads
from simulator.pools import PoolSpec
from simulator.scenario import Scenario
from tests.simulator.small_runs import simulated
from workloads import Amdahl, JobSpec, JobTable, Linear
from workloads.job_spec import Elasticity

ALLOCATIONS: list[tuple[str, dict[str, Any]]] = [
    *[("fifo", {"backfill": b}) for b in ("false", "true", "easy")],
    ("greedy", {}),
    ("fair_share", {}),
    ("priority", {}),
    ("priority", {"preemptive": False, "backfill": True}),
    ("sjf", {}),
    ("srtf", {}),
    ("srtf", {"key": "gpu_time"}),
    ("las", {"limits": [20.0, 60.0]}),
    ("las", {"limits": [15.0], "service": "seconds", "promote_factor": 1.0}),
]
PLACEMENTS: list[tuple[str, dict[str, Any]]] = [
    ("pooled", {}),
    ("consolidate", {"strict": False}),
    ("consolidate", {"strict": True}),
    ("spread", {}),
]
seconds = st.sampled_from([0.0, 0.5, 3.0, 20.0])


@st.composite
def specs(draw: st.DrawFn) -> list[JobSpec]:
    count = draw(st.integers(1, 25))
    jobs, now_s = [], 0.0
    for i in range(count):
        now_s += draw(st.sampled_from([0.0, 0.0, 1.0, 7.5, 40.0]))
        asked = draw(st.sampled_from([1, 1, 2, 3, 4, 8, 11, 40]))
        kind = draw(st.sampled_from(list(Elasticity)))
        rigid = kind == Elasticity.RIGID
        jobs.append(
            JobSpec(
                f"j{i}",
                now_s,
                asked,
                draw(st.sampled_from([0.25, 5.0, 10.0, 33.3, 120.0])),
                min_gpus=asked if rigid else draw(st.integers(1, asked)),
                max_gpus=asked if rigid else asked + draw(st.integers(0, 9)),
                elasticity=kind,
                priority=draw(st.integers(0, 2)),
                weight=draw(st.sampled_from([1.0, 1.0, 2.5])),
                cpus_per_gpu=draw(st.sampled_from([0.0, 0.0, 4.0])),
                checkpoint_interval_s=draw(st.sampled_from([float("inf"), 4.0])),
            )
        )
    return jobs


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    """What `scenario` makes a scenario of; plain values, so that a failing case can be read and copied."""
    interval_s = draw(st.sampled_from([0.0, 0.0, 10.0]))
    return {
        "jobs": draw(specs()),
        "allocation": draw(st.sampled_from(ALLOCATIONS)),
        "placement": draw(st.sampled_from(PLACEMENTS)),
        "costs": MoveCosts(
            draw(seconds),
            draw(seconds),
            draw(seconds),
            draw(st.sampled_from(["restart_all", "in_place"])),
            draw(st.sampled_from(["checkpoint", "checkpoint", "lose"])),
            draw(st.sampled_from([0.0, 0.0, 2.0])),
        ),
        "step_time": draw(st.sampled_from([Linear(), Linear(cross_node_frac=0.2), Amdahl(0.1)])),
        "decide": DecideOptions(
            interval_s,
            draw(st.sampled_from([0.0, 5.0])),
            draw(st.sampled_from(["idle", "decision"])),
        ),
        "nodes": draw(st.integers(0, 4)),
        "gpus": draw(st.sampled_from([1, 4, 8])),
        "cpus": draw(st.sampled_from([float("inf"), 16.0])),
        "scales": draw(st.booleans()),
        "drain_timeout_s": draw(st.sampled_from([float("inf"), 0.0, 12.0])),
        "horizon_s": draw(st.sampled_from([float("inf"), float("inf"), 150.0])),
    }


def scenario(given: dict[str, Any]) -> Scenario:
    nodes = given["nodes"] if given["scales"] else max(1, given["nodes"])
    pool = PoolSpec(
        num_nodes=nodes,
        min_nodes=0 if given["scales"] else None,
        max_nodes=5 if given["scales"] else None,
        gpus_per_node=given["gpus"],
        cpus_per_node=given["cpus"],
        usd_per_node_h=3600.0,
        provision_s=9.0,
        provision_cv=0.5,
        drain_timeout_s=given["drain_timeout_s"],
    )
    threshold = registry.create(
        "scaling", "threshold", metric="pending_gpus", upper=0.5, lower=0.25, sustained_s=0.0, cooldown_out_s=0.0,
        cooldown_in_s=10.0, period_s=5.0,
    )  # fmt: skip
    allocation, placement = given["allocation"], given["placement"]
    return Scenario(
        jobs=JobTable.from_specs(given["jobs"]),
        allocation=registry.create("allocation", allocation[0], **allocation[1]),
        placement=registry.create("placement", placement[0], **placement[1]),
        pools=[pool],
        scaling={"default": threshold} if given["scales"] else {},
        step_time=given["step_time"],
        overheads=Overheads(given["costs"]),
        decide=given["decide"],
        monitor=MonitorOptions(interval_s=5.0),
        horizon_s=given["horizon_s"],
        starve_after_s=300.0,
    )


@settings(max_examples=300, deadline=None, derandomize=True, print_blob=True)
@given(scenarios())
def test_the_books_balance_and_no_job_is_lost(given: dict[str, Any]) -> None:
    run = simulated(scenario(given))
    if run is None:
        assert given["scales"]
        return
    check(run)

    summary = summarise(run)
    lives_s = (run.nodes["terminated_s"] - run.nodes["ordered_s"]).sum()
    assert np.isclose(summary["cost_usd"], lives_s, rtol=1e-9)  # at 1 USD a second
    assert len(run.jobs) == len(given["jobs"])
    parts = ("num_finished", "num_failed", "num_rejected", "num_unfinished")
    assert summary["num_submitted"] == sum(summary[part] for part in parts)
    waits = run.jobs["state"].eq("pending").any()
    said = any("never got the GPUs" in note for note in run.facts["notes"])
    assert said == (waits and given["horizon_s"] == float("inf"))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(scenarios())
def test_the_same_scenario_gives_the_same_run(given: dict[str, Any]) -> None:
    same = scenario(given)
    first, second = simulated(same), simulated(same)
    if first is None or second is None:
        assert first is second
        return
    for name in ("jobs", "allocations", "nodes", "decisions", "metrics"):
        pd.testing.assert_frame_equal(first.table(name).to_pandas(), second.table(name).to_pandas(), check_exact=True)
