"""The figures of a report: errors, jobs, GPUs and queue over time, and where each job's time went."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from real_backend.report.compared import Compared
from simulator.figures.style import BLUE, GREY, INK, ORANGE, count_ticks, new_figure, save, staircase
from simulator.moves import Moves
from simulator.run import Run
from simulator.timeline import Timeline
from workloads.figure import time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIVE, SIMULATED = BLUE, ORANGE  # everywhere
BAND_FRAC, JOB_BAND_FRAC = 0.05, 0.10
MOST_JOBS, MOST_PARTS = 40, 1500  # of a figure of jobs over time: more can't be seen
_METRICS = (("mean_jct", "mean JCT"), ("p95_jct", "p95 JCT"), ("makespan", "makespan"), ("cost", "cost"))
_WAITING, _INSIDE, _BEYOND = "#b6bdc8", "#e8f1ec", "#b91c1c"
_BUCKETS = 500
_WIDE = 20.0  # ratio of JCTs from which axes are logarithmic


@dataclass(frozen=True)
class Drawn:
    """A figure's file and its title."""

    path: Path  # of the SVG
    title: str


def draw_report(all_compared: Sequence[Compared], rows: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, Any]:
    """Writes the figures, each as .png and .svg: `errors`, `jobs`, `over_time` and a list `gantt`, one a policy."""
    return {
        "errors": _draw_errors(rows, folder),
        "jobs": _draw_jobs(all_compared, rows, folder),
        "over_time": _draw_over_time(all_compared, folder),
        "gantt": [_draw_gantt(each, k, folder) for k, each in enumerate(all_compared, start=1)],
    }


def _draw_errors(rows: Sequence[Mapping[str, Any]], folder: Path) -> Drawn | None:
    drawn = [(name, title) for name, title in _METRICS if any(math.isfinite(row[f"{name}_error_frac"]) for row in rows)]
    if not drawn:
        return None
    ends = [0.0, BAND_FRAC, -BAND_FRAC]
    for name, _ in drawn:
        for row in rows:
            ends += [row[f"{name}_error_frac"], *(row[f"{name}_error_ci_frac"] or ())]
    from matplotlib.ticker import MaxNLocator

    finite = 100 * np.array([end for end in ends if math.isfinite(end)])
    low, high = float(finite.min()), float(finite.max())
    room = 0.08 * (high - low)
    subtitle = "Simulated against live; bars: 95% intervals where known; shaded: within ±5%, red: beyond"
    title = "Error of the simulation"
    with new_figure(10, 1.55 + 0.36 * len(rows), title, subtitle) as figure:
        axes = figure.subplots(1, len(drawn), sharey=True, sharex=True, squeeze=False)[0]
        for ax, (name, heading) in zip(axes, drawn, strict=True):
            ax.axvspan(-100 * BAND_FRAC, 100 * BAND_FRAC, color=_INSIDE, linewidth=0, zorder=0)
            ax.axvline(0, color=GREY, linewidth=1)
            for y, row in enumerate(rows):
                error = 100 * row[f"{name}_error_frac"]
                if not math.isfinite(error):
                    ax.text(0, y, "no value", ha="center", va="center", fontsize=8, color=GREY, backgroundcolor="white")
                    continue
                interval = row[f"{name}_error_ci_frac"]
                if interval:
                    ax.plot([100 * end for end in interval], [y, y], color=ORANGE, linewidth=3, alpha=0.45)
                inside = abs(error) <= 100 * BAND_FRAC
                ax.plot(error, y, "o", color=ORANGE if inside else _BEYOND, markersize=6, markeredgecolor="white")
            ax.set(title=heading, xlabel="error (%)", xlim=(low - room, high + room), ylim=(len(rows) - 0.4, -0.6))
            ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
            ax.grid(visible=False, axis="y")
            ax.tick_params(axis="y", length=0, labelcolor=INK)
        axes[0].set_yticks(range(len(rows)), [_two_lines(row["policy"]) for row in rows])
        return _saved(figure, folder, "errors", title)


