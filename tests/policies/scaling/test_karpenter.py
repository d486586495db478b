"""karpenter as a whole: batches, validation, budgets, replacements."""

from __future__ import annotations

from typing import Any

import pytest

from policies import NodeSize, PolicyError, PoolView
from policies.fake_cluster import FakeCluster, FakeJob
from policies.scaling.karpenter import Karpenter
from tests.policies.scaling.play import cluster_of


def on(node: int, gpus: int) -> FakeJob:
    return FakeJob(num_gpus=gpus, held=gpus, nodes=((node, gpus),))


def cluster(nodes: int = 2, most: int = 20, **jobs: FakeJob) -> FakeCluster:
    return FakeCluster(jobs, nodes=[8] * nodes, max_nodes=most)


def asked(policy: Karpenter, there: FakeCluster, *times_s: float) -> list[int]:
    """What it wants at each time, nothing of it coming or going."""
    told = []
    for now_s in times_s:
        there.now_s = now_s
        told.append(policy.desired(there.view().pools["default"], there.view()))
    return told


def still(**more: Any) -> Karpenter:
    """One that takes nothing away."""
    return Karpenter(budget_frac=0.0, **more)


def test_nodes_for_a_batch() -> None:
    jobs = {"a": on(0, 8), "b": FakeJob(num_gpus=16, submit_s=5.0), "c": FakeJob(num_gpus=4, submit_s=5.8)}
    assert asked(still(), cluster(**jobs), 6.0, 6.7, 6.8) == [2, 2, 4]


def test_what_is_on_the_way_is_not_ordered_again() -> None:
    there = cluster(a=on(0, 8), b=FakeJob(num_gpus=16))
    there.view().pools["default"].num_starting = 1
    assert asked(still(), there, 1.0, 11.0) == [3, 3]


def test_as_many_as_there_may_be_and_the_rest_is_tried_again() -> None:
    there = cluster(most=3, a=on(0, 8), b=on(1, 8), c=FakeJob(num_gpus=64))
    assert asked(still(), there, 1.0, 2.0, 11.0) == [3, 2, 3]
    assert asked(still(max_units=4), cluster(c=FakeJob(num_gpus=64)), 1.0) == [4]


def test_empty_nodes_go_once_validated_within_the_budget() -> None:
    """Found at 0 s, done at 15 s; then the next look is at 25 s."""
    there = cluster(nodes=12, a=on(0, 8))
    assert asked(Karpenter(), there, 0.0, 14.0, 15.0, 16.0, 25.0, 39.0, 40.0) == [12, 12, 10, 12, 12, 12, 10]
    there.view().pools["default"].num_draining = 1
    assert asked(Karpenter(), there, 0.0, 15.0) == [12, 11]
    assert asked(Karpenter(validate_s=0.0), cluster(nodes=3, a=on(0, 8)), 0.0, 1.0, 10.0) == [2, 3, 2]


def test_what_is_no_longer_empty_stays() -> None:
    there = cluster(nodes=12, a=on(0, 8))
    policy = Karpenter()
    asked(policy, there, 0.0)
    there.submit("b", on(1, 1))
    assert asked(policy, there, 15.0) == [11]  # of 1 and 2
    policy = Karpenter()
    asked(policy, there, 0.0)
    there.submit("c", FakeJob(num_gpus=8, submit_s=10.0))  # meant for 2
    assert asked(policy, there, 15.0) == [11]


def test_a_node_counts_a_while_after_its_pods_have_changed() -> None:
    there = cluster(nodes=3, a=on(0, 8), b=on(1, 8), c=on(2, 8))
    policy = Karpenter(consolidation="WhenEmpty", consolidate_after_s=60.0, validate_s=0.0)
    assert asked(policy, there, 0.0, 100.0) == [3, 3]
    there.finish("c")
    assert asked(policy, there, 101.0, 160.0, 161.0, 171.0) == [3, 3, 3, 2]  # looks at 100, 160, 170, …


def test_underused_nodes_go_unless_only_empty_ones_may() -> None:
    there = cluster(nodes=3, a=on(0, 8), b=on(1, 2), c=on(2, 2))
    assert asked(Karpenter(), there, 0.0, 15.0) == [3, 2]
    assert asked(Karpenter(consolidation="WhenEmpty"), there, 0.0, 15.0) == [3, 3]


