"""What all figures share: looks, colours, axes in the units that a person would use, files with the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.statistics import DAY_S, HOUR_S

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind people too; yellow and black left out, three more for long lists.
PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#6A51A3", "#8C6D31", "#7F7F7F"),
)
BLUE, ORANGE, GREEN, AMBER, RED = PALETTE[0], "#DE8F05", PALETTE[2], PALETTE[4], "#C0392B"
INK, GREY, LIGHT = "#1f2937", "#6b7280", "#d1d5db"
MARKERS = "osD^vPX"
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
MAX_POINTS = 1000  # of a curve: more can't be seen and would swell the SVG
_NAMED_S = (
    *((0.001, "1 ms"), (0.01, "10 ms"), (0.1, "0.1 s"), (1.0, "1 s"), (10.0, "10 s"), (60.0, "1 min")),
    *((600.0, "10 min"), (HOUR_S, "1 h"), (6 * HOUR_S, "6 h"), (DAY_S, "1 d"), (7 * DAY_S, "1 wk")),
    *((30 * DAY_S, "30 d"), (365 * DAY_S, "1 yr")),
)
_FINER_S = (
    *((0.001, "1 ms"), (0.002, "2 ms"), (0.005, "5 ms"), (0.01, "10 ms"), (0.02, "20 ms"), (0.05, "50 ms")),
    *((0.1, "0.1 s"), (0.2, "0.2 s"), (0.5, "0.5 s"), (1.0, "1 s"), (2.0, "2 s"), (5.0, "5 s"), (10.0, "10 s")),
    *((20.0, "20 s"), (60.0, "1 min"), (120.0, "2 min"), (300.0, "5 min"), (600.0, "10 min"), (1200.0, "20 min")),
    *((HOUR_S, "1 h"), (2 * HOUR_S, "2 h"), (6 * HOUR_S, "6 h"), (12 * HOUR_S, "12 h"), (DAY_S, "1 d")),
    *((2 * DAY_S, "2 d"), (7 * DAY_S, "1 wk"), (14 * DAY_S, "2 wk"), (30 * DAY_S, "30 d"), (90 * DAY_S, "90 d")),
)
_STYLE: Any = {
    "svg.hashsalt": "simulator",  # the same run gives the same bytes
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 9.5,
    "text.parse_math": False,  # a dollar is a dollar
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelcolor": "#374151",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9ca3af",
    "axes.linewidth": 0.8,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "xtick.color": "#374151",
    "ytick.color": "#374151",
    "xtick.bottom": True,
    "ytick.left": True,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "axes.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "xtick.major.size": 3.5,
    "ytick.major.size": 3.5,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
}


def service_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each service of a run, by its place; none is that of training, blue."""
    return {name: PALETTE[1 + (1 + k) % (len(PALETTE) - 1)] for k, name in enumerate(names)}


@contextmanager
def new_figure(
    width_in: float, height_in: float, title: str, subtitle: str = "", h_pad: float = 0.1
) -> Iterator[Figure]:
    """A figure in our style, whatever the user's matplotlibrc says; draw and save inside.

    Args:
        h_pad: inches above and below each row.
    """
    import matplotlib as mpl  # slow to import, as seaborn is
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with mpl.rc_context():
        mpl.rcdefaults()
        sns.set_theme(style="whitegrid", palette=list(PALETTE), rc=_STYLE)
        top = 1 - (0.56 if subtitle else 0.36) / height_in
        layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=h_pad, rect=(0, 0, 1, top))
        figure = Figure(figsize=(width_in, height_in), layout=layout)
        left, line = 0.12 / width_in, 1 / height_in
        figure.text(left, 1 - 0.12 * line, title, fontsize=13, fontweight="bold", va="top")
        if subtitle:
            figure.text(left, 1 - 0.37 * line, subtitle, fontsize=9.5, color=GREY, va="top")
        yield figure


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes `name`.png and `name`.svg and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    figure.savefig(paths[0], dpi=150, metadata={"Software": None})
    figure.savefig(paths[1], metadata={"Date": None})
    return paths


def label_durations(axis: Any, low_s: float, high_s: float) -> None:
    """Ticks of a logarithmic axis at durations that have names, in place of powers of ten."""
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    inside = [(at, text) for at, text in _NAMED_S if low_s <= at <= high_s]
    if len(inside) < 3:
        inside = [(at, text) for at, text in _FINER_S if low_s <= at <= high_s]
    if len(inside) >= 2:
        axis.set_ticks([at for at, _ in inside], [text for _, text in inside])
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
        axis.set_minor_formatter(NullFormatter())


def count_ticks(axis: Any, most: int | None = None) -> None:
    """Ticks of a count: whole numbers, as 12,000; `most` of them and 0, or as many as have room."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(most or "auto", integer=True, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def log_counts(axis: Any) -> None:
    """Ticks of a logarithmic axis of counts: 1, 10, 100 …, or with 2 and 5 where there are few of these."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = sorted(axis.get_view_interval())
    subs = (1.0,) if high / low >= 100 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def curve(values: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """The empirical distribution of `values` as steps of at most `MAX_POINTS`: (x, per cent at most x).

    What is below `least` is drawn at its left end: a logarithmic axis has no 0.
    """
    values = np.sort(np.maximum(values, least))
    at = np.unique(np.linspace(0, len(values) - 1, MAX_POINTS).astype(np.int64))
    # of equal values the last counts, or the curve would be too low there
    share = 100 * values.searchsorted(values[at], side="right") / len(values)
    return np.r_[least, values[at]], np.r_[100.0 * (values <= least).mean(), share]


def staircase(ax: Axes, mean: np.ndarray, edges: np.ndarray, colour: str, *, fill: bool = True, **options: Any) -> None:
    """Means of buckets as a line, with a light fill below."""
    if fill:
        ax.stairs(mean, edges, fill=True, color=colour, alpha=0.28, linewidth=0)
    ax.stairs(mean, edges, baseline=None, color=colour, linewidth=1.2, **options)
