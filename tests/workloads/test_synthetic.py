"""Drawn workloads: each part against its distribution, streams that leave each other alone, refused options.

Tests of a mean allow 4 standard errors (a false alarm in 16,000 seeds); seeds are fixed, so they can't flake.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from workloads import JobTable, WorkloadError
from workloads.generators.arrivals import DAY_S, HOUR_S, WEEK_S, Batch, Bursty, Daily, Diurnal, Poisson
from workloads.generators.durations import Exponential, Lognormal, Mixture, Pareto, draw_within
from workloads.generators.mixes import zipf_weights
from workloads.synthetic import SyntheticSource

NUM = 20_000


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn(seed: int = 1, **options: Any) -> JobTable:
    return SyntheticSource(**{"num_jobs": 500, **options}).load(rng(seed)).jobs


def assert_mean(sample: np.ndarray, expected: float) -> None:
    error = sample.std(ddof=1) / math.sqrt(len(sample))
    assert abs(sample.mean() - expected) < 4 * error, f"{sample.mean()} is not {expected} ± {4 * error}"


# --- arrivals


def test_poisson_gaps_are_exponential() -> None:
    gaps = np.diff(Poisson().times_s(0.1, NUM, rng()))
    assert_mean(gaps, 10.0)
    assert_mean((gaps > 10.0).astype(float), math.exp(-1))


def test_diurnal_keeps_the_mean_rate_and_follows_the_hours() -> None:
    pattern = Diurnal(daily_amplitude=0.8, peak_hour=15, weekend_frac=0.5)
    rate_per_s = 200 / DAY_S
    times_s = pattern.times_s(rate_per_s, NUM, rng())
    weeks = int(times_s[-1] // WEEK_S)
    assert weeks >= 10
    inside = times_s[times_s < weeks * WEEK_S]
    expected = rate_per_s * weeks * WEEK_S
    assert abs(len(inside) - expected) < 4 * math.sqrt(expected)

    working = inside[inside % WEEK_S < 5 * DAY_S]
    hour = working % DAY_S // HOUR_S
    for low, high in ((14, 16), (2, 4), (8, 10)):
        share = pattern.relative_rate(np.arange(low * HOUR_S, high * HOUR_S, 60.0) + 30.0).mean() * (high - low) / 24
        counted = ((hour >= low) & (hour < high)).sum()
        mean = rate_per_s * weeks * 5 * DAY_S * share
        assert abs(counted - mean) < 4 * math.sqrt(mean)

    at_weekend = len(inside) - len(working)
    share = 2 * 0.5 / (5 + 2 * 0.5)
    assert_mean(np.repeat([1.0, 0.0], [at_weekend, len(working)]), share)


def test_diurnal_rate_by_hand() -> None:
    """1 ± amplitude at the peak hour and 12 h from it, over the week's mean of (5 + 2·0.5)/7."""
    pattern = Diurnal(daily_amplitude=0.8, peak_hour=15, weekend_frac=0.5)
    hours = np.array([15.0, 3.0, 9.0, 5 * 24 + 15.0, 4 * 24 + 23.999, 7 * 24 + 15.0])
    late = 1 + 0.8 * math.cos(2 * math.pi * 8.999 / 24)
    expected = np.array([1.8, 0.2, 1.0, 0.9, late, 1.8]) * 7 / 6
    np.testing.assert_allclose(pattern.relative_rate(hours * HOUR_S), expected, rtol=1e-6)


def test_diurnal_without_cycles_is_poisson() -> None:
    even = Diurnal(daily_amplitude=0, weekend_frac=1).times_s(0.01, 1000, rng())
    np.testing.assert_allclose(even, Poisson().times_s(0.01, 1000, rng()), rtol=1e-9)


def test_bursty_with_equal_rates_has_exponential_gaps() -> None:
    gaps = np.diff(Bursty((3.0, 3.0), (50.0, 10.0)).times_s(0.5, NUM, rng()))
    assert_mean(gaps, 2.0)
    assert_mean((gaps > 2.0).astype(float), math.exp(-1))


