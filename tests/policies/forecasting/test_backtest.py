"""Scores by hand, series from files, and the command."""

from __future__ import annotations

import csv
import gzip
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from policies import PolicyError, registry
from policies.forecasting import Forecaster
from policies.forecasting.__main__ import main, table
from policies.forecasting.backtest import Question, forecasts, scaled, score
from policies.forecasting.oracle import Oracle
from policies.forecasting.series import Series, read_series, synthetic


@dataclass
class Says:
    """The last value plus `more`, whatever the quantile; nothing before `from_s`."""

    knows_future: ClassVar[bool] = False

    more: float = 0.0
    from_s: float = 0.0
    last: tuple[float, float] = (0.0, 0.0)

    def observe(self, time_s: float, value: float) -> None:
        self.last = time_s, value

    def forecast(self, at_s: float, quantile: float) -> float | None:
        return self.last[1] + self.more if self.last[0] >= self.from_s else None


def series(*values: float) -> Series:
    return Series(0.0, 60.0, np.array(values, float))


def small(name: str) -> dict[str, float]:
    """Options under which a forecaster learns fast, of those that it has."""
    common = {"season_s": 1200.0, "window": 100, "train": 100, "refit_every": 20}
    known = {option.name for option in fields(registry.get("forecaster", name))}
    return {option: value for option, value in common.items() if option in known}


# ---- scores
def test_scores_by_hand() -> None:
    rising = series(*range(0, 100, 2))  # by 2 a step
    question = Question(lead_s=180.0, quantile=0.9, warmup_s=600.0)  # a lead of 3 steps: behind by 6
    low = score(forecasts(Says(1.0), rising, question), rising, question)
    assert (low.pinball, low.mase, low.coverage_frac) == pytest.approx((0.9 * 5.0, 5.0 / 6.0, 0.0))
    high = score(forecasts(Says(10.0), rising, question), rising, question)
    assert (high.pinball, high.mase, high.coverage_frac) == pytest.approx((0.1 * 4.0, 4.0 / 6.0, 1.0))
    assert low.answered_frac == high.answered_frac == 1.0
    exact = score(forecasts(Oracle(), rising, question), rising, question)
    assert (exact.pinball, exact.mase, exact.coverage_frac) == (0.0, 0.0, 1.0)
    assert (exact.unit_h_over_oracle, exact.served_frac) == (1.0, 1.0)


def test_who_says_nothing_is_not_scored_and_scales_by_the_last_value() -> None:
    rising = series(*range(0, 100, 2))
    question = Question(lead_s=180.0, warmup_s=600.0)
    silent = score(forecasts(Says(from_s=1e9), rising, question), rising, question)
    assert math.isnan(silent.pinball)
    assert silent.answered_frac == 0.0
    reactive = score(forecasts(Says(), rising, question), rising, question)
    assert (silent.unit_h, silent.served_frac) == (reactive.unit_h, reactive.served_frac)
    late = score(forecasts(Says(from_s=60.0 * 27), rising, question), rising, question)
    assert late.answered_frac == pytest.approx(20 / 40)  # targets 10..49, of which it knows those from 30 on


def test_scaling_by_hand() -> None:
    """A lead of 2 steps; a unit serves 10. Wishes are for 2 steps later, held is the most of the last three wishes."""
    demand = series(0, 0, 0, 0, 0, 10, 30, 30, 10, 10, 10, 10, 10)
    wanted = np.array([0, 0, 0, 10, 30, 30, 10, 10, 10, 10, 10, 10, 10], float)  # as it comes
    question = Question(lead_s=120.0, capacity_per_unit=10.0, warmup_s=240.0)
    # held at 4..10: 3, 3, 3, 3, 1, 1, 1 units of a minute each; demand there: 0, 10, 30, 30, 10, 10, 10
    assert scaled(wanted, demand, question) == pytest.approx((15 / 60.0, 1.0))
    late = np.concatenate(([0.0, 0.0], wanted[:-2]))  # knows it only when it is there
    # held at 4..10: 0, 1, 3, 3, 3, 3, 1; ready: 0, 0, 0, 1, 3, 3, 1; served 0, 0, 0, 10, 10, 10, 10 of 100
    assert scaled(late, demand, question) == pytest.approx((14 / 60.0, 0.4))


