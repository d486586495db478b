"""How long a node takes from being ordered to taking jobs, stage by stage."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from simulator.errors import ConfigError

STAGES = ("allocation", "boot", "driver", "image")
REGISTERS = ("ready", "booted")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """Seconds that each stage of one node takes."""

    allocation: float = 0.0
    boot: float = 0.0
    driver: float = 0.0
    image: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStartup:
    """Medians of the stages in seconds, each with the standard deviation of its logarithm (0: constant).

    | stage | while it lasts | billed |
    |---|---|---|
    | allocation | the provider looks for a machine; with `stockout_frac` it has none | no |
    | boot | the machine starts and joins the cluster | yes |
    | driver | its GPU driver and device plugin are installed | yes |
    | image | the container image that every node needs is pulled; one from the warm pool has it | yes |

    Known of it: an AKS node with A100s is there after 5 to 11 minutes, a 10 GB image that isn't cached takes 7 to 10
    (both as of autumn 2026); a node that is ready may take up to 15 minutes more until it offers its GPUs (Kubernetes'
    cluster-autoscaler says so where it works around that, utils/gpu, read 2026-11-25).

    Args:
        stockout_frac: chance that an order finds no machine.
        retry_s: such an order is placed again after so long; inf: it is given up, and policies may order anew.
        registers: when autoscalers see the node as ready. A Kubernetes node is once it is `booted`, before it offers
            its GPUs; with `ready` only once it takes jobs.
        source: where the numbers are from.
    """

    allocation_s: float = 0.0
    allocation_sigma: float = 0.0
    boot_s: float = 0.0
    boot_sigma: float = 0.0
    driver_s: float = 0.0
    driver_sigma: float = 0.0
    image_s: float = 0.0
    image_sigma: float = 0.0
    stockout_frac: float = 0.0
    retry_s: float = 60.0
    registers: str = "ready"
    source: str = ""

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name.split("_")[0] in STAGES and not 0 <= value < math.inf:
                raise ConfigError(f"cluster.startup.{option.name}={value}: must be a number, 0 or more")
        if not 0 <= self.stockout_frac < 1:
            raise ConfigError(f"cluster.startup.stockout_frac={self.stockout_frac}: must lie in 0..1, below 1")
        if not self.retry_s > 0:
            raise ConfigError(
                f"cluster.startup.retry_s={self.retry_s}: must be more than 0 (inf: an order is given up)"
            )
        if self.registers not in REGISTERS:
            raise ConfigError(f"cluster.startup.registers={self.registers!r}: must be {' or '.join(REGISTERS)}")

    @property
    def has_stages(self) -> bool:
        return self.typical_s > 0

    @property
    def typical_s(self) -> float:
        """Seconds of all stages, each at its median."""
        return self.allocation_s + self.boot_s + self.driver_s + self.image_s

    def draw(self, rng: np.random.Generator) -> StageTimes:
        """One node's times; takes as many draws whatever the options."""
        deviates = rng.standard_normal(len(STAGES)).tolist()
        return StageTimes(
            **{
                stage: getattr(self, f"{stage}_s") * math.exp(getattr(self, f"{stage}_sigma") * deviate)
                for stage, deviate in zip(STAGES, deviates, strict=True)
            }
        )
