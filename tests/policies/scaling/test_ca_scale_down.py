"""How the cluster-autoscaler removes nodes: eligibility, where pods go, timers, how many at once, cool-downs."""

from __future__ import annotations

import pytest

from policies import NodeSize
from policies.scaling.ca_scale_down import UnneededTimes, cropped, in_cooldown, unneeded, utilization
from policies.scaling.packing import Pod, Room


def room(index: int, *gpus: int, size: NodeSize | None = None, cpus: float = 0.0, memory_gib: float = 0.0) -> Room:
    made = Room.empty(size or NodeSize(8, 96.0, 1000.0), index, "default")
    for count in gpus:
        made.put(Pod(0, count, cpus, memory_gib))
    return made


@pytest.mark.parametrize(
    ("node", "share"),
    [
        (room(0, 2, 2, cpus=40.0), 0.5),  # CPUs of a node with GPUs don't count
        (room(0), 0.0),
        (room(0, 0, size=NodeSize(0, 96.0, 100.0), cpus=24.0, memory_gib=50.0), 0.5),
        (room(0, 0, size=NodeSize(0, 96.0, 100.0), cpus=72.0, memory_gib=50.0), 0.75),
    ],
)
def test_utilization(node: Room, share: float) -> None:
    assert utilization(node) == share


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([room(0, 4), room(1, 4)], [0]),  # half is little enough; 0 goes to 1, which then is full
        ([room(0, 5), room(1, 3)], [1]),  # 5 of 8 is too much
        ([room(0, 4), room(1, 5)], []),  # fits nowhere
        ([room(0), room(1, 8)], [0]),
        ([room(0), room(1), room(2)], [0, 1, 2]),  # empty ones need no other
        ([room(0, 2), room(1, 2), room(2, 2)], [0, 1]),  # what went to 1 moves on to 2
        ([room(0, 4), room(1, 2, 2), room(2, 4)], [0]),  # on 1, or 2; then neither fits on the other
        ([room(0, 2, cpus=90.0), room(1, 2, cpus=90.0)], []),  # no CPUs for both
    ],
)
def test_who_could_go(nodes: list[Room], found: list[int]) -> None:
    before = [node.gpus for node in nodes]
    assert [node.index for node in unneeded(nodes, 0.5)] == found
    assert [node.gpus for node in nodes] == before


def test_empty_ones_are_looked_at_before_any_pod_is_sent_there() -> None:
    assert [node.index for node in unneeded([room(0, 4), room(1, 2), room(2)], 0.5)] == [2, 0]


def test_those_that_could_go_before_are_looked_at_first() -> None:
    nodes = [room(0, 4), room(1, 4)]
    assert [node.index for node in unneeded(nodes, 0.5, before={1})] == [1]


def test_timers_are_strict_and_start_anew() -> None:
    times = UnneededTimes()
    times.update(0.0, [room(0), room(1)])
    times.update(300.0, [room(0)])
    times.update(310.0, [room(0), room(1)])
    assert times.for_longer_than(600.0, 600.0) == set()
    assert times.for_longer_than(600.0, 600.1) == {0}
    assert times.for_longer_than(600.0, 910.1) == {0, 1}


@pytest.mark.parametrize(
    ("empty", "used", "draining", "gone"),
    [
        (3, 3, 0, (3, 1)),
        (12, 3, 0, (10, 0)),
        (9, 3, 0, (9, 1)),
        (0, 3, 1, (0, 0)),  # one drains already
        (12, 0, 4, (6, 0)),
        (5, 5, 12, (0, 0)),
    ],
)
def test_how_many_at_once(empty: int, used: int, draining: int, gone: tuple[int, int]) -> None:
    assert cropped(empty, used, draining, 10, 1) == gone


@pytest.mark.parametrize(
    ("added_s", "deleted_s", "failed_s", "rests"),
    [
        (400.1, -9e9, -9e9, True),
        (400.0, -9e9, -9e9, False),
        (-9e9, 1000.0, -9e9, False),  # 0 s after a deletion
        (-9e9, -9e9, 820.1, True),
        (-9e9, -9e9, 820.0, False),
    ],
)
def test_cooldowns(added_s: float, deleted_s: float, failed_s: float, rests: bool) -> None:
    """At 1000 s."""
    assert in_cooldown(1000.0, added_s, deleted_s, 600.0, 0.0, failed_s, 180.0) == rests
