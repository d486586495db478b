"""Services in a run, by hand: when replicas come and go, what becomes of their requests, what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from policies import SERVICE_METRICS, ClusterView, Draft
from policies.placement.consolidate import Consolidate
from policies.view import Target
from simulator.cluster import DecideOptions
from simulator.monitor import MonitorOptions
from simulator.overheads import MoveCosts, Overheads
from simulator.pools import PoolSpec
from simulator.run import Run
from simulator.serving import service as service_module
from simulator.serving.model import BALANCERS, ServingModel
from simulator.serving.models import MODELS, make_model
from simulator.serving.outcome import Served
from simulator.serving.services import ServicePlan
from simulator.serving.statistics import Objective
from simulator.simulation import stream
from tests.simulator.serving.small_services import (
    CACHED_S,
    COLD_S,
    Script,
    Spy,
    answers,
    fates,
    lives,
    plan,
    requests,
    samples,
    serve,
    spied,
)
from tests.simulator.small_runs import job, jobs_of, steps
from workloads.requests import Requests
from workloads.serving.batch_times import BatchTimes
from workloads.serving.llm_times import LlmTimes
from workloads.serving.service_times import ServiceTimes


# ---- replicas come
def test_a_replica_that_is_there_from_the_start_serves_at_once() -> None:
    run = serve(plan([0.0, 1.0, 1.5]))
    assert lives(run) == [(0.0, 0.0, 0.0, None, 15.0, "running")]
    assert answers(run) == [(0.0, 0.0, 2.0), (1.0, 2.0, 4.0), (1.5, 4.0, 6.0)]
    assert run.facts["end_s"] == 15.0  # the first sample that finds all answered


def test_scaling_out_is_ready_when_its_stages_are_done_and_not_before() -> None:
    """Two at a time from second 17 on: the node has the image, as the first replica was there."""
    run = serve(plan([0.5 * n for n in range(30)], max_replicas=2), [(10.0, 2)])
    assert lives(run)[1][:3] == (10.0, 10.0, 10.0 + CACHED_S)
    starts_s = [first_s for _, first_s, _ in answers(run)]
    assert starts_s[:9] == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0]
    assert starts_s[9:13] == [17.0, 18.0, 19.0, 20.0]


def test_a_node_pulls_the_image_once() -> None:
    """On nodes of one GPU: the second node's first replica pulls it, its second one does not."""
    run = serve(
        plan([60.0], max_replicas=2), [(5.0, 2), (30.0, 1), (35.0, 2)], pool={"num_nodes": 2, "gpus_per_node": 1}
    )
    assert [row[2] for row in lives(run)] == [0.0, 5.0 + COLD_S, 35.0 + CACHED_S]


def test_pooled_placement_knows_of_no_node_that_has_the_image() -> None:
    run = serve(plan([60.0], max_replicas=2), [(5.0, 2), (30.0, 1), (35.0, 2)], placement="pooled")
    assert [row[2] for row in lives(run)] == [0.0, 5.0 + COLD_S, 35.0 + COLD_S]


def test_a_replica_over_two_nodes_needs_the_image_on_both() -> None:
    pool = {"num_nodes": 2, "gpus_per_node": 2}
    wide, slim = plan([40.0], name="wide", gpus_per_replica=3, replicas=0, max_replicas=1), plan([0.0])
    run = serve([wide, slim], [(5.0, 1), (30.0, 0), (31.0, 1)], pool=pool, placement="spread", horizon_s=60.0)
    ready_s = [row[2] for row in lives(run)]
    assert ready_s == [0.0, 5.0 + COLD_S, 31.0 + CACHED_S]


def test_replicas_wait_for_gpus_as_jobs_do() -> None:
    run = serve(plan([30.0], replicas=0, max_replicas=1), [(5.0, 1)], jobs=jobs_of((0.0, 8, 20.0)))
    assert lives(run)[0][:3] == (5.0, 20.0, 20.0 + COLD_S)


def test_a_job_that_never_finds_room_beside_replicas_is_reported() -> None:
    """The service has answered all it had, and keeps its replica: the run ends, and says why."""
    run = serve(plan([0.0]), jobs=jobs_of((0.0, 8, 20.0)), starve_after_s=100.0)
    assert run.facts["notes"] == ["1 jobs never got the GPUs they waited for when all else ended: a"]
    assert 100.0 < run.facts["end_s"] < 200.0


