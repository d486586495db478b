"""Small schedules worked out by hand, to the second: queues, overheads, rounds."""

from __future__ import annotations

from typing import Any

import pytest
from small_runs import job, jobs_of, run_jobs, steps, times

from simulator.cluster import DecideOptions
from simulator.overheads import MoveCosts, Overheads
from simulator.pools import PoolSpec
from simulator.scenario import Scenario
from simulator.simulation import simulate
from workloads import Elasticity, JobTable, Linear

ELASTIC = {"min_gpus": 1, "max_gpus": 8}
MOLDABLE = ELASTIC | {"elasticity": Elasticity.MOLDABLE}


# ---- queues
QUEUE = jobs_of((0, 4, 10), (1, 8, 5), (2, 1, 3), (2, 2, 9))


@pytest.mark.parametrize(
    ("backfill", "starts"),
    [
        ("false", {"a": 0, "b": 10, "c": 15, "d": 15}),
        ("true", {"a": 0, "c": 2, "d": 2, "b": 11}),  # d keeps b waiting until 11
        ("easy", {"a": 0, "c": 2, "b": 10, "d": 15}),  # b is promised 10: c ends before, d would not
    ],
)
def test_fifo(backfill: str, starts: dict[str, float]) -> None:
    run = run_jobs(QUEUE, "fifo", options={"backfill": backfill})
    assert {name: start for name, (start, _) in times(run).items()} == starts


def test_a_job_starts_in_the_instant_in_which_another_ends() -> None:
    run = run_jobs(jobs_of((0, 8, 10), (10, 8, 5), (15, 8, 1)))
    assert times(run) == {"a": (0, 10), "b": (10, 15), "c": (15, 16)}
    assert run.facts["num_decisions"] == 3  # at 0, 10 and 15: one an instant, and none when nothing waits


def test_jobs_of_one_instant_are_decided_together() -> None:
    run = run_jobs(jobs_of((5, 2, 10), (5, 8, 10), (5, 4, 10)), "greedy")
    assert times(run) == {"b": (5, 15), "c": (15, 25), "a": (15, 25)}


# ---- overheads
def test_start_is_paid_with_gpus_held() -> None:
    run = run_jobs(jobs_of((0, 4, 10)), costs=MoveCosts(start_s=2.0))
    assert times(run) == {"a": (0, 12)}
    assert job(run, "a")[["held_gpu_s", "overhead_gpu_s"]].tolist() == [48.0, 8.0]


@pytest.mark.parametrize(
    ("preempt", "checkpoint_interval_s", "finish_s", "lost_s"),
    [
        ("checkpoint", float("inf"), 117.0, 0.0),  # had done 9 of 100 s: 21 + 5 + 91
        ("lose", float("inf"), 126.0, 9.0),  # 21 + 5 + 100
        ("lose", 4.0, 118.0, 1.0),  # its own checkpoints after 4 and 8 s of work
        ("lose", 9.0, 117.0, 0.0),
    ],
)
def test_restart(preempt: str, checkpoint_interval_s: float, finish_s: float, lost_s: float) -> None:
    jobs = jobs_of((0, 8, 100, {"checkpoint_interval_s": checkpoint_interval_s}), (10, 8, 10))
    run = run_jobs(jobs, "srtf", costs=MoveCosts(start_s=1.0, restart_s=5.0, preempt=preempt))
    assert times(run) == {"a": (0, finish_s), "b": (10, 21)}
    assert job(run, "a")[["num_preemptions", "overhead_gpu_s", "lost_work_s"]].tolist() == [1, 8 * 6.0, lost_s]
    assert job(run, "a")["held_gpu_s"] == 8 * (finish_s - 11)


def test_preempted_inside_its_start() -> None:
    """b comes while a still starts: a has done nothing, pays what it held, and restarts."""
    run = run_jobs(jobs_of((0, 8, 100), (3, 8, 10)), "srtf", costs=MoveCosts(start_s=4.0, restart_s=2.0))
    assert times(run) == {"a": (0, 17 + 2 + 100), "b": (3, 17)}
    assert job(run, "a")["overhead_gpu_s"] == 8 * (3 + 2)


