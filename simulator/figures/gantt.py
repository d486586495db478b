"""Who held which GPU when: for runs small enough to see it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulator.figures.style import INK, PALETTE, RED, new_figure, save, service_colours
from simulator.moves import Moves, Stays
from simulator.pools.node import LOST
from simulator.run import Run
from simulator.serving.summary import Replicas
from workloads.figure import time_unit

MOST_GPUS, MOST_STAYS = 64, 600
STARTING = "#fbeccb"


def draw_gantt(run: Run, title: str, subtitle: str, folder: Path) -> list[Path]:
    """Writes gantt.png and gantt.svg for a run of at most `MOST_GPUS` GPUs and `MOST_STAYS` stays of jobs on nodes.

    A job's lanes on a node are the lowest free ones when it comes: records say how many GPUs, not which.
    """
    nodes = run.columns("nodes", "node", "num_gpus", "launched_s", "ready_s", "terminated_s", "end")
    came = nodes["node"] >= 0
    if not 0 < nodes["num_gpus"][came].sum() <= MOST_GPUS:
        return []
    moves, stays = Moves.of(run), Stays.of(run)
    if not 0 < len(stays.node) <= MOST_STAYS:
        return []
    end_s = float(run.facts["end_s"])
    until_s = np.append(moves.time_s, end_s)[moves.next_row]
    unit_s, unit = time_unit(end_s)
    bars = _bars(run)
    has_jobs, has_replicas = len(run.table("jobs", ["job_id"])) > 0, bool(run.facts.get("services"))
    sizes = {int(i): int(n) for i, n in zip(nodes["node"][came], nodes["num_gpus"][came], strict=True)}
    lanes = _lanes(moves, stays, until_s, sizes)

    num_lanes = sum(sizes.values())
    height_in = 1.5 + 0.16 * num_lanes + 0.1 * len(sizes)
    with new_figure(10, max(2.6, height_in), title, subtitle) as figure:
        from matplotlib.patheffects import withStroke  # so that names can be read where bars are hatched

        ax = figure.subplots()
        bottom, centres = 0.0, []
        names = ("node", "launched_s", "ready_s", "terminated_s", "end")
        for index, launched_s, ready_s, terminated_s, end in sorted(
            zip(*(nodes[name][came].tolist() for name in names), strict=True)
        ):
            for from_s, to_s, colour in ((launched_s, ready_s, STARTING), (ready_s, terminated_s, "#f3f4f6")):
                span = [(from_s / unit_s, (to_s - from_s) / unit_s)]
                ax.broken_barh(span, (bottom, sizes[index]), facecolor=colour, linewidth=0)
            if end in LOST:
                ax.vlines(terminated_s / unit_s, bottom, bottom + sizes[index], color=RED, linewidth=2.2)
            for k in np.flatnonzero(stays.node == index).tolist():
                row = int(stays.row[k])
                of, from_s, to_s = bars[moves.job[row]], moves.time_s[row], until_s[row]
                pale_s = min(max(of.pale_until_s, from_s), to_s)
                for low, count in _bands(lanes[k]):
                    where = (bottom + low + 0.06, count - 0.12)
                    for begin_s, until, alpha in ((from_s, pale_s, 0.4), (pale_s, to_s, 1.0)):
                        if until > begin_s:
                            ax.broken_barh(
                                [(begin_s / unit_s, (until - begin_s) / unit_s)], where, facecolor=of.colour,
                                alpha=alpha, edgecolor="white", linewidth=0.5, hatch=of.hatch,
                            )  # fmt: skip
                    if (to_s - pale_s) / end_s > 0.012 * len(of.name) + 0.01:
                        ax.text(
                            (pale_s + to_s) / 2 / unit_s, bottom + low + count / 2, of.name, color="white",
                            ha="center", va="center", fontsize=7.5, fontweight="bold", clip_on=True,
                            path_effects=[withStroke(linewidth=2.5, foreground=of.colour)] if of.hatch else None,
                        )  # fmt: skip
            centres.append((bottom + sizes[index] / 2, f"node {index}"))
            bottom += sizes[index] + 0.6
        ax.set_yticks([at for at, _ in centres], [name for _, name in centres])
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.grid(visible=False, axis="y")
        ax.set_ylim(bottom - 0.3, -0.3)  # node 0 on top
        kinds = [
            kind for kind, is_there in (("jobs", has_jobs), ("replicas (pale: starting)", has_replicas)) if is_there
        ]
        title = " and ".join(kinds).capitalize() + " on GPUs, a lane each"
        if (nodes["launched_s"] < nodes["ready_s"])[came].any():
            title += "; yellow: the node starts"
        if np.isin(nodes["end"][came].astype(str), LOST).any():
            title += "; red: it failed or was reclaimed"
        ax.set(title=title, xlabel=f"time ({unit})", xlim=(0, end_s / unit_s))
        return save(figure, folder, "gantt")


@dataclass(frozen=True, slots=True)
class _Bar:
    """How a job or replica is drawn."""

    name: str
    colour: str
    hatch: str | None = None
    pale_until_s: float = -math.inf  # of a replica: it starts until then


def _bars(run: Run) -> list[_Bar]:
    """By number in the table allocations: jobs, then replicas, in the colour of their service, hatched beside jobs."""
    names, replicas = run.columns("jobs", "job_id")["job_id"], Replicas.of(run)
    bars = [_Bar(str(name), PALETTE[k % len(PALETTE)]) for k, name in enumerate(names)]
    colours = service_colours(run.facts.get("services") or ())
    hatch = "////" if bars else None
    ready_s = np.where(np.isnan(replicas.ready_s), math.inf, replicas.ready_s)
    of_services = zip(replicas.service.tolist(), ready_s.tolist(), strict=True)
    return bars + [_Bar(name, colours[name], hatch, until_s) for name, until_s in of_services]


def _lanes(moves: Moves, stays: Stays, until_s: np.ndarray, sizes: dict[int, int]) -> list[list[int]]:
    """The lanes of each stay; a job that stays on at the same node keeps those that it has."""
    free_from_s = {index: [0.0] * size for index, size in sizes.items()}
    owner = {index: [-1] * size for index, size in sizes.items()}
    lanes: list[list[int]] = []
    for k in np.argsort(moves.time_s[stays.row], kind="stable").tolist():
        row, index = int(stays.row[k]), int(stays.node[k])
        now_s, job, free_s, owns = moves.time_s[row], int(moves.job[row]), free_from_s[index], owner[index]
        free = [lane for lane in range(len(free_s)) if free_s[lane] <= now_s]
        free.sort(key=lambda lane: (owns[lane] != job, lane))
        taken = sorted(free[: int(stays.num_gpus[k])])
        for lane in taken:
            free_s[lane], owns[lane] = until_s[row], job
        lanes.append(taken)
    order = np.argsort(np.argsort(moves.time_s[stays.row], kind="stable"), kind="stable")
    return [lanes[at] for at in order.tolist()]


def _bands(lanes: list[int]) -> list[tuple[int, int]]:
    """(lowest, count) of each run of neighbouring lanes."""
    bands: list[tuple[int, int]] = []
    for lane in lanes:
        if bands and bands[-1][0] + bands[-1][1] == lane:
            bands[-1] = (bands[-1][0], bands[-1][1] + 1)
        else:
            bands.append((lane, 1))
    return bands