def test_bursty_keeps_the_mean_rate_and_has_the_index_of_dispersion_of_its_mmpp() -> None:
    """Counts in windows long against the sojourns: mean r·w; variance over mean from the MMPP-2 formula (cookbook)."""
    rate_1, rate_2, stay_1_s, stay_2_s = 1.0, 10.0, 400.0, 50.0
    times_s = Bursty((rate_1, rate_2), (stay_1_s, stay_2_s)).times_s(0.5, 200_000, rng())
    window_s = 4_000.0
    counts = np.histogram(times_s, np.arange(0, times_s[-1], window_s))[0].astype(float)
    assert_mean(counts, 0.5 * window_s)
    scale = 0.5 / ((rate_1 * stay_1_s + rate_2 * stay_2_s) / (stay_1_s + stay_2_s))
    leave_1, leave_2, gap = 1 / stay_1_s, 1 / stay_2_s, (rate_1 - rate_2) * scale
    both = leave_1 + leave_2
    excess = 2 * leave_1 * leave_2 * gap**2 / (both**2 * (rate_1 * leave_2 + rate_2 * leave_1) * scale)
    dispersion = 1 + excess * (1 - (1 - math.exp(-both * window_s)) / (both * window_s))
    error = dispersion * math.sqrt(2 / (len(counts) - 1)) * 1.5  # of a variance; 1.5 for the counts' heavier tails
    assert abs(counts.var(ddof=1) / counts.mean() - dispersion) < 4 * error


def test_bursty_may_be_silent_in_a_state() -> None:
    times_s = Bursty((0.0, 1.0), (100.0, 100.0)).times_s(1.0, NUM, rng())
    assert (np.diff(times_s) >= 0).all()
    # off for 100 s in the mean: a gap of 60 s is near impossible at 2 jobs/s while on
    assert_mean(np.diff(times_s)[np.diff(times_s) > 60] - 60, 100.0)


def test_batches_arrive_at_once_and_keep_the_mean_rate() -> None:
    times_s = Batch(batch_size=8).times_s(0.5, NUM, rng())
    groups, sizes = np.unique(times_s, return_counts=True)
    assert (sizes == 8).all()
    assert groups[0] == 0.0
    assert_mean(np.diff(groups), 8 / 0.5)
    assert (Batch(batch_size=100).times_s(0.5, 30, rng()) == 0).all()


def test_daily_batches_come_by_the_clock() -> None:
    daily = Daily(batch_size=2, batch_hours=(20.0, 1.5))
    hours = daily.times_s(daily.rate_per_s, 9, rng()) / HOUR_S
    assert hours.tolist() == [1.5, 1.5, 20.0, 20.0, 25.5, 25.5, 44.0, 44.0, 49.5]
    report = SyntheticSource(
        num_jobs=4, arrivals="daily", batch_size=2, batch_hours=[0.0], durations="constant", gpu_counts=[4],
        gpu_weights=[], reference_gpus=1,
    ).read(rng()).report  # fmt: skip
    assert report.notes[0].startswith("0.08333 jobs/h of 4 GPU·h each: an offered load of 0.3333 GPUs")


# --- durations


def test_lognormal() -> None:
    logs = np.log(Lognormal(1100.0, 1.5).draw_s(NUM, rng()))
    assert_mean(logs, math.log(1100.0))
    assert_mean((logs - math.log(1100.0)) ** 2, 1.5**2)


def test_bounded_pareto() -> None:
    low, high, a = 600.0, 1e6, 1.1
    drawn_s = Pareto(a, low, high).draw_s(NUM, rng())
    assert drawn_s.min() >= low
    assert drawn_s.max() <= high
    mean = low**a / (1 - (low / high) ** a) * a / (a - 1) * (low ** (1 - a) - high ** (1 - a))
    assert_mean(drawn_s, mean)
    for at in (1e3, 1e4, 1e5):
        assert_mean((drawn_s > at).astype(float), 1 - (1 - (low / at) ** a) / (1 - (low / high) ** a))


def test_exponential_and_constant() -> None:
    assert_mean(Exponential(100.0).draw_s(NUM, rng()), 100.0)
    assert (drawn(durations="constant", duration_mean_s=42.0).duration_s == 42.0).all()


def test_mixture_weighs_its_parts() -> None:
    drawn_s = Mixture((Lognormal(1.0, 0.0), Exponential(50.0)), (3.0, 1.0)).draw_s(NUM, rng())
    assert_mean((drawn_s == 1.0).astype(float), 0.75)
    assert_mean(drawn_s, 0.75 + 0.25 * 50.0)


