"""Event logs kept as files: a change that is not meant to change any schedule leaves them as they are.

Not an oracle: these are what the simulator did when they were written. To write them anew, with a reason in the
commit's message: `WRITE_GOLDEN=1 pytest tests/simulator/test_golden.py`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_runs import run_jobs

from policies import registry
from simulator.overheads import MoveCosts
from simulator.pools import PoolSpec
from workloads import JobTable

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SCENARIOS: dict[str, dict[str, Any]] = {
    "fifo_easy": {"allocation": "fifo", "options": {"backfill": "easy"}, "placement": "consolidate"},
    "srtf_strict": {
        "allocation": "srtf",
        "placement": "consolidate",
        "placement_options": {"strict": True},
        "costs": MoveCosts(start_s=2.0, restart_s=5.0, preempt="lose"),
    },
    "las_spread": {
        "allocation": "las",
        "options": {"limits": [60.0, 200.0], "promote_factor": 2.0},
        "placement": "spread",
        "costs": MoveCosts(restart_s=3.0),
    },
    "fair_share_scaled": {
        "allocation": "fair_share",
        "placement": "consolidate",
        "placement_options": {"strict": False},
        "costs": MoveCosts(1.0, 2.0, 4.0, "in_place"),
        "pools": [PoolSpec(num_nodes=1, min_nodes=1, max_nodes=3, gpus_per_node=4, provision_s=20.0)],
        "scaling": {"default": registry.create("scaling", "threshold", sustained_s=60.0, cooldown_in_s=120.0)},
    },
}


def jobs() -> JobTable:
    """20 jobs; arithmetic rather than draws, so that they are the same whatever generates random numbers."""
    i = np.arange(20)
    num_gpus = np.array([1, 2, 4, 1, 8, 2, 1, 4, 2, 1])[i % 10]
    is_elastic = i % 3 == 0
    return JobTable.from_columns(
        {
            "job_id": [f"job{k:02}" for k in i],
            "submit_s": 11.0 * (i - i % 2),
            "num_gpus": num_gpus,
            "duration_s": 15.0 + (37 * i) % 140,
            "min_gpus": np.where(is_elastic, 1, num_gpus),
            "max_gpus": np.where(is_elastic, num_gpus + 3, num_gpus),
            "priority": i % 3,
        }
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_event_log(name: str) -> None:
    scenario = {"nodes": 2, "gpus": 4} | SCENARIOS[name]
    run = run_jobs(jobs(), **scenario)
    log = run.allocations.assign(job=run.jobs["job_id"].to_numpy()[run.allocations["job"]])
    log["nodes"] = [" ".join(f"{n}:{g}" for n, g in zip(*row, strict=True)) for row in
                    zip(log["nodes"], log.pop("gpus_on_node"), strict=True)]  # fmt: skip
    text = log.round(9).to_csv(index=False, lineterminator="\n")
    path = GOLDEN / f"{name}.csv"
    if os.environ.get("WRITE_GOLDEN"):
        path.write_text(text)
    assert text.splitlines() == path.read_text().splitlines()


def test_no_log_is_left_over() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.csv")) == sorted(SCENARIOS)
    assert all(len(pd.read_csv(path)) >= 38 for path in GOLDEN.glob("*.csv"))  # each job starts and ends
