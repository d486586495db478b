"""How the Kubernetes cluster-autoscaler removes nodes: who is eligible, for how long, how many at once.

Source: the cluster-autoscaler, as of autumn 2026.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from policies.scaling.packing import Room, fits_whole


def utilization(room: Room) -> float:
    """Of a node with GPUs the share of them that pods ask for; of others the larger of the shares of CPU and memory."""
    if room.size.num_gpus:
        return room.gpus_used_frac
    return max(1.0 - room.cpus / room.size.num_cpus, 1.0 - room.memory_gib / room.size.memory_gib)


def unneeded(rooms: Sequence[Room], threshold: float, before: Collection[int] = ()) -> list[Room]:
    """The nodes that could go, together: little used, and their pods fit on others, that stay.

    Empty ones are looked at first, then those that could go `before` (by index), else the oldest. `rooms` are left
    alone.
    """
    little = [room for room in rooms if utilization(room) <= threshold + 1e-9]
    little.sort(key=lambda room: (bool(room.pods), room.index not in before, room.index))
    found = [room for room in little if not room.pods]
    if len(found) == len(little):
        return found
    gone = {room.index for room in found}
    there = {room.index: room.copy() for room in rooms if room.index not in gone}
    for room in little[len(found) :]:
        mine = there.pop(room.index)
        if fits_whole(mine.pods, list(there.values())):  # also what was moved to it
            found.append(room)
        else:
            there[room.index] = mine
    return found


class UnneededTimes:
    """Since when each node has been unneeded without a break."""

    def __init__(self) -> None:
        self.since_s: Mapping[int, float] = {}

    def update(self, now_s: float, found: Sequence[Room]) -> None:
        self.since_s = {room.index: self.since_s.get(room.index, now_s) for room in found}

    def for_longer_than(self, unneeded_s: float, now_s: float) -> set[int]:
        return {index for index, since_s in self.since_s.items() if since_s + unneeded_s < now_s}


def cropped(num_empty: int, num_used: int, num_draining: int, max_parallel: int, max_drain: int) -> tuple[int, int]:
    """(empty nodes, used ones) that may go now, beside those that are draining."""
    budget = max(max_parallel - num_draining, 0)
    empty = min(num_empty, budget)
    return empty, max(min(num_used, budget - empty, max_drain - num_draining), 0)


def in_cooldown(
    now_s: float, added_s: float, deleted_s: float, after_add_s: float, after_delete_s: float,
    failed_s: float = float("-inf"), after_failure_s: float = 180.0,
) -> bool:  # fmt: skip
    """Whether nothing may go yet, so soon after nodes were added, deleted, or failed to be deleted."""
    return added_s + after_add_s > now_s or deleted_s + after_delete_s > now_s or failed_s + after_failure_s > now_s