def test_bounds_redraw_rather_than_clip() -> None:
    drawn_s = draw_within(Exponential(100.0), np.ones(NUM), 50.0, 150.0, rng())
    assert drawn_s.min() > 50.0
    assert drawn_s.max() < 150.0
    # the exponential's truncated mean
    low, high = math.exp(-0.5), math.exp(-1.5)
    assert_mean(drawn_s, (150 * low - 250 * high) / (low - high))


def test_bounds_out_of_reach_are_an_error() -> None:
    with pytest.raises(WorkloadError, match=r"outside 1000\.\.2000 s: 500 of 500 jobs .* widen duration_min_s"):
        drawn(durations="constant", duration_mean_s=5.0, duration_min_s=1000.0, duration_max_s=2000.0)


def test_larger_jobs_can_be_longer() -> None:
    jobs = drawn(durations="constant", duration_mean_s=10.0, duration_size_exponent=0.5, gpu_counts=[4], gpu_weights=[])
    assert (jobs.duration_s == 20.0).all()


# --- what a job is and whose


def test_default_sizes_have_the_shares_of_philly() -> None:
    num_gpus = drawn(num_jobs=NUM).num_gpus
    assert_mean((num_gpus == 1).astype(float), 76627 / 82230)
    assert_mean((num_gpus == 8).astype(float), 1643 / 82230)


def test_zipf_shares() -> None:
    jobs = drawn(num_jobs=NUM, num_tenants=12, tenant_zipf=1.2)
    weights = np.array(zipf_weights(12, 1.2))
    assert jobs.tenant.names[:2] == ("tenant01", "tenant02")
    for k in (0, 5, 11):
        assert_mean((jobs.tenant.codes == k).astype(float), weights[k] / weights.sum())


def test_models_and_priorities_follow_their_weights() -> None:
    jobs = drawn(num_jobs=NUM, models=["a", "b"], model_weights=[1, 3], priorities=[0, 7], priority_weights=[9, 1])
    assert_mean((jobs.model.codes == 1).astype(float), 0.75)
    assert {jobs.model[row] for row in range(50)} == {"a", "b"}
    assert_mean((jobs.priority == 7).astype(float), 0.1)


def test_deadlines_and_user_estimates() -> None:
    jobs = drawn(
        num_jobs=NUM, deadline_frac=0.3, deadline_slack_min=1.5, deadline_slack_max=2.0, user_estimate_factor=3
    )
    with_deadline = np.isfinite(jobs.deadline_s)
    assert_mean(with_deadline.astype(float), 0.3)
    slack = ((jobs.deadline_s - jobs.submit_s) / jobs.duration_s)[with_deadline]
    assert slack.min() > 1.5 - 1e-6
    assert slack.max() < 2.0 + 1e-6
    assert_mean(jobs.user_estimate_s / jobs.duration_s, 2.0)
    assert np.isnan(drawn().user_estimate_s).all()


def test_a_deadline_by_the_clock_is_the_next_time_that_it_strikes() -> None:
    options = {"arrivals": "daily", "batch_size": 1, "num_jobs": 4, "deadline_frac": 1.0, "deadline_hour": 6.0}
    jobs = drawn(batch_hours=[0.0, 6.0, 7.0], **options)
    assert (jobs.submit_s / HOUR_S).tolist() == [0.0, 6.0, 7.0, 24.0]
    assert (jobs.deadline_s / HOUR_S).tolist() == [6.0, 30.0, 30.0, 30.0]
    assert np.isinf(drawn(**(options | {"deadline_frac": 0.0})).deadline_s).all()


# --- rates


def test_rate_per_h() -> None:
    assert_mean(np.diff(drawn(num_jobs=NUM, rate_per_h=60.0).submit_s), 60.0)


@pytest.mark.parametrize("arrivals", ["poisson", "diurnal", "bursty", "batch"])
def test_load_frac_offers_that_share_of_the_reference_gpus(arrivals: str) -> None:
    """Within 4 standard errors: √(1/200,000) of the Poisson count, 1.2% for some 4,000 bursts."""
    jobs = drawn(num_jobs=200_000, arrivals=arrivals, load_frac=0.6, reference_gpus=512, burst_sojourn_s=[600, 60])
    assert jobs.gpu_s.sum() / jobs.submit_s[-1] == pytest.approx(0.6 * 512, rel=0.05)


