"""summary.json: every metric by hand on three jobs, and what becomes of jobs that don't finish."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from policies import registry
from simulator.environment import write_environment
from simulator.errors import RunError
from simulator.metrics import json_safe, summarise
from simulator.pools import PoolSpec
from simulator.run import Run, find_runs
from simulator.scenario import Scenario
from simulator.simulation import simulate
from simulator.summary import write_summary
from workloads import JobTable

NODE = PoolSpec(num_nodes=1, gpus_per_node=4, usd_per_node_h=36.0)  # a cent a second
LABELS = {"allocation": "fifo", "placement": "consolidate", "scaling": "static"}


@pytest.fixture
def three_jobs() -> JobTable:
    """Strict FIFO on 4 GPUs: A 0–100 s, B 100–150 s, C 150–180 s."""
    return JobTable.from_columns(
        {
            "job_id": ["A", "B", "C"],
            "submit_s": [0.0, 10.0, 20.0],
            "num_gpus": [2, 4, 1],
            "duration_s": [100.0, 50.0, 30.0],
            "deadline_s": [100.0, 120.0, np.inf],
            "gpu_utilisation_frac": [0.5, 1.0, 1.0],
        }
    )


def run_fifo(jobs: JobTable, folder: Path | None = None, **options: Any) -> Run:
    placement = options.pop("placement", "consolidate")
    scenario = Scenario(
        jobs=jobs,
        allocation=registry.create("allocation", options.pop("allocation", "fifo")),
        placement=registry.create("placement", placement),
        **{"pools": [NODE], **options},
    )
    return simulate(scenario, folder)


def test_three_jobs_by_hand(three_jobs: JobTable) -> None:
    summary = summarise(run_fifo(three_jobs), LABELS)
    expected = {
        "num_submitted": 3,
        "num_finished": 3,
        "num_unfinished": 0,
        "jct_mean_s": (100 + 140 + 160) / 3,
        "jct_p50_s": 140,
        "jct_p95_s": 158,
        "jct_max_s": 160,
        "queueing_mean_s": (0 + 90 + 130) / 3,
        "queueing_p50_s": 90,
        "slowdown_p50": 140 / 50,
        "makespan_s": 180,
        "gpu_allocation_frac": (200 + 200 + 30) / 720,
        "gpu_utilisation_frac": (100 + 200 + 30) / 720,
        "fragmentation_frac": 1.0,  # all that is free lies beside A or C
        "cost_usd": 1.80,
        "cost_busy_usd": 1.80 * 430 / 720,
        "cost_idle_usd": 1.80 * 290 / 720,
        "cost_startup_usd": 0,
        "cost_per_job_usd": 0.60,
        "queue_length_mean": (90 + 130) / 180,
        "queue_length_max": 2,
        "num_deadlines": 2,
        "deadline_attainment_frac": 0.5,  # A to the second
        "num_preemptions": 0,
    }
    assert {name: summary[name] for name in expected} == pytest.approx(expected)
    assert summary["unfinished_age_mean_s"] is None
    assert summary["labels"] == LABELS
    assert summary["facts"]["end_s"] == 180
    assert "notes" not in summary["facts"]


def test_finish_time_fairness_by_hand(three_jobs: JobTable) -> None:
    """4 GPUs shared by N: 2.7 while A is there, 360/140 for B, 370/160 for C, which can use one GPU only."""
    summary = summarise(run_fifo(three_jobs))
    of_a = 100 / (100 * 2 / (4 / 2.7))
    of_b = 140 / (50 * 4 / (4 / (360 / 140)))
    of_c = 160 / 30
    assert summary["finish_time_fairness_mean"] == pytest.approx((of_a + of_b + of_c) / 3)
    assert summary["finish_time_fairness_p50"] == pytest.approx(of_b)
    assert summary["finish_time_fairness_max"] == pytest.approx(of_c)


def test_a_job_alone_is_treated_fairly() -> None:
    jobs = JobTable.from_columns({"submit_s": [5.0], "num_gpus": [4], "duration_s": [10.0]})
    assert summarise(run_fifo(jobs))["finish_time_fairness_max"] == pytest.approx(1.0)


def test_warmup_leaves_jobs_out_of_their_statistics_only(three_jobs: JobTable) -> None:
    summary = summarise(run_fifo(three_jobs), warmup_s=15.0)
    assert (summary["num_submitted"], summary["num_measured"], summary["num_measured_finished"]) == (3, 1, 1)
    assert summary["jct_mean_s"] == 160
    assert summary["num_deadlines"] == 0
    assert summary["deadline_attainment_frac"] is None
    assert summary["cost_usd"] == pytest.approx(1.80)


def test_unfinished_jobs_are_counted_and_aged(three_jobs: JobTable) -> None:
    summary = summarise(run_fifo(three_jobs, horizon_s=140.0))
    assert (summary["num_finished"], summary["num_unfinished"]) == (1, 2)
    assert summary["jct_mean_s"] == 100
    assert summary["unfinished_age_mean_s"] == (130 + 120) / 2
    assert summary["jct_lower_bound_mean_s"] == pytest.approx((100 + 130 + 120) / 3)
    assert summary["num_measured_started"] == 2
    assert summary["makespan_s"] == 140
    assert summary["num_deadlines_open"] == 0  # B's has passed


def test_what_never_came_is_not_submitted(three_jobs: JobTable) -> None:
    summary = summarise(run_fifo(three_jobs, horizon_s=15.0))
    assert (summary["num_submitted"], summary["num_not_submitted"], summary["num_unfinished"]) == (2, 1, 2)
    assert summary["num_deadlines_open"] == 2
    assert summary["jct_mean_s"] is None


def test_rejected_jobs_are_counted_and_noted(three_jobs: JobTable) -> None:
    summary = summarise(run_fifo(three_jobs.with_columns(num_gpus=np.array([2, 40, 1]), max_gpus=np.array([2, 40, 1]),
                                                         min_gpus=np.array([2, 40, 1]))))  # fmt: skip
    assert (summary["num_submitted"], summary["num_finished"], summary["num_rejected"]) == (3, 2, 1)
    assert "1 of 3 jobs can never run here" in summary["notes"][0]
    assert summary["deadline_attainment_frac"] == 0.5  # a rejected job misses its deadline


def test_pooled_placement_costs_the_same(three_jobs: JobTable) -> None:
    placed, pooled = (summarise(run_fifo(three_jobs, placement=name)) for name in ("consolidate", "pooled"))
    for name in ("cost_usd", "cost_busy_usd", "cost_idle_usd"):
        assert pooled[name] == pytest.approx(placed[name])
    assert pooled["fragmentation_frac"] is None


def test_cost_of_start_up_and_of_pools_with_different_prices(three_jobs: JobTable) -> None:
    """Node 0 runs A for 100 s at 1 ct/s; node 1 takes 300 s to come at 2 ct/s; a third is cancelled after 50 s."""
    run = run_fifo(three_jobs.take(slice(0, 1)))
    tables = {name: run.table(name) for name in ("jobs", "allocations")}
    tables["nodes"] = pa.table(
        {
            "node": pa.array([0, 1, -1], pa.int32()),
            "num_gpus": pa.array([4, 4, 4], pa.int32()),
            "purchase": ["on_demand", "spot", "spot"],
            "launched_s": [0.0, 0.0, 500.0],
            "warm_s": [math.inf, math.inf, math.inf],
            "ready_s": [0.0, 300.0, math.inf],
            "terminated_s": [1000.0, 1000.0, 550.0],
            "end": ["still_there", "still_there", "cancelled"],
            "num_stockouts": pa.array([0, 0, 3], pa.int32()),
            "usd_per_node_h": [36.0, 72.0, 72.0],
            "billed_s": [1000.0, 1000.0, 60.0],  # of the third a minute at least
            "cost_usd": [10.0, 20.0, 1.2],
            "cost_warm_usd": [0.0, 0.0, 0.0],
            "gpu_idle_w": [50.0, 50.0, 50.0],
            "gpu_peak_w": [350.0, 350.0, 350.0],
        }
    )
    summary = summarise(Run({"end_s": 1000.0}, tables))
    assert summary["cost_usd"] == pytest.approx(10 + 20 + 1.2)
    assert summary["cost_on_demand_usd"] == pytest.approx(10)
    assert summary["cost_spot_usd"] == pytest.approx(21.2)
    assert summary["cost_startup_usd"] == pytest.approx(6 + 1)
    assert summary["cost_rounding_usd"] == pytest.approx(0.2)
    assert summary["cost_busy_usd"] == pytest.approx(0.50)  # half a node for 100 s
    assert summary["cost_idle_usd"] == pytest.approx(31 - 7 - 0.50)
    assert summary["gpu_allocation_frac"] == pytest.approx(200 / (4000 + 2800))
    assert summary["node_billed_h"] == pytest.approx(2060 / 3600)
    on_gpu_s, busy_gpu_s = 4 * 2050, 200 * 0.5  # A keeps its GPUs half busy
    assert summary["energy_kwh"] == pytest.approx((on_gpu_s * 50 + busy_gpu_s * 300) / 3.6e6)


def test_preemptions_rescales_and_lost_work(three_jobs: JobTable) -> None:
    summary = summarise(run_fifo(three_jobs, allocation="srtf"))
    assert summary["num_preemptions"] == 3  # of A by B, of B by C, of A by B again
    assert summary["lost_gpu_h"] == 0


def test_the_same_from_a_folder_byte_by_byte(three_jobs: JobTable, tmp_path: Path) -> None:
    run = run_fifo(three_jobs, tmp_path)
    in_memory = json.dumps(summarise(run_fifo(three_jobs), LABELS))
    assert json.dumps(write_summary(run, LABELS, tmp_path)) == in_memory
    loaded = Run.load(tmp_path)
    assert json.dumps(summarise(loaded, loaded.labels)) == in_memory
    assert json.loads((tmp_path / "summary.json").read_text()) == json.loads(in_memory)
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))


def test_json_has_no_nan() -> None:
    assert json_safe({"a": math.nan, "b": [math.inf, np.float64(1)], "c": Path("x"), 1: np.int64(2)}) == {
        "a": None,
        "b": [None, 1.0],
        "c": "x",
        "1": 2,
    }


def test_folders_that_are_not_finished_runs(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere: no such folder"):
        Run.load(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"not a run's folder: no summary.json in it"):
        Run.load(tmp_path)
    (tmp_path / "jobs.parquet").touch()
    with pytest.raises(RunError, match="the run is going on or was killed"):
        Run.load(tmp_path)
    (tmp_path / "unfinished.json").write_text('{"why": "PlanError: job 7 holds 9 of 8 GPUs"}')
    with pytest.raises(RunError, match="did not finish: PlanError: job 7 holds 9 of 8 GPUs; run it again"):
        Run.load(tmp_path)
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(RunError, match=r"summary.json: not a run's summary \(KeyError: 'facts'\)"):
        Run.load(tmp_path)


def test_a_damaged_table_is_named(three_jobs: JobTable, tmp_path: Path) -> None:
    write_summary(run_fifo(three_jobs, tmp_path), LABELS, tmp_path)
    (tmp_path / "jobs.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(RunError, match=r"jobs.parquet: can't be read \("):
        Run.load(tmp_path).table("jobs")


def test_find_runs_sorts_by_number_and_finds_each_once(tmp_path: Path) -> None:
    for name in ("10", "2", "1/nested"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "summary.json").touch()
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "unfinished.json").touch()
    (tmp_path / "logs").mkdir()
    found = [str(path.relative_to(tmp_path)) for path in find_runs([tmp_path, tmp_path / "2"])]
    assert found == ["1/nested", "2", "3", "10"]
    with pytest.raises(RunError, match=r"logs: no run in it: no folder holds a summary.json"):
        find_runs([tmp_path / "logs"])
    with pytest.raises(RunError, match=r"gone: no such folder"):
        find_runs([tmp_path / "gone"])


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = write_environment(tmp_path, seed=7, wall_s=2.0, cpu_s=0.5, num_jobs=1000)
    assert json.loads((tmp_path / "environment.json").read_text()) == environment
    assert (environment["seed"], environment["jobs_per_cpu_s"]) == (7, 2000.0)
    assert environment["packages"]["numpy"] == np.__version__
    monkeypatch.setenv("PATH", str(tmp_path))  # no git there
    assert write_environment(tmp_path, seed=7, wall_s=2.0, cpu_s=0.0, num_jobs=1000)["git"] is None
