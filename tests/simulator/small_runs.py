"""Small runs in a line: jobs as tuples, policies by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest

from policies import registry
from simulator import ending, simulated_cluster
from simulator.checks import check
from simulator.errors import SimulationError
from simulator.overheads import MoveCosts, Overheads
from simulator.pools import PoolSpec
from simulator.run import Run
from simulator.scenario import Scenario
from simulator.simulation import simulate
from workloads import JobSpec, JobTable


def jobs_of(*rows: tuple[Any, ...]) -> JobTable:
    """Jobs a, b, c, ... from (submit_s, num_gpus, duration_s) and, if need be, a dictionary of further fields."""
    specs = []
    for i, (submit_s, num_gpus, duration_s, *more) in enumerate(rows):
        name = chr(ord("a") + i) if len(rows) <= 26 else f"j{i}"
        specs.append(JobSpec(name, submit_s, num_gpus, duration_s, **(more[0] if more else {})))
    return JobTable.from_specs(specs)


def run_jobs(
    jobs: JobTable,
    allocation: Any = "fifo",
    placement: Any = "pooled",
    *,
    gpus: int | None = None,
    nodes: int = 1,
    costs: MoveCosts | None = None,
    options: Mapping[str, Any] | None = None,
    placement_options: Mapping[str, Any] | None = None,
    checked: bool = True,
    **scenario: Any,
) -> Run:
    """Runs jobs on one pool of `nodes` nodes with `gpus` GPUs each (default 8), and audits the books."""
    if isinstance(allocation, str):
        allocation = registry.create("allocation", allocation, **(options or {}))
    if isinstance(placement, str):
        placement = registry.create("placement", placement, **(placement_options or {}))
    scenario.setdefault("pools", [PoolSpec(num_nodes=nodes, gpus_per_node=gpus or 8)])
    if costs is not None:
        scenario["overheads"] = Overheads(costs)
    run = simulate(Scenario(jobs=jobs, allocation=allocation, placement=placement, **scenario))
    if checked:
        check(run)
    return run


def times(run: Run) -> dict[str, tuple[float, float]]:
    """job -> (first start, finish)."""
    jobs = run.jobs
    return {name: (start, finish) for name, start, finish in zip(jobs.job_id, jobs.start_s, jobs.finish_s, strict=True)}


def steps(run: Run, job: str) -> list[tuple[float, int]]:
    """What one job holds over time: (from, GPUs)."""
    row = int((run.jobs["job_id"] == job).to_numpy().argmax())
    mine = run.allocations[run.allocations["job"] == row]
    return list(zip(mine["time_s"].tolist(), mine["num_gpus"].tolist(), strict=True))


def job(run: Run, name: str) -> pd.Series:
    """A job's row."""
    return run.jobs.set_index("job_id").loc[name]


def simulated(case: Scenario) -> Run | None:
    """The run; None if it rightly gives up on jobs that are preempted before they get anywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ending, "_MAX_FUTILE_STARTS", 50)  # gives up sooner than in life
        patch.setattr(simulated_cluster, "STARTS", 32)
        try:
            return simulate(case)
        except SimulationError as error:
            if "without getting any work done" not in str(error):
                raise
            return None
