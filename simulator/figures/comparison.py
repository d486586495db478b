"""Figures of a comparison: cost against JCT, JCT by policy, GPUs and queue over time by policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.comparison import Comparison, Group, unit_of
from simulator.figures.labels import Look, label_points
from simulator.figures.run import shown_until_s
from simulator.figures.spelling import spell_bucket, spell_usd
from simulator.figures.style import (
    BLUE,
    DASHES,
    GREY,
    INK,
    MARKERS,
    ORANGE,
    PALETTE,
    count_ticks,
    curve,
    label_durations,
    new_figure,
    save,
    staircase,
)
from simulator.timeline import Steps, Timeline
from workloads.figure import time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_ROWS = 16


def draw_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes cost_vs_jct, jct_cdf and over_time, each as .png and .svg; returns their paths.

    Raises:
        RunError: a run whose tables can't be read.
    """
    looks = _looks(comparison)
    paths = _draw_cost(comparison, looks, folder)
    paths += _draw_cdf(comparison, looks, folder)
    return paths + _draw_over_time(comparison, folder)


def pareto(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rows of the points that no other beats in both (less is better), by rising x."""
    best, rows = math.inf, []
    for row in np.lexsort((y, x)):
        if y[row] < best:
            best = y[row]
            rows.append(int(row))
    return np.array(rows, np.int64)


def _looks(comparison: Comparison) -> list[Look]:
    by = list(comparison.by)
    colour_by = "allocation" if "allocation" in by else by[0] if by else None
    others = [name for name in by if name != colour_by]
    shape_by = "scaling" if "scaling" in others else others[-1] if others else None
    values = {name: list(dict.fromkeys(group.labels[name] for group in comparison.groups)) for name in by}
    looks = []
    for group in comparison.groups:
        colour = values[colour_by].index(group.labels[colour_by]) if colour_by else 0
        shape = values[shape_by].index(group.labels[shape_by]) if shape_by else 0
        said = " · ".join(value for name, value in group.labels.items() if name != shape_by) or group.name
        spelt = group.labels[shape_by] if shape_by else ""
        marker, dash = MARKERS[shape % len(MARKERS)], DASHES[shape % len(DASHES)]
        looks.append(Look(PALETTE[colour % len(PALETTE)], marker, dash, said, spelt))
    return looks


def _title(comparison: Comparison) -> str:
    workloads = dict.fromkeys(str(run.labels.get("workload", "")) for g in comparison.groups for run in g.all_runs)
    names = ", ".join(name for name in workloads if name)
    return f" ({names})" if names else ""


def _seeds(comparison: Comparison) -> str:
    counts = sorted({len(group.runs) for group in comparison.groups})
    spelt = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
    return f"{spelt} seed{'' if counts == [1] else 's'}"


def _draw_cost(comparison: Comparison, looks: Sequence[Look], folder: Path) -> list[Path]:
    jct, cost = ([group.estimate(name) for group in comparison.groups] for name in ("jct_mean_s", "cost_usd"))
    drawn = [k for k in range(len(looks)) if jct[k].num and cost[k].num]
    if not drawn:
        return []
    unit_s, unit = unit_of([jct[k].mean for k in drawn])
    x, y = np.array([cost[k].mean for k in drawn]), np.array([jct[k].mean / unit_s for k in drawn])
    dx = np.nan_to_num([cost[k].half_width for k in drawn])
    dy = np.nan_to_num([jct[k].half_width / unit_s for k in drawn])
    intervals = ", bars: 95% confidence" if comparison.num_seeds > 1 else ""
    subtitle = f"Down and left is better; {_seeds(comparison)}{intervals}; ringed: on the Pareto frontier"
    with new_figure(8.6, 5.6, f"Cost against mean JCT{_title(comparison)}", subtitle) as figure:
        ax = figure.subplots()
        front = pareto(x, y)
        ax.step(x[front], y[front], where="post", color=GREY, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1)
        for i, k in enumerate(drawn):
            look = looks[k]
            bars: Any = {"xerr": dx[i] or None, "yerr": dy[i] or None}
            ax.errorbar(x[i], y[i], **bars, fmt="none", ecolor=look.colour, elinewidth=1.1, capsize=2.5, alpha=0.5)
            ring = {"markeredgecolor": INK, "markeredgewidth": 1.6, "zorder": 4} if i in front else {"zorder": 3}
            edge = {"markeredgecolor": "white", "markeredgewidth": 0.9}
            ax.plot(x[i], y[i], look.marker, color=look.colour, markersize=8.5, **(edge | ring))  # type: ignore[arg-type]
        shapes = {look.shape: look.marker for look in looks}
        if len(shapes) > 1:
            for shape, marker in shapes.items():
                ax.plot([], [], marker, color=GREY, markersize=7.5, label=shape)
            ax.legend(loc="upper right", frameon=True, framealpha=0.9, edgecolor="none")
        ax.set(xlabel="cost (USD)", ylabel=f"mean JCT ({unit})")
        _scale(ax, "x", x - dx, x + dx, pad=0.13)
        _scale(ax, "y", y - dy, y + dy, pad=0.12)
        _ticks(ax, spell_usd)
        segments = [((x[i] - dx[i], y[i]), (x[i] + dx[i], y[i])) for i in range(len(x)) if dx[i]]
        segments += [((x[i], y[i] - dy[i]), (x[i], y[i] + dy[i])) for i in range(len(x)) if dy[i]]
        corners = [(x[b], y[a]) for a, b in pairwise(front)]
        for a, b, corner in zip(front[:-1], front[1:], corners, strict=True):
            segments += [((x[a], y[a]), corner), (corner, (x[b], y[b]))]
        points = list(zip(x.tolist(), y.tolist(), strict=True))
        label_points(figure, ax, points, [looks[k] for k in drawn], segments)
        return save(figure, folder, "cost_vs_jct")


def _scale(ax: Axes, which: str, low: np.ndarray, high: np.ndarray, pad: float) -> None:
    """Limits with room for names; logarithmic where the values differ by a lot."""
    least, most = float(low.min()), float(high.max())
    if least > 0 and most / least > 6:
        ratio = (most / least) ** pad
        ax.set(**{f"{which}scale": "log", f"{which}lim": (least / ratio, most * ratio)})
    else:
        room = pad * (most - least) or 0.1 * abs(most) or 1.0
        start = max(0.0, least - room) if least >= 0 else least - room
        ax.set(**{f"{which}lim": (start, most + room)})


def _ticks(ax: Axes, spell: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis, formatter in ((ax.xaxis, lambda value, _: spell(value)), (ax.yaxis, lambda value, _: f"{value:,.10g}")):
        axis.set_major_formatter(FuncFormatter(formatter))
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_minor_formatter(NullFormatter())


def _draw_cdf(comparison: Comparison, looks: Sequence[Look], folder: Path) -> list[Path]:
    jct_s = [_jct_s(group) for group in comparison.groups]
    drawn = [k for k in range(len(looks)) if len(jct_s[k])]
    if not drawn:
        return []
    low_s = max(1.0, min(float(np.percentile(jct_s[k], 1)) for k in drawn))
    high_s = max(max(float(jct_s[k].max()) for k in drawn), 10 * low_s)
    subtitle = f"Finished jobs of {_seeds(comparison)}; up and left is better"
    shapes = {look.shape: look.dash for look in looks}
    with new_figure(10, 4.9, f"JCT by policy{_title(comparison)}", subtitle) as figure:
        whole, tail = figure.subplots(1, 2)
        for k in drawn:
            x, y = curve(jct_s[k], low_s)
            style: Any = {"color": looks[k].colour, "linestyle": looks[k].dash, "linewidth": 1.7, "where": "post"}
            whole.step(x, y, **style)
            ordered = np.sort(jct_s[k])
            at = np.unique(np.geomspace(1, len(ordered), 600).astype(np.int64))  # the k-th longest
            tail.step(ordered[-at], 100 * at / len(ordered), color=looks[k].colour, linestyle=looks[k].dash,
                      linewidth=1.7, where="pre")  # fmt: skip
        whole.set(title="All", ylabel="share of jobs at most this long (%)", ylim=(0, 103))
        fewest = 100 / max(len(jct_s[k]) for k in drawn)
        tail.set(title="The longest", ylabel="share of jobs longer (%)", yscale="log", ylim=(max(fewest, 1e-3), 100))
        _ticks(tail, str)
        for ax in (whole, tail):
            ax.set(xlabel="JCT", xscale="log", xlim=(low_s, 1.3 * high_s))
            label_durations(ax.xaxis, low_s, high_s)
        for look in {look.name: look for look in looks}.values():
            tail.plot([], [], color=look.colour, linewidth=2.2, label=look.name)
        if len(shapes) > 1:
            for shape, dash in shapes.items():
                tail.plot([], [], color=GREY, linestyle=dash, linewidth=1.7, label=shape)
        figure.legend(*tail.get_legend_handles_labels(), loc="outside right center", fontsize=9)
        return save(figure, folder, "jct_cdf")


def _jct_s(group: Group) -> np.ndarray:
    """Of the measured jobs that finished, of all seeds; shape (J,)."""
    parts = []
    for run in group.all_runs:
        jobs = run.columns("jobs", "submit_s", "finish_s", "state")
        kept = (jobs["state"] == "finished") & (jobs["submit_s"] >= (run.summary.get("warmup_s") or 0.0))
        parts.append((jobs["finish_s"] - jobs["submit_s"])[kept])
    return np.concatenate(parts)


def _draw_over_time(comparison: Comparison, folder: Path) -> list[Path]:
    """One row a policy, of the first seed that all have (else of each one's first)."""
    groups = comparison.groups[:_MOST_ROWS]
    common = set.intersection(*(set(group.runs) for group in groups))
    seed = min(common, default=None)
    lines = [Timeline.of(group.runs[min(group.runs) if seed is None else seed][0]) for group in groups]
    until_s = max(map(shown_until_s, lines))
    unit_s, unit = time_unit(until_s)
    edges_s = np.linspace(0.0, until_s, 501)
    x = edges_s / unit_s
    of = "first seed of each" if seed is None else f"seed {seed}"
    left_out = len(comparison.groups) - len(groups)
    more = f"; {left_out} more policies are not shown" if left_out else ""
    subtitle = f"Means over {spell_bucket(until_s / 500)}, {of}; same scales in all rows{more}"
    height_in = 1.5 + 0.92 * len(groups)
    with new_figure(10, height_in, f"GPUs and queue over time{_title(comparison)}", subtitle, h_pad=0.05) as figure:
        axes = figure.subplots(len(groups), 2, sharex=True, sharey="col", squeeze=False)
        for (gpus, queue), group, line in zip(axes, groups, lines, strict=True):
            held, ready, waiting = (steps.means(edges_s) for steps in (line.held, line.ready, line.queue))
            staircase(gpus, held, x, BLUE)
            gpus.stairs(ready, x, baseline=None, color=INK, linewidth=1.3)
            staircase(queue, waiting, x, ORANGE)
            peak = line.queue.max(line.end_s)
            mean = line.queue.integral(0.0, line.end_s) / max(line.end_s, 1e-9)
            queue.text(0.995, 0.93, f"mean {mean:,.3g}, peak {peak:,.0f}", transform=queue.transAxes, ha="right",
                       va="top", fontsize=8, color=GREY)  # fmt: skip
            gpus.set_ylabel(group.name.replace(" · ", "\n"), rotation=0, ha="right", va="center", fontweight="bold")
            for ax in (gpus, queue):
                count_ticks(ax.yaxis)
                ax.yaxis.get_major_locator().set_params(nbins=3)
                ax.set_xlim(0, x[-1])
        axes[0, 0].set_ylim(0, 1.12 * _top([steps for line in lines for steps in (line.held, line.ready)], edges_s))
        axes[0, 1].set_ylim(0, 1.12 * _top([line.queue for line in lines], edges_s))  # shared by all rows
        axes[0, 0].set_title("GPUs held (blue) and ready (black)")
        axes[0, 1].set_title("Jobs waiting")
        for ax in axes[-1]:
            ax.set_xlabel(f"time ({unit})")
        return save(figure, folder, "over_time")


def _top(steps: Sequence[Steps], edges_s: np.ndarray) -> float:
    return max(1.0, *(float(each.means(edges_s).max()) for each in steps))
