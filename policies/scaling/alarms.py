"""Alarms as clouds have them: data points on a grid, and so many in a row beyond a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from policies.metrics_view import KEEP_S
from policies.quiet import Quiet, just_before
from policies.reasons import Reasons
from policies.scaling.load import as_average
from policies.scaling.options import require
from policies.view import ClusterView, Target

MARGIN = 1e-9
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


@dataclass(frozen=True)
class Side:
    """One alarm, as far as it can do anything at all."""

    num: int  # points in a row
    bound: float  # the last value that does not breach, nearly
    breaches: Callable[[float], bool]
    rested_s: float = -math.inf  # nothing follows from it before
    turn_s: float = -math.inf  # something else follows from it from then on


def quiet_alarms(
    target: Target, view: ClusterView, metric: str, points: Points, point_s: float, out: Side | None, back: Side | None
) -> Quiet:
    """For how long nothing follows from two alarms, one above and one below; None: that one can do nothing.

    `points` are what `data_points` finds at this moment, as many as either alarm looks at.

    As long as samples lie between their bounds, if the newest point and all samples since do; else until so many points
    can have come that one is on.
    """
    band = (-math.inf if back is None else back.bound, math.inf if out is None else out.bound)
    begun_s = view.now_s // point_s * point_s
    newest = [value for _, value in view.metrics.since(target.name, metric, begun_s)]
    newest += [points[0]] if points and points[0] is not None else []
    if all(band[0] <= value <= band[1] for value in newest):
        return Quiet(bands={metric: band})
    newest_s = view.metrics.newest_s(target.name)
    assert newest_s is not None
    num_open = max(math.ceil((begun_s - newest_s) / point_s), 0)  # points that are over, and may still get samples
    until_s = math.inf
    for side in filter(None, (out, back)):
        if num_open:
            num_on = num_open + 1 + _num_on(points[1:], side)
        else:
            num_on = _num_on(points, side)
        ready_s = begun_s + max(side.num - num_on, 0) * point_s
        if num_on >= side.num and view.now_s >= side.rested_s and not num_open:
            ready_s = begun_s + point_s  # it is on, to no effect: so it is until there is another point, ...
            if side.turn_s > view.now_s:
                ready_s = min(ready_s, side.turn_s)  # ... or it means something else
        until_s = min(until_s, max(ready_s, side.rested_s))
    return Quiet(just_before(until_s))


def _num_on(points: Points, side: Side) -> int:
    """How many of the first points breach."""
    num = 0
    while num < len(points) and (value := points[num]) is not None and side.breaches(value):
        num += 1
    return num


def inside(bound: float, margin: float) -> float:
    """A bound moved by a share of itself: means of samples that keep to it keep to the bound, whatever the rounding."""
    return bound + margin * max(1.0, abs(bound)) if bound else bound


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
