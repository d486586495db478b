"""What policies and jobs may do wrong, and what is said about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import job, jobs_of, run_jobs, steps, times

from policies import PlanError, PolicyError, registry
from simulator import ending
from simulator.checks import check
from simulator.errors import ConfigError, SimulationError
from simulator.overheads import MoveCosts
from simulator.pools import PoolSpec
from simulator.scenario import Scenario
from simulator.simulation import Simulation, simulate

JOBS = jobs_of((0, 4, 100), (1, 4, 100), (2, 4, 100))


class Does:
    """An allocation policy that does what it is told."""

    def __init__(self, allocate: Callable[[Any, Any], None]) -> None:
        self.allocate = allocate


def starts_all(view: Any, draft: Any) -> None:
    for row in view.pending:
        draft.give(row, row.num_gpus)


# ---- allocates what can't be
def test_gives_more_than_there_is() -> None:
    policy = Does(lambda view, draft: draft.give_all(view.jobs.num_gpus))
    with pytest.raises(PlanError, match=r"^job c: 4 GPUs asked, 0 free of 8 in this plan") as error:
        run_jobs(JOBS, policy)
    assert error.value.__notes__[-1] == "in the simulation at 2 s, decision 3"


@pytest.mark.parametrize("size", [3, 9, -1])
def test_gives_a_size_that_the_job_can_not_run_at(size: int) -> None:
    policy = Does(lambda view, draft: draft.give(view.jobs[0], size))
    with pytest.raises(PlanError, match=rf"^job a: asked to run on {size} GPUs, but it can run on 4..4 only"):
        run_jobs(JOBS, policy)


def test_gives_a_column_of_the_wrong_length() -> None:
    policy = Does(lambda view, draft: draft.give_all(np.zeros(7, np.int64)))
    with pytest.raises(PlanError, match=r"give_all takes a column of 1 jobs, got shape \(7,\)"):
        run_jobs(JOBS, policy)


def test_resizes_a_moldable_job_that_runs() -> None:
    from workloads import Elasticity

    moldable = {"min_gpus": 1, "max_gpus": 8, "elasticity": Elasticity.MOLDABLE}

    def halve(view: Any, draft: Any) -> None:
        for row in view.jobs:
            draft.give(row, row.gpus_held // 2 or 4)

    with pytest.raises(PlanError, match=r"job a: asked to run on 2 GPUs, but it can run on 4..4 only"):
        run_jobs(jobs_of((0, 4, 10, moldable), (1, 1, 1)), Does(halve))


def test_writes_into_the_view() -> None:
    def write(view: Any, draft: Any) -> None:
        view.jobs.gpus_held[0] = 5

    with pytest.raises(ValueError, match="read-only"):
        run_jobs(JOBS, Does(write))


# ---- raises, and what is left behind
def test_raises(tmp_path: Path) -> None:
    def fail(view: Any, draft: Any) -> None:
        if view.now_s >= 2:
            raise RuntimeError("out of ideas")
        starts_all(view, draft)

    with pytest.raises(RuntimeError, match="out of ideas") as error:
        simulate(Scenario(jobs=JOBS, allocation=Does(fail), placement=registry.create("placement", "pooled")), tmp_path)
    assert "in the simulation at 2 s" in error.value.__notes__[0]
    assert "out of ideas" in (tmp_path / "unfinished.json").read_text()
    assert not (tmp_path / "summary.json").exists()
    assert (tmp_path / "jobs.parquet").exists()


def test_stopped_from_outside() -> None:
    pooled = registry.create("placement", "pooled")
    it: list[Simulation] = []

    def stop(view: Any, draft: Any) -> None:
        starts_all(view, draft)
        it[0].stop("interrupted")

    it.append(Simulation(Scenario(jobs=JOBS, allocation=Does(stop), placement=pooled, pools=[PoolSpec(num_nodes=1)])))
    run = it[0].run()
    assert run.why_unfinished == "interrupted"
    assert run.jobs["state"].tolist() == ["running", "not_submitted", "not_submitted"]
    check(run)


# ---- never allocates
def test_never_allocates() -> None:
    run = run_jobs(JOBS, Does(lambda view, draft: None))
    assert run.jobs["state"].tolist() == ["pending"] * 3
    assert run.facts["notes"] == ["3 jobs never got the GPUs they waited for when all else ended: a, b, c"]


def test_a_job_that_fits_the_cluster_but_not_the_policy_is_named() -> None:
    """Gangs of 12 GPUs at least on nodes that have CPUs for 4 GPUs each: 8 in all."""
    jobs = jobs_of((0, 12, 10, {"cpus_per_gpu": 2.0}), (1, 1, 10))
    run = run_jobs(jobs, "fifo", "consolidate", pools=[PoolSpec(num_nodes=2, cpus_per_node=8.0)])
    assert run.facts["notes"] == ["2 jobs never got the GPUs they waited for when all else ended: a, b"]


@pytest.mark.parametrize("starve_after_s", [50.0, 5000.0])
def test_never_allocates_and_keeps_asking(starve_after_s: float) -> None:
    policy = Does(lambda view, draft: draft.wake_at(view.now_s + 10.0))
    run = run_jobs(JOBS, policy, starve_after_s=starve_after_s)
    assert run.facts["end_s"] == pytest.approx(starve_after_s, abs=25)
    assert "3 jobs never got the GPUs" in run.facts["notes"][0]


def test_nothing_to_run_with_monitoring_on() -> None:
    """Every job is rejected: nothing happens, and monitoring doesn't go on for ever."""
    run = run_jobs(jobs_of((0, 99, 1)), scaling={"default": registry.create("scaling", "threshold")})
    assert run.jobs["state"].tolist() == ["rejected"]
    assert run.facts["end_s"] == 0