def test_no_demand_is_all_served() -> None:
    assert scaled(np.full(20, -3.0), series(*[0.0] * 20), Question(lead_s=60.0)) == (0.0, 1.0)


@pytest.mark.parametrize("name", ["holt_winters", "last_value", "linear_regression", "oracle"])
def test_the_future_does_not_matter(name: str) -> None:
    """Also not through the backtest: what it had asked when the series went another way is the same."""
    wave, question = 50.0 + 9.0 * np.sin(np.arange(400) / 3.0), Question(lead_s=300.0, warmup_s=60.0 * 200)
    other = wave.copy()
    other[300:] = 7.0
    forecaster, again = (registry.create("forecaster", name, **small(name)) for _ in range(2))
    one = forecasts(forecaster, Series(0.0, 60.0, wave), question)
    two = forecasts(again, Series(0.0, 60.0, other), question)
    assert np.array_equal(one[:300], two[:300], equal_nan=True) != forecaster.knows_future
    assert not np.isnan(one[250:300]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lead_s": 0.0}, "lead_s=0.0: must be more than 0"),
        ({"quantile": 1.0}, "quantile=1.0: must lie between 0 and 1, both excluded"),
        ({"capacity_per_unit": 0.0}, "capacity_per_unit=0.0: must be more than 0"),
        ({"season_s": -1.0}, "season_s=-1.0: must be more than 0"),
        ({"warmup_s": -1.0}, "warmup_s=-1.0: must be 0 or more"),
    ],
)
def test_questions_that_can_not_be(options: dict[str, float], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Question(**options)


def test_a_series_that_is_too_short() -> None:
    with pytest.raises(PolicyError, match="the series has 20 steps of 60 s: too few for a lead of 10 and a warm-up of"):
        Question(lead_s=600.0).first(series(*range(20)))


# ---- series
def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_of_equidistant_rows_is_taken_as_it_is(tmp_path: Path) -> None:
    read = read_series(write(tmp_path / "a.csv", "time_s,gpus\n100,1\n160,2.5\n220,0\n"))
    assert (read.start_s, read.step_s, read.values.tolist()) == (100.0, 60.0, [1.0, 2.5, 0.0])
    assert read.times_s.tolist() == [100.0, 160.0, 220.0]
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(b"gpus,time_s\n1,100\n2.5,160\n\n0,220\n"))
    assert read_series(packed).values.tolist() == [1.0, 2.5, 0.0]


def test_a_step_has_the_mean_of_what_came_since_the_last(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "time_s,a,b\n0,1,9\n10,2,9\n20,4,9\n50,8,9\n60,10,9\n")
    read = read_series(path, "a", 20.0)
    assert read.values.tolist() == [1.0, 3.0, 3.0, 9.0]  # at 0, 20, 40 (nothing new), 60; never of what comes after


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("t,v\n1,2\n", {}, "a.csv:1: column 'time_s': is missing; there are t, v"),
        ("", {}, "a.csv:1: column 'time_s': is missing; there are none"),
        ("time_s,a,b\n0,1,1\n", {}, "a.csv:1: set column=NAME; there are a, b"),
        ("time_s,gpus\n0,1\n", {"column": "gpu"}, "a.csv:1: column 'gpu': is missing: did you mean gpus"),
        ("time_s,v\n0,1\n1,x\n", {}, "a.csv:3: column 'v': 'x': must be a finite number"),
        ("time_s,v\n0,1\n1,nan\n", {}, "a.csv:3: column 'v': 'nan': must be a finite number"),
        ("time_s,v\n0,1\n1\n", {}, "a.csv:3: column 'v': '': must be a finite number"),
        ("time_s,v\n0,1\n\n0,2\n", {}, "a.csv:4: column 'time_s': 0: must be more than in the row above"),
        ("time_s,v\n0,1\n", {}, "a.csv: holds 1 rows; a series needs 2 or more"),
        ("time_s,v\n0,1\n1,2\n", {"step_s": 0.0}, "step_s=0.0: must be more than 0"),
        ("time_s,v\n0,1\n1,2\n", {"step_s": 1e-9}, "step_s=1e-09: is too short: the series would have 1,000,000,001"),
    ],
)
def test_files_that_can_not_be(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError) as told:
        read_series(write(tmp_path / "a.csv", text), **options)
    assert message in str(told.value)


