"""Lend: services first, training elastic on the rest; what is claimed, of whom, when, and no more than is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from policies.allocation.lend import Lend
from policies.allocation.victims import fewest_victims
from policies.errors import PolicyError
from policies.fake_cluster import FakeCluster, FakeJob
from policies.nodes import NodeSize
from policies.placement.consolidate import Consolidate
from policies.placement.pooled import Pooled
from policies.placement.spread import Spread
from policies.plan import Plan
from policies.protocols import PlacementPolicy

LONG_S = 1e6
STRICT = Consolidate(strict=True)


def training(least: int, most: int, held: int = 0, **more: Any) -> FakeJob:
    return FakeJob(num_gpus=least, min_gpus=least, max_gpus=most, held=held, remaining_s=LONG_S, **more)


def on(node: int, least: int, most: int, held: int, **more: Any) -> FakeJob:
    """A training job that runs on one node."""
    return training(least, most, held, nodes=((node, held),), **more)


def replica(num_gpus: int = 1, held: int = 0, **more: Any) -> FakeJob:
    return FakeJob(num_gpus=num_gpus, held=held, service="chat", **more)


class Play:
    """A cluster under one policy, decision by decision."""

    def __init__(
        self, jobs: Mapping[str, FakeJob], lend: Lend, placement: PlacementPolicy | None = None, **cluster: Any
    ) -> None:
        self.cluster, self.lend, self.placement = FakeCluster(jobs, **cluster), lend, placement or Pooled()

    def plan(self) -> Plan:
        """Decides, and applies what was decided."""
        plan = self.cluster.decide(self.lend, self.placement)
        self.cluster.apply(plan)
        return plan

    def at(self, time_s: float) -> Plan:
        self.cluster.advance(time_s - self.cluster.now_s)
        return self.plan()

    def told(self) -> dict[str, float]:
        """Who is told now, and when it is to give up GPUs."""
        return {job.job_id: at_s for job, at_s in self.plan().notices.items()}

    @property
    def held(self) -> dict[str, int]:
        return self.cluster.held


# ---- who comes first
def test_services_come_first_by_priority_and_then_in_turn() -> None:
    jobs = {
        "training": training(1, 8),
        "a": replica(3),
        "b": replica(3),
        "urgent": replica(2, priority=1),
    }
    play = Play(jobs, Lend())
    play.plan()
    assert play.held == {"training": 0, "a": 3, "b": 3, "urgent": 2}

    jobs["wide"] = replica(6, priority=2)
    play = Play(jobs, Lend())
    play.plan()
    assert play.held == {"training": 0, "a": 0, "b": 0, "urgent": 2, "wide": 6}


def test_training_shares_the_rest_and_is_elastic() -> None:
    play = Play({"a": training(1, 8), "b": training(1, 8), "c": replica(3)}, Lend())
    play.plan()
    assert play.held == {"a": 3, "b": 2, "c": 3}
    play.cluster.finish("c")
    play.plan()
    assert play.held == {"a": 4, "b": 4}


def test_a_running_replica_is_left_alone() -> None:
    play = Play({"low": replica(4, held=4), "high": replica(8, priority=9), "t": training(1, 8)}, Lend())
    for _ in range(3):
        play.plan()
        assert play.held == {"low": 4, "high": 0, "t": 4}


# ---- notice
def test_told_at_once_and_taken_when_the_notice_is_over_and_not_before() -> None:
    play = Play({"t": training(1, 8, 8)}, Lend(notice_s=60.0), now_s=100.0)
    play.cluster.submit("r", replica(3))
    plan = play.plan()
    assert {job.job_id: at_s for job, at_s in plan.notices.items()} == {"t": 160.0}
    assert (plan.allocations, plan.wake_at_s) == ({}, 160.0)
    for time_s in (130.0, 159.9):
        plan = play.at(time_s)
        assert (plan.allocations, plan.notices) == ({}, {})
        assert plan.wake_at_s == 160.0  # asked for at every decision: the cluster keeps the last wish only
    play.at(160.0)
    assert play.held == {"t": 5, "r": 3}
    assert play.plan().wake_at_s == float("inf")


def test_without_notice_gpus_go_at_once() -> None:
    play = Play({"t": training(1, 8, 8), "r": replica(3)}, Lend(notice_s=0.0))
    plan = play.plan()
    assert play.held == {"t": 5, "r": 3}
    assert (plan.notices, plan.wake_at_s) == ({}, float("inf"))


def test_what_is_needed_no_longer_stays() -> None:
    jobs = {"t": training(1, 8, 6), "other": training(2, 2, 2), "r": replica(2)}
    play = Play(jobs, Lend(notice_s=60.0))
    assert play.told() == {"t": 60.0}
    play.cluster.finish("other")
    play.at(30.0)
    assert play.held == {"t": 6, "r": 2}
    assert play.at(60.0).allocations == {}

    play = Play(jobs, Lend(notice_s=60.0))
    assert play.told() == {"t": 60.0}
    play.cluster.finish("r")  # the replica is not wanted any more
    assert play.at(60.0).allocations == {}


def test_a_second_replica_does_not_put_off_the_first() -> None:
    play = Play({"t": training(1, 8, 8), "a": replica(2)}, Lend(notice_s=60.0))
    assert play.told() == {"t": 60.0}
    play.at(30.0)
    play.cluster.submit("b", replica(2))
    assert play.told() == {"t": 90.0}
    play.at(60.0)
    assert play.held == {"t": 6, "a": 2, "b": 0}
    play.at(90.0)
    assert play.held == {"t": 4, "a": 2, "b": 2}


def test_a_claim_is_no_bar_to_what_is_free() -> None:
    """A replica that fits needs no claim, though another has one."""
    play = Play({"t": training(1, 7, 7), "wide": replica(3, priority=1), "slim": replica(1)}, Lend(notice_s=60.0))
    assert play.told() == {"t": 60.0}
    assert play.held == {"t": 7, "wide": 0, "slim": 1}
    play.at(60.0)
    assert play.held == {"t": 4, "wide": 3, "slim": 1}


def test_training_that_comes_takes_nothing_of_what_was_claimed() -> None:
    """Jobs under a claim neither grow nor shrink for others, so that it is there when its time has come."""
    play = Play({"t": training(1, 8, 8), "r": replica(2)}, Lend(notice_s=60.0))
    assert play.told() == {"t": 60.0}
    play.cluster.submit("late", training(1, 8))
    play.at(30.0)
    assert play.held == {"t": 8, "r": 0, "late": 0}
    play.at(60.0)
    assert play.held["r"] == 2
    play.plan()
    assert play.held == {"t": 3, "r": 2, "late": 3}


def test_free_gpus_wait_for_the_replica_that_misses_some() -> None:
    play = Play({"t": training(1, 8, 6), "r": replica(4)}, Lend(notice_s=60.0))
    assert play.told() == {"t": 60.0}
    assert play.held == {"t": 6, "r": 0}
    play.at(60.0)
    assert play.held == {"t": 4, "r": 4}


def test_claims_on_jobs_that_end_are_forgotten() -> None:
    jobs = {"a": training(1, 4, 4), "b": training(4, 4, 4), "r": replica(2)}
    play = Play(jobs, Lend(notice_s=60.0))
    assert play.told() == {"a": 60.0}
    play.cluster.finish("a")
    play.cluster.submit("c", replica(2))
    play.at(10.0)
    assert play.held == {"b": 4, "r": 2, "c": 2}
    assert play.at(60.0).allocations == {}


# ---- whose GPUs
def test_spare_gpus_go_first_from_whom_has_the_most() -> None:
    jobs = {"a": training(1, 8, 3), "b": training(1, 8, 5, priority=9), "rigid": training(2, 2, 2), "r": replica(4)}
    play = Play(jobs, Lend(notice_s=0.0), nodes=[10])
    play.plan()
    assert play.held == {"a": 2, "b": 2, "rigid": 2, "r": 4}


def test_then_whole_jobs_of_the_lowest_priority_the_latest_first() -> None:
    jobs = {
        "old": training(2, 2, 2),
        "new": training(2, 2, 2),
        "dear": training(2, 2, 2, priority=1),
        "cheap": training(2, 2, 2, priority=-1),
    }
    for size, gone in ((2, {"cheap"}), (4, {"cheap", "new"}), (6, {"cheap", "new", "old"}), (8, set(jobs))):
        play = Play({**jobs, "r": replica(size)}, Lend(notice_s=0.0))
        play.plan()
        assert {name for name in jobs if not play.held[name]} == gone
        assert play.held["r"] == size


def jobs_that_hold(**sizes: tuple[int, int]) -> dict[str, Any]:
    """Jobs by name, from (least, held)."""
    held = sum(gpus for _, gpus in sizes.values())
    return FakeCluster({name: training(low, 99, gpus) for name, (low, gpus) in sizes.items()}, nodes=[held]).jobs


def test_nothing_is_taken_that_turns_out_not_to_be_needed() -> None:
    """Spare GPUs don't suffice, a whole gang goes, and with it there is more than was wanted."""
    jobs = jobs_that_hold(a=(1, 2), b=(6, 6))
    assert fewest_victims({jobs["a"]: 2, jobs["b"]: 6}, 3) == [(jobs["b"], 0)]
    jobs = jobs_that_hold(small=(8, 8), b=(1, 1))
    assert fewest_victims({jobs["small"]: 8, jobs["b"]: 1}, 8) == [(jobs["small"], 0)]


