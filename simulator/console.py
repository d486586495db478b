"""What a run says on a terminal: a bar while it goes on, a table or a line at its end."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

_QUIET_S = 1.0  # of wall time: a shorter run shows no bar
_HOUR_S = 3600.0
_MOST_IN_ROWS = 2  # services that are told in rows of their own, each number in one
_LEAST_FRAC = 0.0005  # of the cost: less would read 0.0%
_FEW_DAYS = 3.0  # shorter runs are told in hours
_SPLITS = {  # of the cost, each part's share
    "of it bought as": {"spot": "spot", "committed": "committed"},
    "of it for": {  # together the whole
        "busy": "busy",
        "idle": "idle",
        "start-up": "startup",
        "warm pool": "warm",
        "rounding": "rounding",
        "services bought": "bought",
    },
    "of busy for": {"moves": "overhead", "lost work": "lost"},
}
_LOST_NODES = {
    "failed": "num_nodes_failed",
    "reclaimed": "num_nodes_reclaimed",
}
Rows = list[tuple[str, str]]


class ProgressBar:
    """Jobs finished out of all, on stderr; nothing where that is no terminal, or the run is short.

    Args:
        unit, unit_s: of the time that is shown beside them.
        until_s: when a run without jobs is over, about; what is shown then is time alone. inf: nobody knows.
    """

    def __init__(self, is_wanted: bool, unit: str = "day", unit_s: float = 86400.0, until_s: float = math.inf) -> None:
        self._unit, self._unit_s, self._until_s = unit, unit_s, until_s
        self._is_wanted = is_wanted and sys.stderr.isatty()
        self._begin_s = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def is_shown(self) -> bool:
        return self._bar is not None

    def __call__(self, num_done: int, num_jobs: int, now_s: float) -> None:
        """Told by the simulation every thousand decisions or so."""
        if not self._is_wanted or time.monotonic() - self._begin_s < _QUIET_S:
            return
        if not self._bar:
            counted = (MofNCompleteColumn(), TextColumn("jobs,")) if num_jobs else ()
            columns = (BarColumn(), *counted, TextColumn("{task.fields[time]}"), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            total = num_jobs or (self._until_s if self._until_s < math.inf else None)
            self._bar.add_task("", total=total, time="")
            self._bar.start()
        done = num_done if num_jobs else min(now_s, self._until_s)
        self._bar.update(self._bar.task_ids[0], completed=done, time=self.spell_time(now_s, alone=not num_jobs))

    def spell_time(self, now_s: float, *, alone: bool = False) -> str:
        """`day 1.5`; where time is all there is to see, hours if the run is short, and of how many."""
        unit, unit_s = self._unit, self._unit_s
        if not alone:
            return f"{unit} {now_s / unit_s:.1f}"
        if unit_s > _HOUR_S and self._until_s < _FEW_DAYS * unit_s:
            unit, unit_s = "hour", _HOUR_S
        end = f" of {self._until_s / unit_s:,.1f}" if self._until_s < math.inf else ""
        return f"{unit} {now_s / unit_s:,.1f}{end}"


def show_table(summary: Mapping[str, Any], title: str) -> None:
    """The main figures of a run on stdout."""
    table = Table(show_header=False)
    for what, how_much in rows(summary):
        table.add_row(what, how_much)
    console = Console()
    console.print(title, style="italic", markup=False, highlight=False)  # as wide as there is room, unlike a table's
    console.print(table, highlight=False)
    if len(summary.get("services") or {}) > _MOST_IN_ROWS:
        services = _service_table(summary["services"])
        console.width = max(
            console.width, Measurement.get(console, console.options.update(max_width=999), services).maximum
        )
        console.print(services, highlight=False)
    for note in summary["notes"]:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)


def size(summary: Mapping[str, Any]) -> str:
    """How much was simulated."""
    services = summary.get("services") or {}
    parts = [f"{summary['num_submitted']:,} jobs"] if summary["num_submitted"] or not services else []
    if services:
        parts.append(f"{sum(of['num_requests'] for of in services.values()):,} requests")
    return " and ".join(parts)


def line(summary: Mapping[str, Any]) -> str:
    """The same in one line, for one run of many."""
    told = dict(rows(summary))
    wanted = ("JCT mean", "queueing mean", "GPU utilisation", "cost")
    shown = ", ".join(f"{what} {told[what]}" for what in wanted if what in told)
    shown += "".join(
        f"; {name}: {of['num_served']:,} / {of['num_requests']:,} served, p99 {_seconds(of['latency_p99_s'])}, SLO "
        f"{_percent(of['slo_attainment_frac'])}"
        for name, of in {**(summary.get("services") or {}), **(summary.get("routed") or {})}.items()
    )
    finished = f"{told['finished / submitted']} finished, " if "finished / submitted" in told else ""
    return f"{finished}{shown}{''.join(f'; note: {n}' for n in summary['notes'])}"


def rows(summary: Mapping[str, Any]) -> Rows:
    """(what, how much) with units."""
    if not summary["num_submitted"] and summary.get("services"):
        return _cluster_rows(summary)
    finished = f"{summary['num_finished']:,} / {summary['num_submitted']:,}"
    left = {name: summary[f"num_{name}"] for name in ("rejected", "failed", "unfinished")}
    told: Rows = [("finished / submitted", finished + "".join(f", {n:,} {name}" for name, n in left.items() if n))]
    for word, key in (("JCT", "jct"), ("queueing", "queueing")):
        told.append((f"{word} mean", _hours(summary[f"{key}_mean_s"])))
        told.append((f"{word} p50, p95, p99", ", ".join(_hours(summary[f"{key}_p{p}_s"]) for p in (50, 95, 99))))
    return [*told, ("makespan", _hours(summary["makespan_s"])), *_cluster_rows(summary)]


def _cluster_rows(summary: Mapping[str, Any]) -> Rows:
    told = [
        ("GPUs held", _percent(summary["gpu_allocation_frac"])),
        ("GPU utilisation", _percent(summary["gpu_utilisation_frac"])),
        ("cost", _total(summary["cost_usd"])),
        *_split_rows(summary),
        ("preemptions, rescales", f"{summary['num_preemptions']:,}, {summary['num_rescales']:,}"),
        ("decisions", f"{summary['num_decisions']:,}"),
    ]
    services = summary.get("services") or {}
    for name, of in services.items() if len(services) <= _MOST_IN_ROWS else ():
        told += [(f"{name}: {what}", how_much) for what, how_much in _service_rows(of)]
    for name, of in (summary.get("routed") or {}).items():
        told += [(f"{name}: {what}", how_much) for what, how_much in _routed_rows(of)]
    return told


def _split_rows(summary: Mapping[str, Any]) -> Rows:
    """What the cost is for, all in shares of it; energy; nodes lost and orders that waited. What is zero isn't told."""
    total_usd = summary["cost_usd"]
    told: Rows = []
    for what, parts in _SPLITS.items():
        usd = {part: summary.get(f"cost_{key}_usd") or 0.0 for part, key in parts.items()}
        frac = {part: of / total_usd for part, of in usd.items() if total_usd and of / total_usd >= _LEAST_FRAC}
        if frac:
            told.append((what, ", ".join(f"{part} {_percent(of)}" for part, of in frac.items())))
    if summary.get("energy_kwh"):
        kwh = summary["energy_kwh"]
        told.append(("energy of GPUs", f"{kwh:,.0f} kWh" if kwh >= 100 else f"{kwh:.3g} kWh"))
    lost = {part: summary.get(key) or 0 for part, key in _LOST_NODES.items()}
    if any(lost.values()):
        told.append(("nodes", ", ".join(f"{count:,} {part}" for part, count in lost.items() if count)))
    if waited := summary.get("num_orders_waited"):
        given_up = summary["num_nodes_stock_out"]
        more = f", {given_up:,} given up" if given_up else ""
        tries = summary["num_stockouts"]
        told.append(("orders that had to wait", f"{waited:,}{more}; attempts that found no machine: {tries:,}"))
    return told


