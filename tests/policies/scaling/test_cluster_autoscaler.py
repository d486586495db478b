"""cluster_autoscaler as a whole, on one pool and on several."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import Controller, NodeSize, PolicyError, PoolView
from policies.fake_cluster import FakeCluster, FakeJob
from policies.placement.pooled import Pooled
from policies.scaling.cluster_autoscaler import ClusterAutoscaler
from policies.scaling.joint import jointly
from tests.policies.scaling.play import cluster_of


def cluster(nodes: int = 2, most: int = 20, **jobs: Any) -> FakeCluster:
    """Jobs as GPUs that wait, since 0 s, or as FakeJob."""
    specs = {name: FakeJob(num_gpus=job) if isinstance(job, int) else job for name, job in jobs.items()}
    return FakeCluster(specs, nodes=[8] * nodes, max_nodes=most)


def on(node: int, gpus: int) -> FakeJob:
    return FakeJob(num_gpus=gpus, held=gpus, nodes=((node, gpus),))


def asked(policy: ClusterAutoscaler, there: FakeCluster, *times_s: float) -> list[int]:
    """What it wants at each time, nothing of it coming."""
    told = []
    for now_s in times_s:
        there.now_s = now_s
        told.append(policy.desired(there.view().pools["default"], there.view()))
    return told


def test_up_once_what_waits_is_half_a_minute_old() -> None:
    there = cluster(a=on(0, 8), b=16, c=4)
    assert asked(ClusterAutoscaler(), there, 0.0, 29.9, 30.0) == [2, 2, 4]  # 20 GPUs, 8 of them free


def test_what_is_on_the_way_is_not_ordered_again() -> None:
    there = cluster(a=on(0, 8), b=16, c=4)
    pool = there.view().pools["default"]
    assert asked(ClusterAutoscaler(), there, 60.0) == [4]
    pool.num_starting = 2
    assert asked(ClusterAutoscaler(), there, 60.0) == [4]
    pool.num_starting = 1
    assert asked(ClusterAutoscaler(), there, 60.0) == [4]


def test_at_most_as_many_as_there_may_be() -> None:
    assert asked(ClusterAutoscaler(), cluster(most=3, a=64), 60.0) == [3]
    assert asked(ClusterAutoscaler(max_units=5), cluster(a=640), 60.0) == [5]


def test_down_after_ten_minutes_without_a_break() -> None:
    there = cluster(a=on(0, 8))
    assert asked(ClusterAutoscaler(), there, 0.0, 300.0, 600.0, 600.1) == [2, 2, 2, 1]
    policy = ClusterAutoscaler()
    assert asked(policy, there, 0.0, 300.0) == [2, 2]
    there.submit("b", on(1, 5))
    assert asked(policy, there, 310.0) == [2]
    there.finish("b")
    assert asked(policy, there, 320.0, 900.0, 920.0, 920.1) == [2, 2, 2, 1]


def test_not_so_soon_after_it_added_some() -> None:
    there = cluster(nodes=3, a=on(0, 8), b=on(1, 8), c=16)
    policy = ClusterAutoscaler()
    assert asked(policy, there, 500.0) == [4]  # and in a loop that adds, timers don't run
    there.finish("c")
    assert asked(policy, there, 510.0, 1099.0, 1110.0, 1110.1) == [3, 3, 3, 2]


def test_while_what_waits_is_new_nothing_goes() -> None:
    there = cluster(nodes=3, a=on(0, 8), b=on(1, 8))
    policy = ClusterAutoscaler()
    asked(policy, there, 0.0)
    there.submit("c", FakeJob(num_gpus=16, submit_s=690.0))
    assert asked(policy, there, 700.0, 720.0) == [3, 4]


def test_a_node_that_what_waits_would_get_is_needed() -> None:
    there = cluster(a=on(0, 8))
    policy = ClusterAutoscaler()
    asked(policy, there, 0.0)
    there.submit("b", FakeJob(num_gpus=8, submit_s=500.0))
    assert asked(policy, there, 601.0) == [2]


def test_empty_ones_up_to_ten_and_one_that_still_runs_something() -> None:
    there = cluster(nodes=18, a=on(0, 8), b=on(1, 2), c=on(2, 2), d=on(3, 2))
    policy = ClusterAutoscaler()
    assert asked(policy, there, 0.0, 601.0) == [18, 8]  # 14 are empty
    there = cluster(nodes=4, a=on(0, 4), b=on(1, 2), c=on(2, 2))
    policy = ClusterAutoscaler()
    assert asked(policy, there, 0.0, 601.0) == [4, 2]  # node 3, and of 0 and 1 one
    there.view().pools["default"].num_draining = 1
    assert asked(policy, there, 611.0) == [3]  # one drains already
    assert asked(
        ClusterAutoscaler(utilization_threshold=0.2), cluster(nodes=3, a=on(0, 4), b=on(1, 2)), 0.0, 601.0
    ) == [
        3,
        2,
    ]


def test_never_below_the_least_number() -> None:
    there = cluster(nodes=4)
    there.view().pools["default"].min_units = 3
    assert asked(ClusterAutoscaler(), there, 0.0, 601.0) == [4, 3]
    assert asked(ClusterAutoscaler(min_units=2), cluster(nodes=4), 0.0, 601.0) == [4, 2]
    assert asked(ClusterAutoscaler(scale_down=False), cluster(nodes=4), 0.0, 601.0) == [4, 4]


def test_nodes_that_never_come_are_given_up_and_the_pool_backs_off() -> None:
    there = cluster(a=on(0, 8), b=on(1, 8), c=16)
    pool, policy = there.view().pools["default"], ClusterAutoscaler()
    assert asked(policy, there, 60.0) == [4]
    pool.num_starting = 2
    assert asked(policy, there, 960.0, 960.1) == [4, 2]
    pool.num_starting = 0
    assert asked(policy, there, 970.0, 1260.0, 1260.1) == [2, 2, 4]


def test_a_failure_backs_off_and_a_success_forgives() -> None:
    there = cluster(a=on(0, 8), b=on(1, 8), c=16)
    pool, policy = there.view().pools["default"], ClusterAutoscaler()
    assert asked(policy, there, 60.0) == [4]
    pool.num_failed = 2
    assert asked(policy, there, 70.0, 369.0, 370.0) == [2, 2, 4]
    pool.num_starting = 2
    assert asked(policy, there, 380.0) == [4]
    pool.num_starting, pool.num_ready = 0, 4
    asked(policy, there, 400.0)
    assert policy._groups["default"].backoff._duration_s == 0.0


def two_pools(waits: int = 4) -> FakeCluster:
    """Small nodes and large ones, none of them yet, and a job that waits."""
    there = FakeCluster({"a": FakeJob(num_gpus=waits)}, nodes=[], max_nodes=9, now_s=100.0)
    view = there.view()
    view.pools = {
        name: PoolView(name=name, gpus_per_unit=gpus, min_units=0, max_units=9, usd_per_unit_h=usd)
        for name, gpus, usd in (("small", 4, 3.0), ("large", 8, 5.0))
    }
    return there


@pytest.mark.parametrize(
    ("expander", "counts"),
    [
        (["price"], {"small": 1, "large": 0}),
        (["priority"], {"small": 0, "large": 1}),
        (["least-waste", "price"], {"small": 1, "large": 0}),  # no CPUs or memory are known: they tie
    ],
)
def test_several_pools_together(expander: list[str], counts: dict[str, int]) -> None:
    view = two_pools().view()
    policy = ClusterAutoscaler(expander=expander, priorities={"large": 1.0})
    assert policy.decide(view, list(view.pools.values())) == counts


def test_a_pool_that_can_t_hold_a_pod_is_no_option() -> None:
    view = two_pools(waits=8).view()
    policy = ClusterAutoscaler(expander=["price"])
    assert policy.decide(view, list(view.pools.values())) == {"small": 0, "large": 1}


class Nothing:
    def allocate(self, view: Any, draft: Any) -> None:
        pass


def test_a_controller_asks_the_members_of_a_joint_policy() -> None:
    there = two_pools()
    scaling = jointly(ClusterAutoscaler(expander=["price"]), ["small", "large"])
    controller = Controller(Nothing(), Pooled(), scaling)
    plan = controller.decide(there.view())
    assert (plan.nodes, plan.wake_at_s) == ({"small": 1}, 110.0)
    there.view().pools["small"].num_starting = 1
    there.now_s = 110.0
    assert controller.decide(there.view()).nodes == {}
    there.submit("b", FakeJob(num_gpus=8))
    there.now_s = 120.0
    assert controller.decide(there.view()).nodes == {"large": 1}


@settings(max_examples=40, deadline=None)
@given(waits=st.lists(st.integers(1, 24), max_size=8), nodes=st.integers(0, 6), low=st.integers(0, 3))
def test_it_comes_to_rest_within_its_bounds(waits: list[int], nodes: int, low: int) -> None:
    """Everything that it wants comes at once and what waits stays: it orders once, and no more."""
    there = FakeCluster(
        {f"j{i}": FakeJob(num_gpus=gpus) for i, gpus in enumerate(waits)}, nodes=[8] * nodes, max_nodes=9
    )
    pool, policy, told = there.view().pools["default"], ClusterAutoscaler(min_units=low), []
    for step in range(1, 8):
        there.now_s = 100.0 * step
        told.append(policy.desired(pool, there.view()))
        for _ in range(told[-1] - pool.num_ready):
            there.view().nodes.add(NodeSize(8), "default")
            pool.num_ready += 1
    assert all(isinstance(count, int) and low <= count <= 9 for count in told)
    assert len(set(told[1:6])) == 1


def test_full_and_as_large_as_may_be_it_packs_nothing_until_a_node_empties(monkeypatch: pytest.MonkeyPatch) -> None:
    there = cluster(most=2, a=on(0, 8), b=on(1, 4), c=on(1, 1), d=16)
    policy, pool = ClusterAutoscaler(), there.view().pools["default"]
    with monkeypatch.context() as patch:
        patch.setattr("policies.scaling.cluster_autoscaler.rooms_of", None)
        assert asked(policy, there, 60.0) == [2]
    promise = policy.quiet(pool, there.view())
    assert promise is not None
    assert promise.holds is not None
    assert promise.holds(there.view())
    there.finish("c")
    assert not promise.holds(there.view())  # half of a node is held, no more than the threshold
    assert asked(policy, there, 70.0, 670.1) == [2, 2]  # what waits is put there
    there.finish("d")
    assert asked(policy, there, 680.0, 1280.1) == [2, 2]  # its pods fit nowhere else
    there.finish("a")
    assert asked(policy, there, 1290.0, 1890.1) == [2, 1]


def test_it_scales_pools_only() -> None:
    there, chat = cluster_of(2, service=True)
    with pytest.raises(PolicyError, match="cluster_autoscaler: 'chat' is a service: it scales node pools"):
        ClusterAutoscaler().desired(chat, there.view())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expander": ["least_waste"]}, "unknown expander 'least_waste': did you mean least-waste"),
        ({"unneeded_s": -1.0}, "cluster_autoscaler: unneeded_s=-1.0: must be 0 or more"),
        ({"utilization_threshold": 50.0}, "utilization_threshold=50.0: must lie in 0..1"),
        ({"period_s": 0.0}, "cluster_autoscaler: period_s=0.0: must be more than 0"),
        ({"max_drain": -1}, "cluster_autoscaler: max_drain=-1: must be 0 or more"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        ClusterAutoscaler(**options)
