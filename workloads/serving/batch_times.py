"""How long a batch takes on a replica that batches dynamically."""

from __future__ import annotations

import math
from dataclasses import dataclass

from workloads.errors import WorkloadError


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTimes:
    """t(b) = fixed_s + per_request_s · b for a batch of b: close to a line for many models (Crankshaw et al., Clipper,
    NSDI 2017).

    Args:
        max_batch: a batch starts once so many wait ...
        max_wait_s: ... or the first of them has waited for so long, on a replica that is free.
    """

    fixed_s: float = 0.01
    per_request_s: float = 0.002
    max_batch: int = 16
    max_wait_s: float = 0.005

    def __post_init__(self) -> None:
        rules = {
            "fixed_s": (0 <= self.fixed_s < math.inf, "must be 0 or more"),
            "per_request_s": (0 < self.per_request_s < math.inf, "must be more than 0"),
            "max_batch": (self.max_batch >= 1, "must be 1 or more"),
            "max_wait_s": (0 <= self.max_wait_s < math.inf, "must be 0 or more"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise WorkloadError(f"{name}={getattr(self, name)}: {rule}")

    def time_s(self, size: int) -> float:
        """Seconds of a batch."""
        return self.fixed_s + self.per_request_s * size