# ---- wakes
@pytest.mark.parametrize("wake_at_s", [0.0, -5.0, -math.inf])
def test_wakes_in_the_past(wake_at_s: float) -> None:
    policy = Does(lambda view, draft: draft.wake_at(wake_at_s))
    with pytest.raises(PlanError, match=r"wake_at_s=.*: must lie in the future"):
        run_jobs(JOBS, policy)


@pytest.mark.parametrize("runs", [False, True])
def test_wakes_itself_endlessly(monkeypatch: pytest.MonkeyPatch, runs: bool) -> None:
    monkeypatch.setattr(ending, "_MAX_IDLE_IN_A_SECOND", 3000)

    def wake(view: Any, draft: Any) -> None:
        if runs:
            starts_all(view, draft)
        draft.wake_at(math.nextafter(view.now_s, math.inf))

    with pytest.raises(SimulationError, match=r"decisions in a row changed nothing, all within a second: .*wake_at_s"):
        run_jobs(jobs_of((0, 4, 100), (500, 4, 100)), Does(wake))


# ---- preempts
def swap(view: Any, draft: Any) -> None:
    """Takes everything from everybody and gives it to whoever waits longest; again after 5 s."""
    waiting = list(view.pending)
    for row in view.jobs:
        if row.is_running:
            draft.give(row, 0)
    for row in waiting or view.jobs:
        draft.give(row, row.num_gpus)
    draft.wake_at(view.now_s + 5.0)


PAIR = jobs_of((0, 8, 20), (0, 8, 20))


def test_preempts_everything_each_time_at_no_cost() -> None:
    run = run_jobs(PAIR, Does(swap))
    assert times(run) == {"a": (0, 35), "b": (5, 40)}
    assert job(run, "a")["num_preemptions"] == 3
    assert steps(run, "b") == [(5, 8), (10, 0), (15, 8), (20, 0), (25, 8), (30, 0), (35, 8), (40, 0)]


def test_preempts_everything_each_time_at_a_cost_that_leaves_some_time() -> None:
    run = run_jobs(PAIR, Does(swap), costs=MoveCosts(start_s=2.0, restart_s=4.0))
    assert run.jobs["state"].tolist() == ["finished", "finished"]


