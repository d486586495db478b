"""fifo, greedy, sjf, srtf, priority: plans worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from policies import PolicyError, registry
from policies.fake_cluster import FakeCluster, FakeJob
from policies.placement.consolidate import Consolidate
from policies.placement.pooled import Pooled


def allocation(name: str, **options: Any) -> Any:
    return registry.create("allocation", name, **options)


def starts(cluster: FakeCluster, name: str, placement: Any = None, **options: Any) -> dict[str, int]:
    """What one decision changes."""
    return cluster.step(allocation(name, **options), placement or Pooled())


def waiting(*sizes: int, **more: Any) -> dict[str, FakeJob]:
    """Jobs a, b, c, ... that ask for these GPUs."""
    return {chr(ord("a") + i): FakeJob(num_gpus=size, **more) for i, size in enumerate(sizes)}


# ---- fifo
@pytest.mark.parametrize(
    ("backfill", "plan"),
    [
        ("false", {"a": 3, "b": 4}),  # c does not fit in the one GPU left: all behind it wait
        ("true", {"a": 3, "b": 4, "d": 1}),
        (True, {"a": 3, "b": 4, "d": 1}),
    ],
)
def test_fifo_stops_or_skips(backfill: Any, plan: dict[str, int]) -> None:
    assert starts(FakeCluster(waiting(3, 4, 2, 1, 1)), "fifo", backfill=backfill) == plan


EASY = {
    "r1": FakeJob(num_gpus=4, held=4, remaining_s=50),
    "r2": FakeJob(num_gpus=2, held=2, remaining_s=80),
    "head": FakeJob(num_gpus=5),  # 2 free now, 6 at 50 s: it is promised 50 s, and 1 GPU is spare then
}


@pytest.mark.parametrize(
    ("behind", "starts_now"),
    [
        (FakeJob(num_gpus=2, remaining_s=50), True),  # ends in time
        (FakeJob(num_gpus=2, remaining_s=51), False),  # would be in the way
        (FakeJob(num_gpus=1, remaining_s=999), True),  # needs the spare GPU only
        (FakeJob(num_gpus=3, remaining_s=1), False),  # there are 2
    ],
)
def test_easy_promises_the_head_the_earliest_time(behind: FakeJob, starts_now: bool) -> None:
    cluster = FakeCluster(EASY | {"behind": behind})
    assert starts(cluster, "fifo", backfill="easy") == ({"behind": behind.num_gpus} if starts_now else {})


def test_easy_uses_up_what_is_spare() -> None:
    long = FakeJob(num_gpus=1, remaining_s=999)
    assert starts(FakeCluster(EASY | {"x": long, "y": long}), "fifo", backfill="easy") == {"x": 1}


def test_easy_counts_all_that_ends_at_the_promised_time_as_spare() -> None:
    jobs = EASY | {"r2": FakeJob(num_gpus=2, held=2, remaining_s=50), "x": FakeJob(num_gpus=2, remaining_s=999)}
    assert starts(FakeCluster(jobs), "fifo", backfill="easy") == {"x": 2}  # 8 GPUs at 50 s, 5 of them promised


def test_easy_starts_the_head_of_the_queue_first() -> None:
    jobs = {"r": FakeJob(num_gpus=4, held=4, remaining_s=10), **waiting(2, 4, 2, remaining_s=5)}
    assert starts(FakeCluster(jobs), "fifo", backfill="easy") == {"a": 2, "c": 2}  # b is promised 5 s: a ends then


def test_easy_expects_nothing_from_draining_nodes() -> None:
    """Node 1 drains under r2: the head is promised 80 s, when r1 ends, and x may run till then."""
    jobs = {
        "r1": FakeJob(num_gpus=3, held=3, nodes=((0, 3),), remaining_s=80),
        "r2": FakeJob(num_gpus=4, held=4, nodes=((1, 4),), remaining_s=10),
        "head": FakeJob(num_gpus=4),
        "x": FakeJob(num_gpus=1, remaining_s=75),
    }
    cluster = FakeCluster(jobs, nodes=[4, 4], draining=[1])
    assert starts(cluster, "fifo", Consolidate(strict=False), backfill="easy") == {"x": 1}


def test_easy_without_any_time_at_which_the_head_fits() -> None:
    assert starts(FakeCluster(waiting(9, 1)), "fifo", backfill="easy") == {}


def test_fifo_options() -> None:
    with pytest.raises(PolicyError, match="fifo: backfill='maybe': must be false, true or easy"):
        allocation("fifo", backfill="maybe")


# ---- greedy
def test_greedy_takes_the_largest_first_ties_in_submit_order() -> None:
    cluster = FakeCluster(waiting(2, 4, 1, 4, 2))
    assert list(starts(cluster, "greedy").items()) == [("b", 4), ("d", 4)]


@pytest.mark.parametrize(("backfill", "plan"), [(True, {"b": 5, "c": 2, "d": 1}), (False, {"b": 5})])
def test_greedy_skips_or_stops(backfill: bool, plan: dict[str, int]) -> None:
    cluster = FakeCluster(waiting(4, 5, 2, 1))
    assert starts(cluster, "greedy", backfill=backfill) == plan


# ---- sjf
def test_sjf_starts_the_shortest_and_stops_at_what_does_not_fit() -> None:
    jobs = {
        "a": FakeJob(num_gpus=1, remaining_s=30),
        "b": FakeJob(num_gpus=4, remaining_s=10),
        "c": FakeJob(num_gpus=6, remaining_s=20),
        "d": FakeJob(num_gpus=1, remaining_s=10),
    }
    assert starts(FakeCluster(jobs), "sjf") == {"b": 4, "d": 1}
    assert starts(FakeCluster(jobs), "sjf", backfill=True) == {"b": 4, "d": 1, "a": 1}


def test_sjf_without_estimates() -> None:
    with pytest.raises(PolicyError, match="estimates=none"):
        starts(FakeCluster(waiting(1), has_estimates=False), "sjf")


# ---- srtf
def test_srtf_preempts_for_less_work_left() -> None:
    jobs = {
        "long": FakeJob(num_gpus=6, held=6, remaining_s=100),
        "short": FakeJob(num_gpus=4, remaining_s=99),
        "tiny": FakeJob(num_gpus=2, remaining_s=1),
    }
    assert starts(FakeCluster(jobs), "srtf") == {"long": 0, "short": 4, "tiny": 2}


@pytest.mark.parametrize(("key", "first"), [("time", "wide"), ("gpu_time", "narrow")])
def test_srtf_keys(key: str, first: str) -> None:
    jobs = {"wide": FakeJob(num_gpus=8, remaining_s=10), "narrow": FakeJob(num_gpus=2, remaining_s=30)}
    assert list(starts(FakeCluster(jobs), "srtf", key=key)) == [first]
    with pytest.raises(PolicyError, match="srtf: key='gpus': must be time or gpu_time"):
        allocation("srtf", key="gpus")


def test_srtf_ties_keep_their_previous_order() -> None:
    """b is ahead of a when they come to have the same work left, and stays ahead."""
    policy = allocation("srtf")
    cluster = FakeCluster({"a": FakeJob(num_gpus=8, remaining_s=30), "b": FakeJob(num_gpus=8, remaining_s=20)})
    assert cluster.step(policy, Pooled()) == {"b": 8}
    cluster.submit("c", FakeJob(num_gpus=8, remaining_s=10))
    assert cluster.step(policy, Pooled()) == {"b": 0, "c": 8}  # order: c 10, b 20, a 30
    cluster.jobs["a"].left_at_anchor_s = 20.0
    cluster.view().jobs.update(cluster.jobs["a"])
    cluster.finish("c")
    assert cluster.step(policy, Pooled()) == {"b": 8}  # by submit order it would be a


def test_srtf_new_jobs_come_last_among_equals() -> None:
    policy = allocation("srtf")
    cluster = FakeCluster({"a": FakeJob(num_gpus=8, remaining_s=20)})
    cluster.step(policy, Pooled())
    cluster.submit("b", FakeJob(num_gpus=8, remaining_s=20))
    assert cluster.step(policy, Pooled()) == {}


# ---- priority
def ranked(**of: tuple[int, int, int]) -> dict[str, FakeJob]:
    """name=(GPUs asked, held, priority)."""
    return {name: FakeJob(num_gpus=n, held=h, priority=p) for name, (n, h, p) in of.items()}


def test_priority_preempts_lower_priority_only() -> None:
    jobs = ranked(low=(4, 4, 0), same=(4, 4, 1), new=(4, 0, 1), top=(2, 0, 2))
    assert starts(FakeCluster(jobs), "priority") == {"low": 0, "top": 2}  # `same` runs on; `new` does not fit beside
    assert starts(FakeCluster(jobs), "priority", backfill=True) == {"low": 0, "top": 2}


def test_priority_stops_at_what_does_not_fit_but_lets_others_run_on() -> None:
    jobs = ranked(big=(12, 0, 5), runs=(3, 3, 1), small=(1, 0, 1))
    assert starts(FakeCluster(jobs), "priority") == {}
    assert starts(FakeCluster(jobs), "priority", backfill=True) == {"small": 1}


def test_priority_ties_by_submit_order() -> None:
    assert starts(FakeCluster(ranked(a=(8, 0, 1), b=(8, 0, 1))), "priority") == {"a": 8}


def test_priority_without_preemption() -> None:
    jobs = ranked(low=(6, 6, 0), top=(4, 0, 2), mid=(2, 0, 1))
    assert starts(FakeCluster(jobs), "priority", preemptive=False) == {}
    assert starts(FakeCluster(jobs), "priority", preemptive=False, backfill=True) == {"mid": 2}
    assert starts(FakeCluster(jobs), "priority") == {"low": 0, "top": 4, "mid": 2}


def test_preemption_by_place_evicts_from_the_end_and_only_what_helps() -> None:
    """One node is needed: evicting x (last) frees too little there, so y goes too, and x gets its place back."""
    jobs = {
        "z": FakeJob(num_gpus=4, held=4, nodes=((0, 4),), priority=9),
        "y": FakeJob(num_gpus=4, held=4, nodes=((1, 4),), priority=2),
        "x": FakeJob(num_gpus=2, held=2, nodes=((0, 2),), priority=1),
        "new": FakeJob(num_gpus=8, priority=5),
    }
    cluster = FakeCluster(jobs, nodes=[8, 8])
    assert starts(cluster, "priority", Consolidate(strict=True), backfill=True) == {"y": 0, "new": 8}
    assert cluster.where == {"z": ((0, 4),), "x": ((0, 2),), "new": ((1, 8),)}


def test_preemption_by_place_in_vain_leaves_all_as_it_was() -> None:
    jobs = {
        "top": FakeJob(num_gpus=1, held=1, nodes=((0, 1),), priority=9),
        "top2": FakeJob(num_gpus=1, held=1, nodes=((1, 1),), priority=9),
        "low": FakeJob(num_gpus=7, held=7, nodes=((0, 7),), priority=1),
        "new": FakeJob(num_gpus=8, priority=5),
    }
    cluster = FakeCluster(jobs, nodes=[8, 8])
    assert starts(cluster, "priority", Consolidate(strict=True), backfill=True) == {}


@pytest.mark.parametrize("strict", [False, True])
def test_what_drains_is_neither_in_the_way_nor_evicted(strict: bool) -> None:
    jobs = {
        "old": FakeJob(num_gpus=8, held=8, nodes=((1, 8),), remaining_s=500),
        "mid": FakeJob(num_gpus=8, held=8, nodes=((0, 8),), remaining_s=100),
        "new": FakeJob(num_gpus=8, remaining_s=10),
    }
    cluster = FakeCluster(jobs, nodes=[8, 8], draining=[1])
    assert starts(cluster, "srtf", Consolidate(strict=strict)) == {"mid": 0, "new": 8}
    assert cluster.held["old"] == 8
