"""A fixed number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from policies.registry import register
from policies.view import ClusterView, Target


@register("scaling", "static")
@dataclass
class Static:
    """Keeps what the target starts with."""

    period_s: ClassVar[float] = math.inf

    def desired(self, target: Target, view: ClusterView) -> int:
        if view.explain:
            view.explain.say("fixed", holds=True)
        return target.num_units