# ---- replicas go
def test_scaling_in_lets_a_replica_finish_and_then_go_at_once() -> None:
    run = serve(plan([0.0, 0.25, 0.5, 60.0], replicas=2, min_replicas=1), [(1.0, 1)])
    assert lives(run)[1] == (0.0, 0.0, 0.0, 1.0, 2.0, "drained")
    assert answers(run)[:3] == [(0.0, 0.0, 2.0), (0.25, 0.25, 2.25), (0.5, 2.25, 4.25)]
    held = run.allocations.groupby("job")["num_gpus"].last()
    assert held.tolist() == [1, 0]


def test_an_idle_replica_goes_at_once() -> None:
    run = serve(plan([60.0], replicas=2, min_replicas=1), [(7.0, 1)])
    assert lives(run)[1] == (0.0, 0.0, 0.0, 7.0, 7.0, "drained")


@pytest.mark.parametrize("name", MODELS)
def test_a_drained_replica_is_gone_when_its_last_answer_is_whole(name: str) -> None:
    of = plan([0.0, 0.1, 0.2], [(100, 90)] * 3, model=name, min_replicas=0, activation=False,
              batch=BatchTimes(fixed_s=2.0))  # fmt: skip
    run = serve(of, [(1.0, 0)], horizon_s=60.0)
    life = lives(run)[0]
    last_s = max(finish_s for _, _, finish_s in answers(run))
    assert last_s >= 2.0
    assert life[3:] == (1.0, pytest.approx(last_s, abs=1e-9), "drained")


def test_those_that_wait_go_first_then_those_that_start_then_the_latest() -> None:
    """Of 4 GPUs: two replicas ready, two starting, two waiting; three are let go, and then two."""
    run = serve(
        plan([60.0], replicas=2, min_replicas=1, max_replicas=9), [(5.0, 6), (10.0, 3), (11.0, 1)],
        pool={"gpus_per_node": 4},
    )  # fmt: skip
    assert [(row[0], row[1], row[4], row[5]) for row in lives(run)] == [
        (0.0, 0.0, 75.0, "running"),
        (0.0, 0.0, 11.0, "drained"),
        (5.0, 5.0, 11.0, "cancelled"),
        (5.0, 5.0, 10.0, "cancelled"),
        (5.0, None, 10.0, "cancelled"),
        (5.0, None, 10.0, "cancelled"),
    ]


def test_a_drain_that_takes_too_long_ends_with_a_kill() -> None:
    slow = {"service_times": ServiceTimes(mean_s=10.0, distribution="constant"), "drain_timeout_s": 3.0}
    run = serve(plan([0.0, 0.5, 40.0], replicas=2, min_replicas=1, **slow), [(2.0, 1)])
    assert lives(run)[1] == (0.0, 0.0, 0.0, 2.0, 5.0, "timed_out")
    assert fates(run) == {"served": 2, "lost": 1}
    assert run.facts["services"]["chat"]["num_replicas_killed"] == 1

    run = serve(plan([0.0, 0.5, 40.0], replicas=2, min_replicas=1, retries=1, retry_delay_s=1.5, **slow), [(2.0, 1)])
    assert fates(run) == {"served": 3}
    assert answers(run)[0] == (0.0, 10.5, 20.5)  # on the other one, when that is free


def test_a_replica_that_is_done_as_its_drain_times_out_has_drained() -> None:
    run = serve(plan([0.0, 40.0], replicas=2, min_replicas=1, drain_timeout_s=1.0), [(1.0, 1)], horizon_s=50.0)
    assert lives(run)[1][3:] == (1.0, 1.0, "drained")  # of the two it is the idle one
    run = serve(plan([0.0, 0.0, 40.0], replicas=2, min_replicas=1, drain_timeout_s=1.0), [(1.0, 1)], horizon_s=50.0)
    assert lives(run)[1][3:] == (1.0, 2.0, "drained")
    assert fates(run) == {"served": 3}


