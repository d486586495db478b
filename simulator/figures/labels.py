"""Names beside points, where they cover neither each other nor the points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.figures.style import GREY, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FONT_SIZE = 8.5
_DISTANCES = (11, 17, 25, 35, 47, 61, 77, 95, 115)  # points
_ANGLES = tuple(math.radians(angle) for angle in (0, 180, 35, -35, 145, -145, 90, -90, 60, -60, 120, -120))


@dataclass(frozen=True)
class Look:
    """How a policy is told apart: its colour by the first label (allocation, if compared), the shape by scaling."""

    colour: str
    marker: str
    dash: Any
    name: str  # without what the shape says
    shape: str  # what the shape says, such as `threshold`


def label_points(
    figure: Figure, ax: Axes, points: Sequence[tuple[float, float]], looks: Sequence[Look],
    obstacles: Sequence[tuple[tuple[float, float], tuple[float, float]]] = (),
) -> None:  # fmt: skip
    """Writes the name of each look beside its point (data coordinates), where it covers the least.

    A name that several points of one colour have stands beside the one that has the most room. Points of one shape that
    lie on each other share a name. Greedy, over distances and angles around each point, with
    a line to those far away; fine for the tens of points of a comparison. Call it when everything else is drawn and
    the limits of the axes are final.

    Args:
        obstacles: segments that names shouldn't cover, such as error bars; data coordinates.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()  # sets the layout, which the coordinates depend on
    scale = figure.dpi / 72
    to_px = ax.transData.transform
    frame = ax.get_window_extent(renderer)
    xy = to_px(np.array(points, float).reshape(-1, 2))
    taken = [_box(x, y, 6 * scale, 6 * scale) for x, y in xy]
    for ends in obstacles:
        low, high = np.sort(to_px(np.array(ends)), axis=0)
        taken.append(np.r_[low - scale, high + scale])
    for together in _coinciding(xy, looks, _roomiest(xy, looks), 5 * scale):
        k = together[0]
        name = _listed([looks[i].name for i in together])
        colour = looks[k].colour if len(together) == 1 else INK
        text = ax.annotate(name, points[k], fontsize=_FONT_SIZE, fontweight="bold")
        size = text.get_window_extent(renderer)
        text.remove()
        width, height = size.width, size.height - 2 * scale
        best: tuple[float, Any] = (math.inf, None)
        for distance in _DISTANCES:
            for i, angle in enumerate(_ANGLES):
                dx, dy = distance * scale * math.cos(angle), distance * scale * math.sin(angle)
                x, y = xy[k][0] + dx + math.copysign(width / 2, dx) * (abs(dx) > scale), xy[k][1] + dy
                box = _box(x, y, width / 2 + 2 * scale, height / 2 + scale)
                outside = box[0] < frame.x0 or box[1] < frame.y0 or box[2] > frame.x1 or box[3] > frame.y1
                cost = sum(_overlap(box, other) for other in taken) + 1e6 * outside + 6 * distance + i
                if cost < best[0]:
                    best = (cost, (x, y, box, distance))
        x, y, box, distance = best[1]
        taken.append(box)
        far = distance > _DISTANCES[1]
        arrow = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 4} if far else None
        offset = ((x - xy[k][0]) / scale, (y - xy[k][1]) / scale)
        ax.annotate(
            name, points[k], offset, textcoords="offset points", fontsize=_FONT_SIZE, color=colour,
            ha="center", va="center", fontweight="bold", arrowprops=arrow, annotation_clip=False,
        ).set_in_layout(False)  # fmt: skip


def _roomiest(xy: np.ndarray, looks: Sequence[Look]) -> list[int]:
    """Of the points that share name and colour, the one whose nearest neighbour is the farthest; in their order."""
    apart = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    room = apart.min(axis=1)
    best: dict[tuple[str, str], int] = {}
    for k, look in enumerate(looks):
        first = best.setdefault((look.name, look.colour), k)
        if room[k] > room[first]:
            best[look.name, look.colour] = k
    return sorted(best.values())


def _coinciding(xy: np.ndarray, looks: Sequence[Look], rows: Sequence[int], within: float) -> list[list[int]]:
    groups: list[list[int]] = []
    for k in rows:
        look = looks[k]
        for group in groups:
            if looks[group[0]].shape == look.shape and np.hypot(*(xy[group[0]] - xy[k])) < within:
                group.append(k)
                break
        else:
            groups.append([k])
    return groups


def _listed(names: Sequence[str], per_line: int = 3) -> str:
    lines = [", ".join(names[i : i + per_line]) for i in range(0, len(names), per_line)]
    return ",\n".join(lines)


def _box(x: float, y: float, half_width: float, half_height: float) -> np.ndarray:
    return np.array([x - half_width, y - half_height, x + half_width, y + half_height])


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Shared area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return 5000.0 + float(width * height) * 10 if width > 0 and height > 0 else 0.0
