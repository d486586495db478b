"""Everything that a run depends on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from policies import AllocationPolicy, PlacementPolicy, ScalingPolicy
from simulator.cluster import DecideOptions
from simulator.errors import ConfigError
from simulator.monitor import MonitorOptions
from simulator.overheads import Overheads
from simulator.pools import PoolSpec
from simulator.serving.buying import NODES
from simulator.serving.services import ServicePlan
from workloads import JobTable, Linear, StepTimeModel
from workloads.options import nearest


@dataclass(kw_only=True)
class Scenario:
    """Everything that a run depends on.

    Args:
        training_pool: whose nodes jobs may be on; empty: those of any.
        scaling: by the name of a pool or a service.
        oversized: what becomes of jobs that the cluster can never hold: `reject` them up front, or `error`.
        horizon_s: ends the run then; jobs still there are unfinished.
        starve_after_s: ends a run in which jobs wait, none runs and none is to come, when for so long none has started
            and there have not been more GPUs than before, nor are any to come of the nodes ordered in that time. Also
            one whose jobs lose their nodes, and with them their work, over and over, and in so long got no further.
        explain: records why, whenever a scaling policy is asked.
        skip_quiet: loops and monitoring cost nothing while nothing changes; False has each of their ticks be an event,
            to the same end.
    """

    jobs: JobTable
    allocation: AllocationPolicy
    placement: PlacementPolicy
    pools: Sequence[PoolSpec] = (PoolSpec(),)
    services: Sequence[ServicePlan] = ()
    training_pool: str = ""
    scaling: Mapping[str, ScalingPolicy] = field(default_factory=dict)
    step_time: StepTimeModel = field(default_factory=Linear)
    overheads: Overheads = field(default_factory=Overheads)
    estimates: str = "oracle"
    estimate_options: Mapping[str, Any] = field(default_factory=dict)
    decide: DecideOptions = field(default_factory=DecideOptions)
    monitor: MonitorOptions = field(default_factory=MonitorOptions)
    seed: int = 0
    oversized: str = "reject"
    horizon_s: float = math.inf
    starve_after_s: float = 7 * 86400.0
    max_idle_moves: int = 100
    explain: bool = False
    skip_quiet: bool = True

    def __post_init__(self) -> None:
        names = [pool.name for pool in self.pools]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"cluster pools {names}: there must be at least one, and names must differ")
        served = [plan.spec.name for plan in self.services]
        if len({*names, *served}) != len(names) + len(served):
            raise ConfigError(f"services {served}: names must differ from each other, and from those of pools: {names}")
        for name in self.scaling:
            if name not in names and name not in served:
                raise ConfigError(f"scaling of unknown pool or service {name!r}: known: {', '.join(names + served)}")
        if self.training_pool and self.training_pool not in names:
            raise ConfigError(f"training_pool={self.training_pool}: no such pool{nearest(self.training_pool, names)}")
        for plan in self.services:
            self._check_service(plan)
        if not len(self.jobs) and not self.services:
            raise ConfigError("nothing to run: no jobs and no service; set workload=… or requests=…")
        if self.oversized not in ("reject", "error"):
            raise ConfigError(f"oversized={self.oversized!r}: must be reject or error")
        if not self.horizon_s > 0:
            raise ConfigError(f"horizon_s={self.horizon_s}: must be more than 0")

    def _check_service(self, plan: ServicePlan) -> None:
        spec = plan.spec
        names = [pool.name for pool in self.pools]
        if spec.pool and spec.pool not in names:
            raise ConfigError(
                f"service {spec.name!r}: service.pool={spec.pool}: no such pool{nearest(spec.pool, names)}"
            )
        most_gpus = self.most_gpus_of(spec.pool)
        if spec.gpus_per_replica > most_gpus:
            raise ConfigError(
                f"service {spec.name!r}: service.gpus_per_replica={spec.gpus_per_replica}: "
                f"{f'pool {spec.pool!r}' if spec.pool else 'the cluster'} has {most_gpus} GPUs at most"
            )
        for name, has in (("cpus_per_gpu", "cpus_per_node"), ("memory_gib_per_gpu", "memory_gib_per_node")):
            most = max(getattr(pool, has) for pool in self._pools_of(spec.pool))
            if getattr(spec, name) > most:
                raise ConfigError(
                    f"service {spec.name!r}: service.{name}={getattr(spec, name):g}: nodes have {most:g} at most"
                )

        paid = next((pool for pool in self._pools_of(spec.pool) if pool.usd_per_node_h), None)
        if spec.purchase.buy != NODES and paid:
            raise ConfigError(
                f"service {spec.name!r}: service.buy={spec.purchase.buy}: its nodes are the provider's, but those of "
                f"pool {paid.name!r} cost {paid.usd_per_node_h:g} USD an hour; bind it to a pool with usd_per_node_h=0"
            )

    def most_gpus_of(self, pool: str) -> int:
        """GPUs that a pool, or for "" the cluster, can grow to."""
        return sum(self.most_nodes(of) * of.gpus_per_node for of in self._pools_of(pool))

    def most_nodes(self, pool: PoolSpec) -> int:
        """What a pool can grow to: its `max_nodes`, unless its policy never wants more than there are."""
        return pool.num_nodes if getattr(self.scaling.get(pool.name), "keeps_size", False) else pool.most

    def _pools_of(self, name: str) -> list[PoolSpec]:
        """The pool of a name; all for none."""
        return [pool for pool in self.pools if name in ("", pool.name)]

    @property
    def periods_s(self) -> list[float]:
        """Of the scaling policies that are asked again and again."""
        return [policy.period_s for policy in self.scaling.values() if policy.period_s < math.inf]

    @property
    def has_pools(self) -> bool:
        """Whether some jobs or replicas may be on the nodes of one pool only."""
        return len(self.pools) > 1 and bool(self.training_pool or any(plan.spec.pool for plan in self.services))

    @property
    def most_gpus(self) -> int:
        """GPUs that jobs may have when every pool is as large as it may be."""
        return self.most_gpus_of(self.training_pool)

    def too_large(self) -> np.ndarray:
        """Rows of the jobs that ask for what no state of the cluster has: GPUs, or CPU or memory a GPU; shape (R,).

        What counts is `num_gpus`, also of an elastic job that could do with fewer: most policies give what is asked,
        and would let it wait for ever, with all that waits behind it.
        """
        jobs = self.jobs
        fits = np.zeros(len(jobs), bool)
        for pool in self._pools_of(self.training_pool):
            fits |= (jobs.cpus_per_gpu <= pool.cpus_per_node) & (jobs.memory_gib_per_gpu <= pool.memory_gib_per_node)
        return ((jobs.num_gpus > self.most_gpus) | ~fits).nonzero()[0]
