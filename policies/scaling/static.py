"""A fixed number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from policies.registry import register
from policies.scaling.load import ceil
from policies.scaling.options import require
from policies.view import ClusterView, Target


@register("scaling", "static")
@dataclass
class Static:
    """Keeps what the target starts with; or, from the start on, a share of the most that it may have, rounded up."""

    period_s: ClassVar[float] = math.inf

    of_max_frac: float | None = None  # None: what it starts with

    def __post_init__(self) -> None:
        share = self.of_max_frac
        require("static", {"of_max_frac": (share, share is None or 0 <= share <= 1, "must lie in 0..1")})

    @property
    def keeps_size(self) -> bool:
        return self.of_max_frac is None

    def desired(self, target: Target, view: ClusterView) -> int:
        if self.of_max_frac is None:
            if view.explain:
                view.explain.say("fixed", holds=True)
            return target.num_units
        wanted = ceil(self.of_max_frac * target.max_units)
        if view.explain:
            view.explain.say("recommendation", count=wanted, of_max_frac=self.of_max_frac)
        return wanted
