"""What a decision costs that weighs every job: srtf and fair_share with about 1,000 active jobs, and with 100.

Each arrival and each completion is an instant that is to be decided. The engine leaves out those at which there is
nothing to decide (srtf while nothing waits), so the cost is given by instant, as engines that ask at each would have
it, and by decision made.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from policies import registry
from simulator.overheads import MoveCosts, Overheads
from simulator.pools import PoolSpec
from simulator.scenario import Scenario
from simulator.simulation import Simulation
from tests.benchmarks.baselines import ProcessFairShare, ProcessPerJob, ProcessSrtf, poisson_jobs
from tests.benchmarks.measure import cpu_s, slowness
from workloads import JobTable

pytestmark = pytest.mark.benchmark_suite
GPUS_PER_NODE = 4
PAUSE_S = 30.0
# policy -> (elastic, pause a rescale, load, GPUs for about 1,000 and about 100 active jobs)
CASES = {"srtf": (False, 0.0, 0.97, 2200, 220), "fair_share": (True, PAUSE_S, 0.97, 3800, 380)}


def measure(policy: str, jobs: JobTable, num_gpus: int, pause_s: float, folder: Path) -> tuple[float, int, float]:
    """(CPU us an instant, decisions made, mean number of active jobs)."""
    scenario = Scenario(
        jobs=jobs,
        pools=[PoolSpec(num_nodes=num_gpus // GPUS_PER_NODE, gpus_per_node=GPUS_PER_NODE)],
        allocation=registry.create("allocation", policy),
        placement=registry.create("placement", "consolidate", strict=False),
        overheads=Overheads(MoveCosts(rescale_s=pause_s)),
    )
    simulation = Simulation(scenario, folder)
    runs = []
    used_s = cpu_s(lambda: runs.append(simulation.run()))
    done = runs[0].jobs
    active = float((done.finish_s - done.submit_s).sum()) / runs[0].facts["end_s"]
    return used_s / (2 * len(jobs)) * 1e6, runs[0].facts["num_decisions"], active


@pytest.mark.parametrize("policy", CASES)
def test_a_decision_over_all_jobs_is_cheap(policy: str, tmp_path: Path) -> None:
    elastic, pause_s, load, many, few = CASES[policy]
    model: type[ProcessPerJob] = {"srtf": ProcessSrtf, "fair_share": ProcessFairShare}[policy]
    small = [
        measure(policy, poisson_jobs(20_000, few, load, elastic=elastic), few, pause_s, tmp_path) for _ in range(3)
    ]
    large = [
        measure(policy, poisson_jobs(100_000, many, load, elastic=elastic), many, pause_s, tmp_path) for _ in range(3)
    ]
    us, decisions, active = median(row[0] for row in large), large[0][1], large[0][2]
    slow = slowness()
    growth = us / median(row[0] for row in small)

    # The rival is slow: it starts with as many jobs as are active on average, and runs a few hundred decisions.
    first, last = int(active), int(active) + 300
    rival = model(poisson_jobs(last, many, load, elastic=elastic), many, pause_s)
    rival.fill(first)
    before = rival.num_decisions
    rival_us = cpu_s(lambda: rival.go_on(first, last)) / (rival.num_decisions - before) * 1e6
    faster = rival_us / us
    least = {"srtf": 4.0, "fair_share": 9.0}[policy]
    print(
        f"\n{policy}, 100,000 jobs, {active:.0f} active: {us:.1f} us CPU an instant, policy and records included"
        f" (at most 60, times {slow:.2f} for a slow machine); {us * 200_000 / decisions:.1f} us a decision made"
        f"\n  {growth:.2f}x what it costs with {small[0][2]:.0f} active (at most 4)"
        f"\n  {faster:.1f}x faster than a SimPy process a job ({rival_us:.0f} us, {len(rival.active)} active at its"
        f" end; at least {least:g})"
    )
    assert us <= 60.0 * slow
    assert growth <= 4.0
    assert faster >= least