def _draw_jobs(all_compared: Sequence[Compared], rows: Sequence[Mapping[str, Any]], folder: Path) -> Drawn | None:
    drawn = [(each, row) for each, row in zip(all_compared, rows, strict=True) if each.num_compared]
    if not drawn:
        return None
    points = np.concatenate([np.r_[each.live.jct_s.ravel(), each.simulated.jct_s] for each, _ in drawn])
    unit_s, unit = time_unit(float(points.max()))
    least, most = float(points.min()), float(points.max())
    logarithmic = least > 0 and most / least > _WIDE
    ends = np.array([least / 1.3, most * 1.3] if logarithmic else [0.0, 1.06 * most]) / unit_s
    num_columns = 3 if len(drawn) in (5, 6, 9) else min(len(drawn), 4)
    num_rows = -(-len(drawn) // num_columns)
    has_repeats = any(each.num_repeats > 1 for each, _ in drawn)
    more = "; bars: least to most of the live repeats" if has_repeats else ""
    subtitle = f"A point a job; line: no error; shaded: within ±10%{more}"
    title = "JCT of each job, simulated against live"
    width_in = max(6.2, 2.55 * num_columns + 0.8)
    size_in = (width_in - 0.8) / num_columns
    with new_figure(width_in, 0.95 + (size_in + 0.15) * num_rows, title, subtitle) as figure:
        axes = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False)
        for ax in axes.flat[len(drawn) :]:
            ax.remove()
        for k, (each, _) in enumerate(drawn):
            ax = axes.flat[k]
            band = np.geomspace(ends[0], ends[1], 50) if logarithmic else ends
            ax.fill_between(
                band, band * (1 - JOB_BAND_FRAC), band * (1 + JOB_BAND_FRAC), color=_INSIDE, linewidth=0, zorder=0
            )
            ax.plot(ends, ends, color=GREY, linewidth=1, zorder=1)
            live_s, simulated_s = each.live.jct_s, each.simulated.jct_s
            x, y = live_s.mean(axis=0) / unit_s, simulated_s / unit_s
            if each.num_repeats > 1:
                ax.hlines(y, live_s.min(axis=0) / unit_s, live_s.max(axis=0) / unit_s, color=ORANGE, alpha=0.5)
            ax.plot(x, y, "o", color=ORANGE, markersize=4.5, markeredgecolor="white", markeredgewidth=0.5, alpha=0.85)
            within = float((np.abs(y - x) <= JOB_BAND_FRAC * x).mean())
            ax.text(0.04, 0.96, f"{within:.0%} of {len(x)} jobs\nwithin ±10%", transform=ax.transAxes, va="top",
                    fontsize=8, color=GREY)  # fmt: skip
            ax.set_title(_two_lines(each.pair.policy), fontsize=9.5)
            if logarithmic:
                ax.set(xscale="log", yscale="log")
            ax.set(xlim=ends, ylim=ends, aspect="equal")
            ax.tick_params(labelbottom=k + num_columns >= len(drawn))
            _same_ticks(ax, ends[0], ends[1], logarithmic)
            if k + num_columns >= len(drawn):
                ax.set_xlabel(f"live ({unit})")
            if k % num_columns == 0:
                ax.set_ylabel(f"simulated ({unit})")
        return _saved(figure, folder, "jobs", title)


