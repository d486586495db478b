"""Replicas on nodes that are taken away: they drain within the notice, then they are killed; by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulator.pools import Failures, PoolSpec, Spot
from tests.simulator.pools.small_pools import write_failures, write_market
from tests.simulator.serving.small_services import TWO_S, answers, fates, lives, plan, samples, serve
from workloads.serving.service_times import ServiceTimes

LONG = ServiceTimes(mean_s=60.0, distribution="constant")


def spot_pool(folder: Path, notice_s: float = 30.0, **options: Any) -> PoolSpec:
    """Two nodes of a GPU each; from 100 to 200 the market has one."""
    spot = Spot(trace=write_market(folder, [2, 1, 2, 2, 2, 2, 2, 2]), notice_s=notice_s)
    return PoolSpec(
        **{"num_nodes": 2, "gpus_per_node": 1, "purchase": "spot", "spot": spot, "provision_s": 10.0, **options}
    )


def test_a_replica_on_a_node_that_will_go_is_replaced_elsewhere_and_serves_what_it_has(tmp_path: Path) -> None:
    """Both serve for 60 s from 90 on; one node is told at 100 with 80 s to go, its replica done at 150, and the node
    gone then. The new one waits for the node that is found at 220: ready at 230, its replica (start-up 17 s) at 247."""
    run = serve(
        plan([90, 90, 300], service_times=LONG, replicas=2, max_replicas=2), pools=[spot_pool(tmp_path, notice_s=80.0)]
    )
    assert fates(run) == {"served": 3}
    assert sorted(answers(run)) == [(90, 90, 150), (90, 90, 150), (300, 300, 360)]
    ends = sorted(lives(run), key=lambda life: (life[0], life[5]))
    assert ends[0][3:] == (100, 150, "drained")
    assert ends[2][:3] == (100, 230, 247)
    assert run.nodes["end"].tolist().count("reclaimed") == 1
    assert run.nodes["terminated_s"].min() == 150


@pytest.mark.parametrize(("retries", "fate"), [(1, {"served": 2}), (0, {"served": 1, "lost": 1})])
def test_what_a_replica_has_not_served_when_its_node_goes_is_tried_again_or_lost(
    tmp_path: Path, retries: int, fate: dict[str, int]
) -> None:
    """With 30 s of notice it is killed at 130; its request begins anew on the other replica, which is free at 150."""
    run = serve(
        plan([90, 90], service_times=LONG, replicas=2, max_replicas=2, retries=retries),
        pools=[spot_pool(tmp_path)],
    )
    assert fates(run) == fate
    assert sorted(answers(run)) == [(90, 90, 150), *[(90, 150, 210)] * retries]
    killed = [life for life in lives(run) if life[5] == "killed"]
    assert [life[3:] for life in killed] == [(100, 130, "killed")]


def test_a_replica_that_starts_on_a_node_that_will_go_is_cancelled_and_asked_for_elsewhere(tmp_path: Path) -> None:
    """Asked for at 95, it would be ready at 112."""
    for seed in range(9):  # the market takes either of the two nodes
        run = serve(plan([300], replicas=1, max_replicas=2), [(95.0, 2)], pools=[spot_pool(tmp_path)], seed=seed)
        cancelled = [life for life in lives(run) if life[5] == "cancelled"]
        if cancelled:
            assert [life[:5] for life in cancelled] == [(95, 95, None, None, 100)]
            assert [life[1:3] for life in lives(run) if life[0] == 100] == [(230, 247)]
            return
    raise AssertionError("no seed takes the second node")


def test_a_node_that_fails_kills_its_replica_and_another_takes_its_place(tmp_path: Path) -> None:
    """At 95 one of the two that serve from 90 on is gone; the next node is there at 105, its replica at 122."""
    failures = Failures(trace=write_failures(tmp_path, (95, 0)))
    spec = PoolSpec(num_nodes=2, gpus_per_node=1, provision_s=10.0, failures=failures)
    run = serve(plan([90, 90], service_times=LONG, replicas=2, max_replicas=2, retries=1), pools=[spec])
    assert fates(run) == {"served": 2}
    assert sorted(answers(run)) == [(90, 90, 150), (90, 122, 182)]
    assert sorted(life[5] for life in lives(run)) == ["killed", "running", "running"]
    ready = samples(run, "num_ready")
    assert (ready[90], ready[105], ready[135]) == (2, 1, 2)


def test_a_node_that_fails_under_a_replica_that_starts(tmp_path: Path) -> None:
    """There from the start, one of the two is asked for at 50 and would be ready at 67."""
    failures = Failures(trace=write_failures(tmp_path, (60, 1)))
    spec = PoolSpec(num_nodes=2, gpus_per_node=1, provision_s=10.0, failures=failures)
    run = serve(plan([300], replicas=1, max_replicas=2), [(50.0, 2)], pools=[spec])
    killed = [life for life in lives(run) if life[5] == "killed"]
    assert [life[:5] for life in killed] == [(50, 50, None, None, 60)]
    assert [life[1:3] for life in lives(run) if life[0] == 60] == [(70, 87)]
    assert fates(run) == {"served": 1}


def test_an_idle_replica_leaves_a_node_at_its_notice(tmp_path: Path) -> None:
    run = serve(plan([300], service_times=TWO_S, replicas=2, max_replicas=2), pools=[spot_pool(tmp_path)])
    assert [life[3:] for life in lives(run) if life[5] == "drained"] == [(100, 100, "drained")]
    assert run.nodes["terminated_s"].min() == 100