# ---- to nothing, and from nothing
def test_from_nothing_the_first_request_starts_one_and_waits_for_it() -> None:
    run = serve(plan([30.0, 31.0, 100.0], replicas=0, max_replicas=1), [(60.0, 0)])
    assert lives(run) == [
        (30.0, 30.0, 30.0 + COLD_S, 60.0, 60.0, "drained"),
        (100.0, 100.0, 100.0 + CACHED_S, None, 120.0, "running"),
    ]
    assert answers(run) == [(30.0, 47.0, 49.0), (31.0, 49.0, 51.0), (100.0, 107.0, 109.0)]
    of = run.facts["services"]["chat"]
    assert (of["num_cold_starts"], of["cold_start_mean_s"], of["cold_start_total_s"]) == (2, 12.0, 24.0)
    assert of["latency_max_s"] == 20.0


def test_without_activation_requests_wait_for_scaling() -> None:
    run = serve(plan([30.0], replicas=0, max_replicas=1, activation=False), [(50.0, 1)])
    assert answers(run) == [(30.0, 50.0 + COLD_S, 52.0 + COLD_S)]
    run = serve(plan([30.0], replicas=0, max_replicas=1, activation=False), horizon_s=400.0)
    assert (lives(run), fates(run)) == ([], {"in_flight": 1})


def test_a_backlog_keeps_the_last_replica() -> None:
    """Told to go at 1 s with requests in the queue: it stays, and goes when told again."""
    run = serve(plan([0.0, 0.0, 0.0, 50.0], min_replicas=0), [(1.0, 0), (20.0, 0)])
    assert [row[:2] + row[3:] for row in lives(run)] == [
        (0.0, 0.0, 20.0, 20.0, "drained"),
        (50.0, 50.0, None, 60.0, "running"),
    ]
    assert [finish_s for *_, finish_s in answers(run)] == [2.0, 4.0, 6.0, 50.0 + CACHED_S + 2.0]


def test_a_replica_on_its_way_to_a_request_is_not_started_anew() -> None:
    """A policy that sees no load tells it to go each second; it would never be ready."""
    run = serve(plan([10.5], replicas=0, max_replicas=1), [(float(second), 0) for second in range(60)], horizon_s=100.0)
    assert lives(run) == [(10.5, 10.5, 10.5 + COLD_S, 28.0, 29.5, "drained")]
    assert answers(run) == [(10.5, 27.5, 29.5)]


def test_a_request_that_is_tried_again_with_nobody_there_starts_one() -> None:
    """Its replica is killed as it drains; the retry waits at 7 s, which the sample at 15 s sees."""
    slow = {"service_times": ServiceTimes(mean_s=10.0, distribution="constant"), "drain_timeout_s": 3.0}
    run = serve(plan([0.0], min_replicas=0, retries=1, retry_delay_s=2.0, **slow), [(2.0, 0)])
    assert [row[:2] + row[3:] for row in lives(run)] == [
        (0.0, 0.0, 2.0, 5.0, "timed_out"),
        (15.0, 15.0, None, 45.0, "running"),
    ]
    assert answers(run) == [(0.0, 15.0 + CACHED_S, 25.0 + CACHED_S)]


def test_requests_that_are_turned_away_start_nobody() -> None:
    run = serve(plan([10.0, 20.0], replicas=0, max_replicas=1, queue_limit=0))
    assert (lives(run), fates(run)) == ([], {"rejected": 2})


# ---- beside jobs
def preempted(**spec: Any) -> Run:
    """One node of 4 GPUs: at 1 s a job that is more important takes all of them for 9 s."""
    jobs = jobs_of((1.0, 4, 9.0, {"priority": 1}))
    return serve(plan([0.0, 0.5], **spec), jobs=jobs, allocation="priority", pool={"gpus_per_node": 4})


def test_a_replica_whose_gpus_are_taken_is_replaced_and_its_request_lost() -> None:
    run = preempted()
    assert lives(run) == [
        (0.0, 0.0, 0.0, None, 1.0, "killed"),
        (1.0, 10.0, 10.0 + CACHED_S, None, 30.0, "running"),
    ]
    assert fates(run) == {"served": 1, "lost": 1}
    assert answers(run) == [(0.5, 17.0, 19.0)]  # it had waited, and waits on
    assert job(run, "a").finish_s == 10.0
    assert run.facts["services"]["chat"]["num_replicas_killed"] == 1