def test_there_may_be_too_few() -> None:
    jobs = jobs_that_hold(a=(1, 2), b=(6, 6))
    left = {jobs["a"]: 2, jobs["b"]: 6}
    assert fewest_victims(left, 9) is None
    assert fewest_victims(left, 3, most=5) is None  # the gang is larger than what may go
    assert fewest_victims(left, 2, most=5) == [(jobs["a"], 0)]
    assert fewest_victims(left, 0) == ()


# ---- one node, or few
def test_of_all_nodes_the_one_that_loses_the_least() -> None:
    """Node 0 has more free, but its gang goes whole; node 1 gives up two of its job's GPUs."""
    jobs = {"gang": on(0, 6, 6, 6), "elastic": on(1, 1, 8, 7), "r": replica(3)}
    play = Play(jobs, Lend(notice_s=60.0), STRICT, nodes=[8, 8])
    assert play.told() == {"elastic": 60.0}
    play.at(60.0)
    assert play.held == {"gang": 6, "elastic": 5, "r": 3}
    assert play.cluster.where["r"] == ((1, 3),)


def test_on_a_node_too_spare_gpus_go_first() -> None:
    jobs = {"wide": on(0, 1, 8, 5), "late": on(0, 3, 3, 3), "r": replica(4)}
    play = Play(jobs, Lend(notice_s=0.0), STRICT)
    play.plan()
    assert play.held == {"wide": 1, "late": 3, "r": 4}


