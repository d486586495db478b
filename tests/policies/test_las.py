"""las: demotions at exact times, promotion, and the order inside a queue, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from policies import PolicyError
from policies.allocation.las import Las
from policies.fake_cluster import FakeCluster, FakeJob
from policies.placement.pooled import Pooled


def run(policy: Las, jobs: dict[str, FakeJob], until_s: float, gpus: int = 8) -> list[tuple[float, dict[str, int]]]:
    """Decides whenever the policy wants to or a job ends: [(time, what changed), ...] where something did."""
    cluster, log = FakeCluster(jobs, nodes=[gpus]), []
    while cluster.now_s <= until_s:
        plan = cluster.decide(policy, Pooled())
        if plan.allocations:
            log.append((cluster.now_s, {job.job_id: gang[0] for job, gang in plan.allocations.items()}))
        cluster.apply(plan)
        ends = [job.left_at_anchor_s / job.rate + job.anchor_s for job in cluster.jobs.values() if job.gpus_held]
        next_s = min([plan.wake_at_s, *ends])
        if next_s == math.inf or not cluster.jobs:
            break
        cluster.advance(next_s - cluster.now_s)
    return log


def pair(gpus: int = 8, **more: Any) -> dict[str, FakeJob]:
    return {"a": FakeJob(num_gpus=gpus, **more), "b": FakeJob(num_gpus=gpus, **more)}


def test_two_queues_by_seconds() -> None:
    """a until 30, demoted; b until 60, demoted to behind a, which runs to its end."""
    log = run(Las(limits=[30.0], service="seconds"), pair(), 500)
    assert log == [(0, {"a": 8}), (30, {"a": 0, "b": 8}), (60, {"b": 0, "a": 8}), (130, {"b": 8})]


def test_by_gpu_seconds_the_wide_job_is_demoted_sooner() -> None:
    jobs = {"wide": FakeJob(num_gpus=8), "thin": FakeJob(num_gpus=2)}
    log = run(Las(limits=[80.0]), jobs, 300)
    assert log == [(0, {"wide": 8}), (10, {"wide": 0, "thin": 2}), (50, {"thin": 0, "wide": 8}), (140, {"thin": 2})]


def test_three_queues() -> None:
    """The first queue: a 0..10, b 10..20. The second, up to 25 s of service: a 20..35, b 35..50. The last: a."""
    log = run(Las(limits=[10.0, 25.0], service="seconds"), pair(), 60)
    turns = [{"a": 8}, {"a": 0, "b": 8}, {"b": 0, "a": 8}, {"a": 0, "b": 8}, {"b": 0, "a": 8}]
    assert log == list(zip([0, 10, 20, 35, 50], turns, strict=True))


def test_wakes_at_the_first_demotion() -> None:
    policy = Las(limits=[30.0], service="seconds")
    cluster = FakeCluster({"a": FakeJob(num_gpus=4), "b": FakeJob(num_gpus=4, executed_s=12.0), "c": FakeJob()})
    assert cluster.decide(policy, Pooled()).wake_at_s == 18.0


def test_in_the_last_queue_there_is_nothing_to_wake_for() -> None:
    cluster = FakeCluster({"a": FakeJob(num_gpus=8, executed_s=99.0), "b": FakeJob(num_gpus=8, executed_s=99.0)})
    assert cluster.decide(Las(limits=[30.0], service="seconds"), Pooled()).wake_at_s == math.inf


def test_a_new_job_goes_before_demoted_ones() -> None:
    policy = Las(limits=[30.0], service="seconds")
    cluster = FakeCluster({"a": FakeJob(num_gpus=8, held=8, executed_s=31.0, remaining_s=500)})
    assert cluster.step(policy, Pooled()) == {}
    cluster.advance(5)
    cluster.submit("b", FakeJob(num_gpus=8, submit_s=5.0))
    assert cluster.step(policy, Pooled()) == {"a": 0, "b": 8}


def test_inside_a_queue_who_runs_comes_first_then_the_old_order() -> None:
    policy = Las(limits=[1000.0], service="seconds")
    cluster = FakeCluster({"a": FakeJob(num_gpus=8, remaining_s=10), **{n: FakeJob(num_gpus=8) for n in "bcd"}})
    assert cluster.step(policy, Pooled()) == {"a": 8}
    cluster.advance(10)
    assert cluster.step(policy, Pooled()) == {"b": 8}
    cluster.advance(10)
    assert cluster.step(policy, Pooled()) == {}


def test_what_does_not_fit_is_skipped() -> None:
    jobs = {"a": FakeJob(num_gpus=6), "b": FakeJob(num_gpus=4), "c": FakeJob(num_gpus=2)}
    assert FakeCluster(jobs).step(Las(), Pooled()) == {"a": 6, "c": 2}


# ---- promotion
FIRST_TURNS = [(0, {"a": 8}), (10, {"a": 0, "b": 8}), (20, {"b": 0, "a": 8})]  # then both are in the last queue


def test_a_starved_job_is_promoted_at_its_time_and_served() -> None:
    """b has executed 10 s and waits since 20: with k = 3 it is promoted at 50, and goes before a."""
    policy = Las(limits=[10.0], service="seconds", promote_factor=3.0)
    assert run(policy, pair(remaining_s=100.0), 55) == [*FIRST_TURNS, (50, {"a": 0, "b": 8})]


def test_after_promotion_service_is_counted_anew() -> None:
    """b has the first queue's 10 s again, 50..60; then, with 20 s executed, it is promoted after a wait of 60."""
    policy = Las(limits=[10.0], service="seconds", promote_factor=3.0)
    log = run(policy, pair(remaining_s=1000.0), 125)
    assert log[4:] == [(60, {"b": 0, "a": 8}), (120, {"a": 0, "b": 8})]


def test_without_promotion_it_waits_to_the_end() -> None:
    log = run(Las(limits=[10.0], service="seconds"), pair(remaining_s=100.0), 150)
    assert log == [*FIRST_TURNS, (110, {"b": 8})]


def test_a_job_that_never_ran_is_not_starved() -> None:
    """It is in the first queue anyway, behind those who run there."""
    policy = Las(limits=[1000.0], service="seconds", promote_factor=0.1)
    cluster = FakeCluster(pair())
    cluster.step(policy, Pooled())
    cluster.advance(50)
    plan = cluster.decide(policy, Pooled())
    assert not plan.allocations
    assert plan.wake_at_s == 1000.0


# ---- options
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limits": [5.0, 5.0]}, r"las: limits=\[5.0, 5.0\]: must be more than 0 and ascending"),
        ({"limits": [0.0]}, "must be more than 0 and ascending"),
        ({"limits": [float(i) for i in range(1, 62)]}, "las: 61 limits: at most 60"),
        ({"service": "hours"}, "las: service='hours': must be seconds or gpu_seconds"),
        ({"promote_factor": -1.0}, r"las: promote_factor=-1.0: must be 0 \(never\) or more"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Las(**options)
