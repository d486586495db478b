"""What a policy may know of a run time: each kind, and that nothing leaks from jobs that still run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from workloads import JobSpec, JobTable, WorkloadError
from workloads.estimates import KINDS, make_estimator


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def spec(name: str, duration_s: float, **fields: Any) -> JobSpec:
    return JobSpec(**{"job_id": name, "submit_s": 0.0, "num_gpus": 1, "duration_s": duration_s, **fields})


@pytest.fixture
def jobs() -> JobTable:
    return JobTable.from_specs([spec("a", 100.0, user_estimate_s=150.0), spec("b", 200.0), spec("c", 300.0)])


def test_none_knows_nothing(jobs: JobTable) -> None:
    nothing = make_estimator("none", rng())
    assert math.isnan(nothing.estimate_s(jobs, 0))
    every = nothing.estimate_all(jobs)
    assert every is not None
    assert np.isnan(every).all()


def test_oracle_knows_the_truth(jobs: JobTable) -> None:
    oracle = make_estimator("oracle", rng())
    assert oracle.estimate_s(jobs, 1) == 200.0
    np.testing.assert_array_equal(oracle.estimate_all(jobs), [100.0, 200.0, 300.0])


def test_user_is_believed_and_a_silent_one_is_an_error(jobs: JobTable) -> None:
    user = make_estimator("user", rng())
    assert user.estimate_s(jobs, 0) == 150.0
    with pytest.raises(WorkloadError, match=r"job b \(row 1 of 3\): user_estimate_s is missing.*set fallback"):
        user.estimate_s(jobs, 1)
    with pytest.raises(WorkloadError, match="job b"):
        user.estimate_all(jobs)


def test_user_falls_back(jobs: JobTable) -> None:
    np.testing.assert_array_equal(make_estimator("user", rng(), fallback="oracle").estimate_all(jobs), [150, 200, 300])
    learning = make_estimator("user", rng(), fallback="history", default_s=7.0)
    assert learning.estimate_all(jobs) is None
    assert [learning.estimate_s(jobs, row) for row in range(3)] == [150.0, 7.0, 7.0]
    learning.observe(jobs, 0, 100.0)
    assert learning.estimate_s(jobs, 1) == 100.0


def test_noise_depends_on_seed_and_row_alone() -> None:
    many = JobTable.from_specs([spec(f"j{i}", 10.0) for i in range(100)])
    in_order, at_once = make_estimator("noisy", rng()), make_estimator("noisy", rng())
    expected = at_once.estimate_all(many)
    assert expected is not None
    shuffled = rng(9).permutation(100)
    np.testing.assert_array_equal([in_order.estimate_s(many, row) for row in shuffled], expected[shuffled])
    np.testing.assert_array_equal(in_order.estimate_all(many), expected)  # asking again changes nothing
    first_ten = make_estimator("noisy", rng()).estimate_all(many.take(slice(10)))
    np.testing.assert_array_equal(first_ten, expected[:10])  # nor does the number of jobs
    assert not np.array_equal(make_estimator("noisy", rng(4)).estimate_all(many), expected)


def test_noise_is_lognormal_around_the_bias() -> None:
    """Mean and variance of the logarithm, each within 4 standard errors."""
    num, sigma = 10_000, 0.7
    many = JobTable.from_columns({"submit_s": np.zeros(num), "num_gpus": np.ones(num), "duration_s": np.full(num, 5.0)})
    estimate_s = make_estimator("noisy", rng(), sigma=sigma, bias=2.0).estimate_all(many)
    assert estimate_s is not None
    logs = np.log(estimate_s / 5.0)
    assert abs(logs.mean() - math.log(2.0)) < 4 * sigma / math.sqrt(num)
    assert abs(logs.var() - sigma**2) < 4 * sigma**2 * math.sqrt(2 / num)


def test_no_noise_is_the_oracle(jobs: JobTable) -> None:
    np.testing.assert_array_equal(make_estimator("noisy", rng(), sigma=0).estimate_all(jobs), jobs.duration_s)


def test_history_goes_from_fine_to_coarse() -> None:
    like = {"tenant": "t", "model": "m", "num_gpus": 2}
    rows = JobTable.from_specs(
        [
            spec("asked", 1.0, **like),
            spec("same", 1.0, **like),
            spec("same model", 1.0, **(like | {"num_gpus": 4})),
            spec("same tenant", 1.0, **(like | {"model": "x", "num_gpus": 8})),
            spec("same size", 1.0, **(like | {"tenant": "u"})),
            spec("stranger", 1.0, tenant="v", model="y", num_gpus=16),
        ]
    )
    history = make_estimator("history", rng(), default_s=42.0)
    assert history.estimate_s(rows, 0) == 42.0
    seen = []
    for row, duration_s in ((5, 1000.0), (4, 400.0), (3, 300.0), (2, 200.0), (1, 100.0)):
        history.observe(rows, row, duration_s)
        seen.append(history.estimate_s(rows, 0))
    # all jobs; those of its size; its tenant's; its tenant's of its model; those like it
    assert seen == [1000.0, 400.0, 300.0, 200.0, 100.0]
    assert history.estimate_s(rows, 5) == 1000.0


def test_history_statistics_and_windows() -> None:
    rows = JobTable.from_specs([spec("a", 1.0)])
    durations_s = (1000.0, 10.0, 20.0, 90.0)
    for options, expected in (
        ({}, 280.0),
        ({"statistic": "median"}, 55.0),
        ({"last": 3}, 40.0),
        ({"last": 3, "statistic": "median"}, 20.0),
        ({"min_jobs": 5, "default_s": 7.0}, 7.0),
    ):
        history = make_estimator("history", rng(), **options)
        for duration_s in durations_s:
            history.observe(rows, 0, duration_s)
        assert history.estimate_s(rows, 0) == pytest.approx(expected), options


def test_history_learns_from_finished_jobs_only(jobs: JobTable) -> None:
    history = make_estimator("history", rng(), default_s=60.0)
    assert [history.estimate_s(jobs, row) for row in range(3)] == [60.0] * 3
    assert history.estimate_all(jobs) is None


def test_two_estimators_share_no_memory(jobs: JobTable) -> None:
    first, second = make_estimator("history", rng()), make_estimator("history", rng())
    first.observe(jobs, 0, 5.0)
    assert second.estimate_s(jobs, 0) == 3600.0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "user"])
def test_whole_columns_agree_with_single_rows(kind: str, jobs: JobTable) -> None:
    every = make_estimator(kind, rng()).estimate_all(jobs)
    one_by_one = make_estimator(kind, rng())
    if every is not None:
        np.testing.assert_array_equal([one_by_one.estimate_s(jobs, row) for row in range(3)], every)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("orcle", {}, r"estimates=orcle: unknown kind; did you mean oracle\? Known: history, learned, noisy, none"),
        ("noisy", {"sigm": 1}, r"estimates\.sigm: unknown option; did you mean sigma\? Known: bias, sigma$"),
        ("noisy", {"sigma": -1}, r"estimates\.sigma=-1.0: must be 0 or more"),
        ("noisy", {"bias": 0}, r"estimates\.bias=0.0: must be more than 0"),
        ("oracle", {"sigma": 1}, r"estimates\.sigma: unknown option"),
        ("history", {"last": "few"}, r"estimates\.last=few: must be a whole number"),
        ("history", {"last": 0}, r"estimates\.last=0: must be 1 or more"),
        ("history", {"min_jobs": 9, "last": 3}, r"estimates\.min_jobs=9: must not be more than last, 3"),
        ("history", {"default_s": 0}, r"estimates\.default_s=0.0: must be more than 0 s"),
        ("history", {"statistic": "mode"}, r"estimates\.statistic=mode: must be one of mean, median"),
        ("user", {"fallback": "histry"}, r"estimates\.fallback=histry: unknown kind; did you mean history\?"),
        ("user", {"fallback": "user"}, r"estimates\.fallback=user: unknown kind"),
    ],
)
def test_refused(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        make_estimator(kind, rng(), **options)
