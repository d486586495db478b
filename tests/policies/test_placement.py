"""consolidate, spread, pooled: where gangs go, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from policies import Nodes, NodeSize, Placement
from policies.allocation.fifo import Fifo
from policies.fake_cluster import FakeCluster, FakeJob
from policies.placement.consolidate import Consolidate
from policies.placement.pooled import Pooled
from policies.placement.spread import Spread
from policies.plan import Draft


def placed(policy: Any, num_gpus: int, free: list[int], size: int = 8, **job: Any) -> Placement | None:
    """Where a gang goes on nodes with so many GPUs free; None if nowhere."""
    fillers = {
        f"f{node}": FakeJob(num_gpus=size - left, held=size - left, nodes=((node, size - left),))
        for node, left in enumerate(free)
        if left < size
    }
    cluster = FakeCluster(fillers | {"new": FakeJob(num_gpus=num_gpus, **job)}, nodes=[size] * len(free))
    cluster.step(Fifo(backfill="true"), policy)
    return cluster.where.get("new")


@pytest.mark.parametrize(
    ("num_gpus", "free", "where"),
    [
        (2, [8, 3, 2, 2], ((2, 2),)),  # the fewest free that suffice, the lower number on a tie
        (3, [8, 3, 2, 2], ((1, 3),)),
        (4, [8, 3, 2, 2], ((0, 4),)),
        (5, [3, 4, 2], ((1, 4), (2, 1))),  # no node has 5: the emptiest, then the best fit for what is left
        (9, [3, 4, 2], ((1, 4), (0, 3), (2, 2))),
        (10, [3, 4, 2], None),
        (12, [8, 8, 5], ((0, 8), (2, 4))),
    ],
)
def test_consolidate(num_gpus: int, free: list[int], where: Placement | None) -> None:
    assert placed(Consolidate(strict=False), num_gpus, free) == where


@pytest.mark.parametrize(
    ("num_gpus", "free", "where"),
    [
        (5, [3, 4, 2], None),  # waits for one node
        (5, [3, 7, 6], ((2, 5),)),
        (12, [8, 7, 6], ((0, 8), (2, 4))),  # one whole node and the best fit for 4
        (12, [7, 7, 6], None),  # no whole node
        (16, [8, 8, 8], ((0, 8), (1, 8))),
        (17, [8, 8, 1], ((0, 8), (1, 8), (2, 1))),
        (20, [8, 8, 3], None),
    ],
)
def test_consolidate_strict(num_gpus: int, free: list[int], where: Placement | None) -> None:
    assert placed(Consolidate(strict=True), num_gpus, free) == where


@pytest.mark.parametrize(
    ("num_gpus", "free", "where"),
    [
        (2, [3, 5, 4], ((1, 2),)),  # 5, then 4 on a tie with node 2: the lower number
        (4, [3, 5, 4], ((1, 2), (2, 1), (0, 1))),
        (12, [3, 5, 4], ((1, 5), (2, 4), (0, 3))),
        (13, [3, 5, 4], None),
        (3, [8, 8, 8], ((0, 1), (1, 1), (2, 1))),
    ],
)
def test_spread(num_gpus: int, free: list[int], where: Placement | None) -> None:
    assert placed(Spread(), num_gpus, free) == where


def test_pooled_knows_no_nodes() -> None:
    assert placed(Pooled(), 5, [8, 8]) == ()


@pytest.mark.parametrize("policy", [Consolidate(strict=False), Spread(), Consolidate(strict=True)])
def test_nodes_that_drain_are_passed_over(policy: Any) -> None:
    cluster = FakeCluster({"a": FakeJob(num_gpus=4)}, nodes=[8, 8], draining=[0])
    cluster.step(Fifo(), policy)
    assert cluster.where == {"a": ((1, 4),)}


# ---- CPU and memory
@pytest.mark.parametrize(
    ("policy", "where"),
    [
        (Consolidate(strict=False), ((1, 3), (0, 1))),  # 8 CPUs are 2 GPUs' worth on node 0, 12 are 3 on node 1
        (Consolidate(strict=True), None),
        (Spread(), ((1, 2), (0, 2))),
    ],
)
def test_cpus_limit_what_a_node_can_give(policy: Any, where: Placement | None) -> None:
    nodes = [NodeSize(8, num_cpus=8.0), NodeSize(8, num_cpus=12.0)]
    cluster = FakeCluster({"a": FakeJob(num_gpus=4, cpus_per_gpu=4.0)}, nodes=nodes)
    cluster.step(Fifo(), policy)
    assert cluster.where.get("a") == where


def test_memory_limits_too_and_is_given_back() -> None:
    nodes = [NodeSize(8, memory_gib=100.0)]
    cluster = FakeCluster({n: FakeJob(num_gpus=1, memory_gib_per_gpu=33.3) for n in "abcd"}, nodes=nodes)
    assert cluster.step(Fifo(), Consolidate(strict=False)) == {"a": 1, "b": 1, "c": 1}
    cluster.finish("b")
    assert cluster.step(Fifo(), Consolidate(strict=False)) == {"d": 1}


# ---- growing
def grown(policy: Any, held: Placement, num_gpus: int, others: dict[int, int]) -> Placement | None:
    """Where a job that holds `held` is after it has been given `num_gpus` in all; None if it can't be."""
    own = sum(gpus for _, gpus in held)
    jobs = {f"f{node}": FakeJob(num_gpus=gpus, held=gpus, nodes=((node, gpus),)) for node, gpus in others.items()}
    mine = FakeJob(num_gpus=own, min_gpus=1, max_gpus=24, held=own, nodes=held)
    cluster = FakeCluster({"mine": mine} | jobs, nodes=[8, 8, 8])
    draft = Draft(cluster.view(), policy)
    if not draft.give(cluster.jobs["mine"], num_gpus):
        return None
    cluster.apply(draft.plan())
    return cluster.where["mine"]


