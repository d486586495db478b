"""What node autoscalers remember of an unchanged cluster changes nothing of what they want."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from policies import NodeSize
from policies.fake_cluster import FakeCluster, FakeJob
from policies.placement.consolidate import Consolidate
from policies.plan import Draft
from policies.scaling.cluster_autoscaler import ClusterAutoscaler
from policies.scaling.karpenter import Karpenter
from policies.scaling.ray_autoscaler import RayAutoscaler

MAKERS = {
    "cluster_autoscaler": lambda: ClusterAutoscaler(unneeded_s=60.0, delay_after_add_s=30.0, new_gpu_pod_s=5.0),
    "karpenter": lambda: Karpenter(validate_s=5.0, consolidate_after_s=3.0, disruption_s=4.0),
    "karpenter at once": lambda: Karpenter(validate_s=0.0, budget_frac=0.5, disruption_s=2.0),
    "ray_autoscaler": lambda: RayAutoscaler(idle_timeout_s=30.0),
}


def start(there: FakeCluster) -> None:
    """Gives jobs that wait what is free."""
    draft = Draft(there.view(), Consolidate(strict=False))
    for job in there.view().pending:
        draft.give(job, job.num_gpus)
    there.apply(draft.plan())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", MAKERS)
def test_what_is_remembered_changes_nothing(name: str, seed: int) -> None:
    """Jobs come and go, nodes come after a while; one policy forgets, at each look, what it has seen."""
    rng = np.random.default_rng(seed)
    there = FakeCluster({}, nodes=[8, 8], max_nodes=12)
    pool = there.view().pools["default"]
    one, other = MAKERS[name](), MAKERS[name]()
    told = []
    for step in range(300):
        there.advance(1.0)
        if rng.random() < 0.2 and step < 120:
            size = int(rng.choice([1, 2, 4, 8, 12]))
            left_s = float(rng.integers(1, 60))
            there.submit(f"j{step}", FakeJob(num_gpus=size, submit_s=there.now_s, remaining_s=left_s))
        if pool.num_starting and rng.random() < 0.1:
            pool.num_starting -= 1
            pool.num_ready += 1
            there.view().nodes.add(NodeSize(8), "default")
        if rng.random() < 0.5:
            start(there)
        other._seen = None
        wanted = one.desired(pool, there.view())
        assert wanted == other.desired(pool, there.view())
        start(there)  # at the same instant, after it was asked
        told.append(wanted - pool.num_units)
        pool.num_starting += max(told[-1], 0)
        for _ in range(min(-told[-1], pool.num_ready)):
            there.drain(emptiest(there))
            pool.num_draining = 0  # gone at once
    assert any(change > 0 for change in told)
    assert any(change < 0 for change in told)


def emptiest(there: FakeCluster) -> int:
    nodes: Any = there.view().nodes
    return max(set(range(len(nodes.sizes))) - nodes.closed, key=lambda node: (nodes.free[node], node))
