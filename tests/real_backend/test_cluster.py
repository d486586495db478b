"""The live cluster's view and books, on agents that answer at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies import PlanError, registry
from real_backend.gangs import Phase
from tests.real_backend.fake_cluster import FakeLive
from tests.real_backend.live_runs import jobs_of


def test_a_plan_becomes_gangs_and_the_view_shows_them(tmp_path: Path) -> None:
    live = FakeLive(tmp_path, jobs_of({"num_gpus": 4}, {"num_gpus": 2}), registry.create("allocation", "fifo"))
    live.submit(0, 1)
    view = live.cluster.view()
    assert [(job.gpus_held, job.nodes) for job in view.jobs] == [(4, ((0, 4),)), (2, ((1, 2),))]
    assert view.free_gpus == 2
    assert dict(live.cluster.gangs["a"].actual) == {"node0": 4}


def test_applying_a_plan_twice_changes_nothing_more(tmp_path: Path) -> None:
    live = FakeLive(tmp_path, jobs_of({"num_gpus": 4}), registry.create("allocation", "fifo"))
    live.submit(0)
    job, sent = live.jobs[0], len(live.world.sent)
    from policies import Plan

    live.cluster.apply(Plan({job: (4, ((0, 4),))}))
    live.settle()
    assert len(live.world.sent) == sent


def test_work_is_what_the_workers_say(tmp_path: Path) -> None:
    live = FakeLive(tmp_path, jobs_of({}), registry.create("allocation", "fifo"))
    live.submit(0)
    live.world.step(live.cluster.gangs, "a", 250_000)
    assert live.jobs[0].left_s == pytest.approx(75.0)
    assert live.jobs[0].remaining_s <= 75.0
    live.world.exit(("node0", 0), -9)
    live.settle()
    assert live.jobs[0].lost_s == pytest.approx(25.0)  # nothing had been saved
    assert live.cluster.failures[0]["why"] == "worker of rank 0 was lost: killed by signal 9"


def test_a_lost_node_shows_in_the_next_view(tmp_path: Path) -> None:
    live = FakeLive(tmp_path, jobs_of({"num_gpus": 4}, {"num_gpus": 4}), registry.create("allocation", "fifo"))
    live.submit(0, 1)
    agent = live.fleet.agents.pop("node0")
    for slot in range(4):
        live.world.workers.pop(("node0", slot))
    live.cluster.gangs.lose(agent)
    live.cluster.view().nodes.close(0)
    live.cluster.evict(0)
    live.settle()
    view = live.cluster.view()
    assert [job.job_id for job in view.pending] == ["a"]
    assert (view.free_gpus, view.capacity_gpus) == (0, 4)
    assert live.cluster.gangs["a"].phase is Phase.IDLE


def test_finished_jobs_leave_room_for_the_next(tmp_path: Path) -> None:
    live = FakeLive(tmp_path, jobs_of({"num_gpus": 8, "min_gpus": 8}, {}), registry.create("allocation", "fifo"))
    live.submit(0, 1)
    assert not live.jobs[1].is_running
    live.world.finish(live.cluster.gangs, "a")
    live.settle()
    assert live.jobs[1].is_running
    assert live.cluster.num_finished == 1


def test_gangs_need_nodes(tmp_path: Path) -> None:
    live = FakeLive(tmp_path, jobs_of({}), registry.create("allocation", "fifo"))
    live.cluster._controller._placement = registry.create("placement", "pooled")
    live.cluster.submit(live.jobs[0])
    with pytest.raises(PlanError, match="job a: 1 GPUs without nodes; live runs need placement=packed"):
        live.cluster.request_decision()
