"""Figures of one run: GPUs and queue over time, latencies, and who was where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.comparison import flat_labels
from simulator.figures.gantt import draw_gantt
from simulator.figures.services import draw_services
from simulator.figures.spelling import per_cent, spell_s, spell_usd
from simulator.figures.style import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    RED,
    count_ticks,
    curve,
    label_durations,
    new_figure,
    save,
    staircase,
)
from simulator.metrics import summarise
from simulator.pools.node import LOST
from simulator.run import Run
from simulator.timeline import Steps, Timeline
from workloads.figure import time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_SIZES = 10
_DONE_FRAC = 0.99


def draw_run(run: Run, folder: Path) -> list[Path]:
    """Writes over_time, latency and, for a small run, gantt; each as .png and .svg. Returns their paths."""
    summary = run.summary or summarise(run)
    title, subtitle = run_title(run), _subtitle(summary)
    paths = _draw_over_time(run, Timeline.of(run), title, subtitle, folder)
    if summary["num_finished"]:
        paths += _draw_latency(run, summary, title, subtitle, folder)
    paths += draw_gantt(run, title, subtitle, folder)
    return paths + (draw_services(run, summary, title, folder) if summary["services"] else [])


def run_title(run: Run) -> str:
    """What was chosen, and the seed."""
    labels = flat_labels(run.labels)
    shown = ("allocation", "placement", "scaling", "workload", "requests")
    chosen = [labels[name] for name in shown if labels.get(name, "none") != "none"]
    return " · ".join([*chosen, f"seed {run.facts.get('seed', 0)}"])


def _subtitle(summary: Any) -> str:
    parts = []
    services = summary.get("services") or {}
    if summary["num_submitted"] or not services:
        parts.append(f"{summary['num_finished']:,} of {summary['num_submitted']:,} jobs finished")
    if services:
        served, came = (sum(of[name] for of in services.values()) for name in ("num_served", "num_requests"))
        parts.append(f"{served:,} of {came:,} requests served")
    if summary["jct_mean_s"] is not None:
        parts.append(f"mean JCT {spell_s(summary['jct_mean_s'])}")
    if summary["gpu_allocation_frac"] is not None:
        parts.append(f"{summary['gpu_allocation_frac']:.0%} of GPU time held")
    if summary["cost_usd"]:
        parts.append(spell_usd(summary["cost_usd"]))
    return ", ".join(parts)


def shown_until_s(timeline: Timeline) -> float:
    """Where a time axis ends: the tail of one long job would squeeze all the rest. With services, at the end."""
    held = timeline.held
    if timeline.serving.value.any():
        return timeline.end_s
    work_gpu_s = held.integral(0.0, timeline.end_s)
    done_s = np.interp(_DONE_FRAC * work_gpu_s, held.integral_to(held.time_s), held.time_s) if work_gpu_s else 0.0
    last_arrival_s = timeline.active.time_s[np.diff(timeline.active.value, prepend=0.0) > 0].max(initial=0.0)
    until_s = max(float(done_s), float(last_arrival_s))
    return until_s if until_s < 0.9 * timeline.end_s else timeline.end_s


def _draw_over_time(run: Run, timeline: Timeline, title: str, subtitle: str, folder: Path) -> list[Path]:
    until_s = shown_until_s(timeline)
    edges_s = timeline.edges_s(until_s)
    unit_s, unit = time_unit(until_s)
    x = edges_s / unit_s
    has_jobs = bool(timeline.active.value.any())
    with new_figure(10, 5.6 if has_jobs else 3.7, title, subtitle) as figure:
        gpus, *more = figure.subplots(
            1 + has_jobs, 1, sharex=True, height_ratios=(3, 2)[: 1 + has_jobs], squeeze=False
        )[:, 0]
        draw_gpus(gpus, timeline, edges_s, unit_s)
        on = _draw_nodes(gpus, run, timeline, edges_s, unit_s)
        gpus.legend(loc="upper right", ncols=5)
        held_frac = timeline.held.integral(0.0, timeline.end_s) / max(
            timeline.ready.integral(0.0, timeline.end_s), 1e-9
        )
        top = max(float(steps.means(edges_s).max()) for steps in (timeline.held, timeline.ready, on))
        gpus.set(
            title=f"GPUs ({per_cent(held_frac)} of those ready are held)", ylabel="GPUs", ylim=(0, 1.22 * max(1.0, top))
        )
        for waiting in more:
            queue = timeline.queue.means(edges_s)
            staircase(waiting, queue, x, ORANGE)
            peak, mean = timeline.queue.max(timeline.end_s), timeline.queue.integral(0.0, timeline.end_s)
            mean /= max(timeline.end_s, 1e-9)
            waiting.set(title=f"Queue (mean {mean:,.3g}, peak {peak:,.0f} jobs)", ylabel="jobs waiting")
            waiting.set_ylim(0, 1.1 * max(1.0, queue.max()))
        if until_s < timeline.end_s:
            text = f"99% of the work is done; the last job ends at {timeline.end_s / unit_s:,.3g} {unit}"
            gpus.set_title(text, loc="right", fontsize=8.5, fontweight="normal", color=GREY)
        for ax in (gpus, *more):
            count_ticks(ax.yaxis)
        ax.set(xlabel=f"time ({unit})", xlim=(0, x[-1]))
        return save(figure, folder, "over_time")


def draw_gpus(ax: Axes, timeline: Timeline, edges_s: np.ndarray, unit_s: float) -> None:
    """GPUs that services hold, on them those that jobs hold, and those that are ready; means of buckets.

    Not beyond the end of the run, where other runs beside it may go on.
    """
    if 0 < timeline.end_s < edges_s[-1]:
        edges_s = np.append(edges_s[edges_s < timeline.end_s], timeline.end_s)
    x = edges_s / unit_s
    held, serving, ready = (steps.means(edges_s) for steps in (timeline.held, timeline.serving, timeline.ready))
    is_lent = held > serving + 1e-6  # not by the rounding of means
    if serving.any():
        staircase(ax, serving, x, GREEN, label="held by services")
    if not serving.any() or is_lent.any():
        ax.stairs(held, x, baseline=serving, fill=True, color=BLUE, alpha=0.28, linewidth=0)
        of_jobs = np.where(is_lent, held, np.nan) if serving.any() else held
        ax.stairs(of_jobs, x, baseline=None, color=BLUE, linewidth=1.2, label="held by jobs")
    ax.stairs(ready, x, baseline=None, color=INK, linewidth=1.4, label="ready")


def _draw_nodes(ax: Axes, run: Run, timeline: Timeline, edges_s: np.ndarray, unit_s: float) -> Steps:
    """GPUs of nodes that are on, ready or not, where some start; below, when nodes failed or were reclaimed."""
    nodes = run.columns("nodes", "num_gpus", "launched_s", "warm_s", "ready_s", "terminated_s", "end")
    off_s = np.minimum(nodes["warm_s"], nodes["terminated_s"])
    was_on = nodes["launched_s"] < off_s
    size = nodes["num_gpus"][was_on].astype(np.float64)
    times_s = np.concatenate([nodes["launched_s"][was_on], off_s[was_on]])
    on = Steps.of(times_s, np.concatenate([size, -size]))
    all_on = on.means(edges_s)
    starts = all_on > timeline.ready.means(edges_s) + 1e-6  # not by the rounding of means
    if starts.any():
        ax.stairs(
            np.where(starts, all_on, np.nan), edges_s / unit_s, baseline=None, color=AMBER, linewidth=1.0,
            label="ready or starting",
        )  # fmt: skip
    lost_s = nodes["terminated_s"][np.isin(nodes["end"].astype(str), LOST)]
    lost_s = lost_s[lost_s <= edges_s[-1]]
    if lost_s.size:
        ax.plot(
            lost_s / unit_s, np.full(lost_s.size, 0.02), "|", color=RED, markersize=7, markeredgewidth=1.1,
            transform=ax.get_xaxis_transform(), label="node failed or reclaimed",
        )  # fmt: skip
    return on


def _draw_latency(run: Run, summary: Any, title: str, subtitle: str, folder: Path) -> list[Path]:
    jobs = run.columns("jobs", "submit_s", "start_s", "finish_s", "duration_s", "num_gpus", "state")
    kept = (jobs["state"] == "finished") & (jobs["submit_s"] >= (summary["warmup_s"] or 0.0))
    jobs = {name: column[kept] for name, column in jobs.items()}
    if not kept.any():
        return []
    with new_figure(10, 4.6, title, subtitle) as figure:
        left, right = figure.subplots(1, 2)
        _cdf(left, jobs)
        _by_size(right, jobs)
        return save(figure, folder, "latency")


def _cdf(ax: Axes, jobs: dict[str, np.ndarray]) -> None:
    jct_s, queueing_s = jobs["finish_s"] - jobs["submit_s"], jobs["start_s"] - jobs["submit_s"]
    low_s = max(1e-3, min(1.0, float(jct_s[jct_s > 0].min(initial=1.0))))
    high_s = max(float(jct_s.max()), 10 * low_s)
    at_once = float((queueing_s <= low_s).mean())
    for values, label, colour, style in (
        (jobs["duration_s"], "duration on the GPUs asked for", GREY, (0, (3, 2))),
        (jct_s, f"JCT (median {spell_s(float(np.median(jct_s)))})", BLUE, "-"),
        (queueing_s, f"queueing ({per_cent(at_once)} start at once)", ORANGE, "-"),
    ):
        x, y = curve(values, low_s)
        ax.step(x, y, where="post", color=colour, linestyle=style, linewidth=1.9, label=label)
    ax.set(title="Latency of finished jobs", xlabel="time", ylabel="share of jobs at most this long (%)")
    ax.set(xscale="log", xlim=(low_s, 1.3 * high_s), ylim=(0, 103))
    label_durations(ax.xaxis, low_s, high_s)
    ax.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")


def _by_size(ax: Axes, jobs: dict[str, np.ndarray]) -> None:
    """Boxes: p25 to p75 with the median; whiskers p5 to p95."""
    import logging

    import seaborn as sns  # slow to import

    logging.getLogger("matplotlib.category").setLevel(logging.WARNING)  # it takes offence at sizes as names
    jct_s = np.maximum(jobs["finish_s"] - jobs["submit_s"], 1e-3)
    sizes, at = np.unique(jobs["num_gpus"], return_inverse=True)
    names = [f"{size}" for size in sizes.tolist()]
    if len(sizes) > _MOST_SIZES:  # 1, 2, 3–4, 5–8, …
        powers, at = np.unique(np.ceil(np.log2(jobs["num_gpus"])).astype(np.int64), return_inverse=True)
        names = [f"{2**p}" if p < 2 else f"{2 ** (p - 1) + 1}–{2**p}" for p in powers.tolist()]
    counts = np.bincount(at)
    sns.boxplot(
        x=at,
        y=jct_s,
        ax=ax,
        width=0.55,
        whis=(5, 95),
        showfliers=False,
        color="#c6dcec",
        linecolor=BLUE,
        linewidth=1.1,
        medianprops={"linewidth": 2.2, "solid_capstyle": "butt"},
    )
    ends_s = np.array([np.percentile(jct_s[at == k], [5, 95]) for k in range(len(names))])
    low_s, high_s = float(ends_s[:, 0].min()), float(ends_s[:, 1].max())
    low_s, high_s = low_s / 1.5, high_s * 3.2  # room for the counts
    ax.set(
        title="JCT by size (median, p25–p75, p5–p95)",
        xlabel="GPUs asked for (above: number of jobs)",
        yscale="log",
        ylim=(low_s, high_s),
    )
    label_durations(ax.yaxis, low_s, high_s)
    ax.set_xticks(range(len(names)), names)
    ax.set_xlim(min(-0.7, len(names) / 2 - 2.5), max(len(names) - 0.3, len(names) / 2 + 1.5))
    ax.grid(visible=False, axis="x")
    ax.tick_params(axis="x", length=0)
    for k, count in enumerate(counts):
        text = f"{count}" if count < 10_000 else f"{count / 1000:,.0f}k"
        ax.annotate(
            text, (k, 0.985), xycoords=("data", "axes fraction"), ha="center", va="top", fontsize=7.5, color=GREY
        )
