"""Scaling policies drive the live backend's nodes as they drive the simulator's; settings are composed as on a command
line.

All but the last emulate agents and time (see `emulated`): a run takes a fraction of a second, on any machine.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from policies import registry
from real_backend.commands import composed
from real_backend.journal import read_journal
from real_backend.run import LiveRun
from real_backend.running import Plan, make_plan
from simulator.checks import check
from simulator.run import Run
from simulator.simulation import simulate
from simulator.timeline import Timeline
from tests.real_backend.dawdling import say_go
from tests.real_backend.emulated import EmulatedRuntime, run_emulated
from tests.real_backend.patience import PATIENCE_S, agents_of, wait_until
from tests.real_backend.small_profile import write_profile_file

POLICIES = {
    "live_queue": "threshold",
    "live_tracking": "target_tracking",
    "live_queue_depth": "queue_depth",
    "live_predictive": "predictive",
}
ROOT = Path(__file__).parents[2]
RUN = (sys.executable, "-m", "real_backend", "run")
LIVES = ("ordered_s", "ready_s", "drain_s", "terminated_s")
Job = tuple[float, int, float]  # submit_s, num_gpus, duration_s
ONE_STAYS = (0.0, 1, 150.0)
TWO_BURSTS = [ONE_STAYS, *[(10.0, 2, 10.0)] * 12, *[(60.0, 4, 10.0)] * 4]


def settings_of(folder: Path, jobs: Sequence[Job], *overrides: str) -> list[str]:
    """A live run of jobs under FIFO on one node of four slots, which may become four nodes; as on a command line."""
    rows = [
        f"j{row},{submit_s},{num_gpus},{duration_s},mlp\n" for row, (submit_s, num_gpus, duration_s) in enumerate(jobs)
    ]
    trace = folder / "jobs.csv"
    trace.write_text("job_id,submit_s,num_gpus,duration_s,model\n" + "".join(rows))
    small = ["compute=paced", "device=cpu", f"profile={write_profile_file(folder)}", "allocation=fifo"]
    return ["workload=csv", f"workload.path={trace}", *small, "cluster.num_nodes=1", *overrides]


def plan_of(folder: Path, jobs: Sequence[Job], *overrides: str) -> Plan:
    settings, _ = composed(settings_of(folder, jobs, *overrides))
    return make_plan(settings)


def nodes_at(run: Run, *times_s: float) -> list[int]:
    """How many nodes are ready or draining."""
    return (Timeline.of(run).ready.at(np.array(times_s)) / 4).astype(int).tolist()


def assert_same_nodes(live: Run, simulated: Run) -> None:
    """The same nodes were ordered, came, were drained and went, all within a tenth of a second."""
    mine, theirs = (run.nodes[list(LIVES)] for run in (live, simulated))
    pd.testing.assert_frame_equal(mine, theirs, rtol=0.0, atol=0.1)


@pytest.mark.parametrize("scaling", POLICIES)
def test_out_under_load_and_in_when_it_is_gone_as_in_simulation(tmp_path: Path, scaling: str) -> None:
    """Twice; each decision is the simulator's."""
    plan = plan_of(tmp_path, TWO_BURSTS, f"scaling={scaling}")
    assert type(plan.scenario.scaling["default"]) is type(registry.create("scaling", POLICIES[scaling]))
    run, _ = run_emulated(plan, tmp_path / "run")
    assert run.jobs["state"].unique().tolist() == ["finished"]
    check(run)
    assert [max(nodes_at(run, *np.arange(begin_s, begin_s + 40.0))) for begin_s in (10.0, 60.0)] == [4, 4]
    assert nodes_at(run, 0.0, 149.0) == [1, 1]
    assert_same_nodes(run, simulate(plan.scenario))


@pytest.mark.parametrize("scaling", POLICIES)
def test_from_no_node_at_all(tmp_path: Path, scaling: str) -> None:
    jobs = [(2.0, 4, 10.0), (2.0, 2, 30.0)]
    plan = plan_of(tmp_path, jobs, f"scaling={scaling}", "cluster.num_nodes=0", "cluster.min_nodes=0")
    run, _ = run_emulated(plan, tmp_path / "run")
    assert run.jobs["state"].tolist() == ["finished"] * 2
    check(run)
    assert_same_nodes(run, simulate(plan.scenario))


def test_a_pool_of_no_node_that_no_policy_scales_starves(tmp_path: Path) -> None:
    small = [
        "cluster.num_nodes=0",
        "cluster.min_nodes=0",
        "starve_after_s=20",
        "scaling=live_queue",
        "scaling.step_out=0",
    ]
    run, _ = run_emulated(plan_of(tmp_path, [(0.0, 1, 10.0)], *small), tmp_path / "run")
    assert run.jobs["state"].tolist() == ["pending"]
    assert run.facts["notes"] == ["1 jobs never got the GPUs they waited for: j0"]
    assert run.facts["end_s"] == pytest.approx(20.0, abs=1.0)


def test_who_knows_the_future_is_told_live_too(tmp_path: Path) -> None:
    jobs = [ONE_STAYS, *[(90.0, 4, 20.0)] * 2]
    plan = plan_of(tmp_path, jobs, "scaling=oracle", "scaling.period_s=2", "scaling.lead_s=3")
    run, _ = run_emulated(plan, tmp_path / "run")
    assert run.nodes["ready_s"].max() < 90.0
    assert_same_nodes(run, simulate(plan.scenario))


