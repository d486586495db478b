"""How gangs get to where they are wanted, with workers that answer at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from real_backend.fleet import Fleet
from real_backend.gangs import Gang, GangOptions, Gangs, Phase
from real_backend.task import Task
from real_backend.wall_clock import WallClock
from tests.real_backend.fake_agents import FakeWorld, Listener


class Setting:
    """Two nodes of four slots, and gangs."""

    def __init__(self, method: str = "in_place", **options: Any) -> None:
        self.clock = WallClock()
        self.fleet = Fleet(self.clock)
        self.world = FakeWorld(self.fleet)
        self.listener = Listener()
        self.gangs = Gangs(self.fleet, GangOptions("run", method=method, **options), self.clock.read, self.listener)

    def add(self, job_id: str, **task: Any) -> Gang:
        return self.gangs.add(job_id, Task(**task), 10**6)

    def aim(self, gang: Gang, **nodes: int) -> None:
        """Wants so many workers by node, and lets everything happen that follows."""
        gang.aim(tuple(nodes.items()))
        self.world.talk(self.gangs)

    def seats(self, gang: Gang) -> list[tuple[str, int]]:
        return sorted(seat for seat, each in self.world.workers.items() if each["job_id"] == gang.job_id)

    def starts(self, of: str) -> list[Mapping[str, Any]]:
        return [fields for _, kind, fields in self.world.sent if kind == "start" and fields["spec"]["job_id"] == of]

    def kinds(self) -> Sequence[str]:
        return [move.kind for move in self.listener.moves]


@pytest.mark.parametrize("method", ["in_place", "restart"])
def test_a_gang_follows_its_target(method: str) -> None:
    to = Setting(method)
    gang = to.add("a")
    for wanted in ({"node0": 1}, {"node0": 2}, {"node0": 2, "node1": 4}, {"node1": 1}, {}, {"node0": 4}):
        to.aim(gang, **wanted)
        assert dict(gang.actual) == wanted
        assert gang.phase is (Phase.RUNNING if wanted else Phase.IDLE)
        assert len(to.world.workers) == sum(wanted.values()) == sum(len(a.slots) for a in to.fleet.agents.values())
    middle = ["in_place"] * 3 if method == "in_place" else ["restart"] * 3
    assert to.kinds() == ["start", *middle, "stop", "resume"]


def test_asking_again_changes_nothing() -> None:
    to = Setting()
    gang = to.add("a")
    to.aim(gang, node0=2)
    sent = len(to.world.sent)
    to.aim(gang, node0=2)
    assert len(to.world.sent) == sent


def test_survivors_keep_their_seats_and_the_lowest_ranks() -> None:
    to = Setting()
    gang = to.add("a")
    to.aim(gang, node0=2)
    before = to.seats(gang)
    to.aim(gang, node0=3, node1=1)
    assert set(before) < set(to.seats(gang))
    ranks = {seat: each["gang"]["rank"] for seat, each in to.world.workers.items()}
    assert sorted(ranks.values()) == [0, 1, 2, 3]
    assert {ranks[seat] for seat in before} == {0, 1}
    assert all(each["gang"].get("source") == 0 for each in to.world.workers.values())


def test_nobody_stays_so_it_goes_through_a_checkpoint() -> None:
    to = Setting()
    gang = to.add("a")
    to.aim(gang, node0=2)
    to.aim(gang, node1=2)
    assert to.kinds() == ["start", "restart"]
    assert gang.saved_step == 7
    assert not to.starts("a")[-1]["spec"]["gang"]["is_first"]


def test_a_parameter_server_that_leaves_takes_a_checkpoint() -> None:
    """Only the server has the optimiser's state."""
    to = Setting()
    gang = to.add("a", sync="parameter_server")
    to.aim(gang, node0=2)
    to.aim(gang, node0=1)
    to.aim(gang, node0=1, node1=1)
    assert to.kinds() == ["start", "in_place", "in_place"]
    gang.aim((("node1", 1),))
    to.world.talk(to.gangs)
    assert to.kinds()[-1] == "restart"


def test_two_that_change_places() -> None:
    """Each wants what the other holds: both give up first, and neither waits for ever."""
    to = Setting()
    a, b = to.add("a"), to.add("b")
    to.aim(a, node0=4)
    to.aim(b, node1=4)
    a.aim((("node0", 1), ("node1", 3)))
    b.aim((("node1", 1), ("node0", 3)))
    to.world.talk(to.gangs)
    assert dict(a.actual) == {"node0": 1, "node1": 3}
    assert dict(b.actual) == {"node1": 1, "node0": 3}