class JobsFirst:
    """Takes all GPUs back at each decision, and gives them to jobs before replicas."""

    def allocate(self, view: ClusterView, draft: Draft) -> None:
        for each in view.jobs:
            if each.gpus_held:
                draft.give(each, 0)
        for each in sorted(view.jobs, key=lambda each: each.is_replica):
            draft.give(each, each.num_gpus)


def test_a_replica_that_a_policy_would_move_is_killed_and_replaced() -> None:
    """At 10 s a job takes the first node, where the replica was, which is to go on on the second: a new one does."""
    run = serve(
        plan([0.0, 40.0]),
        jobs=jobs_of((10.0, 8, 50.0)),
        allocation=JobsFirst(),
        placement=Consolidate(strict=False),
        pool={"num_nodes": 2},
    )
    assert lives(run) == [
        (0.0, 0.0, 0.0, None, 10.0, "killed"),
        (10.0, 10.0, 10.0 + COLD_S, None, 60.0, "running"),
    ]
    assert job(run, "a").finish_s == 60.0


def test_or_tried_again() -> None:
    run = preempted(retries=1, retry_delay_s=3.0)
    assert fates(run) == {"served": 2}
    assert answers(run) == [(0.0, 19.0, 21.0), (0.5, 17.0, 19.0)]  # behind the one that waited
    assert run.facts["services"]["chat"]["num_retries"] == 1


def test_a_replica_that_is_killed_as_it_starts_or_waits() -> None:
    jobs = jobs_of((8.0, 4, 4.0, {"priority": 1}))
    run = serve(plan([40.0], replicas=0, max_replicas=1), [(5.0, 1)], jobs=jobs, allocation="priority",
                pool={"gpus_per_node": 4})  # fmt: skip
    assert lives(run) == [
        (5.0, 5.0, None, None, 8.0, "killed"),
        (8.0, 12.0, 12.0 + COLD_S, None, 45.0, "running"),
    ]


def test_a_draining_replica_that_is_killed_is_not_replaced() -> None:
    slow = ServiceTimes(mean_s=20.0, distribution="constant")
    jobs = jobs_of((4.0, 3, 5.0, {"priority": 1}))
    spec = {"replicas": 2, "min_replicas": 1, "gpus_per_replica": 2, "service_times": slow}
    run = serve(plan([0.0, 0.0, 60.0], **spec), [(2.0, 1)], jobs=jobs, allocation="priority",
                pool={"gpus_per_node": 4})  # fmt: skip
    ends = [(row[0], row[3], row[4], row[5]) for row in lives(run)]
    assert ends == [(0.0, None, 4.0, "killed"), (0.0, 2.0, 4.0, "killed"), (4.0, None, 90.0, "running")]


def test_a_replica_that_starts_and_is_let_go_in_one_decision_waits_no_more() -> None:
    """At 10 s a job ends: the decision then gives its GPUs to a replica, and scales to nothing."""
    run = serve(
        plan([40.0], replicas=0, max_replicas=1), [(5.0, 1), (10.0, 0)], jobs=jobs_of((0.0, 8, 10.0)), horizon_s=70.0
    )
    assert lives(run)[0] == (5.0, 10.0, None, None, 10.0, "cancelled")
    assert set(samples(run, "num_pending").values()) == {0}
    assert set(samples(run, "pending_gpus").values()) == {0.0}


def test_jobs_run_where_replicas_leave_room() -> None:
    run = serve(plan([float(n) for n in range(20)], replicas=3, gpus_per_replica=2), jobs=jobs_of((0.0, 2, 10.0)))
    assert job(run, "a").finish_s == 10.0
    assert run.facts["services"]["chat"]["num_served"] == 20


# ---- GPUs that are lent
def lent(counts: list[tuple[float, int]], save_s: float, least: int = 8, **scenario: Any) -> Run:
    """One job of 100 s on all 8 GPUs, at least `least`; a replica that a script wants, at a notice of 30 s."""
    jobs = jobs_of((0.0, 8, 100.0, {"min_gpus": least}))
    costs = Overheads(MoveCosts(preempt="lose", save_s=save_s))
    of = plan([], replicas=0, max_replicas=1)
    return serve(of, counts, jobs=jobs, allocation="lend", options={"notice_s": 30.0}, overheads=costs, **scenario)


