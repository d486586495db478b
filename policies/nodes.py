"""GPUs by node, indexed by how many are free.

For each number f of free GPUs one Python integer holds a bit for every node with exactly f free. "The lowest-numbered
node with the fewest free GPUs that suffice" is then a lowest set bit, and a tentative copy for one decision is a copy
of a handful of references, because integers don't change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from policies.errors import PlanError
from policies.job import Job, Placement


def lowest_bit(mask: int) -> int:
    """The lowest node in a mask that isn't 0."""
    return (mask & -mask).bit_length() - 1


def bits(mask: int) -> Iterator[int]:
    """The nodes in a mask, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


@dataclass(frozen=True, slots=True)
class NodeSize:
    """What a node offers."""

    num_gpus: int
    num_cpus: float = math.inf
    memory_gib: float = math.inf


class Nodes:
    """All nodes that have been ready, numbered as they came; closed ones (draining, gone) take no new gangs.

    Args:
        has_demands: whether any job asks for CPUs or memory; where none does, limits cost nothing.
        has_pools: whether some jobs may be on the nodes of one pool only.
    """

    def __init__(self, has_demands: bool = True, has_pools: bool = False) -> None:
        self._has_demands = has_demands
        self.sizes: list[NodeSize] = []
        self.pools: list[str] = []
        self.free: list[int] = []  # free GPUs by node, whether open or not
        self.cpus_free: list[float] = []
        self.memory_free_gib: list[float] = []
        self.masks: list[int] = [0]  # masks[f]: open nodes with exactly f free GPUs
        self.open_mask = 0
        self.closed: set[int] = set()  # the others
        self.bit_of: list[int] = []  # 1 << node, made once: with many nodes that costs as much as using it
        self.capacity_gpus = 0  # of open nodes
        self.closed_held_gpus = 0  # held on closed nodes
        self.has_limits = has_pools  # or of CPU or memory, on any node, with jobs that ask for some
        self.space = Space(self)  # the free GPUs as they are

    @property
    def max_node_gpus(self) -> int:
        """GPUs of the largest node there has been."""
        return len(self.masks) - 1

    def add(self, size: NodeSize, pool: str = "") -> int:
        """A new open, empty node; returns its number."""
        node = len(self.sizes)
        self.sizes.append(size)
        self.pools.append(pool)
        self.free.append(size.num_gpus)
        self.cpus_free.append(size.num_cpus)
        self.memory_free_gib.append(size.memory_gib)
        self.masks += [0] * (size.num_gpus + 1 - len(self.masks))  # in place: `space` shares it
        bit = 1 << node
        self.bit_of.append(bit)
        self.masks[size.num_gpus] |= bit
        self.open_mask |= bit
        self.capacity_gpus += size.num_gpus
        if self._has_demands and (math.isfinite(size.num_cpus) or math.isfinite(size.memory_gib)):
            self.has_limits = True
        return node

    def close(self, node: int) -> None:
        """The node takes no new gangs from now on; what runs there stays."""
        if node not in self.closed:
            self.closed.add(node)
            self.open_mask ^= 1 << node
            self.masks[self.free[node]] ^= 1 << node
            self.capacity_gpus -= self.sizes[node].num_gpus
            self.closed_held_gpus += self.sizes[node].num_gpus - self.free[node]

    def reopen(self, node: int) -> None:
        """A closed node takes gangs again."""
        if node in self.closed:
            self.closed.remove(node)
            self.open_mask |= 1 << node
            self.masks[self.free[node]] |= 1 << node
            self.capacity_gpus += self.sizes[node].num_gpus
            self.closed_held_gpus -= self.sizes[node].num_gpus - self.free[node]

    def open_gpus(self, placement: Placement) -> int:
        """Of these GPUs, how many are on open nodes."""
        return sum(gpus for node, gpus in placement if node not in self.closed)

    def hold(self, job: Job, placement: Placement, sign: int = 1) -> None:
        """The job takes (sign 1) or gives back (-1) these GPUs."""
        free, masks, bit_of = self.free, self.masks, self.bit_of
        for node, gpus in placement:
            try:
                before = free[node]
            except IndexError:
                raise PlanError(f"job {job.job_id}: placed on node {node}, which does not exist") from None
            after = before - sign * gpus
            if after < 0:
                raise PlanError(f"job {job.job_id}: {gpus} GPUs placed on node {node}, which has {before} free")
            free[node] = after
            bit = bit_of[node]
            if node not in self.closed:
                masks[before] ^= bit
                masks[after] ^= bit
            else:
                self.closed_held_gpus += sign * gpus
            if self.has_limits:
                self.cpus_free[node] -= sign * gpus * job.cpus_per_gpu
                self.memory_free_gib[node] -= sign * gpus * job.memory_gib_per_gpu


class Space:
    """Free GPUs as placement policies see them: as they are (`Nodes.space`), or as a draft would have them (a copy)."""

    __slots__ = ("_cpus", "_free", "_memory", "_nodes", "masks")

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self.masks = nodes.masks
        self._free: dict[int, int] = {}  # of nodes that differ from what they are
        self._cpus: dict[int, float] = {}
        self._memory: dict[int, float] = {}

    def copy(self) -> Space:
        """A copy to write to."""
        copy = Space(self._nodes)
        copy.masks = self.masks.copy()
        copy._free, copy._cpus, copy._memory = self._free.copy(), self._cpus.copy(), self._memory.copy()
        return copy

    @property
    def max_node_gpus(self) -> int:
        """GPUs of the largest node there has been."""
        return len(self.masks) - 1

    def free(self, node: int) -> int:
        """Free GPUs of a node."""
        free = self._free.get(node)
        return self._nodes.free[node] if free is None else free

    def room(self, job: Job, node: int) -> int:
        """How many GPUs of an open node the job can have: those free that its CPUs and memory allow; 0 if it is closed,
        or of a pool that isn't the job's."""
        if node in self._nodes.closed:
            return 0
        room = self.free(node)
        if self._nodes.has_limits:
            pool = job.pool
            if pool and pool != self._nodes.pools[node]:
                return 0
            touched: dict[int, float]
            for per_gpu, touched, free in (
                (job.cpus_per_gpu, self._cpus, self._nodes.cpus_free),
                (job.memory_gib_per_gpu, self._memory, self._nodes.memory_free_gib),
            ):
                have = touched.get(node, free[node])
                if per_gpu > 0 and math.isfinite(have):
                    room = min(room, int(have / per_gpu + 1e-9))
        return room

    def best_fit(self, job: Job, num_gpus: int, without: int = 0) -> int:
        """The node with the fewest free GPUs that has room for `num_gpus`, lowest number first; -1 if none.

        `without` is a mask of nodes to pass over.
        """
        if self._nodes.has_limits:
            for free in range(num_gpus, self.max_node_gpus + 1):
                for node in bits(self.masks[free] & ~without):
                    if self.room(job, node) >= num_gpus:
                        return node
            return -1
        for mask in self.masks[num_gpus:]:
            if mask:
                if without:
                    mask &= ~without
                    if not mask:
                        continue
                return (mask & -mask).bit_length() - 1
        return -1

    def emptiest(self, job: Job, without: int = 0) -> int:
        """The node with the most room for the job, lowest number first; -1 if none has any."""
        best, best_room = -1, 0
        for free in range(self.max_node_gpus, 0, -1):
            if free <= best_room:
                break
            for node in bits(self.masks[free] & ~without):
                room = self.room(job, node)
                if room > best_room:
                    best, best_room = node, room
                    if room == free:
                        break
        return best

    def hold(self, job: Job, placement: Placement, sign: int = 1) -> None:
        """As `Nodes.hold`, in a copy."""
        nodes, masks = self._nodes, self.masks
        assert masks is not nodes.masks, "a placement policy tried to write to the free GPUs as they are"
        for node, gpus in placement:
            before = self.free(node)
            after = self._free[node] = before - sign * gpus
            if node not in nodes.closed:
                bit = nodes.bit_of[node]
                masks[before] ^= bit
                masks[after] ^= bit
            if nodes.has_limits:
                cpus, memory = self._cpus, self._memory
                cpus[node] = cpus.get(node, nodes.cpus_free[node]) - sign * gpus * job.cpus_per_gpu
                memory[node] = memory.get(node, nodes.memory_free_gib[node]) - sign * gpus * job.memory_gib_per_gpu
