"""fair_share: progressive filling against its definition, and small plans by hand."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.allocation.fair_share import FairShare, fill
from policies.fake_cluster import FakeCluster, FakeJob
from policies.placement.consolidate import Consolidate
from policies.placement.pooled import Pooled

jobs_with_bounds = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 20), st.sampled_from([0.25, 0.5, 1.0, 1.0, 2.0, 3.0, 0.1])),
    min_size=1,
    max_size=12,
)


def by_definition(low: list[int], high: list[int], weight: list[float], num_gpus: int) -> list[int]:
    """One GPU at a time to the job whose share would be the smallest with it."""
    share = list(low)
    left = num_gpus - sum(low)
    bids = [((share[j] + 1) / weight[j], j) for j in range(len(low)) if share[j] < high[j]]
    heapq.heapify(bids)
    while left and bids:
        _, j = heapq.heappop(bids)
        share[j] += 1
        left -= 1
        if share[j] < high[j]:
            heapq.heappush(bids, ((share[j] + 1) / weight[j], j))
    return share


@given(jobs_with_bounds, st.integers(0, 80), st.booleans())
def test_fill_is_progressive_filling(jobs: list[tuple[int, int, float]], spare: int, is_weighted: bool) -> None:
    low = [minimum for minimum, _, _ in jobs]
    high = [minimum + more for minimum, more, _ in jobs]
    weight = [w if is_weighted else 1.0 for _, _, w in jobs]
    shares = fill(np.array(low), np.array(high), np.array(weight) if is_weighted else None, sum(low) + spare)
    assert shares.tolist() == by_definition(low, high, weight, sum(low) + spare)


def plan(jobs: dict[str, FakeJob], **cluster: object) -> dict[str, int]:
    return FakeCluster(jobs, **cluster).step(FairShare(), Pooled())  # type: ignore[arg-type]


def elastic(held: int = 0, low: int = 1, high: int = 8, weight: float = 1.0, asked: int = 4) -> FakeJob:
    return FakeJob(num_gpus=max(low, min(asked, high)), min_gpus=low, max_gpus=high, held=held, weight=weight)


def test_equal_shares_the_odd_gpus_to_the_earlier() -> None:
    assert plan({"a": elastic(), "b": elastic(), "c": elastic()}) == {"a": 3, "b": 3, "c": 2}


def test_weights() -> None:
    assert plan({"a": elastic(weight=3.0), "b": elastic()}) == {"a": 6, "b": 2}


def test_bounds() -> None:
    assert plan({"a": elastic(low=5, high=6), "b": elastic(high=2), "c": elastic()}) == {"a": 5, "b": 2, "c": 1}


def test_all_get_their_most_where_there_is_enough() -> None:
    assert plan({"a": elastic(high=3), "b": elastic(high=2)}) == {"a": 3, "b": 2}


def test_running_jobs_shrink_for_a_new_one_but_not_below_their_minimum() -> None:
    assert plan({"a": elastic(held=8, low=6), "b": elastic(low=2)}) == {"a": 6, "b": 2}
    assert plan({"a": elastic(held=8, low=7), "b": elastic(low=2)}) == {}  # no room for b's minimum


def test_waiting_jobs_are_admitted_in_submit_order_with_skipping() -> None:
    assert plan({"a": elastic(held=3, low=3), "b": elastic(low=6), "c": elastic(low=2)}) == {"a": 4, "c": 4}


def test_rigid_jobs_first_come_first_served() -> None:
    jobs = {name: FakeJob(num_gpus=size) for name, size in {"a": 4, "b": 5, "c": 3, "d": 2}.items()}
    assert plan(jobs) == {"a": 4, "c": 3}


def test_a_running_moldable_job_stays_as_it_is() -> None:
    runs = FakeJob(num_gpus=4, min_gpus=1, max_gpus=8, moldable=True, held=6)
    waits = FakeJob(num_gpus=2, min_gpus=1, max_gpus=4, moldable=True)
    assert plan({"a": runs, "b": elastic(), "c": waits}) == {"b": 1, "c": 1}


def test_running_jobs_keep_their_minimum_while_nodes_drain() -> None:
    """Pooled, 8 GPUs left of 16: rigid jobs go on, elastic ones shrink, nothing starts."""
    jobs = {"a": FakeJob(num_gpus=7, held=7), "b": elastic(held=8, low=3), "c": FakeJob(num_gpus=1)}
    assert plan(jobs, nodes=[8, 8], draining=[1]) == {"b": 3}


def test_on_draining_nodes_jobs_stay_and_take_nothing_from_others() -> None:
    jobs = {
        "a": FakeJob(num_gpus=8, min_gpus=1, max_gpus=16, held=8, nodes=((1, 8),)),
        "b": FakeJob(num_gpus=4, min_gpus=1, max_gpus=8, held=4, nodes=((0, 4),)),
        "c": FakeJob(num_gpus=4, min_gpus=1, max_gpus=8),
    }
    cluster = FakeCluster(jobs, nodes=[8, 8], draining=[1])
    assert cluster.step(FairShare(), Consolidate(strict=False)) == {"c": 4}


def test_where_a_gang_does_not_fit_on_one_node_it_grows_as_far_as_it_can() -> None:
    jobs = {
        "a": FakeJob(num_gpus=6, held=6, nodes=((0, 6),)),
        "b": FakeJob(num_gpus=5, held=5, nodes=((1, 5),)),
        "c": elastic(low=1, high=8),
    }
    cluster = FakeCluster(jobs, nodes=[8, 8])
    assert cluster.step(FairShare(), Consolidate(strict=True)) == {"c": 3}
    assert cluster.where["c"] == ((1, 3),)


@pytest.mark.parametrize("nodes", [[], [1]])
def test_without_room_for_anybody(nodes: list[int]) -> None:
    assert plan({"a": FakeJob(num_gpus=2), "b": FakeJob(num_gpus=3)}, nodes=nodes) == {}