def _service_table(services: Mapping[str, Any]) -> Table:
    """A row a service, where there are many."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    has_tokens = any("ttft_p99_s" in of for of in services.values())
    headings = ["service", "served", "unserved", "p50", "p99", *["TTFT p99"] * has_tokens]
    headings += ["SLO", "replicas", "cost", "of 1,000"]
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "service" else "right", no_wrap=True)
    for name, of in services.items():
        per_1k = of["cost_per_1k_requests_usd"]
        cells = {
            "service": name,
            "served": f"{of['num_served']:,}",
            "unserved": f"{of['num_requests'] - of['num_served']:,}",
            "p50": _seconds(of["latency_p50_s"]),
            "p99": _seconds(of["latency_p99_s"]),
            "TTFT p99": _seconds(of.get("ttft_p99_s")),
            "SLO": _percent(of["slo_attainment_frac"]),
            "replicas": f"{of['replicas_mean']:,.1f}",
            "cost": f"${of['cost_usd']:,.2f}",
            "of 1,000": "–" if per_1k is None else f"${per_1k:,.4f}",
        }
        table.add_row(*(cells[heading] for heading in headings))
    return table


def _service_rows(of: Mapping[str, Any]) -> Rows:
    served = f"{of['num_served']:,} / {of['num_requests']:,}"
    left = {name: of[f"num_{name}"] for name in ("rejected", "timed_out", "lost", "in_flight")}
    told = [("served / arrived", served + "".join(f", {n:,} {k.replace('_', ' ')}" for k, n in left.items() if n))]
    told.append(("latency p50, p95, p99", ", ".join(_seconds(of[f"latency_{p}_s"]) for p in ("p50", "p95", "p99"))))
    if "ttft_p99_s" in of:
        told.append(("TTFT p50, p95, p99", ", ".join(_seconds(of[f"ttft_{p}_s"]) for p in ("p50", "p95", "p99"))))
    return [
        *told,
        ("SLO attained", _attained(of)),
        ("replicas mean, max", f"{of['replicas_mean']:,.1f}, {of['replicas_max']:,}"),
        ("cost", _cost(of)),
    ]


def _routed_rows(of: Mapping[str, Any]) -> Rows:
    """Of all sites of a service."""
    shares = ", ".join(f"{site} {_percent(share)}" for site, share in of["share_by_site"].items())
    return [
        ("requests by site", f"{of['num_requests']:,}: {shares}"),
        ("latency p50, p95, p99", ", ".join(_seconds(of[f"latency_{p}_s"]) for p in ("p50", "p95", "p99"))),
        ("SLO attained", _attained(of)),
        ("cost", _cost(of)),
    ]


def _attained(of: Mapping[str, Any]) -> str:
    told = f"{_percent(of['slo_attainment_frac'])}, {of['slo_minutes_in_violation']:,} min in violation"
    slo = of.get("slo")
    if slo and slo["latency_s"] is None and slo["ttft_s"] is None:
        return f"{told} (no objective: service.slo.latency_s is not set)"
    return told


def _total(cost_usd: float | None) -> str:
    if not cost_usd:
        return "–" if cost_usd is None else "– (no price: set cluster.usd_per_node_h, or cluster.instance)"
    return f"${cost_usd:,.2f}"


def _cost(of: Mapping[str, Any]) -> str:
    cost_usd, per_1k = of["cost_usd"], of["cost_per_1k_requests_usd"]
    return _total(cost_usd) + (f", ${per_1k:,.4f} a thousand requests" if cost_usd and per_1k is not None else "")


def _seconds(time_s: float | None) -> str:
    return "–" if time_s is None else f"{1e3 * time_s:,.3g} ms" if time_s < 1 else f"{time_s:,.3g} s"


def _hours(time_s: float | None) -> str:
    return "–" if time_s is None else f"{time_s / _HOUR_S:,.3g} h" if time_s < 3.6e6 else f"{time_s / _HOUR_S:,.0f} h"


def _percent(frac: float | None) -> str:
    return "–" if frac is None else f"{frac:.1%}"