def test_a_job_on_several_nodes_goes_whole_and_counts_so() -> None:
    jobs = {
        "across": training(2, 10, 10, nodes=((0, 8), (1, 2))),
        "one": on(2, 4, 4, 4),
        "two": on(2, 4, 4, 4),
        "r": replica(8),
    }
    play = Play(jobs, Lend(notice_s=0.0), STRICT, nodes=[8, 8, 8])
    play.plan()
    assert play.held == {"across": 10, "one": 0, "two": 0, "r": 8}


def test_two_replicas_do_not_count_on_the_same_free_gpus() -> None:
    """Each node has a GPU free; both replicas need two, so that each claims one."""
    jobs = {"a": on(0, 1, 8, 3), "b": on(1, 1, 8, 3), "r": replica(2), "s": replica(2)}
    play = Play(jobs, Lend(notice_s=60.0), STRICT, nodes=[4, 4])
    assert play.told() == {"a": 60.0, "b": 60.0}
    play.at(60.0)
    assert play.held == {"a": 2, "b": 2, "r": 2, "s": 2}


def test_two_replicas_may_claim_of_one_job() -> None:
    play = Play({"t": on(0, 1, 8, 8), "r": replica(2), "s": replica(3)}, Lend(notice_s=60.0), STRICT)
    assert play.told() == {"t": 60.0}
    play.at(20.0)
    play.cluster.submit("late", replica(1))
    assert play.told() == {"t": 80.0}
    play.at(60.0)
    assert play.held == {"t": 3, "r": 2, "s": 3, "late": 0}
    play.at(80.0)
    assert play.held == {"t": 2, "r": 2, "s": 3, "late": 1}


def test_one_of_two_claims_on_a_job_may_lapse() -> None:
    play = Play({"t": on(0, 1, 8, 8), "r": replica(2), "s": replica(3)}, Lend(notice_s=60.0), STRICT)
    assert play.told() == {"t": 60.0}
    play.cluster.finish("r")
    play.at(60.0)
    assert play.held == {"t": 5, "s": 3}


