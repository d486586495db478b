"""FIFO on 100,000 rigid jobs against the least code that gives the same answers, and a million jobs streamed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from policies import registry
from simulator.pools import PoolSpec
from simulator.run import Run
from simulator.scenario import Scenario
from simulator.simulation import simulate
from tests.benchmarks.baselines import container_fifo, heapq_fifo, poisson_jobs
from tests.benchmarks.measure import in_turn, ratio
from workloads import JobTable

pytestmark = pytest.mark.benchmark_suite
NODES, GPUS_PER_NODE = 625, 4


def run_fifo(jobs: JobTable, folder: Path) -> Run:
    scenario = Scenario(
        jobs=jobs,
        pools=[PoolSpec(num_nodes=NODES, gpus_per_node=GPUS_PER_NODE)],
        allocation=registry.create("allocation", "fifo"),
        placement=registry.create("placement", "consolidate", strict=False),
    )
    return simulate(scenario, folder)


def test_fifo_costs_little_more_than_a_heap(tmp_path: Path) -> None:
    jobs = poisson_jobs(100_000, NODES * GPUS_PER_NODE, 0.9)
    ours = run_fifo(jobs, tmp_path).jobs.finish_s.sum()
    assert ours == pytest.approx(sum(job.finish_s for job in heapq_fifo(jobs, NODES, GPUS_PER_NODE)), rel=1e-12)
    engine, heap, loop, container = in_turn(
        7,
        lambda: run_fifo(jobs, tmp_path),
        lambda: heapq_fifo(jobs, NODES, GPUS_PER_NODE),
        lambda: heapq_fifo(jobs, NODES, GPUS_PER_NODE, keep=False),
        lambda: container_fifo(jobs, NODES * GPUS_PER_NODE),
    )
    over_heap = ratio(engine, heap)
    print(
        f"\nfifo, 100,000 jobs on {NODES * GPUS_PER_NODE} GPUs, placed and recorded: {median(engine):.2f} s CPU"
        f"\n  {over_heap:.2f}x a bare heapq loop that returns the jobs ({median(heap):.2f} s; at most 4, aim 3)"
        f"\n  {ratio(engine, loop):.2f}x the same loop when it throws its answers away ({median(loop):.2f} s)"
        f"\n  {ratio(engine, container):.2f}x a textbook SimPy Container without placement ({median(container):.2f} s)"
    )
    assert over_heap <= 4.0


_MEASURE = """
import json, pathlib, resource, sys, tempfile, time
from tests.benchmarks.baselines import poisson_jobs
from tests.benchmarks.test_fifo import NODES, GPUS_PER_NODE, run_fifo
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    run_fifo(poisson_jobs(1000, NODES * GPUS_PER_NODE, 0.9), folder)  # everything is imported from here on
    jobs = poisson_jobs(int(sys.argv[1]), NODES * GPUS_PER_NODE, 0.9)
    before, begin_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    run_fifo(jobs, folder)
    used_s, after = time.process_time() - begin_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([used_s, (after - before) / 1024]))
"""


def test_a_million_jobs_take_ten_times_as_long_and_little_memory() -> None:
    def measure(num_jobs: int) -> tuple[float, float]:
        root = Path(__file__).parents[2]
        command = [sys.executable, "-c", _MEASURE, str(num_jobs)]
        used_s, grown_mb = json.loads(
            subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
        )
        return used_s, grown_mb

    small = [measure(100_000) for _ in range(3)]
    large_s, grown_mb = measure(1_000_000)
    growth = large_s / median(used_s for used_s, _ in small)
    print(
        f"\nfifo, 1,000,000 jobs: {large_s:.1f} s CPU, {growth:.1f}x the 100,000 (at most 11); "
        f"{grown_mb:.0f} MB above the trace (at most 200)"
    )
    assert growth <= 11.0
    assert grown_mb <= 200.0
