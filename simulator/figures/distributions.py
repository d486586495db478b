"""Distributions of policies beside each other: how many took at most so long, and how many longer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simulator.figures.labels import Look
from simulator.figures.style import GREY, MAX_POINTS, label_durations, log_counts, new_figure, save

_OF_TAIL = 600  # points of a tail


def draw_distributions(
    of: Mapping[int, tuple[np.ndarray, np.ndarray]],
    looks: Sequence[Look],
    low_s: float,
    what: str,
    xlabel: str,
    title: str,
    subtitle: str,
    folder: Path,
    name: str,
) -> list[Path]:
    """Two panels: all from `low_s` on, and the longest on a logarithmic scale.

    Args:
        of: by place in `looks`: (times, ascending; how many took each), shape (K,) both.
        what: jobs, or requests.
    """
    high_s = max(max(float(seconds[-1]) for seconds, _ in of.values()), 10 * low_s)
    with new_figure(10, 4.9, title, subtitle) as figure:
        whole, tail = figure.subplots(1, 2)
        fewest = 100.0
        for k, (seconds, count) in of.items():
            share, style = 100 * count.cumsum() / count.sum(), _style(looks[k])
            seconds = np.maximum(seconds, low_s)
            at = np.unique(np.linspace(0, len(seconds) - 1, MAX_POINTS).astype(np.int64))
            whole.step(np.r_[low_s, seconds[at]], np.r_[share[seconds <= low_s].max(initial=0.0), share[at]], **style)
            longer = 100 * count[::-1].cumsum()[::-1] / count.sum()  # this long, or longer
            k_th = np.unique(np.geomspace(1, len(seconds), _OF_TAIL).astype(np.int64))  # from the longest
            tail.step(seconds[-k_th], longer[-k_th], **(style | {"where": "pre"}))
            fewest = min(fewest, 100.0 / float(count.sum()))
        whole.set(title="All", ylabel=f"share of {what} at most this long (%)", ylim=(0, 103))
        tail.set(title="The longest", ylabel=f"share of {what} longer (%)", yscale="log")
        tail.set_ylim(max(fewest, 1e-3), 100)
        log_counts(tail.yaxis)
        for ax in (whole, tail):
            ax.set(xlabel=xlabel, xscale="log", xlim=(low_s, 1.3 * high_s))
            label_durations(ax.xaxis, low_s, high_s)
        for look in {look.name: look for look in looks}.values():
            tail.plot([], [], color=look.colour, linewidth=2.2, label=look.name)
        shapes = {look.shape: look.dash for look in looks}
        if len(shapes) > 1:
            for shape, dash in shapes.items():
                tail.plot([], [], color=GREY, linestyle=dash, linewidth=1.7, label=shape)
        figure.legend(*tail.get_legend_handles_labels(), loc="outside right center", fontsize=9)
        return save(figure, folder, name)


def _style(look: Look) -> dict[str, Any]:
    return {"color": look.colour, "linestyle": look.dash, "linewidth": 1.7, "where": "post"}
