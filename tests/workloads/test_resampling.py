"""Days drawn anew: which jobs, when, and how often; and what seeds change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads import JobTable, WorkloadError
from workloads.resampling import DAY_S, resample_days


def trace(days: int = 6, first_day: int = 0) -> JobTable:
    """Two jobs a day, at 6 and at 18 h; how long a job runs says on which day it was submitted."""
    submit_s = (np.repeat(np.arange(days), 2) + np.tile([0.25, 0.75], days) + first_day) * DAY_S
    columns = {"submit_s": submit_s, "num_gpus": np.tile([1, 2], days), "deadline_s": submit_s + 50.0}
    return JobTable.from_columns({**columns, "duration_s": 1.0 + np.repeat(np.arange(days), 2)})


def drawn(jobs: JobTable) -> list[int]:
    """The day that each day of a workload was in the trace."""
    return [int(duration) - 1 for duration in jobs.duration_s[::2]]


@settings(max_examples=60)
@given(
    num_days=st.integers(1, 12), block_days=st.integers(1, 6), first_day=st.integers(0, 3), seed=st.integers(0, 2**32)
)
def test_whole_stretches_at_their_time_of_day(num_days: int, block_days: int, first_day: int, seed: int) -> None:
    jobs = resample_days(trace(first_day=first_day), num_days, block_days, np.random.default_rng(seed))
    np.testing.assert_allclose(jobs.submit_s, trace(num_days).submit_s)  # every day, from day 0 on
    np.testing.assert_allclose(jobs.deadline_s - jobs.submit_s, 50.0)
    days = drawn(jobs)
    for at in range(0, num_days, block_days):
        stretch = days[at : at + block_days]
        assert stretch == list(range(stretch[0], stretch[0] + len(stretch)))
        assert stretch[0] + block_days <= 6  # a stretch is whole, also where the end cuts it
    assert len(set(jobs.job_id.tolist())) == len(jobs) == 2 * num_days


def test_every_day_is_drawn_alike() -> None:
    days = drawn(resample_days(trace(), 3000, 1, np.random.default_rng(0)))
    counts = np.bincount(days, minlength=6)
    assert abs(counts - 500).max() < 4.5 * np.sqrt(3000 * (1 / 6) * (5 / 6))  # six tests at 1e-5


def test_an_id_says_which_stretch_it_is_from() -> None:
    jobs = resample_days(trace(1), 2, 1, np.random.default_rng(0))
    assert jobs.job_id.tolist() == ["0.0", "1.0", "0.1", "1.1"]


@pytest.mark.parametrize(
    ("num_days", "block_days", "message"),
    [
        (0, 1, "resample_days=0: must be 1 or more"),
        (3, 0, r"resample_block_days=0: must lie in 1\.\.6, the days of the trace"),
        (3, 7, r"resample_block_days=7: must lie in 1\.\.6, the days of the trace"),
    ],
)
def test_refused(num_days: int, block_days: int, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        resample_days(trace(), num_days, block_days, np.random.default_rng(0))


def test_days_without_jobs() -> None:
    gap = JobTable.from_columns({"submit_s": [0.0, 999 * DAY_S], "num_gpus": [1, 1], "duration_s": [1.0, 1.0]})
    with pytest.raises(WorkloadError, match="no job is submitted on the days drawn"):
        resample_days(gap, 1, 1, np.random.default_rng(0))
