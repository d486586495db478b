"""Fits: known parameters come back, noise costs as much as it is, and published measurements are met within bounds."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from workloads import WorkloadError
from workloads.fitting import MIN_HOLDOUT_ROWS, StepRows, extrapolate, fit_step_time
from workloads.measurements.sia import SiaMeasurements
from workloads.step_time_fit import StepTimeFit

PLACEMENTS = [(1,), (2,), (3,), (4,), (1, 1), (1, 2), (2, 2), (2, 3), (4, 4), (1, 1, 1), (2, 2, 2), (4, 4, 4)]
BATCHES = (8, 16, 24, 32, 64)
LINEAR = StepTimeFit(
    form="linear", gamma=2.0, compute_fixed_s=0.05, compute_variable_s=0.004,
    local_sync_s=0.04, local_sync_slope_s=0.01, nodes_sync_s=0.15, nodes_sync_slope_s=0.01,
)  # fmt: skip
TABLE = StepTimeFit(
    form="table", table_batch_per_gpu=BATCHES, table_compute_s=(0.2, 0.1, 0.25, 0.12, 0.3), sync_growth="log",
    local_sync_s=0.05, local_sync_slope_s=0.02, nodes_sync_s=0.2, nodes_sync_slope_s=0.05,
)  # fmt: skip


def rows_of(truth: StepTimeFit, noise_frac: float = 0.0, placements: list[tuple[int, ...]] = PLACEMENTS) -> StepRows:
    """A row for each placement and batch, with multiplicative noise."""
    settings = list(product(placements, BATCHES))
    exact = StepRows.from_placements(
        [each for each, _ in settings], [batch for _, batch in settings], np.ones(len(settings))
    )
    step_s = truth.step_time_s(exact.num_gpus, exact.num_nodes, exact.batch_per_gpu, share=exact.share)
    noise = np.exp(noise_frac * np.random.default_rng(1).standard_normal(len(settings)))
    return StepRows(exact.num_gpus, exact.num_nodes, exact.batch_per_gpu, step_s * noise, exact.share)


def test_a_placement_is_gpus_on_each_node() -> None:
    rows = StepRows.from_placements([(4, 4), (1, 3)], [8, 16], [1.0, 2.0])
    assert rows.num_gpus.tolist() == [8, 4]
    assert rows.num_nodes.tolist() == [2, 2]
    assert rows.share is not None
    assert rows.share.tolist() == [4, 3]
    spread = StepRows(rows.num_gpus, rows.num_nodes, rows.batch_per_gpu, rows.step_s)
    assert spread.share is not None
    assert spread.share.tolist() == [4, 2]


@pytest.mark.slow
@pytest.mark.parametrize("truth", [LINEAR, TABLE], ids=lambda truth: truth.form)
def test_known_parameters_come_back(truth: StepTimeFit) -> None:
    report = fit_step_time(rows_of(truth))
    assert report.holdout is not None
    assert report.holdout.median_error_frac < 0.002
    assert report.fit.form == truth.form
    assert report.fit.gamma == pytest.approx(truth.gamma, rel=0.05)
    for batch, gpus, nodes in product(BATCHES, (1, 4, 16), (1, 3)):
        if gpus >= nodes:
            exact_s = truth.step_time_s(gpus, nodes, batch)
            assert report.fit.step_time_s(gpus, nodes, batch) == pytest.approx(exact_s, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("truth", [LINEAR, TABLE], ids=lambda truth: truth.form)
def test_an_error_is_about_the_noise(truth: StepTimeFit) -> None:
    """|N(0, 5%)| has a median of 3.4% and a 90th percentile of 8.2%; a row or two of 18 more or less."""
    report = fit_step_time(rows_of(truth, noise_frac=0.05))
    assert report.holdout is not None
    assert 0.015 < report.holdout.median_error_frac < 0.06
    assert report.holdout.p90_error_frac < 0.13


@pytest.mark.slow
def test_outliers_weigh_little() -> None:
    rows = rows_of(LINEAR, noise_frac=0.01)
    rows.step_s[::10] *= 3.0
    report = fit_step_time(rows)
    assert report.fit.step_time_s(8, 2, 24) == pytest.approx(LINEAR.step_time_s(8, 2, 24), rel=0.03)


def test_held_out_rows_choose_nothing() -> None:
    """Other values there change the error, and neither the form nor what is predicted for them."""
    placements = [(1,), (2,), (4,), (2, 2)]
    rows = rows_of(LINEAR, noise_frac=0.01, placements=placements)
    first = fit_step_time(rows)
    assert first.held_out is not None
    unseen = np.isin(rows.step_s, first.held_out.step_s)
    changed = StepRows(
        rows.num_gpus, rows.num_nodes, rows.batch_per_gpu, np.where(unseen, 7.0, rows.step_s), rows.share
    )
    second = fit_step_time(changed)
    assert (second.form, second.num_parameters) == (first.form, first.num_parameters)
    np.testing.assert_array_equal(second.predicted_s, first.predicted_s)
    assert first.holdout is not None
    assert second.holdout is not None
    assert second.holdout.median_error_frac > first.holdout.median_error_frac


def test_the_same_seed_gives_the_same_fit() -> None:
    rows = rows_of(LINEAR, noise_frac=0.05, placements=[(1,), (2,), (2, 2)])
    assert fit_step_time(rows, seed=3).fit == fit_step_time(rows, seed=3).fit
    first, second = (fit_step_time(rows, seed=seed).held_out for seed in (0, 1))
    assert first is not None
    assert second is not None
    assert set(first.step_s) != set(second.step_s)


def test_few_rows_are_not_held_out() -> None:
    rows = rows_of(LINEAR, placements=[(1,), (2,)]).take(np.arange(MIN_HOLDOUT_ROWS - 1))
    report = fit_step_time(rows)
    assert report.holdout is None
    assert report.why_no_holdout == "9 rows: too few to hold some out (10 needed)"
    assert report.range.gpus == (1, 2)


def test_what_was_not_measured_is_said() -> None:
    report = fit_step_time(rows_of(LINEAR, placements=[(1,), (2,), (4,)]))
    assert report.notes == ["several nodes were not measured: taken as one"]
    assert report.fit.sync_s(4, 2) == report.fit.sync_s(4, 1)
    report = fit_step_time(rows_of(LINEAR, placements=[(1,), (1, 1), (2, 2)]))
    assert report.notes == ["several GPUs on one node were not measured: taken as on several nodes"]


def test_extrapolation() -> None:
    rows = rows_of(TABLE, placements=[(1,), (2,), (3,), (4,), (1, 1), (2, 2), (4, 4)])
    answer = extrapolate(rows)
    assert answer is not None
    assert (answer.num_rows, answer.num_asked_rows, answer.most_asked_gpus) == (30, 5, 8)
    assert answer.median_error_frac < 0.05
    assert extrapolate(rows.take(rows.num_gpus <= 4)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_gpus": [1, 2, 4]}, r"num_gpus: has shape \(3,\), must have one value a row \(4\)"),
        ({"step_s": [1.0, 0.0, 1.0, 1.0]}, r"step_s\[1\]=0.0: must be a number, > 0"),
        ({"num_nodes": [1, 1, 0, 1]}, r"num_nodes\[2\]=0.0: must be a number, 1 or more"),
        ({"batch_per_gpu": [1, 1, 1, float("nan")]}, r"batch_per_gpu\[3\]=nan: must be a number, > 0"),
    ],
)
def test_bad_rows(change: dict[str, list[float]], message: str) -> None:
    columns = {"num_gpus": [1, 2, 4, 8], "num_nodes": [1] * 4, "batch_per_gpu": [8] * 4, "step_s": [1.0] * 4}
    with pytest.raises(WorkloadError, match=message):
        StepRows(**{**columns, **change})  # type: ignore[arg-type]


def test_too_little() -> None:
    rows = rows_of(LINEAR)
    with pytest.raises(WorkloadError, match="3 rows: a fit needs 4 or more"):
        fit_step_time(rows.take(np.arange(3)))
    with pytest.raises(WorkloadError, match="no row has several GPUs: how the model scales can't be told"):
        fit_step_time(rows.take(rows.num_gpus == 1))


@pytest.mark.slow
def test_sia_is_met_within_bounds(traces: Path) -> None:
    """Some of Sia's fits (all take two minutes), the hardest among them: YOLOv3 on A100, ImageNet and NCF on V100.

    A plain form (no table, no log, no share; a squared log error) has a median of 4.8% over all and 23%, 12% and 12%
    on these.
    """
    hardest = [("yolov3", "a100"), ("imagenet", "v100"), ("ncf", "v100"), ("yolov3", "v100")]
    measured = SiaMeasurements(path=traces / "sia" / "profiles.tar.gz").read()
    assert len(measured) == 38
    kept = [each for i, each in enumerate(measured) if i % 6 == 1 or (each.application, each.gpu_type) in hardest]
    errors = {}
    for each in kept:
        if each.why_no_profile or len(each.rows) < 30:
            continue
        holdout = fit_step_time(each.rows).holdout
        assert holdout is not None
        errors[each.application, each.gpu_type] = (len(each.rows), holdout.median_error_frac)
    assert set(hardest) <= set(errors)
    assert np.median([error for _, error in errors.values()]) <= 0.04
    assert max(error for num_rows, error in errors.values() if num_rows >= 100) <= 0.12
    assert errors["yolov3", "a100"][1] <= 0.04
