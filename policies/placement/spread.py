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
        gpus: dict[int, int] = {}
        for _ in range(num_gpus):
            node = space.emptiest(job)
            if node < 0:
                break
            space.hold(job, ((node, 1),))
            gpus[node] = gpus.get(node, 0) + 1
        for node, count in gpus.items():  # the draft takes them for good
            space.hold(job, ((node, count),), -1)
        return tuple(gpus.items()) if sum(gpus.values()) == num_gpus else None