def test_a_job_of_which_some_and_then_all_is_claimed_goes_for_good() -> None:
    """The urgent replica's claim, on all the job has, is carried out ahead of the older one, on a part of it."""
    play = Play({"t": on(0, 4, 8, 8), "r": replica(2)}, Lend(notice_s=60.0), STRICT)
    assert play.told() == {"t": 60.0}
    play.cluster.submit("urgent", replica(6, priority=1))
    assert play.told() == {"t": 60.0}
    play.at(60.0)
    assert play.held == {"t": 0, "r": 2, "urgent": 6}


def test_a_replica_that_starts_now_takes_what_another_would_have_counted_on() -> None:
    jobs = {"t": on(0, 1, 8, 6), "first": replica(2), "second": replica(2)}
    play = Play(jobs, Lend(notice_s=60.0), STRICT)
    assert play.told() == {"t": 60.0}
    assert play.held == {"t": 6, "first": 2, "second": 0}
    play.at(60.0)
    assert play.held == {"t": 4, "first": 2, "second": 2}


def test_a_replica_larger_than_a_node_gets_whole_ones_where_the_least_is_lost() -> None:
    jobs = {"a": on(0, 4, 4, 4), "b": on(1, 1, 4, 2), "c": on(2, 1, 4, 1), "r": replica(8)}
    play = Play(jobs, Lend(notice_s=60.0), STRICT, nodes=[4, 4, 4])
    assert play.told() == {"b": 60.0, "c": 60.0}
    play.at(60.0)
    assert play.held == {"a": 4, "b": 0, "c": 0, "r": 8}


def test_cpus_that_are_short_are_claimed_with_the_gpus() -> None:
    """A replica of 2 GPUs needs 8 CPUs: one GPU of each job gives 2 GPUs but 4 CPUs."""
    node = NodeSize(8, num_cpus=16.0)
    jobs = {"a": on(0, 1, 4, 4, cpus_per_gpu=2.0), "b": on(0, 1, 4, 4, cpus_per_gpu=2.0)}
    jobs["r"] = replica(2, cpus_per_gpu=4.0)
    for placement in (STRICT, Consolidate(strict=False), Spread()):
        play = Play(jobs, Lend(notice_s=60.0), placement, nodes=[node])
        assert play.told() == {"a": 60.0, "b": 60.0}
        play.at(60.0)
        assert play.held == {"a": 2, "b": 2, "r": 2}


def test_what_can_not_be_had_is_not_claimed() -> None:
    """CPUs that another replica holds won't come free, whatever training gives up."""
    node = NodeSize(8, num_cpus=8.0)
    jobs = {"other": replica(1, 1, nodes=((0, 1),), cpus_per_gpu=6.0), "t": on(0, 1, 8, 7)}
    jobs["r"] = replica(1, cpus_per_gpu=4.0)
    play = Play(jobs, Lend(notice_s=0.0), STRICT, nodes=[node])
    for _ in range(3):
        assert play.plan().allocations == {}


def test_gpus_on_draining_nodes_help_nobody() -> None:
    jobs = {"leaving": on(0, 1, 8, 4), "staying": on(1, 1, 4, 4), "r": replica(2)}
    for placement in (STRICT, Consolidate(strict=False)):
        play = Play(jobs, Lend(notice_s=0.0), placement, nodes=[4, 4], draining=[0])
        play.plan()
        assert play.held == {"leaving": 4, "staying": 2, "r": 2}


def test_a_replica_that_leaves_a_draining_node_takes_no_room_on_the_others() -> None:
    jobs = {"old": replica(2, 2, nodes=((0, 2),)), "new": replica(2)}
    play = Play(jobs, Lend(), STRICT, nodes=[2, 2], draining=[0])
    play.plan()
    assert play.held == {"old": 2, "new": 2}


# ---- headroom and guarantee
def test_headroom_is_kept_free_of_training() -> None:
    play = Play({"t": training(1, 8)}, Lend(headroom_gpus=2))
    play.plan()
    assert play.held == {"t": 6}
    play.cluster.submit("r", replica(2))
    assert play.told() == {"t": 60.0}  # it starts at once, and the headroom is claimed anew
    assert play.held == {"t": 6, "r": 2}
    play.at(60.0)
    assert play.held == {"t": 4, "r": 2}
    assert play.at(61.0).allocations == {}


def test_a_replica_that_misses_some_and_the_headroom_are_claimed_together() -> None:
    play = Play({"t": training(1, 8)}, Lend(headroom_gpus=2))
    play.plan()
    play.cluster.submit("r", replica(3))
    assert play.told() == {"t": 60.0}
    play.at(60.0)
    assert play.held == {"t": 3, "r": 3}


