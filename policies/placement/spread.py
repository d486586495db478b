"""Gangs far apart: load levelled over the nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.job import Job, Placement
from policies.nodes import Space
from policies.registry import register


@register("placement", "spread")
@dataclass
class Spread:
    """Each GPU goes to the node that has the most room left, ties by node number (worst fit, GPU by GPU).

    What a failed node takes down is small and hot spots are rare; gangs pay for it in communication.
    """

    fits_by_count: ClassVar[bool] = True

    def place(self, job: Job, num_gpus: int, space: Space) -> Placement | None:
        trial = space.copy()
        gpus: dict[int, int] = {}
        for _ in range(num_gpus):
            node = trial.emptiest(job)
            if node < 0:
                return None
            trial.hold(job, ((node, 1),))
            gpus[node] = gpus.get(node, 0) + 1
        return tuple(gpus.items())