@pytest.mark.parametrize(("save_s", "lost_s"), [(0.0, 0.0), (30.0, 0.0), (30.5, 50.0), (1000.0, 50.0)])
def test_a_job_that_is_told_in_time_loses_nothing(save_s: float, lost_s: float) -> None:
    run = lent([(20.0, 1), (200.0, 0)], save_s)
    assert lives(run)[0][:2] == (20.0, 50.0)
    assert steps(run, "a") == [(0.0, 8), (50.0, 0), (200.0, 8), (250.0 + lost_s, 0)]
    assert job(run, "a").lost_work_s == lost_s


def test_a_job_that_shrinks_loses_nothing_however_long_it_takes_to_save() -> None:
    run = lent([(20.0, 1)], save_s=1000.0, least=1)
    assert steps(run, "a")[:2] == [(0.0, 8), (50.0, 7)]
    assert job(run, "a").finish_s == pytest.approx(50.0 + 50.0 * 8 / 7)
    assert job(run, "a").lost_work_s == 0.0


@pytest.mark.parametrize(("save_s", "lost_s"), [(10.0, 0.0), (40.0, 95.0)])
def test_a_notice_that_came_to_nothing_saves_nothing_later(save_s: float, lost_s: float) -> None:
    """Told at 20 s and let off at 30 s; told again at 65 s, and at 95 s it loses its GPUs."""
    run = lent([(20.0, 1), (30.0, 0), (65.0, 1), (200.0, 0)], save_s)
    assert steps(run, "a")[:2] == [(0.0, 8), (95.0, 0)]
    assert job(run, "a").lost_work_s == lost_s


def test_what_is_done_after_the_time_told_is_lost() -> None:
    """Decisions in rounds of 40 s: told at 40 s that it will be at 70 s, and it is at 80 s."""
    run = lent([(20.0, 1), (200.0, 0)], save_s=30.0, decide=DecideOptions(interval_s=40.0))
    assert steps(run, "a")[:2] == [(0.0, 8), (80.0, 0)]
    assert job(run, "a").lost_work_s == 10.0


def test_a_wide_replica_gets_whole_nodes_of_its_own_pool() -> None:
    """Training is on both pools; the replica may be on the second only, and that is where GPUs are claimed."""
    pools = [PoolSpec(name, num_nodes=2, gpus_per_node=2) for name in ("first", "second")]
    jobs = jobs_of(*[(0.0, 2, 100.0)] * 4)
    of = plan([150.0], replicas=0, max_replicas=1, gpus_per_replica=4, pool="second")
    run = serve(of, [(20.0, 1)], jobs=jobs, allocation="lend", options={"notice_s": 30.0}, pools=pools)
    assert lives(run)[0][:3] == (20.0, 50.0, 50.0 + COLD_S)
    assert [steps(run, name)[1][0] for name in "abcd"] == [100.0, 100.0, 50.0, 50.0]


def test_what_a_replica_waits_for_in_its_own_pool_is_no_training_pools_loss() -> None:
    pools = [PoolSpec(name, num_nodes=1, gpus_per_node=2) for name in ("first", "second")]
    services = [plan([], name=name, gpus_per_replica=2, pool="second") for name in ("held", "waits")]
    jobs = jobs_of((0.0, 1, 100.0, {"max_gpus": 2}))
    run = serve(services, jobs=jobs, allocation="lend", pools=pools, training_pool="first")
    assert job(run, "a").finish_s == 50.0


# ---- on nodes that go
NODES = {"num_nodes": 2, "min_nodes": 1, "gpus_per_node": 2}


