"""Forecasters on a series, side by side.

`python -m policies.forecasting backtest trace=FILE.csv [column=NAME] [step_s=…] [forecasters=a,b | all] [lead_s=600]
[quantile=0.9] [season_s=86400] [capacity_per_unit=…] [warmup_s=…] [out=FOLDER] [NAME.OPTION=VALUE …]`
reads columns time_s and NAME, asks each forecaster at each step for the quantile a lead later, and prints pinball loss,
MASE and coverage, and, used for scaling, the unit-hours paid and the share of the demand served; with out, as
backtest.csv too. Without trace it takes a made-up demand of four weeks (seed=0).
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from policies.errors import PolicyError
from policies.forecasting.backtest import Question, Score, forecasts, score
from policies.forecasting.extras import is_installed
from policies.forecasting.series import Series, read_series, synthetic
from policies.registry import nearest, registry

_NUMBERS = ("step_s", "lead_s", "quantile", "season_s", "capacity_per_unit", "warmup_s")
_KEYS = (*_NUMBERS, "trace", "column", "forecasters", "out", "seed")
_HEADINGS = {
    "pinball": "pinball loss",
    "mase": "MASE",
    "coverage_frac": "coverage",
    "unit_h": "unit-hours",
    "unit_h_over_oracle": "over oracle",
    "served_frac": "served",
    "answered_frac": "answered",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, or 2 after one line about a user's mistake."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or not {"-h", "--help"}.isdisjoint(given):
        print(f"{__doc__}\nForecasters, and their options as NAME.OPTION=VALUE:\n{_options()}")
        return 0
    try:
        if given[0] != "backtest":
            raise PolicyError(f"unknown command {given[0]!r}: {nearest(given[0], ['backtest'])}")
        _backtest(given[1:])
    except (PolicyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _options() -> str:
    """A line a forecaster: its options and their defaults."""
    names = registry.names("forecaster")
    return "\n".join(f"  {name}: {', '.join(_defaults(registry.get('forecaster', name))) or 'none'}" for name in names)


def _defaults(cls: type) -> list[str]:
    given = {option.name: option.default for option in fields(cls) if option.init}
    told = {name: "null" if default is None else default for name, default in given.items()}
    return [name if default is MISSING else f"{name}={default}" for name, default in told.items()]


def _backtest(overrides: Sequence[str]) -> None:
    settings, options = _read(overrides)
    numbers = {name: _number(name, settings[name]) for name in _NUMBERS if name in settings}
    series = _series(settings, numbers.pop("step_s", None))
    numbers.setdefault("capacity_per_unit", float(series.values.clip(0.0).mean()) / 10.0 or 1.0)
    question = Question(**numbers)
    scores: dict[str, Score] = {}
    for name in _chosen(settings.get("forecasters"), options):
        said = forecasts(_forecaster(name, options.get(name, {}), question, series), series, question)
        scores[name] = score(said, series, question)
    print(
        f"{settings.get('trace', 'made-up demand')}: {len(series.values):,} steps of {series.step_s:g} s, scored from "
        f"step {question.first(series):,} on\nquantile {question.quantile:g} at a lead of {question.lead_s:g} s; a "
        f"unit serves {question.capacity_per_unit:.4g}\n\n{table(scores)}"
    )
    if "out" in settings:
        print(f"\n{_write(Path(settings['out']), scores, question)}")


def _read(overrides: Sequence[str]) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """The settings, and options by forecaster."""
    settings: dict[str, str] = {}
    options: dict[str, dict[str, Any]] = {}
    names = registry.names("forecaster")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise PolicyError(f"{override!r}: must read KEY=VALUE")
        name, dot, option = key.partition(".")
        if dot and name in names:
            options.setdefault(name, {})[option] = _plain(value)
        elif key in _KEYS:
            settings[key] = value
        else:
            raise PolicyError(f"{key}: unknown key: {nearest(key, [*_KEYS, *(f'{each}.OPTION' for each in names)])}")
    return settings, options


def _series(settings: Mapping[str, str], step_s: float | None) -> Series:
    if "trace" in settings:
        return read_series(settings["trace"], settings.get("column"), step_s)
    if "column" in settings:
        raise PolicyError(f"column={settings['column']}: is a column of a trace; set trace=FILE")
    seed = settings.get("seed", "0")
    if not seed.isdecimal():
        raise PolicyError(f"seed={seed}: must be a whole number, 0 or more")
    return synthetic(int(seed)) if step_s is None else synthetic(int(seed), step_s=step_s)


def _chosen(given: str | None, options: Mapping[str, Any]) -> list[str]:
    """The forecasters to score: by default those that need nothing but numpy."""
    known = registry.names("forecaster")
    needs = {name: getattr(registry.get("forecaster", name), "needs", "") for name in known}
    if given is None:
        chosen = [name for name in known if not needs[name] or name in options]
    elif given == "all":
        chosen = [name for name in known if not needs[name] or is_installed(needs[name])]
        for name in sorted(set(known) - set(chosen)):
            print(f"left out: {name}, which needs {needs[name]}", file=sys.stderr)
    else:
        chosen = [name.strip() for name in given.split(",")]
        for name in chosen:
            registry.get("forecaster", name)
    for name in options:
        if name not in chosen:
            raise PolicyError(f"{name}.{next(iter(options[name]))}: {name} is not among forecasters={given}")
    return chosen


def _forecaster(name: str, options: Mapping[str, Any], question: Question, series: Series) -> Any:
    """A forecaster with its own options, and for the rest with the season and the step of what is asked."""
    known = [option.name for option in fields(registry.get("forecaster", name)) if option.init]
    common = {"season_s": question.season_s, "step_s": series.step_s}
    settings = {option: value for option, value in common.items() if option in known}
    try:
        return registry.create("forecaster", name, **{**settings, **options})
    except TypeError as error:
        raise PolicyError(f"{name}: an option is of another type than it must be: {error}") from None


def table(scores: Mapping[str, Score]) -> str:
    """The scores, a line a forecaster, the least loss first."""
    order = sorted(scores, key=lambda name: (math.isnan(scores[name].pinball), scores[name].pinball))
    rows = [["forecaster", *_HEADINGS.values()]]
    rows += [[name, *(_spelt(column, getattr(scores[name], column)) for column in _HEADINGS)] for name in order]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


def _spelt(column: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    if column.endswith("_frac"):
        return f"{100 * value:.2f} %"
    return f"{value:,.1f}" if column == "unit_h" else f"{value:.4g}" if column == "pinball" else f"{value:.3f}"


def _write(folder: Path, scores: Mapping[str, Score], question: Question) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "backtest.csv"
    asked = {"lead_s": question.lead_s, "quantile": question.quantile, "capacity_per_unit": question.capacity_per_unit}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["forecaster", *asked, *(each.name for each in fields(Score))])
        writer.writeheader()
        writer.writerows({"forecaster": name, **asked, **asdict(scores[name])} for name in scores)
    return path


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise PolicyError(f"{name}={text}: must be a number") from None


def _plain(text: str) -> Any:
    """A whole number, a number, true or false, null; else the text."""
    words = {"true": True, "false": False, "null": None}
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return words.get(text.lower(), text)


if __name__ == "__main__":
    sys.exit(main())