SHARED = jobs_of((0, 8, 100, ELASTIC), (10, 8, 8, ELASTIC))


def test_rescale_where_all_wait() -> None:
    """a: 10 s on 8; 3 s pause and 13 s on 4 until b ends at 26; 3 s pause; 83.5 s on 8. b: 16 s on 4."""
    run = run_jobs(SHARED, "fair_share", costs=MoveCosts(rescale_s=3.0))
    assert times(run) == {"a": (0, 112.5), "b": (10, 26)}
    assert steps(run, "a") == [(0, 8), (10, 4), (26, 8), (112.5, 0)]
    assert job(run, "a")[["num_rescales", "overhead_gpu_s"]].tolist() == [2, 4 * 3 + 8 * 3]


def test_rescale_where_only_joiners_wait() -> None:
    """a: shrinks for free; grows at 26, on 4 until the joiners are in at 29: 82 - 1.5 left."""
    run = run_jobs(SHARED, "fair_share", costs=MoveCosts(rescale_s=3.0, rescale="in_place"))
    assert times(run) == {"a": (0, 109.5), "b": (10, 26)}
    assert job(run, "a")["overhead_gpu_s"] == 4 * 3


def test_rescale_in_place_with_a_stall() -> None:
    """a: stalls 10 to 11, works at half speed to 29 (the joiners are in), stalls to 30: 81 left."""
    run = run_jobs(SHARED, "fair_share", costs=MoveCosts(rescale_s=3.0, rescale="in_place", stall_s=1.0))
    assert times(run) == {"a": (0, 111), "b": (10, 26)}


def test_joiners_that_leave_before_they_are_in() -> None:
    """a grows at 18 (in at 28), and at 20 gives the joiners to c: nobody waits for anything.

    Work of a: 10 to 10 s, 4 to 18, 1 to 20, 5 to 30 (c ends), 5 to 40 while 4 join, then 75 at full speed.
    """
    jobs = jobs_of((0, 8, 100, ELASTIC), (10, 8, 4, ELASTIC), (20, 8, 5, ELASTIC))
    run = run_jobs(jobs, "fair_share", costs=MoveCosts(rescale_s=10.0, rescale="in_place"))
    assert times(run) == {"a": (0, 115), "b": (10, 18), "c": (20, 30)}
    assert steps(run, "a") == [(0, 8), (10, 4), (18, 8), (20, 4), (30, 8), (115, 0)]
    assert job(run, "a")["overhead_gpu_s"] == 4 * 2 + 4 * 10


def test_done_before_the_joiners_are_in() -> None:
    """At 26 a has 1 s left; 4 GPUs do it in 2 s, while 4 more join for 3."""
    jobs = jobs_of((0, 8, 19, ELASTIC), (10, 8, 8, ELASTIC))
    run = run_jobs(jobs, "fair_share", costs=MoveCosts(rescale_s=3.0, rescale="in_place"))
    assert times(run) == {"a": (0, 28), "b": (10, 26)}
    assert job(run, "a")["overhead_gpu_s"] == 4 * 2


class Move:
    """Gives the job one node, then the other."""

    def allocate(self, view: Any, draft: Any) -> None:
        for row in view.jobs:
            if not row.gpus_held:
                draft.give(row, 4)
                draft.wake_at(10.0)
            elif view.now_s == 10.0:
                draft.give(row, 0)
                draft.give(row, 4)


class Next:
    """The first node, then the second."""

    fits_by_count = True

    def place(self, job: Any, num_gpus: int, space: Any) -> Any:
        return ((1 if job.gpus_held else 0, num_gpus),)


@pytest.mark.parametrize("rescale", ["restart_all", "in_place"])
def test_a_move_to_another_node_is_not_free(rescale: str) -> None:
    jobs = jobs_of((0, 4, 100))
    run = run_jobs(jobs, Move(), Next(), nodes=2, gpus=4, costs=MoveCosts(rescale_s=5.0, rescale=rescale))
    assert times(run) == {"a": (0, 105)}
    assert job(run, "a")["overhead_gpu_s"] == 4 * 5