def test_replicas_move_off_a_node_that_drains() -> None:
    """Node 1 is let go at 5 s, in mid-request: the replica finishes there, and another one starts on node 0."""
    spec = {"replicas": 2, "gpus_per_replica": 1, "service_times": ServiceTimes(mean_s=4.0, distribution="constant")}
    run = serve(
        plan([4.0, 4.5, 50.0], **spec),
        pool=NODES,
        placement="spread",
        scaling={"default": Script([(5.0, 1)])},
    )
    assert lives(run) == [
        (0.0, 0.0, 0.0, None, 60.0, "running"),
        (0.0, 0.0, 0.0, 5.0, 8.0, "drained"),
        (5.0, 5.0, 5.0 + CACHED_S, None, 60.0, "running"),
    ]
    assert run.nodes["terminated_s"].tolist() == [60.0, 8.0]
    assert fates(run) == {"served": 3}


def test_what_starts_on_a_node_that_drains_starts_elsewhere() -> None:
    run = serve(
        plan([50.0], max_replicas=3), [(3.0, 3)], pool=NODES, placement="spread",
        scaling={"default": Script([(5.0, 1)])}, horizon_s=60.0,
    )  # fmt: skip
    by_node = {row: nodes for row, nodes in zip(run.allocations["job"], run.allocations["nodes"], strict=True)
               if len(nodes)}  # fmt: skip
    assert len(by_node) >= 3
    ends = [(row[0], row[4], row[5]) for row in lives(run)]
    assert ends == [
        (0.0, 60.0, "running"),
        (3.0, 5.0, "cancelled"),
        (3.0, 60.0, "running"),
        (5.0, 60.0, "running"),
    ]


def test_a_node_that_may_not_wait_kills_what_it_still_has() -> None:
    slow = ServiceTimes(mean_s=30.0, distribution="constant")
    run = serve(
        plan([4.0, 4.5], replicas=2, service_times=slow), pool={**NODES, "drain_timeout_s": 6.0}, placement="spread",
        scaling={"default": Script([(5.0, 1)])},
    )  # fmt: skip
    assert lives(run)[1] == (0.0, 0.0, 0.0, 5.0, 11.0, "killed")
    assert fates(run) == {"served": 1, "lost": 1}
    assert run.nodes["terminated_s"].tolist()[1] == 11.0


# ---- requests
def test_at_the_horizon_what_is_being_served_is_in_flight() -> None:
    run = serve(plan([0.0, 1.0, 2.0, 30.0]), horizon_s=3.0)
    assert fates(run) == {"served": 1, "in_flight": 2}  # the fourth has not come
    assert run.facts["services"]["chat"]["num_requests"] == 3
    assert lives(run)[0][4:] == (3.0, "running")


def test_the_way_to_the_replica_is_part_of_every_latency() -> None:
    near, far = (serve(plan([0.0, 1.0], network_s=network_s)) for network_s in (0.0, 0.25))
    assert answers(far) == [(a, b + 0.25, c + 0.25) for a, b, c in answers(near)]
    assert samples(far, "latency_p50_s")[15.0] == samples(near, "latency_p50_s")[15.0] + 0.25
    of = far.facts["services"]["chat"]
    assert (of["latency_mean_s"], of["latency_max_s"]) == (2.75, 3.25)


@pytest.mark.parametrize(
    ("keep", "most", "kept"),
    [(None, 100_000, 5), (None, 4, 0), (None, 5, 5), (True, 1, 5), (False, 100_000, 0)],
)
def test_rows_are_kept_as_asked(keep: bool | None, most: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "MOST_ROWS", most)
    run = serve(plan([0.0, 1.0, 2.0, 20.0, 30.0], keep_requests=keep))
    assert len(requests(run)) == kept
    assert fates(run) == {"served": 5}
    assert run.table("latencies").to_pandas()["num_requests"].sum() == 5


def test_limits_time_outs_and_retries_are_counted() -> None:
    limited = plan([0.0, 0.1, 0.2, 0.3], queue_limit=1, timeout_s=1.0)
    assert fates(serve(limited)) == {"served": 1, "rejected": 2, "timed_out": 1}
    patient = plan([0.0, 0.1], queue_limit=0, retries=2, retry_delay_s=1.0)
    run = serve(patient)  # tried at 0.1, 1.1 and 3.1
    assert fates(run) == {"served": 2}
    assert answers(run)[1] == (0.1, 3.1, 5.1)


