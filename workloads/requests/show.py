"""Shows a stream of requests: its statistics, a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from workloads.errors import WorkloadError
from workloads.figure import BLUE, ORANGE, STYLE, time_unit
from workloads.requests.source import RequestSource
from workloads.requests.statistics import MINUTE_S, StreamStatistics, TokenCounts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_BINS = 600


def show(source: RequestSource, name: str, rng: np.random.Generator, folder: Path, console: Console) -> None:
    """Reads `source` to its end, prints its statistics on `console`, and writes the figure into `folder`.

    Raises:
        WorkloadError: what the source refuses; a stream of nothing.
    """
    told = StreamStatistics()
    with console.status(f"requests {name}") as status:
        for chunk in source.chunks(rng):
            told.add(chunk)
            status.update(f"requests {name}: {told.num:,}")
    if not told.num:
        raise WorkloadError(f"requests={name}: no request in it (from_s={source.from_s:g}, to_s={source.to_s:g})")
    table = Table(title=f"requests {name}", show_header=False, title_justify="left")
    for what, how_much in told.table():
        table.add_row(what, how_much)
    console.print(table, highlight=False)
    for note in source.notes():
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for path in save(told, f"{name}: {told.num:,} request{'s' if told.num > 1 else ''}", folder):
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)


def save(told: StreamStatistics, title: str, folder: Path) -> list[Path]:
    """Draws the figure and writes it as `requests.png` and `requests.svg`; returns their paths."""
    import matplotlib as mpl  # slow to import
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "requests.png", folder / "requests.svg"]
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        has_tokens = told.prompt.total > 0
        figure = Figure(
            figsize=(11, 6.4 if has_tokens else 3.6), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
        )
        figure.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold")
        if has_tokens:
            axes = figure.subplot_mosaic([["rate", "rate"], ["prompt", "output"]])
            _draw_tokens(axes["prompt"], told.prompt, "Prompts")
            _draw_tokens(axes["output"], told.output, "Outputs")
            _draw_rate(axes["rate"], told)
        else:
            _draw_rate(figure.subplots(), told)
        figure.savefig(paths[0], dpi=150, metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def _draw_rate(ax: Axes, told: StreamStatistics) -> None:
    width = max(1, -(-len(told.per_minute) // _MOST_BINS))  # minutes a bin
    counts = np.add.reduceat(told.per_minute, np.arange(0, len(told.per_minute), width))
    edges_s = np.minimum(np.arange(len(counts) + 1) * width, len(told.per_minute)) * MINUTE_S
    rates = counts / np.diff(np.append(edges_s[:-1], max(told.last_s, edges_s[-2] + 1.0)))
    unit_s, unit = time_unit(told.last_s)
    ax.stairs(rates, edges_s / unit_s, fill=True, color=BLUE, alpha=0.85)
    mean = (told.num - 1) / told.span_s if told.span_s else 0.0
    ax.axhline(mean, color=ORANGE, linewidth=1.6, label=f"mean {mean:,.4g}/s")
    ax.set(title="Arrivals", xlabel=f"time ({unit})", ylabel=f"requests/s, by {_spell(width)}")
    ax.set(xlim=(0, edges_s[-1] / unit_s), ylim=(0, 1.15 * rates.max()))
    ax.legend(loc="upper right")


def _spell(minutes: int) -> str:
    return "the minute" if minutes == 1 else f"{minutes} min"


def _draw_tokens(ax: Axes, of: TokenCounts, title: str) -> None:
    share = 100 * of.counts.cumsum() / of.counts.sum()
    kept = np.flatnonzero(of.counts)
    low, high = of.tokens[kept][[0, -1]]
    at, below = np.r_[low, of.tokens[kept], 1.1 * high], np.r_[0.0, share[kept], 100.0]
    ax.step(at, below, where="post", color=BLUE, linewidth=1.8)
    ax.axvline(of.quantile(0.5), color=ORANGE, linewidth=1.2, label=f"median {of.quantile(0.5):,.0f}")
    ax.set(title=title, xlabel="tokens", ylabel="share at most this long (%)", ylim=(0, 104))
    ax.set(xscale="log" if high > 10 * low else "linear", xlim=(low / 1.1, 1.1 * high))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    ax.legend(loc="upper left")
