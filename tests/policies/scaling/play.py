"""A target that gets at once what its policy wants, while monitoring reads a script: for tests of scaling policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from policies import ClusterView, ServiceView, Target
from policies.fake_cluster import FakeCluster
from policies.protocols import ScalingPolicy

Sample = tuple[float, Mapping[str, float]]  # (when, values by metric)
Load = Callable[[float, Target], Mapping[str, float]]  # (now, the target) -> what monitoring reads


def cluster_of(
    units: int = 4, *, service: bool = False, most: int = 20, least: int = 0, gpus: int = 8, jobs: Any = None
) -> tuple[FakeCluster, Target]:
    """A cluster and its target: the pool `default`, or the service `chat`."""
    chat = ServiceView(name="chat", gpus_per_unit=1, min_units=least, max_units=most)
    chat.num_ready = units
    cluster = FakeCluster(jobs or {}, nodes=[gpus] * (1 if service else units), max_nodes=most, services=[chat])
    pool = cluster.view().pools["default"]
    pool.min_units = least
    return cluster, chat if service else pool


def every(interval_s: float, metric: str, *values: float, start_s: float = 0.0) -> list[Sample]:
    """Samples of one metric at an interval."""
    return [(start_s + interval_s * i, {metric: value}) for i, value in enumerate(values)]


def wishes(
    policy: ScalingPolicy,
    samples: Sequence[Sample],
    ask_s: Sequence[float],
    *,
    units: int = 4,
    before: Callable[[Target, ClusterView], None] | None = None,
    **more: Any,
) -> list[int]:
    """What the policy wants at each time, if what it wants is there at once; `before` may change the target."""
    cluster, target = cluster_of(units, **more)
    told, coming = [], sorted(samples, key=lambda sample: sample[0])
    for now_s in ask_s:
        while coming and coming[0][0] <= now_s:
            time_s, values = coming.pop(0)
            cluster.measure(time_s, target.name, **{"pending_gpus": 0.0, **values})
        cluster.now_s = now_s
        if before:
            before(target, cluster.view())
        told.append(policy.desired(target, cluster.view()))
        target.num_ready = told[-1] - target.num_starting
    return told


def run(
    policy: ScalingPolicy, load: Load, until_s: float, *, start_s: float = 0.0, units: int = 4, **more: Any
) -> list[int]:
    """What the policy wants at each of its periods, monitoring reading `load` of what there is at each of them."""
    cluster, target = cluster_of(units, **more)
    told, now_s = [], start_s
    while now_s <= until_s:
        cluster.now_s = now_s
        cluster.measure(now_s, target.name, **load(now_s, target))
        target.num_ready = policy.desired(target, cluster.view())
        told.append(target.num_ready)
        now_s += policy.period_s
    return told
