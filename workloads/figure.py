"""One figure of a workload: arrivals, durations, sizes, demand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.statistics import DAY_S, HOUR_S, Demand, span_s, spell_s
from workloads.trace import JobTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY = "#3b6ea5", "#d9822b", "#6b7280"
_BIN_WIDTHS_S = (1, 5, 10, 30, 60, 300, 600, 1800, HOUR_S, 3 * HOUR_S, 6 * HOUR_S, DAY_S, 7 * DAY_S, 28 * DAY_S)
_MAX_BINS = 150
_DEMAND_BINS = 400
_DASHES = (0, (4, 3))
_MAX_POINTS = 1000  # of a curve: more can't be seen and would swell the SVG
_MAX_SIZES = 12
_NAMED_S = (
    *((0.001, "1 ms"), (0.1, "0.1 s"), (1.0, "1 s"), (10.0, "10 s"), (60.0, "1 min"), (600.0, "10 min")),
    *((HOUR_S, "1 h"), (6 * HOUR_S, "6 h"), (DAY_S, "1 d"), (7 * DAY_S, "1 wk"), (30 * DAY_S, "30 d")),
    (365 * DAY_S, "1 yr"),
)
STYLE: Any = {
    "svg.hashsalt": "workloads",  # the same workload gives the same bytes
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9ca3af",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "xtick.color": "#374151",
    "ytick.color": "#374151",
}


def save(jobs: JobTable, wanted: Demand, title: str, folder: Path) -> list[Path]:
    """Draws the figure and writes it as `workload.png` and `workload.svg`; returns their paths."""
    import matplotlib as mpl  # slow to import
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "workload.png", folder / "workload.svg"]
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's matplotlibrc says
        mpl.rcParams.update(STYLE)
        figure = Figure(figsize=(11, 7), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
        figure.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold")
        axes = figure.subplots(2, 2)
        _arrivals(axes[0, 0], jobs)
        _durations(axes[0, 1], jobs)
        _demand(axes[1, 0], jobs, wanted)
        _sizes(axes[1, 1], jobs)
        figure.savefig(paths[0], dpi=150, metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def _arrivals(ax: Axes, jobs: JobTable) -> None:
    first_s, last_s = _start_s(jobs), float(jobs.submit_s[-1])
    longest_s = max(_BIN_WIDTHS_S[-1], (last_s - first_s) / _MAX_BINS)
    width_s = next((width for width in _BIN_WIDTHS_S if (last_s - first_s) / width <= _MAX_BINS), longest_s)
    edges_s = np.arange(int(first_s // width_s), int(last_s // width_s) + 2) * width_s
    counts, _ = np.histogram(jobs.submit_s, edges_s)
    unit_s, unit = time_unit(edges_s[-1])
    ax.stairs(counts, edges_s / unit_s, fill=True, color=BLUE, alpha=0.85)
    ax.set(
        title="Arrivals",
        xlabel=f"time ({unit})",
        ylabel=f"jobs submitted per {_spell_bin(width_s)}",
        xlim=(edges_s[0] / unit_s, edges_s[-1] / unit_s),
        ylim=(0, 1.08 * counts.max()),
    )


def _durations(ax: Axes, jobs: JobTable) -> None:
    order = jobs.duration_s.argsort(kind="stable")
    for weight, label, colour in ((np.ones(len(jobs)), "of jobs", BLUE), (jobs.gpu_s, "of GPU time", ORANGE)):
        share = weight[order].cumsum() / weight.sum()
        median_s = float(jobs.duration_s[order][share.searchsorted(0.5)])
        points = np.unique(share.searchsorted(np.linspace(0, 1, _MAX_POINTS)).clip(max=len(share) - 1))
        x_s, y = jobs.duration_s[order][points], share[points]
        label += f" (median {spell_s(median_s)})"
        ax.step(np.r_[x_s[0], x_s], 100 * np.r_[0.0, y], where="post", color=colour, linewidth=1.8, label=label)
    ax.set(title="Durations", xlabel="duration on the GPUs asked for", ylabel="share at most this long (%)")
    ax.set(xscale="log", ylim=(0, 104))
    _label_durations(ax, float(jobs.duration_s.min()), float(jobs.duration_s.max()))
    ax.legend(loc="upper left")


def _label_durations(ax: Axes, low_s: float, high_s: float) -> None:
    """Sets limits a bit beyond low_s..high_s, and ticks at durations that have names, in place of powers of ten."""
    for margin in (1.5, 10.0, 60.0):  # wide enough for two names or more
        inside = [(at, text) for at, text in _NAMED_S if low_s / margin <= at <= high_s * margin]
        ax.set_xlim(low_s / margin, high_s * margin)
        if len(inside) >= 2:
            ax.set_xticks([at for at, _ in inside], [text for _, text in inside])
            ax.minorticks_off()
            return


def _demand(ax: Axes, jobs: JobTable, wanted: Demand) -> None:
    first_s, last_s = _start_s(jobs), float(jobs.submit_s[-1])
    # the tail of one long job would squeeze all the rest: show what holds 95% of the work
    until_s = max(last_s, wanted.time_when_done_s(0.95))
    edges_s = np.linspace(first_s, until_s, _DEMAND_BINS + 1)
    unit_s, unit = time_unit(until_s)
    mean_gpus = wanted.mean_gpus(edges_s)
    ax.stairs(mean_gpus, edges_s / unit_s, fill=True, color=BLUE, alpha=0.35)
    ax.stairs(mean_gpus, edges_s / unit_s, color=BLUE, linewidth=1.2)
    top_gpus = float(mean_gpus.max())
    if (arrivals_s := span_s(jobs)) > 0:
        offered_gpus = float(jobs.gpu_s.sum()) / arrivals_s
        top_gpus = max(top_gpus, offered_gpus)
        label = f"all work / time of arrivals: {offered_gpus:,.1f} GPUs"
        ends = np.array([last_s - arrivals_s, last_s]) / unit_s
        ax.plot(ends, [offered_gpus] * 2, color=ORANGE, linewidth=1.8, label=label)
        ax.legend(loc="upper right")
    if first_s < last_s < 0.98 * until_s:
        ax.axvline(last_s / unit_s, color=GREY, linewidth=0.9, linestyle=_DASHES)
        right = last_s - first_s < 0.6 * (until_s - first_s)
        _note(ax, "last job arrives", (last_s / unit_s, 1.1 * top_gpus), right=right)
    ax.set(
        title=f"Demand if no job waits (peak {wanted.peak_gpus:,} GPUs)",
        xlabel=f"time ({unit})",
        ylabel="GPUs",
        xlim=(first_s / unit_s, until_s / unit_s),
        ylim=(0, 1.35 * top_gpus),
    )


def _note(ax: Axes, text: str, at: tuple[float, float], *, right: bool = True) -> None:
    """`text` to the right (or left) of a point, just above it, readable on whatever lies below."""
    ax.annotate(
        text,
        at,
        xytext=(5 if right else -5, 4),
        textcoords="offset points",
        ha="left" if right else "right",
        color="#374151",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.8},
    )


def _start_s(jobs: JobTable) -> float:
    """Where the time axis starts: at 0, unless the first job comes so late that half the axis were empty."""
    first_s, last_s = float(jobs.submit_s[0]), float(jobs.submit_s[-1])
    return first_s if first_s > 0.5 * last_s else 0.0


def _sizes(ax: Axes, jobs: JobTable) -> None:
    sizes, at = np.unique(jobs.num_gpus, return_inverse=True)
    names = [f"{size}" for size in sizes]
    if len(sizes) > _MAX_SIZES:  # 1, 2, 3–4, 5–8, …
        power = np.ceil(np.log2(jobs.num_gpus)).astype(np.int64)
        powers, at = np.unique(power, return_inverse=True)
        names = [f"{2**p}" if p < 2 else f"{2 ** (p - 1) + 1}–{2**p}" for p in powers.tolist()]
    job_pct = 100 * np.bincount(at) / len(jobs)
    work_pct = 100 * np.bincount(at, jobs.gpu_s) / jobs.gpu_s.sum()
    x = np.arange(len(names))
    for shift, pct, label, colour in ((-0.2, job_pct, "of jobs", BLUE), (0.2, work_pct, "of GPU time", ORANGE)):
        bars = ax.bar(x + shift, pct, 0.38, color=colour, alpha=0.9, label=label)
        texts = [f"{value:.0f}" if value >= 9.95 else f"{value:.2g}" for value in pct]
        ax.bar_label(bars, texts, padding=1.5, fontsize=7, color="#374151")
    ax.set_xticks(x, names)
    ax.tick_params(axis="x", length=0)
    ax.grid(visible=False, axis="x")
    ax.set(
        title="Sizes",
        xlabel="GPUs asked for",
        ylabel="share (%)",
        xlim=(min(-0.6, len(names) / 2 - 2.5), max(len(names) - 0.4, len(names) / 2 + 1.5)),
    )
    ax.margins(y=0.12)
    ax.legend(loc="upper right")


def time_unit(until_s: float) -> tuple[float, str]:
    """(seconds in it, its name): the unit for an axis from 0 to `until_s`."""
    if until_s > 3 * DAY_S:
        return DAY_S, "days"
    if until_s > 3 * HOUR_S:
        return HOUR_S, "h"
    return (60.0, "min") if until_s > 180 else (1.0, "s")


def _spell_bin(width_s: float) -> str:
    for unit_s, unit in ((DAY_S, "day"), (HOUR_S, "h"), (60.0, "min"), (1.0, "s")):
        if width_s >= unit_s:
            return unit if width_s == unit_s else f"{width_s / unit_s:g} {unit}{'s' if unit == 'day' else ''}"
    return f"{width_s:g} s"
