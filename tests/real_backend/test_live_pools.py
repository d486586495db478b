"""Nodes of a live run: ordered, come, fail, drain and go, in emulated time; and what who takes over knows of them.

No processes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from policies import Nodes
from real_backend.fleet import Fleet
from real_backend.journal import Journal, read_journal
from real_backend.pools import LivePools
from simulator.pools import PoolSpec
from tests.real_backend.emulated import EmulatedNodes, JumpingClock

SPEC = PoolSpec(num_nodes=1, min_nodes=0, max_nodes=9, gpus_per_node=4, provision_s=3.0, drain_timeout_s=20.0)


@dataclass
class World:
    """Live pools, their provider, and what they have called for."""

    folder: Path
    history: Any = ()
    took_s: Any = 5.0  # a node, from its order until it joins; a mapping: by name
    timeouts: list[int] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = JumpingClock()
        self.fleet = Fleet(self.clock)
        self.provider = EmulatedNodes(self.clock, self.fleet, 1, 4, lambda *_: 1.0)
        self.provider.provision_s = lambda name: self.took_s[name] if isinstance(self.took_s, dict) else self.took_s
        self.journal = Journal(self.folder / "journal.jsonl")
        self.pools = LivePools(
            self.clock, Nodes(), {"default": SPEC}, lambda: self.changes.append(float(self.clock.now)),
            self.timeouts.append, self.fleet, self.provider, self.journal, ["node0"], self.history, join_timeout_s=60.0,
        )  # fmt: skip
        self.fleet.on_joined = self._on_joined
        self.view = self.pools.views["default"]

    def _on_joined(self, agent: Any) -> None:
        if not self.pools.joined(agent):
            self.fleet.dismiss(agent.name)

    def at(self, time_s: float, count: int) -> None:
        """So many nodes are wanted from a moment on."""
        self.clock.call_after(time_s - self.clock.read(), lambda: self.pools.scale("default", count))

    def run(self, until_s: float) -> None:
        self.clock.call_after(until_s - self.clock.read(), lambda: None)  # the queue has an end here
        self.clock.run_all(until_s)


def test_the_lead_is_what_was_said_until_it_has_been_measured(tmp_path: Path) -> None:
    world = World(tmp_path, took_s={"node1": 5.0, "node2": 8.0})
    assert world.view.lead_s == 3.0
    world.at(1.0, 2)
    world.at(10.0, 3)
    world.run(5.0)
    assert (world.view.num_starting, world.view.lead_s) == (1, 3.0)
    world.run(9.0)
    assert (world.view.num_ready, world.view.lead_s) == (2, 5.0)
    world.run(30.0)
    assert (world.view.num_ready, world.view.lead_s) == (3, 6.5)
    assert world.changes == [6.0, 18.0]


def test_a_node_that_does_not_come_has_failed(tmp_path: Path) -> None:
    """It is counted and deleted, not ordered again, and sent home should it come after all."""
    world = World(tmp_path, took_s={"node1": None, "node2": 5.0})
    world.at(1.0, 3)
    world.run(60.0)
    assert (world.view.num_ready, world.view.num_starting, world.view.num_failed) == (2, 1, 0)
    world.run(62.0)
    assert (world.view.num_ready, world.view.num_starting, world.view.num_failed) == (2, 0, 1)
    assert world.pools.failures == ["node node1 did not come: it had not joined after 60 s (live.join_timeout_s)"]
    assert world.pools.log[1].terminated_s == 61.0
    assert (world.provider.created, world.provider.deleted) == (["node1", "node2"], ["node1"])
    world.provider.come("node1")
    assert "node1" not in world.fleet.agents
    assert world.view.num_ready == 2


def test_what_was_called_off_has_not_failed(tmp_path: Path) -> None:
    world = World(tmp_path, took_s=None)
    world.at(1.0, 2)
    world.at(2.0, 1)
    world.run(100.0)
    assert (world.view.num_units, world.view.num_failed, world.pools.failures) == (1, 0, [])


def test_a_drain_times_out(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.at(4.0, 0)
    world.run(23.0)
    assert world.timeouts == []
    world.run(25.0)
    assert world.timeouts == [0]


def test_a_controller_that_takes_over_knows_the_nodes(tmp_path: Path) -> None:
    """All lives so far, what has failed, how long nodes took, and what is still awaited."""
    world = World(tmp_path, took_s={"node1": 5.0, "node2": None, "node3": 7.0, "node4": None, "node5": None})
    world.at(1.0, 3)  # node1 and, in vain, node2
    world.at(70.0, 3)  # node3
    world.at(80.0, 2)
    world.at(90.0, 3)  # the draining one again
    world.at(92.0, 2)
    world.clock.call_after(93.0, lambda: world.pools.release_drained(0, is_pooled=False))
    world.at(94.0, 3)  # node4
    world.at(95.0, 2)  # without it
    world.at(96.0, 3)  # node5
    world.run(100.0)
    world.journal.close()
    again = World(tmp_path, history=read_journal(tmp_path / "journal.jsonl"))
    assert asdict(again.view) == asdict(world.view)
    assert world.view.num_failed == 1
    assert world.view.lead_s == 6.0
    assert world.view.num_starting == 1
    assert [asdict(node) for node in again.pools.log] == [asdict(node) for node in world.pools.log]
    assert again.pools.indexes == world.pools.indexes
    assert again.clock.read() == 96.0
    assert not again.provider.created
    again.run(160.0)
    assert (again.view.num_starting, again.view.num_failed) == (0, 2)  # what was awaited did not come


@pytest.mark.parametrize("waits_s", [0.0, 15.0])
def test_a_drain_times_out_for_a_controller_that_takes_over(tmp_path: Path, waits_s: float) -> None:
    world = World(tmp_path)
    world.at(4.0, 0)
    world.run(4.0 + waits_s)
    world.journal.close()
    again = World(tmp_path, history=read_journal(tmp_path / "journal.jsonl"))
    again.run(60.0)
    assert again.timeouts == [0]