def test_a_start_waits_until_the_process_before_is_gone() -> None:
    to = Setting()
    a, b = to.add("a"), to.add("b")
    to.aim(a, node0=4)
    a.aim(())
    b.aim((("node0", 4),))
    assert b.is_waiting
    assert not to.starts("b")
    to.world.talk(to.gangs)
    assert b.phase is Phase.RUNNING


def test_the_last_of_many_wishes_counts() -> None:
    to = Setting()
    gang = to.add("a")
    gang.aim((("node0", 1),))
    gang.aim((("node0", 4),))
    gang.aim((("node1", 2),))
    to.world.talk(to.gangs)
    assert dict(gang.actual) == {"node1": 2}


def test_a_lost_worker_restarts_the_gang_from_its_checkpoint() -> None:
    to = Setting()
    gang = to.add("a")
    to.aim(gang, node0=2)
    to.world.step(to.gangs, "a", 40)
    to.world.exit(("node0", 1), -9)
    to.world.talk(to.gangs)
    assert gang.phase is Phase.RUNNING
    assert gang.step == 1  # nothing had been saved; the fake's first step
    assert "a broken: worker of rank 1 was lost: killed by signal 9" in to.listener.told
    assert len(to.starts("a")) == 2


def test_a_worker_that_ends_because_of_another_is_not_the_cause() -> None:
    to = Setting()
    gang = to.add("a")
    to.aim(gang, node0=2)
    to.world._say(("node0", 0), "raised", error="RuntimeError: Connection closed by peer")
    to.world.exit(("node0", 1), -9)  # heard of after what it did to its peer
    to.world.talk(to.gangs)
    to.world.exit(("node0", 0), -9)
    to.world.talk(to.gangs)
    assert [told for told in to.listener.told if "broken" in told] == [
        "a broken: worker of rank 1 was lost: killed by signal 9",
        "a broken: worker of rank 0 was lost: killed by signal 9",  # what was said of its predecessor is forgotten
    ]


def test_a_job_that_breaks_too_often_has_failed() -> None:
    to = Setting(max_failures=1)
    gang = to.add("a")
    to.aim(gang, node0=2)
    for _ in range(2):
        to.world.exit(("node0", 0), 70)
        to.world.talk(to.gangs)
    assert to.listener.told[-1] == "a failed: worker of rank 0 was lost: exit code 70"
    assert to.gangs.get("a") is None
    assert not to.world.workers
    assert not to.fleet.agents["node0"].slots


def test_a_lost_node_is_no_fault_of_the_job() -> None:
    to = Setting(max_failures=0)
    gang = to.add("a")
    to.aim(gang, node0=1, node1=1)
    agent = to.fleet.agents.pop("node1")
    to.world.workers.pop(("node1", 0))
    to.gangs.lose(agent)
    to.world.talk(to.gangs)
    assert gang.num_failures == 0
    to.aim(gang, node0=2)
    assert gang.phase is Phase.RUNNING


def test_joiners_of_a_job_that_is_done_are_ended() -> None:
    to = Setting()
    gang = to.add("a")
    to.aim(gang, node0=1)
    to.world.is_mute = True
    gang.aim((("node0", 2),))
    first = ("node0", 0)
    to.world._say(first, "finished", generation=0, rank=0, step=10**6)
    to.world.exit(first)
    to.world.talk(to.gangs)
    assert to.listener.told == ["a finished"]
    assert not to.world.workers
    assert not to.fleet.agents["node0"].slots
    assert to.gangs.get("a") is None


def test_pause_leaves_out_the_first_step_itself() -> None:
    to = Setting()
    to.aim(to.add("a"), node0=1)
    move = to.listener.moves[0]
    move.asked_s, move.stepped_s = 10.0, 10.8
    assert move.pause_s == pytest.approx(0.5)
    move.stopped_s = 10.2
    assert move.pause_s == pytest.approx(0.3)


def test_workers_that_went_on_are_taken_over() -> None:
    to = Setting()
    gang = to.add("a")
    workers = [
        ("node0", {"slot": slot, "rank": 1 - slot, "generation": 3, "last": "beat", "step": 9}) for slot in (0, 1)
    ]
    assert not gang.try_adopt(workers, (("node0", 3),))  # one is missing
    assert not gang.try_adopt([("node0", {**workers[0][1], "generation": 2}), workers[1]], (("node0", 2),))
    assert gang.try_adopt(workers, (("node0", 2),))
    assert gang.phase is Phase.RUNNING
    assert (gang.generation, gang.step, list(gang.seats)) == (3, 9, [("node0", 1), ("node0", 0)])
