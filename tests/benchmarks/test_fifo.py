"""FIFO on 100,000 rigid jobs against the least code that gives the same answers, and a million jobs streamed."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import pytest

from policies import registry
from simulator.pools import PoolSpec
from simulator.run import Run
from simulator.simulation import Scenario, simulate
from tests.benchmarks.baselines import container_fifo, heapq_fifo, poisson_jobs
from tests.benchmarks.measure import in_turn, ratio
from workloads import JobTable

pytestmark = pytest.mark.benchmark_suite
NODES, GPUS_PER_NODE = 625, 4


def run_fifo(jobs: JobTable) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(
            jobs=jobs,
            pools=[PoolSpec(num_nodes=NODES, gpus_per_node=GPUS_PER_NODE)],
            allocation=registry.create("allocation", "fifo"),
            placement=registry.create("placement", "consolidate"),
        )
        run = simulate(scenario, Path(folder))
        assert run.jobs is not None  # read while the folder is there
        return run


def test_fifo_costs_little_more_than_a_heap() -> None:
    jobs = poisson_jobs(100_000, NODES * GPUS_PER_NODE, 0.9)
    assert run_fifo(jobs).jobs.finish_s.sum() == pytest.approx(heapq_fifo(jobs, NODES, GPUS_PER_NODE), rel=1e-12)
    engine, heap, container = in_turn(
        5,
        lambda: run_fifo(jobs),
        lambda: heapq_fifo(jobs, NODES, GPUS_PER_NODE),
        lambda: container_fifo(jobs, NODES * GPUS_PER_NODE),
    )
    over_heap, over_container = ratio(engine, heap), ratio(engine, container)
    print(
        f"\nfifo, 100,000 jobs on {NODES * GPUS_PER_NODE} GPUs, placed and recorded: {median(engine):.2f} s CPU"
        f"\n  {over_heap:.2f}x a bare heapq loop ({median(heap):.2f} s; at most 4, aim 3)"
        f"\n  {over_container:.2f}x a textbook SimPy Container without placement ({median(container):.2f} s)"
    )
    assert over_heap <= 4.0


_PEAK = """
import json, resource, sys, time
from tests.benchmarks.baselines import poisson_jobs
from tests.benchmarks.test_fifo import NODES, GPUS_PER_NODE, run_fifo
num_jobs = int(sys.argv[1])
run_fifo(poisson_jobs(1000, NODES * GPUS_PER_NODE, 0.9))  # everything imported
jobs = poisson_jobs(num_jobs, NODES * GPUS_PER_NODE, 0.9)
before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
begin_s = time.process_time()
from simulator.simulation import Scenario, simulate
from simulator.pools import PoolSpec
from policies import registry
import pathlib, tempfile
with tempfile.TemporaryDirectory() as folder:
    simulate(Scenario(jobs=jobs, pools=[PoolSpec(num_nodes=NODES, gpus_per_node=GPUS_PER_NODE)],
                      allocation=registry.create("allocation", "fifo"),
                      placement=registry.create("placement", "consolidate")), pathlib.Path(folder))
used_s = time.process_time() - begin_s
after_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([used_s, after_mb - before_mb]))
"""


def test_a_million_jobs_take_ten_times_as_long_and_little_memory() -> None:
    def measure(num_jobs: int) -> tuple[float, float]:
        root = Path(__file__).parents[2]
        command = [sys.executable, "-c", _PEAK, str(num_jobs)]
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