def _same_ticks(ax: Axes, low: float, high: float, logarithmic: bool) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    if logarithmic:
        subs = (1, 2, 5) if high / low < 50 else (1, 3) if high / low < 300 else (1,)
        ticks = [sub * 10.0**power for power in range(-6, 9) for sub in subs if low <= sub * 10.0**power <= high]
    else:
        ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _draw_over_time(all_compared: Sequence[Compared], folder: Path) -> Drawn:
    lines = [(Timeline.of(each.pair.live[0]), Timeline.of(each.pair.simulated)) for each in all_compared]
    until_s = max(float(steps.time_s[-1]) for both in lines for line in both for steps in (line.held, line.queue))
    until_s = until_s or 1.0  # nothing came
    unit_s, unit = time_unit(until_s)
    edges_s = np.linspace(0.0, until_s, _BUCKETS + 1)
    x = edges_s / unit_s
    repeats = " (the first repeat)" if any(each.num_repeats > 1 for each in all_compared) else ""
    subtitle = f"Blue, filled: live{repeats}; orange: simulated"
    columns, title = {"GPUs held": "held", "Jobs waiting": "queue"}, "GPUs held and jobs waiting over time"
    if any((line.ready.time_s < line.end_s).sum() > 1 for both in lines for line in both):  # nodes come and go
        columns["GPUs there"] = "ready"
        title = "GPUs held, jobs waiting and GPUs there over time"
    with new_figure(10, 1.5 + 1.05 * len(lines), title, subtitle, h_pad=0.05) as figure:
        axes = figure.subplots(len(lines), len(columns), sharex=True, sharey="col", squeeze=False)
        top = [1.0] * len(columns)
        for pair_of_axes, each, both in zip(axes, all_compared, lines, strict=True):
            for column, (ax, steps) in enumerate(zip(pair_of_axes, columns.values(), strict=True)):
                for line, colour, fill in zip(both, (LIVE, SIMULATED), (True, False), strict=True):
                    values = getattr(line, steps).means(edges_s)
                    top[column] = max(top[column], float(values.max()))
                    staircase(ax, values, x, colour, fill=fill)
                count_ticks(ax.yaxis)
                ax.yaxis.get_major_locator().set_params(nbins=3)
                ax.set_xlim(0, x[-1])
            pair_of_axes[0].set_ylabel(_two_lines(each.pair.policy), rotation=0, ha="right", va="center",
                                       fontweight="bold")  # fmt: skip
        for column, heading in enumerate(columns):
            axes[0, column].set_title(heading)
            axes[0, column].set_ylim(0, 1.1 * top[column])
            axes[-1, column].set_xlabel(f"time ({unit})")
        return _saved(figure, folder, "over_time", title)


