"""Alarms as clouds have them: data points on a grid, and so many in a row beyond a bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from policies.metrics_view import KEEP_S
from policies.reasons import Reasons
from policies.scaling.load import as_average
from policies.scaling.options import require
from policies.view import ClusterView, Target

Points = Sequence[float | None]  # newest first; None where nothing was measured


def data_points(target: Target, view: ClusterView, metric: str, point_s: float, num: int, late_s: float) -> Points:
    """The newest points, means of a metric over stretches of `point_s` that are over, on a grid from time 0.

    The first is the newest that has samples, if it is at most `late_s` old.
    """
    late = int(late_s // point_s)
    until_s = view.now_s // point_s * point_s
    points = view.metrics.points(target.name, metric, until_s, point_s, num + late)
    first = next((i for i, value in enumerate(points[: late + 1]) if value is not None), 0)
    return points[first : first + num]


def averages(target: Target, metric: str, points: Points) -> Points:
    """The points of a total as its share a unit; others as they are."""
    return [None if value is None else as_average(target, metric, value) for value in points]


def is_on(points: Points, num: int, breaches: Callable[[float], bool]) -> bool:
    """Whether the newest `num` points all breach; a missing one does not."""
    return all(value is not None and breaches(value) for value in points[:num])


def say_alarms(
    why: Reasons, points: Points, out: tuple[int, float, Callable[[float], bool]],
    into: tuple[int, float, Callable[[float], bool]],
) -> None:  # fmt: skip
    """Says of the alarms of both directions, each (points needed, bound, what breaches it), how many points breach."""
    found = []
    for direction, (num, bound, breaches) in (("out", out), ("in", into)):
        newest = points[:num]
        breaching = sum(value is not None and breaches(value) for value in newest)
        facts = {"direction": direction, "bound": bound, "breaching": breaching, "points": num}
        if None in newest or len(newest) < num:
            facts["missing"] = num - sum(value is not None for value in newest)
        found.append((facts, is_on(points, num, breaches)))
    if found[0][1]:  # the other one isn't looked at
        del found[1:]
    are_off = not any(on for _, on in found)
    for facts, on in found:
        why.say("alarm", **facts, on=on, holds=are_off)


def require_points(policy: str, points_out: int, points_in: int, point_s: float, late_s: float) -> None:
    """Raises PolicyError for points that can't be had of the samples that are kept."""
    rules = {
        "points_out": (points_out, points_out >= 1, "must be 1 or more"),
        "points_in": (points_in, points_in >= 1, "must be 1 or more"),
        "point_s": (point_s, point_s > 0, "must be more than 0"),
        "late_s": (late_s, late_s >= 0, "must be 0 or more"),
    }
    require(policy, rules)
    kept_s = max(points_out, points_in) * point_s + late_s
    rule = f"with points_out, points_in and late_s takes {kept_s:g} s: samples are kept for {KEEP_S:g} s"
    require(policy, {"point_s": (point_s, kept_s <= KEEP_S, rule)})