def test_a_plan_that_is_no_longer_right_is_dropped() -> None:
    there = cluster(nodes=3, a=on(0, 8), b=on(1, 2), c=on(2, 2))
    policy = Karpenter()
    asked(policy, there, 0.0)
    there.submit("d", on(2, 6))
    assert asked(policy, there, 15.0, 25.0, 40.0) == [3, 3, 3]


def two_pools() -> tuple[FakeCluster, dict[str, PoolView]]:
    """A large node with 2 GPUs held, and none of the small and cheap ones."""
    there = FakeCluster({}, nodes=[], max_nodes=9)
    there.view().nodes.add(NodeSize(8), "large")
    there.submit("a", on(0, 2))
    pools = {
        name: PoolView(name=name, gpus_per_unit=gpus, min_units=0, max_units=9, usd_per_unit_h=usd)
        for name, gpus, usd in (("small", 4, 3.0), ("large", 8, 5.0))
    }
    pools["large"].num_ready = 1
    there.view().pools = pools
    return there, pools


def test_a_cheaper_node_comes_before_the_old_one_goes() -> None:
    there, pools = two_pools()
    policy = Karpenter()
    told = []
    for now_s, starting, ready in ((0.0, 0, 0), (15.0, 0, 0), (16.0, 1, 0), (60.0, 1, 0), (61.0, 0, 1)):
        there.now_s = now_s
        pools["small"].num_starting, pools["small"].num_ready = starting, ready
        told.append(policy.decide(there.view(), list(pools.values())))
    none, one = {"small": 0, "large": 1}, {"small": 1, "large": 1}
    assert told == [none, one, one, one, {"small": 1, "large": 0}]


def test_if_it_does_not_come_the_old_one_stays() -> None:
    there, pools = two_pools()
    policy = Karpenter()
    for now_s in (0.0, 15.0, 16.0, 616.0):
        there.now_s = now_s
        told = policy.decide(there.view(), list(pools.values()))
    assert told == {"small": 0, "large": 1}
    assert policy._replacing is None


def test_the_cheapest_pool_for_what_waits() -> None:
    there, pools = two_pools()
    there.submit("b", FakeJob(num_gpus=8))
    there.submit("c", FakeJob(num_gpus=7))
    there.submit("d", FakeJob(num_gpus=4))
    there.now_s = 1.0
    assert still().decide(there.view(), list(pools.values())) == {"small": 0, "large": 3}  # d beside a


def test_it_scales_pools_only() -> None:
    there, chat = cluster_of(2, service=True)
    with pytest.raises(PolicyError, match="karpenter: 'chat' is a service: it scales node pools"):
        Karpenter().desired(chat, there.view())


@pytest.mark.parametrize("waits", [[], [3], [8, 8, 12], [40]])
def test_it_comes_to_rest_within_its_bounds(waits: list[int]) -> None:
    """All that it orders comes at once, and what waits stays."""
    there = cluster(nodes=2, most=6, **{f"j{i}": FakeJob(num_gpus=gpus) for i, gpus in enumerate(waits)})
    pool, policy, told = there.view().pools["default"], Karpenter(), []
    for step in range(200):
        there.now_s = 1.0 * step
        told.append(policy.desired(pool, there.view()))
        while pool.num_ready < told[-1]:
            there.view().nodes.add(NodeSize(8), "default")
            pool.num_ready += 1
        while pool.num_ready > told[-1]:
            nodes = there.view().nodes
            nodes.close(max(set(range(len(nodes.sizes))) - nodes.closed))
            pool.num_ready -= 1
    assert all(isinstance(count, int) and 0 <= count <= 6 for count in told)
    assert len(set(told[-30:])) == 1
    assert told[-1] == min(-(-sum(waits) // 8), 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"consolidation": "Never"}, "consolidation='Never': must be one of WhenEmptyOrUnderutilized, WhenEmpty"),
        ({"budget_frac": 10.0}, "karpenter: budget_frac=10.0: must lie in 0..1"),
        ({"validate_s": -1.0}, "karpenter: validate_s=-1.0: must be 0 or more"),
        ({"period_s": 0.0}, "karpenter: period_s=0.0: must be more than 0"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Karpenter(**options)
