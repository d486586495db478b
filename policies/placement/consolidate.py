"""Gangs close together: best fit on one node, else on the fewest."""

from __future__ import annotations

from dataclasses import dataclass

from policies.job import Job, Placement
from policies.nodes import Space
from policies.registry import register


@register("placement", "consolidate")
@dataclass
class Consolidate:
    """Best fit: the node with the fewest free GPUs that suffice, ties by node number; else the fewest nodes.

    With `strict` a gang that some node is large enough for waits until one has room, and a larger one for as many
    whole nodes as it needs, as schedulers that refuse to split gangs do. Without, what fits on no node now is spread
    over the emptiest ones at once (`placement=packed`).
    """

    strict: bool = True

    @property
    def fits_by_count(self) -> bool:
        return not self.strict

    def place(self, job: Job, num_gpus: int, space: Space) -> Placement | None:
        if job.gpus_held:
            for node, _ in job.nodes:  # growing: next to what it has
                if space.room(job, node) >= num_gpus:
                    return ((node, num_gpus),)
            if self.strict and job.gpus_held + num_gpus <= space.max_node_gpus:
                return None
        node = space.best_fit(job, num_gpus)
        if node >= 0:
            return ((node, num_gpus),)
        if self.strict and num_gpus <= space.max_node_gpus:
            return None
        parts: list[tuple[int, int]] = []
        used, left = 0, num_gpus
        while left:
            node = space.best_fit(job, left, used) if parts else -1
            if node < 0:
                node = space.emptiest(job, used)
            if node < 0:
                return None
            gpus = min(left, space.room(job, node))
            if self.strict and gpus < min(left, space.max_node_gpus):
                return None
            parts.append((node, gpus))
            used |= 1 << node
            left -= gpus
        return tuple(parts)