def test_made_up_demand() -> None:
    first, again, other = synthetic(1, days=7), synthetic(1, days=7), synthetic(2, days=7)
    assert np.array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)
    days = first.values.reshape(7, 288)
    assert days[5:].mean() < 0.8 * days[:5].mean()
    assert days[:5].mean(axis=0)[168:228].mean() > 2 * days[:5].mean(axis=0)[24:84].mean()  # afternoon and night


# ---- the command
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wave = 50.0 + 20.0 * np.sin(np.arange(300) / 8.0)
    rows = "".join(f"{60 * i},{value:.3f}\n" for i, value in enumerate(wave))
    trace = write(tmp_path / "wave.csv", f"time_s,gpus\n{rows}")
    arguments = (
        *("backtest", f"trace={trace}", "forecasters=last_value,oracle,seasonal_naive", "season_s=3000", "lead_s=300"),
        *("last_value.min_errors=5", f"out={tmp_path}"),
    )
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("wave.csv: 300 steps of 60 s, scored from step 100 on")
    assert lines[1] == "quantile 0.9 at a lead of 300 s; a unit serves 5.002"
    assert [line.split()[0] for line in lines[3:7]] == ["forecaster", "oracle", "seasonal_naive", "last_value"]
    assert len({len(line) for line in lines[3:7]}) == 1  # aligned
    assert lines[-1] == str(tmp_path / "backtest.csv")
    with (tmp_path / "backtest.csv").open() as file:
        written = {row["forecaster"]: row for row in csv.DictReader(file)}
    assert float(written["oracle"]["pinball"]) == 0.0
    assert float(written["oracle"]["unit_h_over_oracle"]) == 1.0
    assert float(written["last_value"]["mase"]) == pytest.approx(1.0, abs=0.1)
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_by_default_all_that_numpy_can(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", "step_s=3600", "lead_s=3600"]) == 0
    named = {line.split()[0] for line in capsys.readouterr().out.splitlines()[4:]}
    assert {"holt_winters", "last_value", "linear_regression", "moving_quantile", "oracle", "seasonal_naive"} <= named
    assert not {"arima", "ets", "neural", "svr"} & named


def test_who_never_answers_has_no_scores() -> None:
    rising = series(*range(50))
    question = Question(lead_s=60.0)
    silent: Forecaster = Says(from_s=1e9)
    row = table({"silent": score(forecasts(silent, rising, question), rising, question)}).splitlines()[1]
    assert row.split()[:4] == ["silent", "-", "-", "-"]
    assert row.endswith(" 0.00 %")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["backtset"], "unknown command 'backtset': did you mean backtest"),
        (["backtest", "lead"], "'lead': must read KEY=VALUE"),
        (["backtest", "leads_s=1"], "leads_s: unknown key: did you mean lead_s"),
        (["backtest", "lead_s=soon"], "lead_s=soon: must be a number"),
        (["backtest", "seed=-1"], "seed=-1: must be a whole number, 0 or more"),
        (["backtest", "column=x"], "column=x: is a column of a trace; set trace=FILE"),
        (["backtest", "trace=none.csv"], "none.csv: can't be read: No such file or directory"),
        (["backtest", "forecasters=last"], "unknown forecaster policy 'last': known: arima"),
        (["backtest", "holt_winters.alfa=1"], "forecaster=holt_winters has no option 'alfa': did you mean alpha"),
        (["backtest", "holt_winters.alpha=2"], "HoltWinters: alpha=2: must lie in 0..1"),
        (["backtest", "forecasters=oracle", "holt_winters.alpha=1"], "holt_winters.alpha: holt_winters is not among"),
        (
            ["backtest", "holt_winters.alpha=much", "forecasters=holt_winters"],
            "holt_winters: an option is of another type",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"error: {message}")
    assert told.err.count("\n") == 1


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "holt_winters" in capsys.readouterr().out


def test_help_tells_options_of_each_forecaster(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["backtest", "--help"], ["backtest", "lead_s=600", "-h"]):
        assert main(arguments) == 0
        told = capsys.readouterr()
        assert "python -m policies.forecasting backtest trace=FILE.csv" in told.out
        assert "\n  moving_quantile: " in told.out
        assert told.err == ""
