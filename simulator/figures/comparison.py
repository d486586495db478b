"""Figures of a comparison: cost against JCT, JCT by policy, GPUs and queue over time by policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simulator.comparison import (
    Comparison,
    Group,
    fine_unit_of,
    of_service,
    services_of,
    sites_of,
    spell_label,
)
from simulator.figures.distributions import draw_distributions
from simulator.figures.labels import Look
from simulator.figures.measures import Measure, measure_of, words_of
from simulator.figures.run import draw_gpus, shown_until_s
from simulator.figures.scatter import draw_scatter, drawable
from simulator.figures.services import MOST_SERVICES, file_names
from simulator.figures.spelling import spell_bucket
from simulator.figures.style import DASHES, GREY, MARKERS, ORANGE, PALETTE, count_ticks, new_figure, save, staircase
from simulator.pareto import USUAL, Tradeoff, are_whole
from simulator.run import Run
from simulator.timeline import Steps, Timeline
from workloads.figure import time_unit

_WORDS = {"ttft": "TTFT", "latency": "latency"}
_PER_1K = "cost_per_1k_requests_usd"
_MOST_ROWS = 16


def draw_comparison(comparison: Comparison, folder: Path, tradeoff: Tradeoff = USUAL) -> list[Path]:
    """Writes pareto, jct_cdf and over_time, and for each service NAME cost_vs_latency-NAME and latency_cdf-NAME.

    Each as .png and .svg; returns their paths. What there is nothing of isn't drawn.

    Raises:
        RunError: a run whose tables can't be read.
    """
    looks = _looks(comparison)
    paths = _draw_pareto(comparison, looks, tradeoff, folder)
    paths += _draw_jct(comparison, looks, folder)
    files = dict(zip(comparison.services, file_names(comparison.services), strict=True))
    for name in comparison.services[:MOST_SERVICES]:
        paths += _draw_service(comparison, looks, name, files[name], folder)
    return paths + _draw_over_time(comparison, folder)


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
        told = (spell_label(name, value) for name, value in group.labels.items() if name != shape_by)
        said = " · ".join(told) or group.name
        spelt = spell_label(shape_by, group.labels[shape_by]) if shape_by else ""
        marker, dash = MARKERS[shape % len(MARKERS)], DASHES[shape % len(DASHES)]
        looks.append(Look(PALETTE[colour % len(PALETTE)], marker, dash, said, spelt))
    return looks


def _title(comparison: Comparison) -> str:
    runs = [run for group in comparison.groups for run in group.all_runs]
    given = dict.fromkeys(str(run.labels.get(label, "")) for label in ("workload", "requests") for run in runs)
    names = ", ".join(name for name in given if name not in ("", "none"))
    return f" ({names})" if names else ""


def _seeds(comparison: Comparison) -> str:
    counts = sorted({len(group.runs) for group in comparison.groups})
    spelt = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
    return f"{spelt} seed{'' if counts == [1] else 's'}"


def _draw_pareto(comparison: Comparison, looks: Sequence[Look], tradeoff: Tradeoff, folder: Path) -> list[Path]:
    drawn = drawable(comparison, tradeoff.x, tradeoff.y)
    if not drawn:
        return []
    of_x, of_y = (
        measure_of(metric, [comparison.groups[k].estimate(metric).mean for k in drawn])
        for metric in (tradeoff.x, tradeoff.y)
    )
    what = f"{words_of(tradeoff.x)} against {words_of(tradeoff.y)}"
    title = f"{what[0].upper()}{what[1:]}{_title(comparison)}"
    with new_figure(8.6, 5.6, title, _scatter_subtitle(comparison)) as figure:
        draw_scatter(figure, figure.subplots(), comparison, looks, of_x, of_y, at_most=tradeoff.at_most)
        return save(figure, folder, "pareto")


def _scatter_subtitle(comparison: Comparison) -> str:
    intervals = ", bars: 95% confidence" if comparison.num_seeds > 1 else ""
    hollow = "" if are_whole(comparison.groups).all() else "; hollow: jobs are left"
    return f"Down and left is better; {_seeds(comparison)}{intervals}; ringed: on the Pareto frontier{hollow}"


def _draw_jct(comparison: Comparison, looks: Sequence[Look], folder: Path) -> list[Path]:
    jct_s = {k: each for k, each in ((k, _jct_s(group)) for k, group in enumerate(comparison.groups)) if len(each)}
    if not jct_s:
        return []
    drawn = {k: np.unique(each, return_counts=True) for k, each in jct_s.items()}
    low_s = max(1.0, min(float(np.percentile(each, 1)) for each in jct_s.values()))
    subtitle = f"Finished jobs of {_seeds(comparison)}; up and left is better"
    title = f"JCT by policy{_title(comparison)}"
    return draw_distributions(drawn, looks, low_s, "jobs", "JCT", title, subtitle, folder, "jct_cdf")


def _draw_service(comparison: Comparison, looks: Sequence[Look], name: str, file: str, folder: Path) -> list[Path]:
    """Of time to first token where the service has tokens, else of latency."""
    metric = "ttft" if drawable(comparison, of_service(name, "ttft_p99_s")) else "latency"
    paths = _draw_service_cost(comparison, looks, name, metric, file, folder)
    counts = {k: _counts(group, name, metric) for k, group in enumerate(comparison.groups)}
    drawn = {k: each for k, each in counts.items() if len(each[0])}
    if not drawn:
        return paths
    low_s = min(float(seconds[count.cumsum().searchsorted(0.01 * count.sum())]) for seconds, count in drawn.values())
    subtitle = f"Answered requests of {_seeds(comparison)}; up and left is better"
    title = f"{name}: {_WORDS[metric]} by policy{_title(comparison)}"
    return paths + draw_distributions(
        drawn, looks, low_s, "requests", _WORDS[metric], title, subtitle, folder, f"latency_cdf-{file}"
    )


def _draw_service_cost(
    comparison: Comparison, looks: Sequence[Look], name: str, metric: str, file: str, folder: Path
) -> list[Path]:
    """Cost, or without prices GPU time, against p99, and against the share of requests that were late."""
    p99, attained = of_service(name, f"{metric}_p99_s"), of_service(name, "slo_attainment_frac")
    cost = Measure(of_service(name, _PER_1K), "cost of a thousand requests (USD)", spell=lambda usd: f"${usd:,.10g}")
    if not any(group.estimate(cost.metric).mean > 0 for group in comparison.groups):
        cost = Measure(of_service(name, "gpu_held_h"), "GPU-hours held")
    drawn = drawable(comparison, p99, attained, cost.metric)
    if not drawn:
        return []
    unit_s, unit = fine_unit_of([comparison.groups[k].estimate(p99).mean for k in drawn])
    what = "cost" if _PER_1K in cost.metric else "GPU time"
    title = f"{name}: {what} against {_WORDS[metric]}{_title(comparison)}"
    with new_figure(12.4, 5.2, title, _scatter_subtitle(comparison)) as figure:
        left, right = figure.subplots(1, 2)
        late = Measure(attained, "requests not in time (%)", -100.0, 100.0)
        draw_scatter(figure, left, comparison, looks, cost, Measure(p99, f"{_WORDS[metric]} p99 ({unit})", 1 / unit_s),
                     legend=False)  # fmt: skip
        draw_scatter(figure, right, comparison, looks, cost, late)
        return save(figure, folder, f"cost_vs_latency-{file}")


def _counts(group: Group, service: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """(times, how many requests took each), of all seeds."""
    parts = []
    for run in group.all_runs:
        if service in services_of(run):
            table = run.columns("latencies", "service", "metric", "seconds", "num_requests")
            kept = np.isin(table["service"], sites_of(run, service)) & (table["metric"] == metric)
            parts.append((table["seconds"][kept], table["num_requests"][kept]))
    if not parts:
        return np.zeros(0), np.zeros(0, np.int64)
    seconds, at = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
    return seconds, np.bincount(at, np.concatenate([part[1] for part in parts]), len(seconds)).astype(np.int64)


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
    runs = [group.runs[min(group.runs) if seed is None else seed][0] for group in groups]
    lines = [Timeline.of(run) for run in runs]
    until_s = max(map(shown_until_s, lines))
    unit_s, unit = time_unit(until_s)
    edges_s = np.linspace(0.0, until_s, 501)
    x = edges_s / unit_s
    of = "first seed of each" if seed is None else f"seed {seed}"
    left_out = len(comparison.groups) - len(groups)
    more = f"; {left_out} more policies are not shown" if left_out else ""
    subtitle = f"Means over {spell_bucket(until_s / 500)}, {of}; same scales in all rows{more}"
    queues = _queues(comparison, groups, lines, runs)
    height_in = 1.5 + 0.92 * len(groups)
    with new_figure(7 + 3 * len(queues), height_in, f"GPUs and queues over time{_title(comparison)}", subtitle,
                    h_pad=0.05) as figure:  # fmt: skip
        axes = figure.subplots(len(groups), 1 + len(queues), sharex=True, sharey="col", squeeze=False)
        for row, (group, line) in enumerate(zip(groups, lines, strict=True)):
            gpus = axes[row, 0]
            draw_gpus(gpus, line, edges_s, unit_s)
            gpus.set_ylabel(group.name.replace(" · ", "\n"), rotation=0, ha="right", va="center", fontweight="bold")
            for ax, queue in zip(axes[row, 1:], queues.values(), strict=True):
                staircase(ax, queue[row].means(edges_s), x, ORANGE)
                peak = queue[row].max(line.end_s)
                mean = queue[row].integral(0.0, line.end_s) / max(line.end_s, 1e-9)
                ax.text(0.995, 0.93, f"mean {mean:,.3g}, peak {peak:,.0f}", transform=ax.transAxes, ha="right",
                        va="top", fontsize=8, color=GREY)  # fmt: skip
            for ax in axes[row]:
                count_ticks(ax.yaxis, most=3)
                ax.set_xlim(0, x[-1])
        axes[0, 0].set_ylim(0, 1.12 * _top([steps for line in lines for steps in (line.held, line.ready)], edges_s))
        axes[0, 0].set_title(_held_title(lines))
        for ax, (what, queue) in zip(axes[0, 1:], queues.items(), strict=True):
            ax.set_ylim(0, 1.12 * _top(queue, edges_s))  # shared by all rows
            ax.set_title(what)
        for ax in axes[-1]:
            ax.set_xlabel(f"time ({unit})")
        return save(figure, folder, "over_time")


def _held_title(lines: Sequence[Timeline]) -> str:
    has_services = any(line.serving.value.any() for line in lines)
    has_jobs = any(line.active.value.any() for line in lines)
    if not has_services:
        return "GPUs held (blue) and ready (black)"
    return "GPUs (jobs blue, services green)" if has_jobs else "GPUs of services (green) and ready (black)"


def _queues(
    comparison: Comparison, groups: Sequence[Group], lines: Sequence[Timeline], runs: Sequence[Run]
) -> dict[str, list[Steps]]:
    """What waits, by row: jobs, and requests of all services as they were sampled."""
    queues = {"Jobs waiting": [line.queue for line in lines]} if comparison.has_jobs else {}
    if comparison.services:
        queues["Requests waiting"] = [_requests_waiting(run) for run in runs]
    return queues


def _requests_waiting(run: Run) -> Steps:
    if not run.facts.get("services"):
        return Steps.of(np.zeros(0), np.zeros(0))
    samples = run.columns("service_metrics", "service", "time_s", "queue_length")
    time_s, change = [], []
    for index in np.unique(samples["service"]):
        mine = samples["service"] == index
        time_s.append(samples["time_s"][mine])
        change.append(np.diff(samples["queue_length"][mine], prepend=0.0))
    return Steps.of(np.concatenate(time_s), np.concatenate(change))


def _top(steps: Sequence[Steps], edges_s: np.ndarray) -> float:
    return max(1.0, *(float(each.means(edges_s).max()) for each in steps))