def test_headroom_is_claimed_on_nodes_too() -> None:
    play = Play({"t": on(0, 1, 8, 8)}, Lend(headroom_gpus=3), STRICT)
    assert play.told() == {"t": 60.0}
    play.at(60.0)
    assert play.held == {"t": 5}


def test_headroom_takes_nothing_of_the_guarantee() -> None:
    play = Play({"t": training(1, 8)}, Lend(headroom_gpus=6, guaranteed_gpus=5))
    play.plan()
    assert play.held == {"t": 5}


@pytest.mark.parametrize("placement", [Pooled(), STRICT], ids=["pooled", "strict"])
def test_training_keeps_what_is_guaranteed(placement: PlacementPolicy) -> None:
    jobs: dict[str, FakeJob] = {f"r{i}": replica(1) for i in range(8)}
    jobs["t"] = training(1, 8)
    play = Play(jobs, Lend(guaranteed_gpus=3), placement)
    play.plan()
    assert play.held["t"] == 3
    assert sum(play.held.values()) == 8

    jobs = {"t": on(0, 1, 8, 8), "a": replica(2), "b": replica(4), "c": replica(3)}
    play = Play(jobs, Lend(guaranteed_gpus=3), placement)
    assert play.told() == {"t": 60.0}
    play.at(60.0)
    assert play.held == {"t": 3, "a": 2, "b": 0, "c": 3}


def test_what_is_guaranteed_but_not_wanted_is_lent() -> None:
    play = Play({"t": training(1, 2), "a": replica(6), "b": replica(6)}, Lend(guaranteed_gpus=6))
    play.plan()
    assert play.held == {"t": 2, "a": 6, "b": 0}


def test_a_gang_goes_only_where_training_keeps_its_guarantee() -> None:
    play = Play({"t": training(8, 8, 8), "r": replica(2)}, Lend(guaranteed_gpus=4, notice_s=0.0))
    assert play.plan().allocations == {}
    play.cluster.finish("t")
    play.plan()
    assert play.held == {"r": 2}


# ---- coming to rest
@pytest.mark.parametrize("notice_s", [0.0, 30.0])
@pytest.mark.parametrize("placement", [Pooled(), STRICT, Consolidate(strict=False), Spread()], ids=repr)
@pytest.mark.parametrize("seed", range(12))
def test_decisions_come_to_rest(seed: int, placement: PlacementPolicy, notice_s: float) -> None:
    """Whatever is there, CPU limits included: once all notices are over nothing moves any more."""
    rng = np.random.default_rng(seed)
    sizes = [NodeSize(int(rng.choice([4, 8])), float(rng.choice([8.0, 24.0, np.inf]))) for _ in range(3)]
    jobs: dict[str, FakeJob] = {}
    for i in range(10):
        cpus = float(rng.choice([0.0, 2.0, 4.0]))
        size = int(rng.integers(1, 6))
        if rng.random() < 0.5:
            jobs[f"r{i}"] = replica(size, cpus_per_gpu=cpus, priority=int(rng.integers(0, 2)))
        else:
            jobs[f"t{i}"] = training(size, size + int(rng.integers(0, 9)), cpus_per_gpu=cpus)
    lend = Lend(int(rng.integers(0, 5)), int(rng.integers(0, 4)), notice_s)
    play = Play({name: job for name, job in jobs.items() if not job.service}, lend, placement, nodes=sizes)
    play.plan()
    for name, job in jobs.items():
        if job.service:
            play.cluster.submit(name, job)
    for step in range(1, 9):
        play.at(30.0 * step)
    plan = play.at(300.0)
    assert (plan.allocations, plan.notices, plan.wake_at_s) == ({}, {}, float("inf"))


# ---- options
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guaranteed_gpus": -1}, "lend: guaranteed_gpus=-1: must be 0 or more"),
        ({"headroom_gpus": -2}, "lend: headroom_gpus=-2: must be 0 or more"),
        ({"notice_s": -1.0}, "lend: notice_s=-1.0: must be a number of seconds, 0 or more"),
        ({"notice_s": float("inf")}, "lend: notice_s=inf: must be a number of seconds, 0 or more"),
    ],
)
def test_options_that_can_not_be(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(PolicyError) as error:
        Lend(**options)
    assert str(error.value) == message
