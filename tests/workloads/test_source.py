"""The options that every source has: window, limit, time scale, elasticity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from workloads import SOURCES, Elasticity, JobTable, ReadReport, Trace, TraceError, WorkloadError, WorkloadSource
from workloads.source import source_class


@dataclass(kw_only=True)
class Fixed(WorkloadSource):
    """`num` jobs, one every 10 s, of 4 GPUs, with a deadline 100 s after submission."""

    num: int = 10
    gpus: int = 4

    def read(self, rng: np.random.Generator) -> Trace:
        submit_s = 10.0 * np.arange(self.num)
        columns = {
            "submit_s": submit_s,
            "num_gpus": np.full(self.num, self.gpus),
            "duration_s": np.full(self.num, 5.0),
            "deadline_s": submit_s + 100.0,
        }
        return Trace(JobTable.from_columns(columns), ReadReport("fixed", self.num, self.num))


def load(seed: int = 0, **options: Any) -> Trace:
    return Fixed(**options).load(np.random.default_rng(seed))


def test_without_options_nothing_changes() -> None:
    trace = load()
    np.testing.assert_array_equal(trace.jobs.submit_s, 10.0 * np.arange(10))
    assert trace.report == ReadReport("fixed", 10, 10)


def test_window_counts_from_its_start_and_reports_what_it_drops() -> None:
    trace = load(from_s=20.0, to_s=50.0)
    np.testing.assert_array_equal(trace.jobs.submit_s, [0.0, 10.0, 20.0])  # 20, 30, 40; 50 is outside
    np.testing.assert_array_equal(trace.jobs.deadline_s, [100.0, 110.0, 120.0])
    assert trace.report.dropped == {"submitted outside [20, 50) s": 7}
    assert trace.report.rows_kept == 3


def test_limit_comes_after_the_window() -> None:
    trace = load(from_s=20.0, limit=2)
    np.testing.assert_array_equal(trace.jobs.job_id, [2, 3])
    assert trace.report.dropped == {"submitted outside [20, inf) s": 2, "after the first 2 (limit)": 6}
    assert load(limit=99).report.dropped == {}


def test_time_scale_moves_submissions_but_not_work_nor_slack() -> None:
    jobs = load(time_scale=0.5).jobs
    np.testing.assert_array_equal(jobs.submit_s, 5.0 * np.arange(10))
    np.testing.assert_array_equal(jobs.duration_s, np.full(10, 5.0))
    np.testing.assert_array_equal(jobs.deadline_s - jobs.submit_s, np.full(10, 100.0))


def test_elastic_share_within_four_standard_errors() -> None:
    num, share = 20_000, 0.3
    jobs = load(num=num, elastic_frac=share).jobs
    elastic = jobs.elasticity == Elasticity.MALLEABLE
    assert abs(elastic.mean() - share) < 4 * math.sqrt(share * (1 - share) / num)
    assert (jobs.min_gpus[elastic] == 1).all()
    assert (jobs.max_gpus[elastic] == 8).all()
    assert (jobs.min_gpus[~elastic] == 4).all()
    assert (jobs.elasticity[~elastic] == Elasticity.RIGID).all()


@pytest.mark.parametrize(
    ("gpus", "options", "sizes"),
    [
        (3, {}, (1, 6)),  # 0.75 rounded up
        (5, {"elastic_min_frac": 0.5, "elastic_max_factor": 1.5}, (3, 7)),  # 2.5 up, 7.5 down
        (1, {"elastic_max_factor": 1.5}, (1, 1)),
        (4, {"elastic_min_frac": 0.0}, (1, 8)),
    ],
)
def test_elastic_sizes_round_inwards(gpus: int, options: dict[str, float], sizes: tuple[int, int]) -> None:
    jobs = load(num=1, gpus=gpus, elastic_frac=1.0, **options).jobs
    assert (jobs.min_gpus[0], jobs.max_gpus[0]) == sizes


def test_moldable() -> None:
    assert (load(elastic_frac=1.0, elastic_kind="moldable").jobs.elasticity == Elasticity.MOLDABLE).all()


def test_more_elastic_jobs_are_the_same_ones_and_more() -> None:
    few, many = (load(num=1000, elastic_frac=share).jobs.elasticity > 0 for share in (0.2, 0.6))
    assert (many | ~few).all()


def test_per_gpu_needs_and_checkpoints_are_filled_in() -> None:
    jobs = load(cpus_per_gpu=8.0, memory_gib_per_gpu=32.0, checkpoint_interval_s=600.0).jobs
    assert (jobs.cpus_per_gpu == 8.0).all()
    assert (jobs.memory_gib_per_gpu == 32.0).all()
    assert (jobs.checkpoint_interval_s == 600.0).all()
    assert (load().jobs.checkpoint_interval_s == np.inf).all()  # as the trace says
    with pytest.raises(TraceError, match=r"column 'checkpoint_interval_s': 0\.0: must be more than 0 s \(inf: none\)"):
        load(checkpoint_interval_s=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"from_s": 500.0}, r"no job is submitted in \[500, inf\) s; the trace spans \[0, 90\]"),
        ({"from_s": -5.0}, "from_s=-5.0: must be 0 or more"),
        ({"limit": 0}, "limit=0: must be 1 or more"),
        ({"time_scale": 0.0}, "time_scale=0.0: must be more than 0"),
        ({"elastic_frac": 1.5}, r"elastic_frac=1.5: must lie in 0\.\.1"),
        ({"elastic_frac": 0.5, "elastic_kind": "rigid"}, "elastic_kind='rigid': must be one of malleable, moldable"),
        ({"elastic_frac": 0.5, "elastic_min_frac": -0.1}, r"elastic_min_frac=-0.1: must lie in 0\.\.1"),
        ({"elastic_frac": 0.5, "elastic_max_factor": 0.5}, r"elastic_max_factor=0.5: must lie in 1\.\.inf"),
    ],
)
def test_refused_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        load(**options)


def test_days_are_drawn_by_the_seed_and_leave_other_draws_alone() -> None:
    options: dict[str, Any] = {"num": 40_000, "resample_days": 3}  # of the five days that they take
    first, again, other = (load(seed, **options) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.jobs.job_id, again.jobs.job_id)
    assert first.jobs.job_id.tolist() != other.jobs.job_id.tolist()
    assert first.report.rows_kept == len(first.jobs)
    assert first.report.notes == [f"3 days drawn anew from these, one by one: {len(first.jobs):,} jobs"]
    np.testing.assert_array_equal(
        load(elastic_frac=0.5).jobs.elasticity, load(elastic_frac=0.5, resample_days=1).jobs.elasticity
    )


def test_checkpoints_of_ones_own() -> None:
    assert (load().jobs.checkpoint_interval_s == math.inf).all()
    assert (load(checkpoint_interval_s=600.0).jobs.checkpoint_interval_s == 600.0).all()
    with pytest.raises(TraceError, match=r"column 'checkpoint_interval_s': 0\.0: must be more than 0 s"):
        load(checkpoint_interval_s=0.0)


def test_a_bad_need_per_gpu_is_refused() -> None:
    with pytest.raises(TraceError, match=r"column 'cpus_per_gpu': -1\.0: must be a finite number, 0 or more"):
        load(cpus_per_gpu=-1.0)


@pytest.mark.parametrize("name", SOURCES)
def test_every_name_leads_to_a_source(name: str) -> None:
    assert issubclass(source_class(name), WorkloadSource)


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(WorkloadError, match=r"unknown workload 'phily'; did you mean philly\? Known: csv, gavel"):
        source_class("phily")
