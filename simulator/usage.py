"""What jobs hold and use now, by pool: what monitoring reads. Kept up to date gang by gang: reading is cheap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from policies import Job, Nodes, Placement
from workloads import JobTable

# What a job uses by GPU held, in the order of the sums here.
PER_GPU = (
    *("gpu_utilisation_frac", "gpu_memory_gib_per_gpu"),
    *("cpus_per_gpu", "memory_gib_per_gpu", "network_gib_per_s_per_gpu"),
)
_UNIT = 1 << 80  # sums are whole numbers of its inverse: exact whatever the order, and 0 when all jobs have gone


class Usage:
    """GPUs held, and what is used of the quantities of `PER_GPU`, in each pool.

    With one pool all is in it. With several it is where jobs' nodes are; GPUs held without nodes are `unplaced_gpus`.
    A quantity that is alike for all jobs isn't summed: it is a multiple of the GPUs held.

    Args:
        pools: their names; results are in this order.
    """

    def __init__(self, table: JobTable, pools: Sequence[str], nodes: Nodes) -> None:
        self._pools, self._nodes = {name: index for index, name in enumerate(pools)}, nodes
        columns = [getattr(table, name) for name in PER_GPU]
        self._alike = [float(column[0]) if (column == column[0]).all() else None for column in columns]
        self._by_row = [
            None if alike is not None else [int(value) for value in (column * float(_UNIT)).tolist()]
            for column, alike in zip(columns, self._alike, strict=True)
        ]
        self.is_needed = len(pools) > 1 or None in self._alike  # else the GPUs held say all
        self.num_changes = 0
        self._unplaced = len(pools)  # where what is in no pool is kept
        self._held = [0] * (len(pools) + 1)
        self._sums = [[0] * len(PER_GPU) for _ in self._held]

    def move(self, job: Job, old: tuple[int, Placement], new: tuple[int, Placement]) -> None:
        """What a job holds goes from (GPUs, nodes) to others."""
        self.num_changes += 1
        if len(self._pools) == 1:
            self._add(0, job.row, new[0] - old[0])
            return
        for (gpus, nodes), sign in ((old, -1), (new, 1)):
            if not nodes:
                self._add(self._unplaced, job.row, sign * gpus)
            for node, count in nodes:
                self._add(self._pools[self._nodes.pools[node]], job.row, sign * count)

    def recount(self, jobs: Iterable[Job]) -> None:
        """Counts all anew, from what these jobs hold."""
        self._held = [0] * len(self._held)
        self._sums = [[0] * len(PER_GPU) for _ in self._held]
        for job in jobs:
            if job.gpus_held:
                self.move(job, (0, ()), (job.gpus_held, job.nodes))

    def _add(self, pool: int, row: int, gpus: int) -> None:
        self._held[pool] += gpus
        sums = self._sums[pool]
        for index, by_row in enumerate(self._by_row):
            if by_row is not None:
                sums[index] += gpus * by_row[row]

    @property
    def unplaced_gpus(self) -> int:
        """GPUs held that are in no pool that anybody knows of."""
        return self._held[self._unplaced]

    def held_gpus(self, pool: int) -> int:
        return self._held[pool]

    def used(self, pool: int) -> list[float]:
        """Of each quantity of `PER_GPU`, what is used in a pool."""
        return self._floats(self._held[pool], self._sums[pool])

    def used_by(self, held_gpus: int) -> list[float]:
        """The same of so many GPUs, where all quantities are alike."""
        return self._floats(held_gpus, self._sums[0])

    def in_all(self) -> tuple[int, list[float]]:
        """(GPUs held, what is used of each quantity) in all pools and none."""
        sums = [sum(column) for column in zip(*self._sums, strict=True)]
        held = sum(self._held)
        return held, self._floats(held, sums)

    def _floats(self, held_gpus: int, sums: Sequence[int]) -> list[float]:
        return [
            total / _UNIT if alike is None else held_gpus * alike
            for total, alike in zip(sums, self._alike, strict=True)
        ]

    def of_job(self, job: Job, gpus: int) -> list[float]:
        """What a job uses of each quantity on so many GPUs."""
        return [
            gpus * (by_row[job.row] / _UNIT if by_row is not None else alike)  # type: ignore[operator]
            for by_row, alike in zip(self._by_row, self._alike, strict=True)
        ]