def test_the_lead_that_policies_see_is_the_one_measured(tmp_path: Path) -> None:
    """A forecast looks as far ahead as nodes have taken to come, not as the profile says."""
    seen: list[float | None] = []

    def slower(live: LiveRun, runtime: EmulatedRuntime) -> None:
        runtime.nodes.provision_s = lambda name: 7.5
        for time_s in (9.0, 30.0):
            runtime.clock.call_after(time_s, lambda: seen.append(live.cluster.view().target("default").lead_s))

    run_emulated(plan_of(tmp_path, TWO_BURSTS, "scaling=live_predictive"), tmp_path / "run", slower)
    assert seen == [3.0, 7.5]


def test_nodes_that_never_come_are_told_and_not_waited_for(tmp_path: Path) -> None:
    """Scaling goes on: it asks anew, and the jobs run on what there is."""

    def never(live: LiveRun, runtime: EmulatedRuntime) -> None:
        runtime.nodes.provision_s = lambda name: None

    plan = plan_of(tmp_path, [ONE_STAYS, *[(0.0, 3, 40.0)] * 3], "scaling=live_tracking", "live.join_timeout_s=30")
    run, live = run_emulated(plan, tmp_path / "run", never)
    assert run.jobs["state"].unique().tolist() == ["finished"]
    check(run)
    pool = live.cluster.view().target("default")
    failed = run.nodes[(run.nodes["terminated_s"] - run.nodes["ordered_s"] - 30.0).abs() < 0.1]
    assert pool.num_failed == len(failed) >= 6
    assert failed["ready_s"].isna().all() or np.isinf(failed["ready_s"]).all()
    assert run.facts["notes"][0] == "node node1 did not come: it had not joined after 30 s (live.join_timeout_s)"


def test_a_node_that_is_lost_is_replaced_and_the_books_balance(tmp_path: Path) -> None:
    """What ran on it waits from the very moment on at which it was lost."""

    def lose(live: LiveRun, runtime: EmulatedRuntime) -> None:
        runtime.clock.look_s = 1e-6
        runtime.clock.call_after(25.0, lambda: runtime.nodes.die("node1"))

    run, _ = run_emulated(plan_of(tmp_path, TWO_BURSTS, "scaling=live_queue_depth"), tmp_path / "run", lose)
    assert run.jobs["state"].unique().tolist() == ["finished"]
    assert run.jobs["num_preemptions"].sum() >= 1
    assert any("node node1 was lost at 25.0 s" in note for note in run.facts["notes"])
    check(run)


def test_nodes_that_drain_count_in_what_is_busy(tmp_path: Path) -> None:
    """A share of GPUs that step is one of all nodes that run something, as is the share that is held."""
    drains = ["scaling=threshold", "scaling.lower=0.7", "scaling.sustained_s=4", "scaling.period_s=2"]
    jobs = [(0.0, 3, 40.0), (0.0, 2, 40.0)]
    run, _ = run_emulated(plan_of(tmp_path, jobs, *drains, "cluster.num_nodes=2"), tmp_path / "run")
    second = run.nodes.iloc[1]
    assert second["drain_s"] < 30.0 < second["terminated_s"]
    metrics = run.metrics[run.metrics["time_s"].between(1.0, 39.0)]
    assert len(metrics) > 30
    assert metrics["gpu_allocation_frac"].unique().tolist() == [5 / 8]
    assert metrics["gpu_utilisation_frac"].unique().tolist() == [5 / 8]


@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["live_predictive"])  # the others take twice as long
def test_real_agents_come_under_load_and_go_when_it_is_gone(tmp_path: Path, scaling: str) -> None:
    """The command, with real processes: b and c wait until they have nodes, a until those are gone again."""
    folder = tmp_path / "run"
    until_go = ["models.mlp.train=tests.real_backend.dawdling:train_until_go", "models.mlp.pace_base_s=0.001"]
    small = ["cluster.gpus_per_node=2", "models.mlp.pace_per_sample_s=0", "figures=false", f"hydra.run.dir={folder}"]
    jobs = [(0.0, num_gpus, 6.0) for num_gpus in (1, 2, 2)]  # of 500 steps
    command = [*RUN, *settings_of(tmp_path, jobs, f"scaling={scaling}", "check=true", *until_go, *small)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def entries(kind: str) -> list[Any]:
        assert process.poll() is None, process.communicate()[1]
        path = folder / "journal.jsonl"
        return [entry for entry in read_journal(path) if entry["entry"] == kind] if path.is_file() else []

    try:
        wait_until(lambda: {entry["job"] for entry in entries("moved")} == {0, 1, 2}, "nodes for all jobs")
        say_go(folder, "j1")
        say_go(folder, "j2")
        wait_until(lambda: len(entries("finished")) == 2, "the end of b and c")
        wait_until(lambda: len(entries("ordered")) - len(entries("terminated")) == 1, "the end of their nodes")
        say_go(folder)
        _, told = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0, told
    run = Run.load(folder)
    assert run.jobs["state"].tolist() == ["finished"] * 3
    gone = run.nodes["terminated_s"] < run.jobs["finish_s"].max()
    assert gone.sum() == len(run.nodes) - 1 >= 2
    wait_until(lambda: not agents_of(folder), "the agents' end")
