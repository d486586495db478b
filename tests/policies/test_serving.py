"""What queue policies share, against the readable form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.fake_cluster import FakeCluster, FakeJob
from policies.placement.consolidate import Consolidate
from policies.placement.pooled import Pooled
from policies.plan import Draft
from policies.serving import KeptOrder, first_fit, rank, serve_in_order


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(0, 40), st.randoms(use_true_random=False))
def test_first_fit_is_the_loop(want: list[int], capacity: int, random: object) -> None:
    order = list(range(len(want)))
    random.shuffle(order)  # type: ignore[attr-defined]
    grant = [0] * len(want)
    left = capacity
    for row in order:
        if want[row] <= left:
            grant[row] = want[row]
            left -= want[row]
    assert first_fit(np.array(order, int), np.array(want, int), capacity).tolist() == grant


@given(st.lists(st.sampled_from([0.0, 1.0, 1.0, 2.5, float("nan")]), max_size=12))
def test_rank_is_a_stable_sort(key: list[float]) -> None:
    expected = sorted(range(len(key)), key=lambda row: (np.isnan(key[row]), key[row] if key[row] == key[row] else 0.0))
    assert rank(np.array(key)).tolist() == expected


@pytest.mark.parametrize("seed", range(20))
def test_kept_order_is_a_list_that_is_sorted_in_place(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cluster, kept, names = FakeCluster({}), KeptOrder(), []
    for step in range(40):
        for _ in range(int(rng.integers(0, 3))):
            name = f"j{len(cluster.view().jobs)}.{step}.{rng.integers(10**9)}"
            cluster.submit(name, FakeJob())
            names.append(name)
        for name in list(names):
            if rng.random() < 0.2:
                cluster.finish(name)
                names.remove(name)
        if rng.random() < 0.3:
            continue  # no decision in between
        keys = {name: int(rng.integers(0, 4)) for name in names}
        names.sort(key=keys.__getitem__)  # stable
        column = np.array([keys[job.job_id] for job in cluster.view().jobs], float)
        rows = kept.sort(cluster.view(), column)
        assert [cluster.view().jobs[row].job_id for row in rows.tolist()] == names, f"step {step}"


def served(cluster: FakeCluster, order: list[int], skip: bool, placement: object) -> dict[str, int]:
    draft = Draft(cluster.view(), placement)  # type: ignore[arg-type]
    serve_in_order(cluster.view(), draft, np.array(order), skip)
    return {job.job_id: gang[0] for job, gang in draft.plan().allocations.items()}


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("seed", range(15))
def test_by_count_and_by_place_agree_where_any_gpus_will_do(seed: int, skip: bool) -> None:
    """On one node the search by place, which evicts step by step, comes to what counting says."""
    rng = np.random.default_rng(seed)
    left, jobs = 8, {}
    for i in range(int(rng.integers(1, 9))):
        size = int(rng.integers(1, 6))
        held = size if size <= left and rng.random() < 0.6 else 0
        left -= held
        jobs[f"j{i}"] = FakeJob(num_gpus=size, held=held, nodes=((0, held),) if held else ())
    order = rng.permutation(len(jobs)).tolist()
    counted = served(FakeCluster(jobs), order, skip, Consolidate(strict=False))
    assert served(FakeCluster(jobs), order, skip, Consolidate(strict=True)) == counted


def test_a_gang_that_runs_at_another_size_keeps_it() -> None:
    jobs = {"a": FakeJob(num_gpus=2, min_gpus=1, max_gpus=8, held=5), "b": FakeJob(num_gpus=4)}
    assert served(FakeCluster(jobs), [0, 1], True, Pooled()) == {}
    assert served(FakeCluster(jobs), [1, 0], True, Pooled()) == {"a": 0, "b": 4}
