"""A comparison as a table for people and as a CSV for programs."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from simulator.comparison import Comparison, Estimate, Group, difference, unit_of

_CSV_METRICS = (
    *("jct_mean_s", "jct_p50_s", "jct_p95_s", "jct_p99_s", "jct_max_s", "jct_lower_bound_mean_s"),
    *("queueing_mean_s", "queueing_p50_s", "queueing_p95_s", "queueing_p99_s", "slowdown_mean", "slowdown_p99"),
    *("finish_time_fairness_p50", "finish_time_fairness_p95", "finish_time_fairness_max", "makespan_s"),
    *("deadline_attainment_frac", "gpu_allocation_frac", "gpu_utilisation_frac", "fragmentation_frac"),
    *("cost_usd", "cost_busy_usd", "cost_idle_usd", "cost_startup_usd", "cost_per_job_usd"),
    *("num_preemptions", "num_rescales", "overhead_gpu_h", "lost_gpu_h", "queue_length_mean", "queue_length_max"),
)


@dataclass(frozen=True)
class _Column:
    """One metric of the table: its lines of heading and how its numbers are spelt."""

    heading: tuple[str, str, str]
    metric: str
    spell: Callable[[float], str]
    is_difference: bool = False


def print_table(comparison: Comparison, console: Console) -> None:
    """One row a policy. Where the terminal is too narrow for `12.3 ± 0.4`, the interval goes below the mean."""
    columns = _columns(comparison)
    table = _table(comparison, columns, stacked=False)
    width = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    if width > console.width:
        if console.is_terminal:
            table = _table(comparison, columns, stacked=True)
            width = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
        console.width = max(console.width, width)  # a line that the terminal folds beats columns folded into rubbish
    console.print(table)


def write_csv(comparison: Comparison, path: Path) -> None:
    """One row a policy: labels, seeds, then each metric's mean and 95% half-width, and those of the difference."""
    names = ["baseline", "seeds", "num_submitted", "num_finished", "num_unfinished", "num_rejected", "num_failed"]
    parts = ("", "_ci95", "_difference", "_difference_ci95")
    heading = [*comparison.by, *names, *(metric + part for metric in _CSV_METRICS for part in parts)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heading)
        for group, base in zip(comparison.groups, comparison.baselines, strict=True):
            row: list[object] = [*group.labels.values(), base.name if base else "", " ".join(map(str, group.runs))]
            row += [group.total(name) for name in names[2:]]
            for metric in _CSV_METRICS:
                mine = group.estimate(metric)
                against = difference(group, base, metric) if base else Estimate(math.nan, math.nan, 0)
                numbers = (mine.mean, mine.half_width, against.mean, against.half_width)
                row += ["" if math.isnan(number) else repr(number) for number in numbers]
            writer.writerow(row)


def _columns(comparison: Comparison) -> list[_Column]:
    groups = comparison.groups
    unit_s, unit = unit_of([group.estimate("jct_mean_s").mean for group in groups])

    top_usd = max((group.estimate("cost_usd").mean for group in groups), default=0.0)
    usd, dollars = (1e3, "k USD") if top_usd >= 1e5 else (1.0, "USD")

    def time(seconds: float) -> str:
        return _significant(seconds / unit_s)

    def money(amount_usd: float) -> str:
        return _significant(amount_usd / usd)

    jct = (("mean", "jct_mean_s"), ("p50", "jct_p50_s"), ("p95", "jct_p95_s"), ("p99", "jct_p99_s"))
    columns = [_Column(("JCT", name, unit), metric, time) for name, metric in jct]
    columns += [
        _Column(("queueing", "mean", unit), "queueing_mean_s", time),
        _Column(("GPU use", "", "%"), "gpu_utilisation_frac", lambda share: f"{100 * share:.1f}"),
    ]
    costs = [_Column(("cost", "", dollars), "cost_usd", money)] if top_usd > 0 else []
    columns += [*costs, _Column(("preemp-", "tions", ""), "num_preemptions", lambda number: f"{number:,.0f}")]
    if any(comparison.baselines):
        columns.append(_Column(("Δ JCT", "mean", unit), "jct_mean_s", time, is_difference=True))
        columns += [_Column(("Δ cost", "", dollars), each.metric, money, is_difference=True) for each in costs]
    return columns


def _table(comparison: Comparison, columns: Sequence[_Column], *, stacked: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0 if stacked else 1, 0, 0), pad_edge=False)
    for name in comparison.by or ["policy"]:
        table.add_column(Text(f"\n\n{name}"), no_wrap=True)
    for column in columns:
        table.add_column(Text("\n".join(column.heading)), justify="right", no_wrap=True)
    table.add_column(Text("finished/\nsubmitted\n"), justify="right", no_wrap=True)
    table.add_column(Text("seeds\n\n"), justify="right", no_wrap=True)
    for group, base in zip(comparison.groups, comparison.baselines, strict=True):
        cells = [Text(value) for value in group.labels.values()] or [Text(group.name)]
        cells += [_cell(column, group, base, stacked=stacked) for column in columns]
        finished, submitted = group.total("num_finished"), group.total("num_submitted")
        done = f"{finished:,}/\n{submitted:,}" if stacked else f"{finished:,}/{submitted:,}"
        cells += [Text(done, style="" if finished == submitted else "bold yellow"), Text(str(len(group.runs)))]
        table.add_row(*cells)
    return table


def _cell(column: _Column, group: Group, base: Group | None, *, stacked: bool) -> Text:
    if column.is_difference:
        if base is None:
            return Text("–", style="dim")
        estimate = difference(group, base, column.metric)
    else:
        estimate = group.estimate(column.metric)
    if not estimate.num:
        return Text("–", style="dim")
    text = column.spell(estimate.mean)
    if column.is_difference and estimate.mean >= 0:
        text = f"+{text}"
    if math.isnan(estimate.half_width):
        return Text(text)
    return Text.assemble(text, ("\n" if stacked else " ") + "± ", column.spell(estimate.half_width))


def _significant(number: float) -> str:
    """Three figures or all before the point, never in powers of ten."""
    size = abs(number)
    if size >= 99.95 or number == 0:
        return f"{number:,.0f}"
    return f"{number:.1f}" if size >= 9.995 else f"{number:.2f}" if size >= 0.995 else f"{number:.3f}"
