"""Figures of a run's services: load, replicas and latency over time, latency heat maps and distributions, costs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.figures.service_history import ServiceHistory
from simulator.figures.spelling import per_cent, spell_bucket, spell_s, spell_usd
from simulator.figures.style import (
    AMBER,
    BLUE,
    GREEN,
    INK,
    LIGHT,
    ORANGE,
    RED,
    count_ticks,
    label_durations,
    log_counts,
    new_figure,
    save,
    service_colours,
    staircase,
)
from simulator.run import Run
from simulator.serving.heat import heat_edges_s
from workloads.figure import time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SERVICES = 6
_FASTEST_FRAC = 0.001  # of requests that a heat map leaves out, or it would show little else
_ENOUGH_FOR_HEAT = 3  # requests in a column
_MOST_CHANGES = 150  # of how many replicas are wanted, for a line to be readable
_FINE = 600  # buckets of replicas, which are known to the second
_SPELT = {"latency": "latency", "ttft": "time to first token", "time_per_output_token": "time per output token"}
_COLOURS = {"latency": BLUE, "ttft": ORANGE, "time_per_output_token": GREEN}
_DASHED: Any = (0, (5, 2.5))


def draw_services(run: Run, summary: Mapping[str, Any], title: str, folder: Path) -> list[Path]:
    """Writes service-NAME, heat-NAME and latency-NAME, of the services with the most requests, and cost_split."""
    services = summary["services"]
    paths: list[Path] = []
    files = dict(zip(services, file_names(list(services)), strict=True))
    for name in busiest(services):
        of, file = services[name], files[name]
        history = ServiceHistory.of(run, name, list(services).index(name), of["slo"])
        heading, told = f"{name} · {title}", service_line(of)
        paths += _draw_over_time(history, heading, told, folder, f"service-{file}")
        if history.heat:
            paths += _draw_heat(history, heading, told, folder, f"heat-{file}")
            paths += _draw_distribution(run, history, heading, told, folder, f"latency-{file}")
    return paths + _draw_cost(summary, title, folder)


def busiest(services: Mapping[str, Any]) -> list[str]:
    """Those with the most requests, at most `MOST_SERVICES`, in their order."""
    kept = sorted(services, key=lambda name: -services[name]["num_requests"])[:MOST_SERVICES]
    return [name for name in services if name in kept]


def file_names(names: Sequence[str]) -> list[str]:
    """What these services are called in names of files: without what a file's name can't have, and all different."""
    plain: list[str] = []
    for name in names:
        file = re.sub(r"[^\w.-]+", "_", name)
        plain.append(file if file not in plain else f"{file}-{len(plain)}")
    return plain


def service_line(of: Mapping[str, Any]) -> str:
    """How a service fared, in a line."""
    parts = [f"{of['num_served']:,} of {of['num_requests']:,} requests served"]
    if of["slo_attainment_frac"] is not None:
        parts.append(f"{per_cent(of['slo_attainment_frac'])} in time (wanted: {per_cent(of['slo']['target_frac'])})")
        parts.append(f"{of['slo_minutes_in_violation']:,} min in violation")
    parts.append(f"{of['replicas_mean']:,.3g} replicas")
    if of["cost_per_1k_requests_usd"]:
        parts.append(f"{spell_usd(of['cost_per_1k_requests_usd'])} a thousand requests")
    return ", ".join(parts)


def _is_limit(limit_s: float | None) -> bool:
    return limit_s is not None and math.isfinite(limit_s)


def _draw_over_time(of: ServiceHistory, title: str, subtitle: str, folder: Path, name: str) -> list[Path]:
    """Load; replicas; time to first token, where there is one, and latency, each on a logarithmic axis."""
    edges_s = of.edges_s()
    unit_s, unit = time_unit(of.until_s)
    metrics = _metrics(of)
    heights = [1.0, 1.2, *(1.2 for _ in metrics)]
    with new_figure(10, 1.1 + 1.62 * len(heights), title, subtitle) as figure:
        load, replicas, *latencies = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        per_s = of.load_per_s(edges_s)
        staircase(load, per_s, edges_s / unit_s, BLUE)
        load.set(title=f"Load (requests/s, mean over {spell_bucket(edges_s[1])})", ylabel="requests/s")
        load.set_ylim(0, 1.1 * max(float(per_s.max(initial=0.0)), 1e-9))
        _replicas(replicas, of, unit_s)
        for ax, metric in zip(latencies, metrics, strict=True):
            _percentiles(ax, of, metric, edges_s, unit_s)
        (latencies or [replicas])[-1].set_xlabel(f"time ({unit})")
        load.set_xlim(0, max(of.until_s, 1e-9) / unit_s)
        figure.align_ylabels()
        return save(figure, folder, name)


def _metrics(of: ServiceHistory) -> list[str]:
    return [metric for metric in ("ttft", "latency") if metric in of.heat]


def _replicas(ax: Axes, of: ServiceHistory, unit_s: float) -> None:
    edges_s = np.linspace(0.0, max(of.until_s, 1e-9), _FINE + 1)
    x = edges_s / unit_s
    parts = [steps.means(edges_s) for steps in (of.ready, of.starting, of.pending, of.draining)]
    looks: tuple[dict[str, Any], ...] = (
        {"label": "ready", "facecolor": GREEN, "alpha": 0.45},
        {"label": "starting", "facecolor": AMBER, "alpha": 0.75},
        {"label": "waiting for GPUs", "facecolor": "none", "edgecolor": RED, "hatch": "//////"},
        {"label": "draining", "facecolor": LIGHT},
    )
    bottom = np.zeros(_FINE)
    for part, look in zip(parts, looks, strict=True):
        if part.any():
            ax.stairs(bottom + part, x, baseline=bottom, fill=True, linewidth=0, **look)
        bottom = bottom + part
    wanted = parts[0] + parts[1] + parts[2]
    if np.count_nonzero(np.diff(wanted)) <= _MOST_CHANGES:
        ax.stairs(wanted, x, baseline=None, color=INK, linewidth=1.1, label="wanted")
    ax.set(title="Replicas", ylabel="replicas", ylim=(0, 1.15 * max(1.0, float(bottom.max()))))
    count_ticks(ax.yaxis, most=4)
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=5, fontsize=9, borderaxespad=0.2)


def _percentiles(ax: Axes, of: ServiceHistory, metric: str, edges_s: np.ndarray, unit_s: float) -> None:
    x = edges_s / unit_s
    spans = _spans(of.violated_s, 60.0)
    if spans:
        minutes = [(begin_s / unit_s, length_s / unit_s) for begin_s, length_s in spans]
        ax.broken_barh(minutes, (0, 1), transform=ax.get_xaxis_transform(), facecolor=RED, alpha=0.16, linewidth=0,
                       label="minute in violation")  # fmt: skip
    drawn = of.quantiles_s(metric, edges_s, 0.5, 0.99)
    for values, label, colour, width in zip(drawn, ("p50", "p99"), (BLUE, ORANGE), (1.2, 1.5), strict=True):
        alone = np.isnan(np.r_[math.nan, values[:-1]]) & np.isnan(np.r_[values[1:], math.nan]) & ~np.isnan(values)
        middle = (x[:-1] + x[1:]) / 2
        ax.plot(middle, values, color=colour, linewidth=width, label=label)
        ax.plot(middle[alone], values[alone], ".", color=colour, markersize=3.5)
    known = np.concatenate([values[~np.isnan(values)] for values in drawn])
    low_s, high_s = float(known.min(initial=math.inf)), float(known.max(initial=0.0))
    limit_s = of.objective[f"{metric}_s"]
    if _is_limit(limit_s):
        ax.axhline(limit_s, color=RED, linestyle=_DASHED, linewidth=1.2, label=f"objective ({spell_s(limit_s)})")
        low_s, high_s = min(low_s, limit_s), max(high_s, limit_s)
    _log_durations(ax, "y", low_s, high_s)
    title = f"{_SPELT[metric].capitalize()} (by arrival within {spell_bucket(edges_s[1])})"
    ax.set(title=title, ylabel=_SPELT[metric] if metric == "latency" else "TTFT")
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=4, fontsize=9, borderaxespad=0.2)


def _spans(begin_s: np.ndarray, width_s: float) -> list[tuple[float, float]]:
    """(begin, length) of what these stretches make, neighbours put together; `begin_s` ascends."""
    if not len(begin_s):
        return []
    first = np.r_[True, np.diff(begin_s) > 1.5 * width_s]
    starts_s = begin_s[first]
    ends_s = begin_s[np.r_[first[1:], True]] + width_s
    return list(zip(starts_s.tolist(), (ends_s - starts_s).tolist(), strict=True))


def _log_durations(ax: Axes, which: str, low_s: float, high_s: float, room: float = 1.5) -> None:
    """A logarithmic axis of durations, with some room, and wide enough for ticks to tell how wide."""
    low_s, high_s = low_s / room, high_s * room
    if high_s < 5 * low_s:
        middle_s = math.sqrt(low_s * high_s)
        low_s, high_s = middle_s / math.sqrt(5), middle_s * math.sqrt(5)
    ax.set(**{f"{which}scale": "log", f"{which}lim": (low_s, high_s)})
    label_durations(getattr(ax, f"{which}axis"), low_s, high_s)


def _draw_heat(of: ServiceHistory, title: str, subtitle: str, folder: Path, name: str) -> list[Path]:
    """How many requests took how long, over the day; a panel for latency, and one for time to first token."""
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap, LogNorm

    shades = ListedColormap(mpl.colormaps["YlGnBu"](np.linspace(0.22, 1.0, 256)))  # a single request is seen on white
    edges_s, bins_s = of.edges_s(_ENOUGH_FOR_HEAT), heat_edges_s()
    unit_s, unit = time_unit(of.until_s)
    with new_figure(10, 1.0 + 2.9 * len(of.heat), title, subtitle) as figure:
        panels = figure.subplots(len(of.heat), 1, sharex=True, squeeze=False)[:, 0]
        for ax, metric in zip(panels, _metrics(of), strict=True):
            counts = of.heat_in(metric, edges_s)
            below = counts.sum(axis=0).cumsum()
            low = int(below.searchsorted(_FASTEST_FRAC * below[-1], "right"))
            high = int(below.searchsorted(below[-1])) + 1
            shown = np.ma.masked_equal(counts[:, low:high].T, 0)
            norm = LogNorm(1, max(2.0, float(shown.max())))
            mesh = ax.pcolormesh(
                edges_s / unit_s, bins_s[low : high + 1], shown, norm=norm, cmap=shades, rasterized=True, zorder=2
            )
            limit_s = of.objective[f"{metric}_s"]
            low_s, high_s = float(bins_s[low]), float(bins_s[high])
            if _is_limit(limit_s):
                label = f"objective ({spell_s(limit_s)})"
                ax.axhline(limit_s, color=RED, linestyle=_DASHED, linewidth=1.3, label=label, zorder=3)
                ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99), fontsize=9, borderaxespad=0.2)
                low_s, high_s = min(low_s, limit_s), max(high_s, limit_s)
            _log_durations(ax, "y", low_s, high_s, room=1.2)
            left_out = " (without the fastest 0.1%)" if low and below[low - 1] else ""
            ax.set(title=f"{_SPELT[metric].capitalize()} by time of arrival{left_out}", ylabel=_SPELT[metric])
            bar = figure.colorbar(mesh, ax=ax, pad=0.012, aspect=18)
            bar.set_label(f"requests per cell of {spell_bucket(edges_s[1])} × 17%", fontsize=8.5)
            log_counts(bar.ax.yaxis)
            bar.outline.set_visible(False)
        panels[-1].set(xlabel=f"time ({unit})", xlim=(0, max(of.until_s, 1e-9) / unit_s))
        return save(figure, folder, name)


def _draw_distribution(run: Run, of: ServiceHistory, title: str, subtitle: str, folder: Path, name: str) -> list[Path]:
    """Of all requests that were answered: how many took at most so long, and how many longer."""
    table = run.columns("latencies", "service", "metric", "seconds", "num_requests")
    mine = table["service"] == of.name
    with new_figure(10, 4.6, title, subtitle) as figure:
        whole, tail = figure.subplots(1, 2)
        low_s, high_s, fewest = math.inf, 0.0, 100.0
        limits: list[float] = []
        for metric, colour in _COLOURS.items():
            kept = mine & (table["metric"] == metric)
            if not kept.any():
                continue
            seconds, count = table["seconds"][kept], table["num_requests"][kept]
            share = 100 * count.cumsum() / count.sum()
            p50_s, p99_s = (float(seconds[share.searchsorted(100 * part - 1e-9)]) for part in (0.5, 0.99))
            label = f"{_SPELT[metric]} (p50 {spell_s(p50_s)}, p99 {spell_s(p99_s)})"
            style: Any = {"color": colour, "linewidth": 1.9, "where": "post"}
            whole.step(np.r_[seconds[0], seconds], np.r_[0.0, share], **style, label=label)
            tail.step(np.r_[seconds[0], seconds], 100 - np.r_[0.0, share[:-1], 100 - 1e-12], **style)
            limit_s = of.objective.get(f"{metric}_s", math.inf)
            if _is_limit(limit_s):
                limits.append(limit_s)
                for ax in (whole, tail):
                    ax.axvline(limit_s, color=colour, linestyle=_DASHED, linewidth=1.1)
                high_s = max(high_s, limit_s)
            low_s = min(low_s, float(seconds[share.searchsorted(0.5)]))
            high_s, fewest = max(high_s, float(seconds[-1])), min(fewest, 100 / float(count.sum()))
        whole.set(title="All that were answered", ylabel="share at most this long (%)", ylim=(0, 103))
        tail.set(title="The slowest", ylabel="share longer (%)", yscale="log", ylim=(min(max(fewest, 1e-4), 10), 100))
        log_counts(tail.yaxis)
        for ax in (whole, tail):
            ax.set_xlabel("time (dashed: objective)" if limits else "time")
            _log_durations(ax, "x", low_s, high_s, room=1.15)
        figure.legend(*whole.get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=9)
        return save(figure, folder, name)


def _draw_cost(summary: Mapping[str, Any], title: str, folder: Path) -> list[Path]:
    """What the bill was for."""
    total_usd = summary["cost_usd"]
    if not total_usd:
        return []
    services = summary["services"]
    parts: list[tuple[str, float, str, str]] = []
    if summary["num_submitted"]:
        jobs = f"{summary['num_finished']:,} of {summary['num_submitted']:,} jobs finished"
        parts.append(("training", summary["cost_training_usd"], BLUE, jobs))
    colours = service_colours(services)
    for name, of in services.items():
        per_1k = of["cost_per_1k_requests_usd"]
        notes = [f"{spell_usd(per_1k)} a thousand requests"] if per_1k else []
        if of["gpu_held_h"] and of["gpu_startup_h"] / of["gpu_held_h"] >= 0.001:
            notes.append(f"{per_cent(of['gpu_startup_h'] / of['gpu_held_h'])} of its GPU time starting up")
        parts.append((name, of["cost_usd"], colours[name], ", ".join(notes)))
    if summary["cost_startup_usd"]:
        parts.append(("nodes starting", summary["cost_startup_usd"], AMBER, "from launch to ready"))
    for part, key, more in (
        ("warm pool", "cost_warm_usd", "prepared and stopped"),
        ("rounding", "cost_rounding_usd", "billed beyond a node's end"),
    ):
        if summary[key]:
            parts.append((part, summary[key], LIGHT, more))
    parts.append(("idle", summary["cost_idle_usd"], LIGHT, "ready, held by nobody"))
    with new_figure(10, 1.5 + 0.46 * len(parts), title, f"{spell_usd(total_usd)} in all") as figure:
        ax = figure.subplots()
        for row, (_, usd, colour, more) in enumerate(parts):
            ax.barh(row, usd, 0.62, color=colour, alpha=0.85, linewidth=0)
            said = f"{spell_usd(usd)}, {per_cent(usd / total_usd)}" + (f" ({more})" if more else "")
            inside = usd > 0.55 * max(part[1] for part in parts)
            offset, align = ((-6, 0), "right") if inside else ((6, 0), "left")
            ax.annotate(said, (usd, row), offset, textcoords="offset points", va="center", ha=align, fontsize=9,
                        color="white" if inside and colour != LIGHT else INK)  # fmt: skip
        ax.set_yticks(range(len(parts)), [part[0] for part in parts])
        ax.tick_params(axis="y", length=0)
        ax.grid(visible=False, axis="y")
        ax.set(title="What the bill is for", xlabel="cost (USD)", ylim=(len(parts) - 0.4, -0.6))
        ax.xaxis.set_major_formatter(lambda value, _: f"${value:,.10g}")
        return save(figure, folder, "cost_split")