def test_thrashes() -> None:
    costs = MoveCosts(start_s=5.0, restart_s=5.0)
    with pytest.raises(SimulationError) as error:
        run_jobs(PAIR, Does(swap), costs=costs)
    assert str(error.value) == (
        "job a was moved 101 times in a row without getting any work done: "
        "the policy thrashes (a move costs more time than it leaves before the next)"
    )


# ---- jobs that can't run
@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ((0, 17, 5), "it asks for 17 GPUs, 0 CPUs and 0 GiB a GPU; the cluster has 16 GPUs at most"),
        ((0, 1, 5, {"cpus_per_gpu": 40.0}), "it asks for 1 GPUs, 40 CPUs and 0 GiB a GPU"),
        ((0, 1, 5, {"memory_gib_per_gpu": 99.0}), "it asks for 1 GPUs, 0 CPUs and 99 GiB a GPU"),
    ],
)
def test_a_job_that_is_too_large(fields: tuple[Any, ...], why: str) -> None:
    pools = [PoolSpec(num_nodes=1, max_nodes=2, cpus_per_node=32.0, memory_gib_per_node=64.0)]
    jobs = jobs_of((0, 4, 10), fields, (3, 4, 10))
    run = run_jobs(jobs, "fifo", pools=pools)
    assert run.jobs["state"].tolist() == ["finished", "rejected", "finished"]
    assert run.facts["notes"][0].startswith("1 of 3 jobs can never run here and are rejected, the first b: " + why)
    with pytest.raises(ConfigError, match="1 of 3 jobs can never run here"):
        run_jobs(jobs, "fifo", pools=pools, oversized="error")


@pytest.mark.parametrize(("allocation", "options"), [("srtf", {}), ("sjf", {}), ("fifo", {"backfill": "easy"})])
def test_policies_that_need_estimates_say_so(allocation: str, options: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match=r"asks for remaining run times, but estimates=none: set estimates=user"):
        run_jobs(jobs_of((0, 8, 10), (1, 8, 10), (2, 8, 10)), allocation, options=options, estimates="none")


# ---- settings
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"pools": []}, "there must be at least one"),
        ({"pools": [PoolSpec("x"), PoolSpec("x")]}, "names must differ"),
        (
            {"scaling": {"gpus": registry.create("scaling", "static")}},
            "scaling of unknown pool or service 'gpus': known: default",
        ),
        ({"oversized": "drop"}, "oversized='drop': must be reject or error"),
        ({"horizon_s": 0.0}, "horizon_s=0.0: must be more than 0"),
        ({"horizon_s": math.nan}, "horizon_s=nan: must be more than 0"),
    ],
)
def test_scenarios_that_can_not_be(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_jobs(JOBS, **setting)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MoveCosts(start_s=-1.0), "overheads.start_s=-1.0: must be a number of seconds, 0 or more"),
        (lambda: MoveCosts(rescale="instant"), "overheads.rescale='instant': must be restart_all or in_place"),
        (lambda: MoveCosts(preempt="kill"), "overheads.preempt='kill': must be checkpoint or lose"),
        (
            lambda: PoolSpec(num_nodes=2, max_nodes=1),
            r"cluster.max_nodes=1 \(pool 'default'\): must be at least num_nodes",
        ),
        (
            lambda: PoolSpec(num_nodes=8, min_nodes=5, max_nodes=3),
            r"cluster.max_nodes=3 \(pool 'default'\): must be at least num_nodes=8, and at least min_nodes=5",
        ),
        (lambda: PoolSpec(gpus_per_node=0), "cluster.gpus_per_node=0"),
        (lambda: PoolSpec(provision_s=math.nan), "cluster.provision_s=nan"),
    ],
)
def test_settings_that_can_not_be(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_loses_all_work_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of 5 s of jobs of 20 s that lose what they did: without a word this would never end."""
    monkeypatch.setattr(ending, "_MAX_FUTILE_STARTS", 1000)
    with pytest.raises(SimulationError, match=r"started [12],.* without getting any work done .*lose\); active: a, b"):
        run_jobs(PAIR, Does(swap), costs=MoveCosts(preempt="lose"))