def _draw_gantt(compared: Compared, number: int, folder: Path) -> Drawn:
    """Two bars a job: live above simulated; as dark as it holds many GPUs."""
    from matplotlib.patches import Patch

    pair = compared.pair
    worlds = ((pair.live[0], LIVE), (pair.simulated, SIMULATED))
    names = pair.simulated.columns("jobs", "job_id")["job_id"].astype(str).tolist()
    bars = [_bars(run) for run, _ in worlds]
    done = [_finished(run) for run, _ in worlds]
    open_ends: list[tuple[float, float]] = []
    shown = names[:MOST_JOBS]
    while len(shown) > 1 and sum(len(each[name]) for each in bars for name in shown) > MOST_PARTS:
        shown = shown[: len(shown) // 2]
    most_gpus = max((bar.num_gpus for each in bars for name in shown for bar in each[name]), default=1) or 1
    until_s = max((each[name][-1].until_s for each in bars for name in shown if each[name]), default=1.0)
    unit_s, unit = time_unit(until_s)
    left_out = len(names) - len(shown)
    more = f"; the first {len(shown)} of {len(names)} jobs" if left_out else ""
    repeat = "; the first repeat" if compared.num_repeats > 1 else ""
    subtitle = f"For each job live above simulated{repeat}{more}; the darker, the more GPUs (at most {most_gpus})"
    title = f"Jobs over time: {pair.policy}"
    with new_figure(10, 1.6 + 0.27 * max(len(shown), 3), title, subtitle) as figure:
        ax = figure.subplots()
        for y, name in enumerate(shown):
            for (_, colour), each, bottom, names_done in zip(worlds, bars, (y - 0.38, y + 0.02), done, strict=True):
                _draw_job(ax, each[name], bottom, colour, most_gpus, unit_s)
                if name not in names_done and each[name]:
                    open_ends.append((each[name][-1].until_s / unit_s, bottom + 0.18))
            if y % 2:
                ax.axhspan(y - 0.5, y + 0.5, color="#f6f7f9", linewidth=0, zorder=0)
        ax.set_yticks(range(len(shown)), [_short(name) for name in shown], fontsize=8)
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.grid(visible=False, axis="y")
        ax.set(xlabel=f"time ({unit})", xlim=(0, 1.01 * until_s / unit_s), ylim=(len(shown) - 0.4, -0.6))
        keys: list[Any] = [Patch(color=LIVE, label="live"), Patch(color=SIMULATED, label="simulated")]
        keys += [Patch(color=INK, label="pause of a move"), Patch(facecolor=_WAITING, label="waiting")]
        if open_ends:
            keys += ax.plot(*zip(*open_ends, strict=True), "x", color=_BEYOND, markersize=5, markeredgewidth=1.6,
                            label="not finished", clip_on=False, zorder=4)  # fmt: skip
        ax.legend(handles=keys, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=5, fontsize=8.5, borderaxespad=0.1)
        slug = re.sub(r"[^a-z0-9]+", "-", pair.policy.lower()).strip("-")
        return _saved(figure, folder, f"gantt-{number:02}-{slug}"[:60].rstrip("-"), title)


@dataclass(frozen=True, slots=True)
class _Bar:
    from_s: float
    until_s: float
    num_gpus: int
    pause_s: float


def _bars(run: Run) -> dict[str, list[_Bar]]:
    """By job: from its submission until it finished or failed, else to the end of the run; 0 GPUs: it waits."""
    jobs, moves = run.columns("jobs", "job_id", "submit_s", "finish_s", "state"), Moves.of(run)
    pause_s = run.columns("allocations", "pause_s")["pause_s"]
    end_s = float(run.facts["end_s"])
    ends_s = np.where(np.isfinite(jobs["finish_s"]), jobs["finish_s"], end_s)
    gone = np.isin(jobs["state"], ("rejected", "not_submitted", "failed"))
    ends_s[gone] = jobs["submit_s"][gone]
    has_failed = jobs["state"][moves.job] == "failed"
    np.maximum.at(ends_s, moves.job[has_failed], moves.time_s[has_failed])  # its last row takes its GPUs away
    until_s = np.minimum(np.append(moves.time_s, np.inf)[moves.next_row], ends_s[moves.job])
    rows_of: dict[int, list[int]] = {}
    for row, job in enumerate(moves.job.tolist()):
        rows_of.setdefault(job, []).append(row)
    found: dict[str, list[_Bar]] = {}
    for job, name in enumerate(jobs["job_id"].astype(str).tolist()):
        rows = rows_of.get(job, [])
        begin_s = float(moves.time_s[rows[0]]) if rows else float(ends_s[job])
        bars = [_Bar(float(jobs["submit_s"][job]), begin_s, 0, 0.0)]
        for row in rows:
            spans = float(moves.time_s[row]), float(until_s[row])
            bars.append(_Bar(*spans, int(moves.num_gpus[row]), min(float(pause_s[row]), spans[1] - spans[0])))
        found[name] = [bar for bar in bars if bar.until_s > bar.from_s]
    return found


def _finished(run: Run) -> set[str]:
    jobs = run.columns("jobs", "job_id", "state")
    return set(jobs["job_id"][jobs["state"] == "finished"].astype(str).tolist())


def _draw_job(ax: Axes, bars: Sequence[_Bar], bottom: float, colour: str, most_gpus: int, unit_s: float) -> None:
    for bar in bars:
        span = [(bar.from_s / unit_s, (bar.until_s - bar.from_s) / unit_s)]
        if bar.num_gpus:
            alpha = 0.3 + 0.7 * bar.num_gpus / most_gpus
            ax.broken_barh(span, (bottom, 0.36), facecolor=colour, alpha=alpha, linewidth=0)
            if bar.pause_s > 0:
                pause = [(bar.from_s / unit_s, bar.pause_s / unit_s)]
                ax.broken_barh(pause, (bottom, 0.36), facecolor=INK, linewidth=0)
        else:
            ax.broken_barh(span, (bottom + 0.13, 0.1), facecolor=_WAITING, linewidth=0)


def _saved(figure: Figure, folder: Path, name: str, title: str) -> Drawn:
    return Drawn(next(path for path in save(figure, folder, name) if path.suffix == ".svg"), title)


def _two_lines(policy: str) -> str:
    """Long names of several labels, a label a line."""
    return policy.replace(" ", "\n") if len(policy) > 18 else policy


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:10]}…{name[-10:]}"
