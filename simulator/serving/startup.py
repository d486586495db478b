"""How long a replica takes from having its GPUs to serving, stage by stage."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from simulator.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """Medians of the stages in seconds, each with the standard deviation of its logarithm (0: constant).

    | stage | default | source |
    |---|---|---|
    | scheduling | 2 s | an assumption: a container is bound and created |
    | image | 510 s, once a node | a 10 GB image, not cached: 7 to 10 minutes (AKS, as of autumn 2026) |
    | weights | 22.7 s, p90 42 s | production model loads: p50 22.7 s, p90 42.0 s (Alibaba GenAI trace, 2026) |
    | engine | 176 s | start of vLLM with a model of 8 B parameters on an A100 (as of autumn 2026) |

    A node that has pulled a service's image once has it from then on; with `placement=pooled`, which knows no nodes,
    each start pulls it. GPUs are held, and paid for, from the first stage on.
    """

    scheduling_s: float = 2.0
    scheduling_sigma: float = 0.0
    image_s: float = 510.0
    image_sigma: float = 0.0
    weights_s: float = 22.7
    weights_sigma: float = 0.48
    engine_s: float = 176.0
    engine_sigma: float = 0.0

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"service.startup.{option.name}={value}: must be a number, 0 or more")

    def draw_s(self, rng: np.random.Generator, has_image: bool) -> tuple[float, float]:
        """(seconds until its process runs, seconds of all stages); takes as many draws whatever is cached."""
        deviates = rng.standard_normal(4).tolist()
        stages = (
            (self.scheduling_s, self.scheduling_sigma),
            (0.0 if has_image else self.image_s, self.image_sigma),
            (self.weights_s, self.weights_sigma),
            (self.engine_s, self.engine_sigma),
        )
        took_s = [
            median_s * math.exp(sigma * deviate) if median_s else 0.0
            for (median_s, sigma), deviate in zip(stages, deviates, strict=True)
        ]
        return sum(took_s[:2]), sum(took_s)

    @property
    def cold_s(self) -> float:
        """Seconds of all stages as a rule: each at its median, nothing cached."""
        return self.scheduling_s + self.image_s + self.weights_s + self.engine_s
