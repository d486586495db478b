"""The whole Philly CSV (82,247 jobs) on 80 nodes of 8 GPUs under four policies: jobs per CPU-second, all included."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from policies import registry
from simulator.pools import PoolSpec
from simulator.scenario import Scenario
from simulator.simulation import simulate, stream
from tests.benchmarks.measure import slowness
from workloads import source_class

pytestmark = pytest.mark.benchmark_suite
TRACES = Path(os.environ.get("TRACES_DIR", Path(__file__).parents[2].parent / "shared" / "traces"))
TRACE = TRACES / "philly" / "philly.csv.gz"
LEAST, AIM = 10_000, 20_000


@pytest.mark.skipif(not TRACE.exists(), reason=f"{TRACE} is not there (set TRACES_DIR)")
@pytest.mark.parametrize(
    ("policy", "options"),
    [("fifo", {}), ("srtf", {}), ("las", {}), ("fair_share", {}), ("fair_share", {"elastic_frac": 1.0})],
    ids=["fifo", "srtf", "las", "fair_share", "fair_share-elastic"],
)
def test_philly(policy: str, options: dict[str, float], tmp_path: Path) -> None:
    begin_s = time.process_time()
    jobs = source_class("philly")(path=str(TRACE), **options).load(stream(0, "workload")).jobs
    loaded_s = time.process_time()
    scenario = Scenario(
        jobs=jobs,
        pools=[PoolSpec(num_nodes=80, gpus_per_node=8)],
        allocation=registry.create("allocation", policy),
        placement=registry.create("placement", "consolidate", strict=False),
    )
    run = simulate(scenario, tmp_path)
    used_s = time.process_time() - begin_s
    rate, slow = len(jobs) / used_s, slowness()
    print(
        f"\nphilly, {policy}{', all jobs elastic' if options else ''}: {rate:,.0f} jobs per CPU-second "
        f"({used_s:.1f} s, of it {loaded_s - begin_s:.1f} s reading the trace; {run.facts['num_decisions']:,}"
        f" decisions; at least {LEAST:,}, aim {AIM:,}, divided by {slow:.2f} for a slow machine)"
    )
    assert rate >= LEAST / slow