def test_the_report_states_rate_and_load() -> None:
    report = SyntheticSource(num_jobs=10, durations="constant", gpu_counts=[2], gpu_weights=[]).read(rng()).report
    assert str(report) == (
        "synthetic (poisson arrivals, constant durations): 10 of 10 rows kept\n"
        "  25.6 jobs/h of 2 GPU·h each: an offered load of 51.2 GPUs, 80% of reference_gpus=64"
    )


# --- streams

COLUMNS: dict[str, Callable[[JobTable], np.ndarray]] = {
    "submit_s": lambda jobs: jobs.submit_s,
    "duration_s": lambda jobs: jobs.duration_s,
    "num_gpus": lambda jobs: jobs.num_gpus,
    "model": lambda jobs: jobs.model.codes,
    "tenant": lambda jobs: jobs.tenant.codes,
    "priority": lambda jobs: jobs.priority,
    "has_deadline": lambda jobs: np.isfinite(jobs.deadline_s),
    "user_estimate": lambda jobs: jobs.user_estimate_s / jobs.duration_s,
    "elasticity": lambda jobs: jobs.elasticity,
}
STREAM_BASE: dict[str, Any] = {
    "rate_per_h": 60.0,
    "priorities": [0, 1],
    "deadline_frac": 0.5,
    "user_estimate_factor": 2.0,
    "elastic_frac": 0.5,
}


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("submit_s", {"arrivals": "bursty"}),
        ("submit_s", {"rate_per_h": 600.0}),
        ("duration_s", {"durations": "pareto"}),
        ("duration_s", {"durations": "mixture", "duration_mixture": [{"kind": "exponential"}, {"kind": "constant"}]}),
        ("num_gpus", {"gpu_counts": [1, 3], "gpu_weights": [1, 1]}),
        ("model", {"models": ["a", "b", "c"]}),
        ("tenant", {"num_tenants": 3}),
        ("priority", {"priority_weights": [1, 9]}),
        ("has_deadline", {"deadline_frac": 0.9}),
        ("user_estimate", {"user_estimate_factor": 9.0}),
        ("elasticity", {"elastic_frac": 0.1}),
    ],
)
def test_changing_one_stream_leaves_the_others_alone(column: str, change: dict[str, Any]) -> None:
    before, after = drawn(**STREAM_BASE), drawn(**(STREAM_BASE | change))
    for name, of in COLUMNS.items():
        if name == column:
            assert not np.array_equal(of(before), of(after)), name
        else:
            np.testing.assert_allclose(of(before), of(after), rtol=1e-12, err_msg=name)


def test_the_same_seed_draws_the_same_jobs() -> None:
    for name, of in COLUMNS.items():
        np.testing.assert_array_equal(of(drawn(seed=7)), of(drawn(seed=7)), err_msg=name)
    assert not np.array_equal(drawn(seed=7).submit_s, drawn(seed=8).submit_s)