def test_two_services_have_their_own_requests_and_replicas() -> None:
    run = serve([plan([0.0, 1.0]), plan([0.5], name="other", gpus_per_replica=2)])
    table = requests(run)
    assert table["service"].tolist() == ["chat", "chat", "other"]
    assert table["finish_s"].tolist() == [2.0, 4.0, 2.5]
    assert run.table("replicas").to_pandas()["num_gpus"].tolist() == [1, 2]
    assert (fates(run), fates(run, "other")) == ({"served": 2}, {"served": 1})


# ---- what is measured
@dataclass
class Watch:
    """A scaling policy that only notes what it can see."""

    seen: list[tuple[float, float | None, float | None]] = field(default_factory=list)
    period_s: float = 5.0

    def desired(self, target: Target, view: ClusterView) -> int:
        metrics = view.metrics
        self.seen.append((view.now_s, metrics.newest_s("chat"), metrics.latest("chat", "request_rate_per_s")))
        return target.num_units

    def __deepcopy__(self, memo: Any) -> Watch:
        return self  # the run's copy notes here


@pytest.mark.parametrize("delay_s", [0.0, 7.0])
def test_policies_see_a_sample_when_it_is_delivered(delay_s: float) -> None:
    watch = Watch()
    serve(
        plan([2.0, 12.0, 14.0, 31.0], sample_s=10.0), scaling={"chat": watch}, monitor=MonitorOptions(delay_s=delay_s)
    )
    rates = {0.0: 0.0, 10.0: 0.1, 20.0: 0.2, 30.0: 0.0, 40.0: 0.1}
    for now_s, newest_s, rate in watch.seen:
        expected = max((time_s for time_s in rates if time_s + delay_s <= now_s), default=None)
        assert (newest_s, rate) == (expected, None if expected is None else rates[expected])


def test_a_sample_by_hand() -> None:
    """Two replicas, requests of 4 s; at 10 s one more is on its way, one waits for GPUs, and one request waits."""
    times = ServiceTimes(mean_s=4.0, distribution="constant")
    of = plan([1.0, 2.0, 7.0, 8.0, 9.0], replicas=2, max_replicas=4, gpus_per_replica=2, sample_s=10.0,
              service_times=times, slo=Objective(latency_s=4.0))  # fmt: skip
    run = serve(of, [(6.0, 4)], pool={"gpus_per_node": 6}, horizon_s=20.0)
    values = {name: samples(run, name)[10.0] for name in ("num_ready", "num_starting", "num_pending", "num_draining")}
    assert values == {"num_ready": 2, "num_starting": 2, "num_pending": 1, "num_draining": 0}
    expected = {
        "request_rate_per_s": 0.5,
        "request_rate_per_replica_per_s": 0.25,
        "concurrency": 3.0,
        "concurrency_per_replica": 1.5,
        "queue_length": 1.0,
        "gpu_utilisation_frac": 1.0,
        "latency_p50_s": 4.0,
        "latency_p99_s": 4.0,
        "ttft_p99_s": 0.0,
        "slo_attainment_frac": 1.0,
        "pending_gpus": 2.0,
    }
    assert {name: samples(run, name)[10.0] for name in SERVICE_METRICS} == expected
    # until 20 s: the waiting one began at 11 s on the first that was free, in all 6 s
    later = {name: samples(run, name)[20.0] for name in SERVICE_METRICS}
    assert (later["request_rate_per_s"], later["concurrency"], later["queue_length"]) == (0.0, 0.0, 0.0)
    assert (later["latency_p50_s"], later["gpu_utilisation_frac"]) == (4.0, 0.0)
    assert later["slo_attainment_frac"] == pytest.approx(2 / 3)


def test_samples_of_nothing_and_of_failures() -> None:
    run = serve(plan([5.0, 5.1, 40.0], replicas=1, queue_limit=0, sample_s=10.0))
    assert [samples(run, "slo_attainment_frac")[at] for at in (0.0, 10.0, 20.0)] == [1.0, 0.5, 1.0]
    run = serve(plan([5.0], replicas=0, max_replicas=1, queue_limit=0, sample_s=10.0))
    assert samples(run, "slo_attainment_frac")[10.0] == 0.0
    assert samples(run, "latency_p99_s")[10.0] == 0.0