def test_growth_goes_next_to_what_there_is() -> None:
    assert grown(Consolidate(strict=False), ((1, 2),), 5, {0: 5}) == ((1, 5),)  # not the tighter fit on node 0
    assert grown(Consolidate(strict=False), ((1, 2),), 5, {0: 5, 1: 4}) == ((1, 2), (0, 3))
    assert grown(Consolidate(strict=True), ((1, 2),), 5, {0: 5, 1: 4}) is None
    assert grown(Consolidate(strict=True), ((1, 8),), 16, {}) == ((1, 8), (0, 8))


def test_strict_holds_when_a_draft_grows_what_it_has_just_placed() -> None:
    jobs = {
        "f": FakeJob(num_gpus=6, held=6, nodes=((0, 6),)),
        "new": FakeJob(num_gpus=4, min_gpus=1, max_gpus=8),
    }
    cluster = FakeCluster(jobs, nodes=[8, 8])
    draft, job = Draft(cluster.view(), Consolidate(strict=True)), cluster.jobs["new"]
    assert draft.give(job, 2)  # fits best beside f
    assert draft.give(job, 6)
    assert draft.free_gpus == 4
    assert draft.give(job, 8)
    cluster.apply(draft.plan())
    assert [node for node, _ in cluster.where["new"]] == [1]


def test_nodes_count_what_is_held_on_closed_ones() -> None:
    nodes = Nodes()
    for _ in range(2):
        nodes.add(NodeSize(8))
    job = next(iter(FakeCluster({"a": FakeJob()}).jobs.values()))
    nodes.hold(job, ((0, 3), (1, 2)))
    nodes.close(1)
    assert (nodes.capacity_gpus, nodes.closed_held_gpus, nodes.open_gpus(((0, 3), (1, 2)))) == (8, 2, 3)
    nodes.hold(job, ((1, 2),), -1)
    assert nodes.closed_held_gpus == 0
    nodes.reopen(1)
    assert nodes.capacity_gpus == 16
