"""A comparison as a table for people and as a CSV for programs."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from simulator.comparison import Comparison, Estimate, Group, difference, fine_unit_of, of_service, unit_of

_COUNTS = ("num_submitted", "num_finished", "num_unfinished", "num_rejected", "num_failed")
_METRICS = (
    *("jct_mean_s", "jct_p50_s", "jct_p95_s", "jct_p99_s", "jct_max_s", "jct_lower_bound_mean_s"),
    *("queueing_mean_s", "queueing_p50_s", "queueing_p95_s", "queueing_p99_s", "slowdown_mean", "slowdown_p99"),
    *("finish_time_fairness_p50", "finish_time_fairness_p95", "finish_time_fairness_max", "makespan_s"),
    *("deadline_attainment_frac", "gpu_allocation_frac", "gpu_utilisation_frac", "fragmentation_frac"),
    *("cost_usd", "cost_busy_usd", "cost_idle_usd", "cost_startup_usd", "cost_warm_usd", "cost_rounding_usd"),
    *("cost_overhead_usd", "cost_lost_usd", "cost_on_demand_usd", "cost_spot_usd", "cost_committed_usd"),
    *("cost_per_job_usd", "energy_kwh", "num_nodes_failed", "num_nodes_reclaimed"),
    *("num_orders_waited", "num_stockouts", "num_nodes_stock_out"),
    *("num_preemptions", "num_rescales", "overhead_gpu_h", "lost_gpu_h", "queue_length_mean", "queue_length_max"),
)
_SERVING_METRICS = ("cost_training_usd", "cost_serving_usd")  # of runs with services
_SERVICE_COUNTS = ("num_requests", "num_served", "num_rejected", "num_timed_out", "num_lost", "num_in_flight")
_SERVICE_METRICS = (
    *("latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s", "latency_p99_9_s"),
    *("slo_attainment_frac", "slo_minutes_in_violation", "num_cold_starts", "cold_start_mean_s"),
    *("replicas_mean", "replicas_max", "replica_h", "gpu_held_h", "gpu_startup_h"),
    *("cost_usd", "cost_per_1k_requests_usd"),
)
_TOKEN_METRICS = (
    *("ttft_mean_s", "ttft_p50_s", "ttft_p95_s", "ttft_p99_s"),
    *("time_per_output_token_mean_s", "time_per_output_token_p99_s"),
)
_HEADING_LINES = 3
_LABEL_WIDTH = 36  # of a label's value: longer ones are broken


@dataclass(frozen=True)
class _Column:
    """One metric of the table: its lines of heading and how its numbers are spelt."""

    heading: tuple[str, str, str]
    metric: str
    spell: Callable[[float], str]
    is_difference: bool = False


@dataclass(frozen=True)
class _Block:
    """One table: its columns, and how many of how many came to an end."""

    title: str
    columns: list[_Column]
    done: tuple[str, str, str] | None  # heading, and the two counts


def print_table(comparison: Comparison, console: Console) -> None:
    """One row a policy; below it the same for each service.

    Where the terminal is too narrow for `12.3 ± 0.4`, the interval goes below the mean.
    """
    room = console.width
    for block in _blocks(comparison):
        table = _table(comparison, block, stacked=False)
        if console.is_terminal and _width(table, console) > room:
            table = _table(comparison, block, stacked=True)
        console.width = max(room, _width(table, console))  # a line that the terminal folds beats folded columns
        console.print(table)


def _width(table: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum


def write_csv(comparison: Comparison, path: Path) -> None:
    """One row a policy: labels, seeds, then each metric's mean and 95% half-width, and those of the difference.

    Metrics of a service are named as in summary.json: `services.NAME.METRIC`.
    """
    counts, metrics = list(_COUNTS), [*_METRICS, *(_SERVING_METRICS if comparison.services else ())]
    for name in comparison.services:
        counts += [of_service(name, each) for each in _SERVICE_COUNTS]
        metrics += [of_service(name, each) for each in _SERVICE_METRICS]
        metrics += [of_service(name, each) for each in _TOKEN_METRICS if _is_known(comparison, name, each)]
    parts = ("", "_ci95", "_difference", "_difference_ci95")
    heading = [*comparison.by, "baseline", "seeds", *counts, *(metric + part for metric in metrics for part in parts)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heading)
        for group, base in zip(comparison.groups, comparison.baselines, strict=True):
            row: list[object] = [*group.labels.values(), base.name if base else "", " ".join(map(str, group.runs))]
            row += [group.total(name) for name in counts]
            for metric in metrics:
                mine = group.estimate(metric)
                against = difference(group, base, metric) if base else Estimate(math.nan, math.nan, 0)
                numbers = (mine.mean, mine.half_width, against.mean, against.half_width)
                row += ["" if math.isnan(number) else repr(number) for number in numbers]
            writer.writerow(row)


def _is_known(comparison: Comparison, service: str, metric: str) -> bool:
    return any(group.estimate(of_service(service, metric)).num for group in comparison.groups)


def _blocks(comparison: Comparison) -> list[_Block]:
    done = ("finished/\nsubmitted\n", "num_finished", "num_submitted") if comparison.has_jobs else None
    blocks = [_Block("", _run_columns(comparison), done)]
    for name in comparison.services:
        served, came = of_service(name, "num_served"), of_service(name, "num_requests")
        blocks.append(
            _Block(f"service {name}", _service_columns(comparison, name), ("served/\nrequests\n", served, came))
        )
    return blocks


def _run_columns(comparison: Comparison) -> list[_Column]:
    groups = comparison.groups
    unit_s, unit = unit_of([group.estimate("jct_mean_s").mean for group in groups])

    top_usd = _top(comparison, "cost_usd")
    usd, dollars = (1e3, "k USD") if top_usd >= 1e5 else (1.0, "USD")

    def time(seconds: float) -> str:
        return _significant(seconds / unit_s)

    def money(amount_usd: float) -> str:
        return _significant(amount_usd / usd)

    columns, has_jobs = [], comparison.has_jobs
    if has_jobs:
        jct = (("mean", "jct_mean_s"), ("p50", "jct_p50_s"), ("p95", "jct_p95_s"), ("p99", "jct_p99_s"))
        columns = [_Column(("JCT", name, unit), metric, time) for name, metric in jct]
        columns.append(_Column(("queueing", "mean", unit), "queueing_mean_s", time))
    columns.append(_Column(("GPU use", "", "%"), "gpu_utilisation_frac", _per_cent))
    costs = [_Column(("cost", "", dollars), "cost_usd", money)] if top_usd > 0 else []
    columns += costs
    for part, name in (("spot", "cost_spot_usd"), ("lost", "cost_lost_usd")):
        if _top(comparison, name) > 0:
            columns.append(_Column(("of it", part, dollars), name, money))
    if (top_kwh := _top(comparison, "energy_kwh")) > 0:
        kwh, unit_kwh = (1e3, "MWh") if top_kwh >= 1e5 else (1.0, "kWh")
        columns.append(_Column(("energy", "of GPUs", unit_kwh), "energy_kwh", lambda used: _significant(used / kwh)))
    if has_jobs:
        columns.append(_Column(("preemp-", "tions", ""), "num_preemptions", lambda number: f"{number:,.0f}"))
    if any(comparison.baselines):
        if has_jobs:
            columns.append(_Column(("Δ JCT", "mean", unit), "jct_mean_s", time, is_difference=True))
        columns += [_Column(("Δ cost", "", dollars), each.metric, money, is_difference=True) for each in costs]
    return columns


def _service_columns(comparison: Comparison, name: str) -> list[_Column]:
    """Latency, time to first token where there is one, in time, cost, replicas; then differences of three of them."""

    def seconds(heading: str, metric: str) -> _Column:
        unit_s, unit = fine_unit_of([group.estimate(metric).mean for group in comparison.groups])
        return _Column((heading, "p99", unit), metric, lambda value: _significant(value / unit_s))

    columns = [seconds("latency", of_service(name, "latency_p99_s"))]
    if _is_known(comparison, name, "ttft_p99_s"):
        columns.append(seconds("TTFT", of_service(name, "ttft_p99_s")))
    late = columns[-1]
    in_time = _Column(
        ("SLO", "attained", "%"), of_service(name, "slo_attainment_frac"), lambda share: f"{100 * share:.2f}"
    )
    columns.append(in_time)
    per_1k = of_service(name, "cost_per_1k_requests_usd")
    top_usd = _top(comparison, per_1k)
    costs = []
    if top_usd > 0:
        factor, number = (1e3, "a million") if top_usd < 0.1 else (1.0, "1,000")
        costs = [_Column(("cost of", number, "USD"), per_1k, lambda usd: _significant(factor * usd))]
    columns += costs
    if _is_known(comparison, name, "replicas_mean"):
        columns.append(_Column(("replicas", "mean", ""), of_service(name, "replicas_mean"), _significant))
    if any(comparison.baselines):
        for column in (late, in_time, *costs):
            first, *rest = column.heading
            columns.append(_Column((f"Δ {first}", *rest), column.metric, column.spell, is_difference=True))  # type: ignore[arg-type]
    return columns


def _table(comparison: Comparison, block: _Block, *, stacked: bool) -> Table:
    title = Text(block.title, style="bold") if block.title else None
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0 if stacked else 1, 0, 0),
                  pad_edge=False)  # fmt: skip
    for name in comparison.by or ["policy"]:
        table.add_column(Text(_label_heading(name)), no_wrap=True)
    for column in block.columns:
        table.add_column(Text("\n".join(column.heading)), justify="right", no_wrap=True)
    if block.done:
        table.add_column(Text(block.done[0]), justify="right", no_wrap=True)
    table.add_column(Text("seeds\n\n"), justify="right", no_wrap=True)
    for group, base in zip(comparison.groups, comparison.baselines, strict=True):
        cells = [_label(value) for value in group.labels.values()] or [Text(group.name)]
        cells += [_cell(column, group, base, stacked=stacked) for column in block.columns]
        if block.done:
            part, whole = (group.total(name) for name in block.done[1:])
            text = f"{part:,}/\n{whole:,}" if stacked else f"{part:,}/{whole:,}"
            cells.append(Text(text, style="" if part == whole else "bold yellow"))
        cells.append(Text(str(len(group.runs))))
        table.add_row(*cells)
    return table


def _top(comparison: Comparison, metric: str) -> float:
    return max((group.estimate(metric).mean for group in comparison.groups if group.estimate(metric).num), default=0.0)


def _label_heading(name: str) -> str:
    """`service.startup.engine_s` on lines of its own, so that many options fit beside each other."""
    first, *rest = name.split(".", _HEADING_LINES - 1)
    lines = [first, *(f".{part}" for part in rest)]
    return "\n".join([""] * (_HEADING_LINES - len(lines)) + lines)


def _label(value: str) -> Text:
    return Text("\n".join(value[at : at + _LABEL_WIDTH] for at in range(0, max(1, len(value)), _LABEL_WIDTH)))


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


def _per_cent(share: float) -> str:
    return f"{100 * share:.1f}"


def _significant(number: float) -> str:
    """Three figures or all before the point, never in powers of ten."""
    size = abs(number)
    if size >= 99.95 or number == 0:
        return f"{number:,.0f}"
    return f"{number:.1f}" if size >= 9.995 else f"{number:.2f}" if size >= 0.995 else f"{number:.3f}"
