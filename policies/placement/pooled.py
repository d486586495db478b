"""No nodes: any free GPUs will do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.job import Job, Placement
from policies.nodes import Space
from policies.registry import register


@register("placement", "pooled")
@dataclass
class Pooled:
    """The cluster as one bag of GPUs, as queueing theory sees it. CPU and memory of nodes play no part."""

    fits_by_count: ClassVar[bool] = True

    def place(self, job: Job, num_gpus: int, space: Space) -> Placement | None:
        return ()
