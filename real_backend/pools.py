"""The node pool in wall time: nodes are agents that a provider starts, and that join when they are ready."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from policies import Nodes
from real_backend.fleet import AgentRecord, Fleet
from real_backend.journal import Entry, Journal
from real_backend.providers import Provider
from real_backend.wall_clock import WallClock
from simulator.clock import NODE, Call
from simulator.pools import Node, NodePools, PoolSpec

_LOOK_AGAIN_S = 0.1


class LivePools(NodePools):
    """Adds to the simulated pools what a real node needs: a name, a provider, and the chance to fail or be lost.

    How long a node takes to come (`lead_s` of the view) is what the pool's spec says until the first has come that was
    ordered, and from then on the mean of those that have.

    Args:
        ready: agents that are the first nodes, ready at second 0.
        history: of a controller that went before: entries of its journal.
        takes_any: an agent of any name may become a node that was ordered (provider join).
        join_timeout_s: a node that was ordered and hasn't joined by then has failed.
    """

    def __init__(
        self,
        clock: WallClock,
        nodes: Nodes,
        specs: Mapping[str, PoolSpec],
        on_change: Callable[[], None],
        on_timeout: Callable[[int], None],
        fleet: Fleet,
        provider: Provider,
        journal: Journal,
        ready: Sequence[str] = (),
        history: Sequence[Entry] = (),
        takes_any: bool = False,
        join_timeout_s: float = math.inf,
    ) -> None:
        self._wall = clock
        self._fleet, self._provider, self._journal, self._history = fleet, provider, journal, history
        self._first = list(ready)
        self._takes_any, self._join_timeout_s = takes_any, join_timeout_s
        self._took_s: dict[str, list[float]] = {name: [] for name in specs}  # to come, of nodes that were ordered
        self._names: dict[int, str] = {}  # by number
        self._agents: dict[int, str] = {}  # by index
        self.failures: list[str] = []
        rngs = {name: np.random.default_rng(0) for name in specs}  # nothing is drawn: time is real
        super().__init__(clock, nodes, specs, rngs, on_change, on_timeout)

    def agent_of(self, index: int) -> str:
        """The name of the agent behind a node of the view."""
        return self._agents[index]

    @property
    def indexes(self) -> list[int]:
        """Nodes of the view that are still there, draining ones too."""
        return [node.index for node in self.log if node.index >= 0 and self._is_here(node)]

    def node_of(self, name: str) -> Node | None:
        """The node that an agent is."""
        return next((node for node in self.log if self._names.get(node.number) == name and self._is_here(node)), None)

    def joined(self, agent: AgentRecord) -> bool:
        """An agent has joined. False: it is not wanted (now)."""
        for starting in self._starting.values():
            for node in starting:
                if self._names[node.number] == agent.name or self._takes_any:
                    self._names[node.number] = agent.name
                    self._make_ready(node)
                    self._on_change()
                    return True
        return self.node_of(agent.name) is not None

    def lost(self, name: str) -> int | None:
        """A node is gone; its index, for whoever ran there. Another is ordered in its place."""
        node = self.node_of(name)
        if node is None:
            return None
        view, was_draining = self.views[node.pool.name], node in self.draining
        if was_draining:
            self.draining.remove(node)
            view.num_draining -= 1
        elif node.index >= 0:
            self._nodes.close(node.index)
            del self._ready[node.index]
            view.num_ready -= 1
        else:
            self._starting[node.pool.name].remove(node)
            view.num_starting -= 1
        self._end(node)
        self._provider.delete(name)
        self.failures.append(f"node {name} was lost at {self._clock.now:.1f} s")
        if not was_draining:
            self.scale(node.pool.name, view.num_units + 1)
        return node.index

    def stillborn(self, name: str, why: str) -> None:
        """A node that was ordered will not come; it is not ordered again, so that nothing is bought in a loop."""
        node = self.node_of(name)
        if node is None or node.index >= 0:
            return
        self._starting[node.pool.name].remove(node)
        view = self.views[node.pool.name]
        view.num_starting -= 1
        view.num_failed += 1
        self._end(node, has_failed=True)
        self.failures.append(f"node {name} did not come: {why}")
        self._on_change()

    # ---- what the pools do
    def _begin(self) -> None:
        if self._history:
            self._replay()
        else:
            super()._begin()

    def _order(self, name: str) -> Node:
        node = super()._order(name)
        self._names[node.number] = self._first.pop(0) if self._first else f"node{node.number}"
        self._journal.write(
            "ordered", node=node.number, pool=name, name=self._names[node.number], time_s=node.ordered_s
        )
        return node

    def _provision(self, node: Node) -> None:
        self._provider.create(self._names[node.number])
        self._watch(node)

    def _watch(self, node: Node) -> None:
        """Sees to it that nobody waits for ever for a node that is ordered."""
        if self._join_timeout_s < math.inf:
            due_s = self._clock.now + self._join_timeout_s  # without a look at the clock: this instant isn't over
            self._wall.call_at(due_s, Call(lambda: self._give_up(node)), NODE)

    def _give_up(self, node: Node) -> None:
        if node.index < 0 and self._is_here(node):
            name = self._names[node.number]
            self._provider.delete(name)
            self.stillborn(name, f"it had not joined after {self._join_timeout_s:g} s (live.join_timeout_s)")

    def _make_ready(self, node: Node) -> None:
        super()._make_ready(node)
        self._agents[node.index] = self._names[node.number]
        if node.number >= node.pool.num_nodes:  # the first ones were there
            took_s = self._took_s[node.pool.name]
            took_s.append(node.ready_s - node.ordered_s)
            self.views[node.pool.name].lead_s = sum(took_s) / len(took_s)
        self._journal.write("ready", node=node.number, name=self._names[node.number], time_s=node.ready_s)

    def _drain(self, node: Node) -> None:
        super()._drain(node)
        self._journal.write("draining", node=node.number, time_s=node.drain_s)

    def _undrain(self, node: Node) -> None:
        super()._undrain(node)
        self._journal.write("undrained", node=node.number, time_s=self._clock.now)

    def _terminate(self, node: Node) -> None:
        self._end(node)
        self._dismiss(self._names[node.number])

    def _dismiss(self, name: str) -> None:
        """Sends an agent home once its last worker is gone: what was preempted there may still be saving."""
        agent = self._fleet.agents.get(name)
        if agent and agent.slots:
            self._wall.call_after(_LOOK_AGAIN_S, lambda: self._dismiss(name))
            return
        self._fleet.dismiss(name)
        self._provider.delete(name)

    def _end(self, node: Node, has_failed: bool = False) -> None:
        node.terminated_s = self._clock.now
        self._journal.write("terminated", node=node.number, time_s=node.terminated_s, has_failed=has_failed)

    def _is_here(self, node: Node) -> bool:
        return node.terminated_s == math.inf

    def _replay(self) -> None:
        """Brings the pools to where the journal's writer had them; nothing is ordered or written anew."""
        journal, self._journal = self._journal, _Silent()
        for entry in self._history:
            kind = entry["entry"]
            self._wall.book_at(entry.get("time_s", 0.0))
            if kind == "ordered":
                node = self._order(entry["pool"])
                self._names[node.number] = entry["name"]
            elif kind == "ready":
                node = self.log[entry["node"]]
                self._names[node.number] = entry["name"]
                self._make_ready(node)
            elif kind == "draining":
                self._drain(self.log[entry["node"]])
            elif kind == "undrained":
                self._undrain(self.log[entry["node"]])
            elif kind == "terminated":
                self._bury(self.log[entry["node"]], entry["has_failed"])
        self._wall.read()
        for node in [node for starting in self._starting.values() for node in starting]:
            self._watch(node)
        self._journal = journal

    def _bury(self, node: Node, has_failed: bool) -> None:
        view = self.views[node.pool.name]
        view.num_failed += has_failed
        if node in self.draining:
            self.draining.remove(node)
            view.num_draining -= 1
        elif node.index >= 0:
            self._nodes.close(node.index)
            self._ready.pop(node.index, None)
            view.num_ready -= 1
        else:
            self._starting[node.pool.name].remove(node)
            view.num_starting -= 1
        node.terminated_s = self._clock.now


class _Silent(Journal):
    """Takes no notes."""

    def __init__(self) -> None:
        pass

    def write(self, entry: str, **fields: object) -> None:
        pass