def test_costs_by_model() -> None:
    jobs = jobs_of((0, 1, 10, {"model": "bert"}), (0, 1, 10, {"model": "mlp"}))
    overheads = Overheads(MoveCosts(start_s=1.0), {"bert": {"start_s": 7.0}})
    assert times(run_jobs(jobs, overheads=overheads)) == {"a": (0, 17), "b": (0, 11)}


# ---- speed
def test_moldable_jobs_keep_the_size_they_start_with() -> None:
    run = run_jobs(jobs_of((0, 4, 100, MOLDABLE), (10, 4, 100, MOLDABLE)), "fair_share")
    assert steps(run, "a") == [(0, 8), (50, 0)]
    assert steps(run, "b") == [(50, 8), (100, 0)]


def test_a_gang_across_nodes_is_slower() -> None:
    run = run_jobs(jobs_of((0, 8, 100)), "fifo", "spread", nodes=2, step_time=Linear(cross_node_frac=0.1))
    assert times(run)["a"] == pytest.approx((0, 110))


@pytest.mark.parametrize("placement", ["pooled", "consolidate", "spread"])
def test_the_gang_asked_for_packed_as_can_be_runs_at_1(placement: str) -> None:
    run = run_jobs(jobs_of((0, 16, 100)), "fifo", placement, nodes=2, step_time=Linear(cross_node_frac=0.1))
    assert times(run) == {"a": (0, 100)}


# ---- when decisions are made
ROUNDS = jobs_of((5, 8, 10), (6, 8, 10), (120, 1, 10))


@pytest.mark.parametrize(
    ("on_free", "expected"),
    [
        ("idle", {"a": (60, 70), "b": (120, 130), "c": (180, 190)}),
        ("decision", {"a": (60, 70), "b": (70, 80), "c": (120, 130)}),
    ],
)
def test_rounds(on_free: str, expected: dict[str, tuple[float, float]]) -> None:
    run = run_jobs(ROUNDS, decide=DecideOptions(interval_s=60.0, on_free=on_free))
    assert times(run) == expected


def test_wake_ups_wait_for_the_round() -> None:
    """las would look again when a reaches its limit, at 90; rounds are at 60, 120, ..."""
    jobs = jobs_of((60, 8, 100), (60, 8, 100))
    options = {"limits": [30.0], "service": "seconds"}
    run = run_jobs(jobs, "las", options=options, decide=DecideOptions(interval_s=60.0))
    assert steps(run, "a")[:2] == [(60, 8), (120, 0)]


def test_least_time_between_decisions() -> None:
    run = run_jobs(jobs_of((0, 1, 100), (10, 1, 100), (35, 1, 100)), decide=DecideOptions(min_interval_s=30.0))
    assert {name: start for name, (start, _) in times(run).items()} == {"a": 0, "b": 30, "c": 60}


# ---- ends
def test_horizon() -> None:
    run = run_jobs(jobs_of((0, 8, 10), (1, 8, 10), (2, 8, 10), (50, 1, 1)), horizon_s=15.0)
    assert run.jobs["state"].tolist() == ["finished", "running", "pending", "not_submitted"]
    assert run.jobs["work_left_s"].tolist() == [0, 5, 10, 1]
    assert run.facts["end_s"] == 15.0


def test_a_policy_object_does_not_remember_the_run_before() -> None:
    jobs = jobs_of(*[(3.0 * i, 1 + i % 5, 20.0 - i) for i in range(12)])
    first = run_jobs(jobs, "las", options={"limits": [5.0, 40.0]})
    from policies import registry

    las, pooled = registry.create("allocation", "las", limits=[5.0, 40.0]), registry.create("placement", "pooled")
    runs = [
        simulate(Scenario(jobs=jobs, allocation=las, placement=pooled, pools=[PoolSpec(num_nodes=1)])) for _ in "ab"
    ]
    for run in runs:
        assert run.table("allocations").equals(first.table("allocations"))


def test_ids_may_be_numbers() -> None:
    jobs = JobTable.from_columns({"submit_s": [0.0], "num_gpus": [1], "duration_s": [2.0], "job_id": [77]})
    assert times(run_jobs(jobs)) == {77: (0, 2)}
