"""What two metrics that can't both be had cost of each other: which rows of a comparison nothing else beats in both."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulator.comparison import Comparison, Estimate, Group, difference
from simulator.errors import ConfigError, RunError

COST, JCT = "cost_usd", "jct_mean_s"
_SHOWN = 6  # of those that meet an objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Tradeoff:
    """Two metrics of summary.json, of both of which less is better; those of a service are `services.NAME.METRIC`.

    Args:
        at_most: the objective: `y` must not be more.
    """

    x: str = COST
    y: str = JCT
    at_most: float | None = None

    def __post_init__(self) -> None:
        if self.x == self.y:
            raise ConfigError(f"compare.y={self.y}: must be another metric than compare.x")
        if self.at_most is not None and not math.isfinite(self.at_most):
            raise ConfigError(f"compare.at_most={self.at_most}: must be a number, in the unit of compare.y")


USUAL = Tradeoff()


@dataclass(frozen=True)
class Point:
    """A row of a comparison in the plane of a `Tradeoff`."""

    group: Group
    x: Estimate
    y: Estimate
    is_whole: bool  # as large a share of its jobs came to an end as of any other's
    is_pareto: bool  # it is whole, and the mean of no other that is, is less in one and not more in the other
    beaten_by: Sequence[str]  # groups that are better in both, each beyond the 95% interval of the paired difference
    meets: bool | None  # whether it is whole and the mean of y within the objective; None: there is none


def front(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rows of the points that no other beats in both (less is better), by rising x."""
    best, rows = math.inf, []
    for row in np.lexsort((y, x)):
        if y[row] < best:
            best = y[row]
            rows.append(int(row))
    return np.array(rows, np.int64)


def are_whole(groups: Sequence[Group]) -> np.ndarray:
    """Of which groups as large a share of the jobs finished as of any: the means of others leave out what did not."""
    share = np.array([group.finished_frac for group in groups])
    return np.isnan(share) | (share >= np.nanmax(share, initial=0.0))


def front_of_whole(x: np.ndarray, y: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The front of those points that are whole."""
    rows = whole.nonzero()[0]
    return rows[front(x[rows], y[rows])]


def points_of(comparison: Comparison, tradeoff: Tradeoff) -> list[Point]:
    """The groups that have both metrics: in their order, or with an objective those that meet it first, by rising x.

    Raises:
        RunError: no group has a metric, though there are jobs or services that might.
    """
    groups = [group for group in comparison.groups if _has(group, tradeoff.x) and _has(group, tradeoff.y)]
    if not groups:
        for metric in (tradeoff.x, tradeoff.y):
            if not any(_has(group, metric) for group in comparison.groups):
                raise RunError(f"{metric}: no run has this metric; see summary.json for those that there are")
        raise RunError(f"{tradeoff.x}, {tradeoff.y}: no run has both")
    x, y = ([group.estimate(metric) for group in groups] for metric in (tradeoff.x, tradeoff.y))
    whole = are_whole(groups)
    on_front = set(front_of_whole(np.array([of.mean for of in x]), np.array([of.mean for of in y]), whole).tolist())
    points = [
        Point(
            group,
            x[k],
            y[k],
            bool(whole[k]),
            k in on_front,
            [other.name for other in groups if other is not group and _beats(other, group, tradeoff)],
            None if tradeoff.at_most is None else bool(whole[k]) and y[k].mean <= tradeoff.at_most,
        )
        for k, group in enumerate(groups)
    ]
    return points if tradeoff.at_most is None else sorted(points, key=lambda point: (not point.meets, point.x.mean))


def write_pareto(points: Sequence[Point], tradeoff: Tradeoff, path: Path) -> None:
    """One row a point.

    | column | is |
    |---|---|
    | the labels that differ | what was chosen |
    | num_seeds, num_submitted, num_finished | of all its runs |
    | METRIC_mean, METRIC_low, METRIC_high | of `x` and `y`: mean over seeds, its 95% interval (empty for one seed) |
    | is_pareto | true where no other mean is less in one and not more in the other; false where jobs are left |
    | beaten_by | those that are better in both beyond paired 95% intervals, with `;` between |
    | meets_objective | with one: whether the mean of `y` is within it |
    """
    labels = list(points[0].group.labels)
    metrics = [f"{metric}_{part}" for metric in (tradeoff.x, tradeoff.y) for part in ("mean", "low", "high")]
    counts = ("num_submitted", "num_finished")
    objective = [] if tradeoff.at_most is None else ["meets_objective"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*labels, "num_seeds", *counts, *metrics, "is_pareto", "beaten_by", *objective])
        for point in points:
            group = point.group
            row: list[object] = [*group.labels.values(), len(group.runs), *(group.total(name) for name in counts)]
            for of in (point.x, point.y):
                row += ["" if math.isnan(number) else repr(number) for number in (of.mean, of.low, of.high)]
            row += [_spell(point.is_pareto), ";".join(point.beaten_by)]
            writer.writerow(row + [_spell(bool(point.meets)) for _ in objective])


def told(points: Sequence[Point], tradeoff: Tradeoff) -> list[str]:
    """What a reader should take from it, a sentence each."""
    best = sorted((point for point in points if point.is_pareto), key=lambda point: point.x.mean)
    said = [f"Pareto front of {tradeoff.x} and {tradeoff.y}, cheapest first: {'; '.join(p.group.name for p in best)}"]
    if tradeoff.at_most is not None:
        rule = f"{tradeoff.y} of at most {tradeoff.at_most:g}"
        first = points[0]
        if not first.meets:
            said.append(f"none has {rule} in the mean; the least is {min(point.y.mean for point in points):,.4g}")
        else:
            doubt = " (not beyond its interval)" if first.y.high > tradeoff.at_most else ""
            said.append(f"cheapest with {rule}: {first.group.name}{doubt}")
            rest = [f"{point.group.name} ({point.x.mean:,.4g})" for point in points[1:_SHOWN] if point.meets]
            said += [f"then, by {tradeoff.x} ({first.x.mean:,.4g} of the first): {'; '.join(rest)}"] if rest else []
    return said


def _has(group: Group, metric: str) -> bool:
    return group.estimate(metric).num > 0


def _beats(one: Group, other: Group, tradeoff: Tradeoff) -> bool:
    if not are_whole([one, other])[0]:
        return False
    gaps = [difference(one, other, metric) for metric in (tradeoff.x, tradeoff.y)]
    return all(gap.num > 1 and gap.high < 0 for gap in gaps)


def _spell(truth: bool) -> str:
    return "true" if truth else "false"
