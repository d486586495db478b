"""What one thing costs of another: a point a policy, with intervals, names, and the Pareto frontier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.comparison import Comparison
from simulator.figures.labels import Look, label_points
from simulator.figures.measures import Measure
from simulator.figures.style import GREY, INK, RED
from simulator.pareto import are_whole, front_of_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def drawable(comparison: Comparison, *metrics: str) -> list[int]:
    """The groups that have all of these metrics."""
    estimates = [[group.estimate(metric) for metric in metrics] for group in comparison.groups]
    return [k for k, each in enumerate(estimates) if all(estimate.num for estimate in each)]


def draw_scatter(figure: Figure, ax: Axes, comparison: Comparison, looks: Sequence[Look], of_x: Measure, of_y: Measure,
                 *, legend: bool = True, at_most: float | None = None) -> None:  # fmt: skip
    """A point a group that has both, hollow where fewer jobs finished than of others.

    Call it when all other axes of the figure are there, since it places names.

    Args:
        at_most: a bound on `of_y`, drawn as a line; in the metric's own unit.
    """
    drawn = drawable(comparison, of_x.metric, of_y.metric)
    (x, dx), (y, dy) = (_values(comparison, drawn, of) for of in (of_x, of_y))
    whole = are_whole([comparison.groups[k] for k in drawn])
    front = front_of_whole(x, y, whole)
    ax.step(x[front], y[front], where="post", color=GREY, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1)
    for i, k in enumerate(drawn):
        look = looks[k]
        bars: Any = {"xerr": dx[i] or None, "yerr": dy[i] or None}
        ax.errorbar(x[i], y[i], **bars, fmt="none", ecolor=look.colour, elinewidth=1.1, capsize=2.5, alpha=0.5)
        ring = {"markeredgecolor": INK, "markeredgewidth": 1.6, "zorder": 4} if i in front else {"zorder": 3}
        edge = {"markeredgecolor": "white", "markeredgewidth": 0.9}
        if not whole[i]:
            edge = {"markeredgecolor": look.colour, "markeredgewidth": 1.4, "markerfacecolor": "white"}
        ax.plot(x[i], y[i], look.marker, color=look.colour, markersize=8.5, **(edge | ring))  # type: ignore[arg-type]
    shapes = {look.shape: look.marker for look in looks}
    if len(shapes) > 1 and legend:
        for shape, marker in shapes.items():
            ax.plot([], [], marker, color=GREY, markersize=7.5, label=shape)
        ax.legend(loc="upper right", frameon=True, framealpha=0.9, edgecolor="none")
    ax.set(xlabel=of_x.label, ylabel=of_y.label)
    bound = np.array([]) if at_most is None else np.array([of_y.offset + of_y.factor * at_most])
    _scale(ax, "x", x, dx, pad=0.13)
    _scale(ax, "y", np.append(y, bound), np.append(dy, np.zeros(bound.size)), pad=0.12)
    for height in bound.tolist():
        ax.axhline(height, color=RED, linewidth=1.0, linestyle=(0, (1, 1.5)), zorder=1)
        ax.annotate("objective", (1, height), (-2, 3), ax.get_yaxis_transform(), "offset points", color=RED,
                    fontsize=8.5, ha="right")  # fmt: skip
    spell_ticks(ax, of_x.spell, of_y.spell)
    segments = [((x[i] - dx[i], y[i]), (x[i] + dx[i], y[i])) for i in range(len(x)) if dx[i]]
    segments += [((x[i], y[i] - dy[i]), (x[i], y[i] + dy[i])) for i in range(len(x)) if dy[i]]
    corners = [(x[b], y[a]) for a, b in pairwise(front)]
    for a, b, corner in zip(front[:-1], front[1:], corners, strict=True):
        segments += [((x[a], y[a]), corner), (corner, (x[b], y[b]))]
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    label_points(figure, ax, points, [looks[k] for k in drawn], segments)


def spell_ticks(ax: Axes, spell_x: Callable[[float], str], spell_y: Callable[[float], str]) -> None:
    """Numbers in place of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis, spell in ((ax.xaxis, spell_x), (ax.yaxis, spell_y)):
        axis.set_major_formatter(FuncFormatter(lambda value, _, spell=spell: spell(value)))
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_minor_formatter(NullFormatter())


def _values(comparison: Comparison, drawn: Sequence[int], of: Measure) -> tuple[np.ndarray, np.ndarray]:
    """(means, half widths of intervals or 0) as the axis has them."""
    estimates = [comparison.groups[k].estimate(of.metric) for k in drawn]
    half_width = np.nan_to_num([estimate.half_width for estimate in estimates])
    return of.offset + of.factor * np.array([each.mean for each in estimates]), abs(of.factor) * half_width


def _scale(ax: Axes, which: str, at: np.ndarray, half_width: np.ndarray, pad: float) -> None:
    """Limits with room for names; logarithmic where the values differ by a lot; none below 0 if no value is."""
    least, most = float((at - half_width).min()), float((at + half_width).max())
    if at.min() > 0 and at.max() / at.min() > 4:
        least = max(least, float(at.min()) / 2)  # an interval that goes further ends at the edge
        ratio = (most / least) ** pad
        ax.set(**{f"{which}scale": "log", f"{which}lim": (least / ratio, most * ratio)})
    else:
        least = max(0.0, least) if at.min() >= 0 else least
        room = pad * (most - least) or 0.1 * abs(most) or 1.0
        start = max(0.0, least - room) if least >= 0 else least - room
        ax.set(**{f"{which}lim": (start, most + room)})
