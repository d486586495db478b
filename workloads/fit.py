"""Fits step times to measurements: tables on the console, and files in a folder.

| file | holds |
|---|---|
| `fit.json` | a row a fit: its error on rows held out, and what it was made from |
| `extrapolation.json` | a row a question: the error of a fit that is asked for more GPUs than it was made from |
| `SOURCE_GPUTYPE.yaml` | a profile a GPU type: `step_time=profile step_time.profile=FILE` |
| `fit.svg` | measured against fitted |
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from workloads import fit_figure
from workloads.errors import WorkloadError
from workloads.fitting import Extrapolation, FitReport, extrapolate, fit_step_time
from workloads.measurements import Measurements, MeasurementSource
from workloads.profile import ModelProfile, Profile, write_profile

_FEW_GPUS = 4  # what the first kind of extrapolation is made from
_FEW_ROWS, _MANY_ROWS = 30, 100  # the medians under the table are over fits with so many


@dataclass(frozen=True)
class Fitted:
    """One application on one type of GPU."""

    measured: Measurements
    report: FitReport | None
    why_not: str = ""


def fit(
    source: MeasurementSource, name: str, folder: Path, console: Console, *, seed: int = 0, today: str = ""
) -> list[Fitted]:
    """Reads, fits, prints and writes; see the top of this file.

    Args:
        seed: draws the rows that are held out.
        today: the date that the profiles are to carry.

    Raises:
        WorkloadError: measurements that can't be read.
    """
    all_measured = source.read()
    fitted: list[Fitted] = []
    answers: list[dict[str, Any]] = []
    for measured in track(all_measured, "fitting", console=console, transient=True, disable=not console.is_terminal):
        fitted.append(_fit(measured, seed))
        answers += _extrapolate(measured, fitted[-1].report)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_row(each) for each in fitted]
    paths = [_write_json(rows, folder / "fit.json"), _write_json(answers, folder / "extrapolation.json")]
    command = f"python -m workloads fit source={name} source.path={source.path.name}{_changed(source)} seed={seed}"
    paths += _write_profiles(fitted, name, folder, source, {"date": today, "command": command})
    paths += fit_figure.save([each for each in fitted if each.report], name, folder)
    _print(name, rows, answers, console)
    for path in paths:
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    return fitted


def _fit(measured: Measurements, seed: int) -> Fitted:
    try:
        return Fitted(measured, fit_step_time(measured.rows, seed=seed))
    except WorkloadError as error:
        return Fitted(measured, None, str(error))


def _extrapolate(measured: Measurements, report: FitReport | None) -> list[dict[str, Any]]:
    """Answers of a fit to few GPUs, and of the fit itself where there are larger gangs than it was made from."""
    asked: list[tuple[str, Extrapolation | None]] = [
        (f"1–{_FEW_GPUS} GPUs", extrapolate(measured.rows, most_gpus=_FEW_GPUS))
    ]
    if report is not None and measured.larger is not None:
        asked.append(("all rows", report.asked_for(measured.larger)))
    names = {"application": measured.application, "gpu_type": measured.gpu_type}
    return [{**names, "fitted_on": what, **asdict(answer)} for what, answer in asked if answer is not None]


def _row(each: Fitted) -> dict[str, Any]:
    measured, report = each.measured, each.report
    holdout = report.holdout if report else None
    reasons = [each.why_not, measured.why_no_profile]
    if report is not None:
        reasons += [report.why_no_holdout, *report.notes]
    return {
        "application": measured.application,
        "gpu_type": measured.gpu_type,
        "num_rows": len(measured.rows),
        "num_holdout_rows": holdout.num_rows if holdout else 0,
        "holdout_median_error_frac": holdout.median_error_frac if holdout else None,
        "holdout_p90_error_frac": holdout.p90_error_frac if holdout else None,
        "form": report.form if report else None,
        "num_parameters": report.num_parameters if report else None,
        "gpus": [int(measured.rows.num_gpus.min()), int(measured.rows.num_gpus.max())],
        "in_profile": report is not None and not measured.why_no_profile,
        "left_out": dict(measured.left_out),
        "notes": [text for text in reasons if text],
    }


def _write_profiles(
    fitted: Sequence[Fitted], name: str, folder: Path, source: MeasurementSource, made: dict[str, Any]
) -> list[Path]:
    import scipy  # slow to import

    made = {**made, "versions": {"numpy": np.__version__, "scipy": scipy.__version__}}
    paths = []
    for gpu_type in sorted({each.measured.gpu_type for each in fitted}):
        here = [each for each in fitted if each.measured.gpu_type == gpu_type]
        models = {each.measured.application: _model(each.measured, each.report) for each in here if _is_kept(each)}
        if models:
            provenance = {**source.provenance(gpu_type), **made}
            profile = Profile(name=f"{name}_{gpu_type}", provenance=provenance, models=models)
            paths.append(folder / f"{profile.name}.yaml")
            write_profile(profile, paths[-1])
    return paths


def _is_kept(each: Fitted) -> bool:
    return each.report is not None and not each.measured.why_no_profile


def _model(measured: Measurements, report: FitReport | None) -> ModelProfile:
    assert report is not None
    return ModelProfile(
        device=measured.gpu_type,
        global_batch=measured.global_batch,
        max_batch_per_gpu=report.range.batch_per_gpu[1],
        step_time=report.fit,
        range=report.range,
        num_rows=report.num_rows,
        holdout=report.holdout,
    )


def _print(name: str, rows: Sequence[dict[str, Any]], answers: Sequence[dict[str, Any]], console: Console) -> None:
    table = _table(
        f"{name}: errors of fits on rows that were held out",
        ("application", "GPU type", "form"),
        ("rows", "median %", "p90 %"),
    )
    for row in rows:
        form = f"{row['form']} ({row['num_parameters']})" if row["form"] else "–"
        table.add_row(row["application"], row["gpu_type"], form, f"{row['num_rows']:,}", *_errors(row, "holdout_"))
    console.print(table, highlight=False)
    told = [_summary(rows, least) for least in (_FEW_ROWS, _MANY_ROWS)] + _notes(rows)
    if answers:
        table = _table(
            f"{name}: errors of fits asked for more GPUs than they were made from",
            ("application", "GPU type", "fitted on"),
            ("rows", "asked", "GPUs", "median %", "p90 %"),
        )
        for row in answers:
            counts = [f"{row[what]:,}" for what in ("num_rows", "num_asked_rows", "most_asked_gpus")]
            table.add_row(row["application"], row["gpu_type"], row["fitted_on"], *counts, *_errors(row))
        console.print(table, highlight=False)
    for what in dict.fromkeys(row["fitted_on"] for row in answers):
        errors_frac = [row["median_error_frac"] for row in answers if row["fitted_on"] == what]
        told.append(
            f"fitted on {what}, asked for more: median of {len(errors_frac)} medians "
            f"{_percent(np.median(errors_frac))}%, worst {_percent(max(errors_frac))}%"
        )
    for line in filter(None, told):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(title: str, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in texts:
        table.add_column(column, no_wrap=column != "form")
    for column in numbers:
        table.add_column(column, justify="right")
    return table


def _errors(row: dict[str, Any], prefix: str = "") -> list[str]:
    return [_percent(row[f"{prefix}{which}_error_frac"]) for which in ("median", "p90")]


def _summary(rows: Iterable[dict[str, Any]], least: int) -> str:
    kept = [row for row in rows if row["num_rows"] >= least and row["in_profile"] and row["num_holdout_rows"]]
    if not kept:
        return ""
    worst = max(kept, key=lambda row: row["holdout_median_error_frac"])
    middle = np.median([row["holdout_median_error_frac"] for row in kept])
    return (
        f"{len(kept)} fits with {least} rows or more: median of the medians {_percent(middle)}%, "
        f"worst {_percent(worst['holdout_median_error_frac'])}% ({worst['application']} on {worst['gpu_type']})"
    )


def _notes(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Each note once, with whom it is about."""
    about: dict[str, dict[str, list[str]]] = {}
    left_out: dict[str, int] = {}
    for row in rows:
        for why, how_many in row["left_out"].items():
            left_out[why] = left_out.get(why, 0) + how_many
        for note in row["notes"]:
            about.setdefault(note, {}).setdefault(row["application"], []).append(row["gpu_type"])
    told = [f"{how_many:,} rows left out: {why}" for why, how_many in left_out.items()]
    for note, by_name in about.items():
        whom = "; ".join(f"{name} ({', '.join(types)})" for name, types in by_name.items())
        told.append(f"{whom}: {note}")
    return told


def _percent(frac: Any) -> str:
    return "–" if frac is None else f"{100 * frac:.1f}"


def _changed(source: MeasurementSource) -> str:
    """The source's options that aren't at their defaults, as the command line has them."""
    made = type(source)(path=source.path)
    changed = {name: value for name, value in vars(source).items() if value != getattr(made, name)}
    return "".join(f" source.{name}={str(value).lower()}" for name, value in changed.items())


def _write_json(rows: list[dict[str, Any]], path: Path) -> Path:
    path.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path
