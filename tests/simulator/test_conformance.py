"""Row by row the results of independent simulators on the same jobs.

8 nodes of 8 GPUs, rigid jobs, moves cost nothing. At one instant: completions, then arrivals, then one decision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from policies import registry
from simulator.checks import check
from simulator.scenario import Scenario
from simulator.simulation import simulate
from workloads import JobTable

# file: (allocation, its options, placement, its options)
RULES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "fifo": ("fifo", {}, "pooled", {}),
    "fifo_backfill": ("fifo", {"backfill": "true"}, "pooled", {}),
    "srtf": ("srtf", {"key": "time"}, "pooled", {}),
    "las": ("las", {"limits": [3250.0, 7200.0], "service": "seconds"}, "pooled", {}),
    "fifo_consolidated": ("fifo", {}, "consolidate", {}),
    "sjf_consolidated": ("sjf", {}, "consolidate", {}),
}
FILES = [
    *(f"jobs_500.{rule}" for rule in RULES),
    *(f"jobs_1000.{rule}" for rule in ("fifo", "fifo_backfill", "srtf", "las")),
]


@pytest.mark.parametrize("name", FILES)
def test_every_row_is_the_same(conformance: Path, name: str) -> None:
    given, rule = name.split(".")
    allocation, options, placement, placement_options = RULES[rule]
    asked = pd.read_csv(conformance / f"{given}.csv")
    run = simulate(
        Scenario(
            jobs=JobTable.from_columns({column: asked[column].to_numpy() for column in asked}),
            allocation=registry.create("allocation", allocation, **options),
            placement=registry.create("placement", placement, **placement_options),
        )
    )
    theirs = pd.read_csv(conformance / f"{name}.csv").set_index("job_id").sort_index()
    ours = run.jobs.set_index("job_id").sort_index()[list(theirs)].round(6)  # compared at 1e-6 s
    assert len(theirs) == len(asked)
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False, check_exact=True)
    check(run)


def test_no_file_is_left_out(conformance: Path) -> None:
    results = [path.stem for path in conformance.glob("jobs_*.*.csv")]
    assert sorted(results) == sorted(FILES)