# --- refused options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_jobs": 0}, "num_jobs=0: must be 1 or more"),
        ({"arrivals": "posson"}, r"arrivals=posson: must be one of poisson, .* \(did you mean poisson\?\)"),
        ({"durations": "normal"}, "durations=normal: must be one of lognormal, pareto"),
        ({"rate_per_h": 3.0, "load_frac": 0.5}, r"rate_per_h=3.0: load_frac=0.5 is set too; set one to null"),
        ({"rate_per_h": 0.0}, "rate_per_h=0.0: must be more than 0"),
        ({"load_frac": -1.0}, "load_frac=-1.0: must be more than 0"),
        ({"reference_gpus": 0}, "reference_gpus=0: must be 1 or more"),
        ({"arrivals": "diurnal", "daily_amplitude": 1.5}, r"daily_amplitude=1.5: must lie in 0\.\.1"),
        ({"arrivals": "diurnal", "peak_hour": 24.0}, "peak_hour=24.0: must lie in"),
        ({"arrivals": "diurnal", "weekend_frac": -0.1}, "weekend_frac=-0.1: must be 0 or more"),
        ({"arrivals": "bursty", "burst_rates": [1.0]}, r"burst_rates=\[1.0\]: needs two states or more"),
        ({"arrivals": "bursty", "burst_rates": [0, 0]}, r"burst_rates=\[0, 0\]: needs a rate above 0"),
        ({"arrivals": "bursty", "burst_sojourn_s": [1]}, r"burst_sojourn_s=\[1\]: must have one entry a state \(2\)"),
        ({"arrivals": "bursty", "burst_sojourn_s": [1, 0]}, r"burst_sojourn_s=\[1, 0\]: must be more than 0 s"),
        ({"arrivals": "batch", "batch_size": 0}, "batch_size=0: must be 1 or more"),
        ({"arrivals": "daily", "batch_size": 0}, "batch_size=0: must be 1 or more"),
        ({"arrivals": "daily", "batch_hours": []}, r"batch_hours=\[\]: needs an hour or more"),
        ({"arrivals": "daily", "batch_hours": [3.0, 24.0]}, r"batch_hours=\[3.0, 24.0\]: must lie in 0\.\.24"),
        (
            {"arrivals": "daily", "load_frac": 0.5},
            "load_frac=0.5: arrivals=daily has its rate by batch_size and batch_hours; set it to null",
        ),
        ({"deadline_hour": 24.0}, r"deadline_hour=24.0: must lie in 0\.\.24, or be null"),
        ({"duration_median_s": 0.0}, "^duration_median_s=0.0: must be more than 0 s"),
        ({"duration_sigma": -1.0}, "^duration_sigma=-1.0: must be 0 or more"),
        ({"durations": "constant", "duration_mean_s": math.nan}, "^duration_mean_s=nan: must be more than 0 s"),
        ({"durations": "pareto", "duration_tail_index": 0.0}, "^duration_tail_index=0.0: must be more than 0"),
        ({"durations": "pareto", "duration_max_s": 500.0}, "^duration_max_s=500.0: must be finite and more than"),
        ({"durations": "mixture"}, r"duration_mixture=\[\]: durations=mixture needs a part or more"),
        (
            {"durations": "mixture", "duration_mixture": [{"kind": "lognormal", "sgma": 1}]},
            r"duration_mixture\[0\]\.sgma: unknown option; did you mean sigma\?",
        ),
        (
            {"durations": "mixture", "duration_mixture": [{"kind": "constant"}, {"kind": "uniform"}]},
            r"duration_mixture\[1\]\.kind=uniform: must be one of",
        ),
        (
            {"durations": "mixture", "duration_mixture": [{"kind": "constant", "weight": -1}]},
            r"duration_mixture\[0\]\.weight=-1: must be a number, 0 or more",
        ),
        (
            {"durations": "mixture", "duration_mixture": [{"kind": "constant", "mean_s": 0}]},
            r"duration_mixture\[0\]\.mean_s=0.0: must be more than 0 s",
        ),
        ({"duration_min_s": 0.0}, "duration_min_s=0.0: must be more than 0 s"),
        ({"duration_max_s": 0.5}, "duration_max_s=0.5: must be at least duration_min_s, 1 s"),
        ({"duration_size_exponent": math.inf}, "duration_size_exponent=inf: must be a finite number"),
        ({"gpu_counts": [0], "gpu_weights": []}, r"gpu_counts=\[0\]: must be 1 or more"),
        ({"gpu_counts": [1, 2]}, r"gpu_weights=\[.*\]: must have one entry a value \(2\), or none at all"),
        ({"models": []}, r"models=\[\]: needs a value or more"),
        ({"model_weights": [0, 0, 0, 0, 0]}, r"model_weights=.*: must be 0 or more, one of them above 0"),
        ({"num_tenants": 0}, "num_tenants=0: must be 1 or more"),
        ({"tenant_zipf": -1.0}, "tenant_zipf=-1.0: must be 0 or more"),
        ({"deadline_frac": 1.1}, r"deadline_frac=1.1: must lie in 0\.\.1"),
        ({"deadline_slack_min": 0.0}, "deadline_slack_min=0.0: must be more than 0"),
        ({"deadline_slack_max": 1.0}, "deadline_slack_max=1.0: must be at least deadline_slack_min, 1.2"),
        ({"user_estimate_factor": 0.5}, "user_estimate_factor=0.5: must be 1 or more, or null"),
    ],
)
def test_refused_options_name_option_value_and_rule(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        drawn(**options)
