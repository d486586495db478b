"""How Karpenter takes nodes away: empty ones, several for one or none, one for a cheaper one or none.

Source: Karpenter's disruption controller, as of autumn 2026. Drift needs what a node was launched from, and is left
out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.scaling.karpenter_scheduling import InstanceType, schedule
from policies.scaling.load import ceil
from policies.scaling.packing import Pod, Room

MOST_AT_ONCE = 100  # nodes that several are looked for among


@dataclass(frozen=True)
class Cluster:
    """What a simulation needs to know. `rooms` are ready, `coming` are not yet; neither holds what waits."""

    rooms: Sequence[Room]
    coming: Sequence[Room]
    waiting: Sequence[Pod]
    types: Mapping[str, InstanceType]
    headroom: Mapping[str, int]


@dataclass(frozen=True)
class Command:
    """Nodes to take away, by index, and what to launch in their stead, if anything."""

    method: str  # emptiness, multi_node, single_node
    nodes: tuple[int, ...]
    replacement: str | None = None


def budget(frac: float, num_nodes: int, num_disrupted: int) -> int:
    """How many nodes may be disrupted now: a share of all, rounded up, less those that already are."""
    return max(ceil(frac * num_nodes) - num_disrupted, 0)


def disruption_cost(room: Room) -> float:
    """What it costs to move what runs there: its pods. An emulation: priorities and remaining life aren't known."""
    return float(len(room.pods))


def consolidation(candidates: Sequence[Room], cluster: Cluster, method: str) -> Command | None:
    """What taking these nodes away comes to: nothing new, one cheaper node, or that it can't be done."""
    gone = {room.index for room in candidates}
    mine = [pod for room in candidates for pod in room.pods]
    if not _may_be_replaced(candidates, cluster):  # then all must fit on what is there: without any of what waits, too
        left = [room for room in cluster.rooms if room.index not in gone]
        if not all(any(room.fits(pod) for room in left) for pod in mine):
            return None
    rooms = [room.copy() for room in cluster.rooms if room.index not in gone]
    coming = [room.copy() for room in cluster.coming]
    held_before = [len(room.pods) for room in coming]
    found = schedule([*cluster.waiting, *mine], rooms + coming, list(cluster.types.values()), cluster.headroom)
    moved = {id(pod) for pod in mine}
    if any(id(pod) in moved for pod in found.unplaced):
        return None
    for room, before in zip(coming, held_before, strict=True):
        if any(id(pod) in moved for pod in room.pods[before:]):
            return None  # no telling whether that node will come
    nodes = tuple(sorted(gone))
    if not found.claims:
        return Command(method, nodes)
    if len(found.claims) > 1:
        return None
    prices = {room.index: cluster.types[room.pool].usd_per_h for room in candidates}
    limit = sum(prices.values())
    options = found.claims[0].types
    if len(candidates) > 1:  # of a type that is being taken away: only if cheaper than one of those
        kinds = {room.pool for room in candidates}
        limit = min([limit, *(each.usd_per_h for each in options if each.name in kinds)])
    cheaper = [each for each in options if each.usd_per_h < limit]
    return Command(method, nodes, min(cheaper, key=lambda each: each.usd_per_h).name) if cheaper else None


def _may_be_replaced(candidates: Sequence[Room], cluster: Cluster) -> bool:
    """Whether any type could be cheaper than these nodes; of several, one of their own never is."""
    limit = sum(cluster.types[room.pool].usd_per_h for room in candidates)
    kinds = {room.pool for room in candidates} if len(candidates) > 1 else set()
    return any(
        each.usd_per_h < limit and cluster.headroom[each.name] > 0 and each.name not in kinds
        for each in cluster.types.values()
    )


def _within(candidates: Sequence[Room], budgets: Mapping[str, int]) -> list[Room]:
    """As many of each pool as its budget allows, in order."""
    left = dict(budgets)
    found = []
    for room in candidates:
        if left[room.pool] > 0:
            left[room.pool] -= 1
            found.append(room)
    return found


def emptiness(candidates: Sequence[Room], budgets: Mapping[str, int]) -> Command | None:
    """All empty nodes at once."""
    empty = _within([room for room in candidates if not room.pods], budgets)
    return Command("emptiness", tuple(room.index for room in empty)) if empty else None


def multi_node(candidates: Sequence[Room], budgets: Mapping[str, int], cluster: Cluster) -> Command | None:
    """As many nodes as can go together, two at least, those that cost least to disrupt first; found by bisection."""
    ordered = _within(sorted(candidates, key=disruption_cost), budgets)[:MOST_AT_ONCE]
    low, high, found = 2, len(ordered), None
    while low <= high:
        middle = (low + high) // 2
        command = consolidation(ordered[:middle], cluster, "multi_node")
        if command:
            found, low = command, middle + 1
        else:
            high = middle - 1
    return found


def single_node(candidates: Sequence[Room], budgets: Mapping[str, int], cluster: Cluster) -> Command | None:
    """The first node that can go, those that cost least to disrupt first."""
    for room in sorted(candidates, key=disruption_cost):
        if budgets[room.pool] > 0 and (command := consolidation([room], cluster, "single_node")):
            return command
    return None


def first_command(
    candidates: Sequence[Room], budgets: Mapping[str, int], cluster: Cluster, when_empty_only: bool
) -> Command | None:
    """What the first method comes to that wants anything."""
    command = emptiness(candidates, budgets)
    if command or when_empty_only:
        return command
    return multi_node(candidates, budgets, cluster) or single_node(candidates, budgets, cluster)
