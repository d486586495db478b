"""Draft and plan: what policies write into, and what comes of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from policies import NOTHING, Plan, PlanError
from policies.fake_cluster import FakeCluster, FakeJob
from policies.placement.consolidate import Consolidate
from policies.placement.pooled import Pooled
from policies.plan import Draft, merged, split


@pytest.fixture
def cluster() -> FakeCluster:
    """a: 4 on node 0, elastic; b: 4 on node 1; c and d wait; 16 GPUs."""
    return FakeCluster(
        {
            "a": FakeJob(num_gpus=4, min_gpus=2, max_gpus=12, held=4, nodes=((0, 4),)),
            "b": FakeJob(num_gpus=4, held=4, nodes=((1, 4),)),
            "c": FakeJob(num_gpus=8),
            "d": FakeJob(num_gpus=2),
        },
        nodes=[8, 8],
    )


@pytest.fixture
def draft(cluster: FakeCluster) -> Draft:
    return Draft(cluster.view(), Consolidate(strict=False))


def changes(plan: Plan) -> dict[str, tuple[int, object]]:
    return {job.job_id: gang for job, gang in plan.allocations.items()}


def test_nothing_asked_is_nothing_planned(draft: Draft) -> None:
    assert draft.plan() is NOTHING
    assert not draft.plan()


def test_give(cluster: FakeCluster, draft: Draft) -> None:
    jobs = cluster.jobs
    assert draft.give(jobs["a"], 6)
    assert (draft.free_gpus, draft.gpus(jobs["a"]), draft.gpus(jobs["b"])) == (6, 6, 4)
    assert draft.give(jobs["d"], 2)
    assert not draft.give(jobs["c"], 8)  # 4 left
    assert draft.gpus(jobs["c"]) == 0
    assert draft.gpus_column().tolist() == [6, 4, 0, 2]
    assert cluster.held == {"a": 4, "b": 4, "c": 0, "d": 0}  # nothing real has changed
    assert changes(draft.plan()) == {"a": (6, ((0, 6),)), "d": (2, ((0, 2),))}


def test_what_is_taken_can_be_given_at_once_and_shrinking_comes_first(cluster: FakeCluster, draft: Draft) -> None:
    jobs = cluster.jobs
    assert draft.give(jobs["d"], 2)
    assert draft.give(jobs["b"], 0)
    assert draft.give(jobs["c"], 8)
    assert list(changes(draft.plan())) == ["b", "d", "c"]
    cluster.apply(draft.plan())
    assert cluster.where == {"a": ((0, 4),), "c": ((1, 8),), "d": ((0, 2),)}


def test_there_and_back_is_no_change(cluster: FakeCluster, draft: Draft) -> None:
    a, d = cluster.jobs["a"], cluster.jobs["d"]
    for gpus in (2, 4):
        assert draft.give(a, gpus)
    for gpus in (2, 0):
        assert draft.give(d, gpus)
    assert draft.free_gpus == 8
    assert draft.plan().allocations == {}


def test_keep(cluster: FakeCluster, draft: Draft) -> None:
    a, b, c = (cluster.jobs[name] for name in "abc")
    assert draft.keep(a)  # was not touched
    draft.give(b, 0)
    assert draft.keep(b)
    assert draft.free_gpus == 8
    assert draft.plan().allocations == {}
    draft.give(b, 0)
    assert draft.give(c, 8)
    assert not draft.keep(b)  # its node has been given away
    draft.give(a, 2)
    with pytest.raises(PlanError, match=r"job a: keep\(\) is for jobs that this draft has preempted"):
        draft.keep(a)


def test_keep_on_draining_nodes_where_nobody_else_can_be() -> None:
    cluster = FakeCluster({"a": FakeJob(num_gpus=8, held=8, nodes=((1, 8),))}, nodes=[8, 8], draining=[1])
    draft = Draft(cluster.view(), Consolidate(strict=False))
    draft.give(cluster.jobs["a"], 0)
    assert draft.free_gpus == 8  # what it had frees nothing
    assert draft.keep(cluster.jobs["a"])
    assert draft.free_gpus == 8
    assert draft.plan().allocations == {}


def test_keep_where_more_is_held_than_there_is() -> None:
    """Pooled while nodes drain: 10 held of 8."""
    jobs = {"a": FakeJob(num_gpus=6, held=6), "b": FakeJob(num_gpus=4, held=4), "c": FakeJob(num_gpus=2)}
    cluster = FakeCluster(jobs, nodes=[8, 8], draining=[1])
    a, b, c = cluster.jobs.values()
    draft = Draft(cluster.view(), Pooled())
    assert draft.free_gpus == -2
    draft.give(b, 0)
    assert draft.keep(b)  # as it was
    draft.give(b, 0)
    assert draft.give(c, 2)
    assert not draft.keep(b)
    assert draft.gpus(a) == 6


@pytest.mark.parametrize("size", [1, 13, -2])
def test_sizes_out_of_bounds(cluster: FakeCluster, draft: Draft, size: int) -> None:
    with pytest.raises(PlanError, match=f"job a: asked to run on {size} GPUs, but it can run on 2..12 only"):
        draft.give(cluster.jobs["a"], size)


def test_give_all(cluster: FakeCluster, draft: Draft) -> None:
    draft.give_all(np.array([6, 0, 8, 2]))
    assert changes(draft.plan()) == {"b": (0, ()), "a": (6, ((0, 6),)), "d": (2, ((0, 2),)), "c": (8, ((1, 8),))}


def test_give_all_that_is_too_much(draft: Draft) -> None:
    with pytest.raises(PlanError, match="job c: 8 GPUs asked, 0 free of 16 in this plan"):
        draft.give_all(np.array([12, 4, 8, 0]))
    with pytest.raises(PlanError, match=r"give_all takes a column of 4 jobs, got shape \(3,\)"):
        draft.give_all(np.zeros(3, np.int64))


def test_wishes_to_be_woken() -> None:
    draft = Draft(FakeCluster({}).view(), Pooled())
    assert draft.plan().wake_at_s == math.inf
    for time_s in (7.0, 5.0, 9.0):
        draft.wake_at(time_s)
    assert draft.plan() == Plan({}, {}, 5.0)


def test_split_gives_back_from_where_the_job_has_the_fewest() -> None:
    held = ((0, 4), (1, 1), (2, 2))
    assert split(held, 1) == (((0, 4), (2, 2)), ((1, 1),))
    assert split(held, 2) == (((0, 4), (2, 1)), ((1, 1), (2, 1)))
    assert split(held, 4) == (((0, 3),), ((1, 1), (2, 2), (0, 1)))
    assert split(((0, 2), (1, 2)), 2) == (((0, 2),), ((1, 2),))  # on a tie the later one
    assert split((), 3) == ((), ())


def test_merged_keeps_the_order() -> None:
    assert merged(((3, 1), (0, 2)), ((1, 1), (3, 4))) == ((3, 5), (0, 2), (1, 1))