def test_without_replicas_all_of_the_load_is_one_replicas() -> None:
    run = serve(plan([5.0, 6.0], replicas=0, max_replicas=1, activation=False, sample_s=10.0), horizon_s=10.0)
    assert samples(run, "request_rate_per_replica_per_s")[10.0] == samples(run, "request_rate_per_s")[10.0] == 0.2
    assert samples(run, "concurrency_per_replica")[10.0] == 2.0
    assert samples(run, "gpu_utilisation_frac")[10.0] == 0.0


def test_time_to_first_token_is_measured_of_those_who_have_tokens() -> None:
    times = LlmTimes(prefill_fixed_s=0.5, prefill_per_token_s=0.0, prefill_per_token2_s=0.0, decode_fixed_s=0.25,
                     decode_per_request_s=0.0, decode_per_token_s=0.0)  # fmt: skip
    of = plan([1.0, 7.0], [(10, 5), (10, 9)], model="llm", llm=times, sample_s=10.0, slo=Objective(ttft_s=0.4))
    run = serve(of)
    assert answers(run) == [(1.0, 1.5, 2.5), (7.0, 7.5, 9.5)]
    assert samples(run, "ttft_p99_s")[10.0] == 0.5
    assert samples(run, "latency_p50_s")[10.0] == 2.0
    assert samples(run, "slo_attainment_frac")[10.0] == 0.0


# ---- the engine adds nothing of its own
def spec_of(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": name,
        "service_times": ServiceTimes(mean_s=1.5),
        "batch": BatchTimes(fixed_s=0.5, per_request_s=0.3, max_batch=4, max_wait_s=0.2),
        "llm": LlmTimes(max_batch=8, kv_tokens=2000),
        "replicas": 2,
        "min_replicas": 0,
        "max_replicas": 5,
        "drain_timeout_s": 4.0,
        "activation": False,
        **options,
    }


def replayed(spy: Spy, of: ServicePlan, seed: int, end_s: float) -> Served:
    """The same requests and changes of replicas, told to a model that nobody asks for anything else."""
    spec = of.spec
    _, rng = stream(seed, f"service {spec.name}").spawn(2)
    model: ServingModel = make_model(spec.model, spec.requests, rng, spec.service_times, spec.batch, spec.llm)
    coming = Requests.concat(list(of.requests.chunks(np.random.default_rng(0))))
    parts, begin = [Served()], 0
    for now_s, what, replica in (*spy.changes, (end_s, "", -1)):
        end = int(np.searchsorted(coming.arrival_s, now_s))
        parts.append(model.advance(coming.take(slice(begin, end)), now_s))
        begin = end
        if what:
            getattr(model, what)(replica, now_s)
    return Served.concat(parts)


@pytest.mark.parametrize(
    "options",
    [*({"balancer": balancer} for balancer in BALANCERS), {"queue_limit": 3, "timeout_s": 6.0, "retries": 1}],
    ids=str,
)
@pytest.mark.parametrize("name", MODELS)
def test_a_run_serves_as_the_model_does_by_itself(name: str, options: dict[str, Any]) -> None:
    """Request by request: samples, decisions and cold starts in between change nothing."""
    rng = np.random.default_rng(7)
    arrival_s = np.sort(rng.uniform(0.0, 60.0, 80))
    tokens = list(zip(rng.integers(1, 300, 80).tolist(), rng.integers(1, 80, 80).tolist(), strict=True))
    of = plan(arrival_s.tolist(), tokens, **spec_of(name, options))
    counts = [(5.0, 4), (13.0, 1), (20.0, 5), (33.0, 2), (45.0, 0), (52.0, 3)]
    jobs = jobs_of((28.3, 6, 9.1, {"priority": 1}))
    with spied() as spies:
        run = serve(of, counts, jobs=jobs, allocation="priority", horizon_s=120.0, seed=3)
    assert {"killed", "drained"} <= {row[5] for row in lives(run)}
    mine = replayed(spies[0], of, 3, 120.0)
    order = mine.number.argsort(kind="stable")
    table = requests(run)
    assert table["number"].tolist() == mine.number[order].tolist()
    assert len(table) > 30
    for column in ("arrival_s", "first_s", "finish_s"):
        np.testing.assert_allclose(table[column], getattr(mine, column)[order], rtol=1e-11, atol=1e-9)
