"""The audit finds every kind of false entry, and nothing in a true book."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from small_runs import jobs_of, run_jobs

from policies import registry
from simulator.checks import check
from simulator.errors import SimulationError
from simulator.overheads import MoveCosts
from simulator.pools import PoolSpec
from simulator.run import Run

ELASTIC = {"min_gpus": 1, "max_gpus": 8}
JOBS = jobs_of((0, 4, 100, ELASTIC), (10, 4, 60, ELASTIC), (20, 8, 30), (25, 1, 40), (500, 2, 5))


@pytest.fixture(scope="module")
def placed() -> Run:
    """Elastic jobs on nodes, moves that cost time."""
    return run_jobs(JOBS, "fair_share", "consolidate", nodes=2, costs=MoveCosts(1.0, 2.0, 3.0))


@pytest.fixture(scope="module")
def preempted() -> Run:
    """A short job takes the GPUs of a long one, which loses its work."""
    return run_jobs(jobs_of((0, 8, 100), (40, 8, 10)), "srtf", costs=MoveCosts(preempt="lose"), horizon_s=1000.0)


def edited(run: Run, table: str, column: str, edit: Callable[[np.ndarray], Any]) -> Run:
    """The same run with one column of one table changed."""
    tables = {name: run.table(name) for name in ("jobs", "allocations", "nodes", "decisions", "metrics")}
    old = tables[table]
    values = old[column].to_numpy() if column != "nodes" or table != "allocations" else old[column].to_pylist()
    new = pa.array(edit(values.copy()), None if column == "state" else old.schema.field(column).type)
    tables[table] = old.set_column(old.schema.get_field_index(column), column, new)
    return Run(run.facts, tables)


def put(row: int, value: Any) -> Callable[[Any], Any]:
    """Writes one value."""

    def edit(values: Any) -> Any:
        values[row] = value
        return values

    return edit


def add(row: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    """Adds to one value."""
    return lambda values: values + np.where(np.arange(values.size) == row % values.size, value, 0).astype(values.dtype)


FALSE_ENTRIES = [
    ("jobs", "state", put(3, None), "jobs lost: submitted, but neither finished, failed, rejected nor unfinished (1)"),
    ("jobs", "state", put(4, "not_submitted"), "jobs lost: never submitted, though their time came (1): job e"),
    ("jobs", "state", put(0, "running"), "jobs that hold GPUs at the end and are not running (1): job a"),
    ("jobs", "start_s", put(1, 11.0), "jobs whose start is not their first allocation (1): job b"),
    ("jobs", "finish_s", put(4, 499.0), "times are not submit <= start <= finish <= end (1): job e"),
    ("jobs", "finish_s", add(2, -1e-3), "finished jobs whose finish is not their last change (1): job c"),
    ("jobs", "work_left_s", put(2, 1e-3), "finished jobs with work left (1): job c"),
    ("jobs", "max_gpus", put(3, 2), None),  # looser bounds: nothing to say
    ("jobs", "min_gpus", put(2, 9), "sizes outside the job's bounds (1): job c at"),
    ("jobs", "held_gpu_s", add(1, 0.01), "GPU-seconds held that the allocations don't make (1): job b has"),
    ("jobs", "num_preemptions", put(0, 7), "num_preemptions that is not that of the allocations (1): job a"),
    ("jobs", "num_rescales", add(1, 1), "num_rescales that is not that of the allocations (1): job b"),
    ("jobs", "overhead_gpu_s", put(3, 1e6), "overhead of more GPU-seconds than the pauses had (1): job d"),
    ("jobs", "duration_s", add(2, 1e-3), "work that does not fall as rate x time (1): job c at"),
    ("jobs", "lost_work_s", put(0, 5.0), "lost work that is not that of the preemptions (1): job a"),
    ("allocations", "time_s", add(-1, -0.5), "finished jobs that did not do the work they asked for (1): job e did"),
    ("allocations", "rate", add(-2, 0.5), "finished jobs that did not do the work they asked for (1): job e did"),
    ("allocations", "rate", put(-2, 0.0), "work without GPUs, or GPUs without a rate (1): job e at 500 s"),
    ("allocations", "pause_s", add(0, 0.37), "work that does not fall as rate x time (1): job a"),
    ("allocations", "work_left_s", add(1, -0.5), "work that does not fall as rate x time"),
    ("allocations", "num_gpus", add(0, 1), "gangs whose GPUs by node don't add up (1): job a at 0 s"),
    ("allocations", "num_gpus", add(0, 40), "more GPUs held than exist (2): 48 of 16 at 0 s"),
    ("allocations", "job", put(0, 4), "changes before the job was submitted, after the run or backwards in time"),
    ("allocations", "nodes", put(-2, [9]), "GPUs held on nodes that never were (1): node 9"),
    ("nodes", "num_gpus", put(0, 3), "more GPUs held on a node than it has"),
    ("nodes", "ready_s", put(0, 5.0), "GPUs held on nodes before they are ready or after they are gone"),
    ("nodes", "terminated_s", put(0, 9.0), "GPUs held on nodes before they are ready or after they are gone"),
    ("nodes", "terminated_s", put(0, 9.0), "more GPUs held than exist"),
    ("nodes", "drain_s", put(0, 1.0), "GPUs given on nodes that drain"),
    ("nodes", "drain_s", put(0, 1e9), "nodes whose times are not ordered <= launched <= ready <= drained <="),
    ("nodes", "terminated_s", put(1, np.inf), "nodes whose times are not ordered"),
    ("nodes", "node", put(1, 0), "nodes that are there twice (2): row 0, row 1"),
    ("decisions", "gpus_held", put(0, 3), "GPUs held at decisions that allocations don't make (1): 3 at 0 s"),
    ("decisions", "gpus_capacity", put(0, 17), "capacity at decisions that nodes don't make (1): 17 at 0 s"),
]  # fmt: skip


def test_true_books_pass(placed: Run, preempted: Run) -> None:
    check(placed)
    check(preempted)
    assert placed.jobs["num_rescales"].sum() > 3


@pytest.mark.parametrize(("table", "column", "edit", "message"), FALSE_ENTRIES)
def test_a_false_entry_is_found(
    placed: Run, table: str, column: str, edit: Callable[[np.ndarray], Any], message: str | None
) -> None:
    false = edited(placed, table, column, edit)
    if message is None:
        check(false)
        return
    with pytest.raises(SimulationError) as error:
        check(false)
    assert message in str(error.value), str(error.value)
    assert str(error.value).startswith("the books of this run don't balance:\n- ")


def test_work_lost_beyond_what_was_done_is_found(preempted: Run) -> None:
    rows = preempted.allocations
    preemption = int(((rows["job"] == 0) & (rows["num_gpus"] == 0)).to_numpy().argmax())
    assert rows["work_left_s"][preemption] == 100.0  # it had done 40 s
    with pytest.raises(SimulationError, match=r"preemptions that lose more work than was done .* job a at 40 s"):
        check(edited(preempted, "allocations", "work_left_s", put(preemption, 101.0)))
    with pytest.raises(SimulationError, match=r"lost work that is not that of the preemptions \(1\): job a"):
        check(edited(preempted, "allocations", "work_left_s", put(preemption, 80.0)))


def test_joining_in_place_is_followed_through_moves_inside_moves() -> None:
    """A gang grows while others still join: each pause begins inside the one before."""
    jobs = jobs_of((0, 2, 300, ELASTIC), *[(5.0 + 2 * i, 1, 3.0 + i) for i in range(5)])
    run = run_jobs(jobs, "fair_share", gpus=8, costs=MoveCosts(rescale_s=10.0, rescale="in_place"))
    mine = run.allocations[run.allocations["job"] == 0]
    inside = mine["time_s"].diff().iloc[1:].to_numpy() < mine["pause_s"].iloc[:-1].to_numpy()
    assert inside.sum() > 2
    last = int(mine.index[-2])
    with pytest.raises(SimulationError, match="job a"):
        check(edited(run, "allocations", "work_left_s", add(last, 0.01)))


def test_a_run_without_any_change_passes() -> None:
    check(run_jobs(jobs_of((0, 99, 5)), oversized="reject"))


def test_nodes_that_come_and_go_pass() -> None:
    scaling = registry.create("scaling", "threshold", upper=0.5, lower=0.3, sustained_s=0.0, cooldown_out_s=0.0,
                              cooldown_in_s=0.0, period_s=10.0)  # fmt: skip
    pool = PoolSpec(num_nodes=1, min_nodes=1, max_nodes=4, gpus_per_node=4, provision_s=15.0)
    jobs = jobs_of(*[(7.0 * i, 2, 55.0) for i in range(12)], (900, 1, 30))
    run = run_jobs(jobs, "fifo", "spread", pools=[pool], scaling={"default": scaling})
    assert len(run.nodes) > 1
    assert np.isfinite(run.nodes["drain_s"]).any()
