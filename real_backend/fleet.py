"""The agents that have joined, by name, and which worker slots of theirs are taken by whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from real_backend.channel import Channel, Closed, Door, Message
from real_backend.wall_clock import WallClock


@dataclass(eq=False)
class AgentRecord:
    """One agent as the controller knows it."""

    name: str
    num_slots: int
    device: str = "cpu"
    host: str = ""
    store: tuple[str, int] = ("127.0.0.1", 0)
    channel: Any = None  # None: away, for a moment or for good
    pid: int = 0
    slots: dict[int, str] = field(default_factory=dict)  # taken: slot -> job
    telemetry: dict[str, float] = field(default_factory=dict)
    workers: list[Message] = field(default_factory=list)  # that it had when it joined
    num_joins: int = 0

    @property
    def free_slots(self) -> list[int]:
        return [slot for slot in range(self.num_slots) if slot not in self.slots]


class Fleet:
    """Lets agents join, sends them messages, hands out their slots.

    A slot is taken from the moment a worker is to start in it until its process is gone, so that no two workers are
    ever in one. Everything here runs in the clock's thread.

    Args:
        away_s: an agent whose connection is lost and that isn't back by then is lost.
    """

    def __init__(self, clock: WallClock, away_s: float = 3.0) -> None:
        self._clock, self._away_s = clock, away_s
        self._door: Door | None = None
        self.agents: dict[str, AgentRecord] = {}
        self.num_refused = 0
        # Set by whoever puts the parts together.
        self.on_joined: Callable[[AgentRecord], None] = _nothing
        self.on_lost: Callable[[AgentRecord], None] = _nothing
        self.on_message: Callable[[AgentRecord, Message], None] = _nothing
        self.on_refused: Callable[[str], None] = _nothing

    def listen(self, address: str, token: str) -> str:
        """Opens the door; returns its address."""
        self._door = Door(address, token, self._open, lambda peer: self._clock.post(partial(self._refuse, peer)))
        return self._door.address

    def close(self) -> None:
        """Sends every agent home, and closes the door."""
        for agent in list(self.agents.values()):
            self.send(agent.name, "quit")
        if self._door:
            self._door.close()

    # ---- messages
    def send(self, name: str, kind: str, **fields: Any) -> None:
        """Sends a message to an agent; one that is away will say when it is back what it missed."""
        agent = self.agents.get(name)
        if agent and agent.channel:
            try:
                agent.channel.send(kind, **fields)
            except Closed:
                self._closed(name, agent.channel)

    def _open(self, channel: Channel) -> Callable[[Message | None], None]:
        """For a connection's own thread: hands on what it hears."""
        name = ""

        def hear(message: Message | None) -> None:
            nonlocal name
            if message is None:
                if name:
                    self._clock.post(partial(self._closed, name, channel))
            elif not name:
                if message["kind"] == "hello":
                    name = str(message["name"])
                    self._clock.post(partial(self._join, name, channel, message))
                else:
                    channel.close()
            else:
                self._clock.post(partial(self._hear, name, message))

        return hear

    def _refuse(self, peer: str) -> None:
        self.num_refused += 1
        self.on_refused(peer)

    def _join(self, name: str, channel: Channel, hello: Mapping[str, Any]) -> None:
        agent = self.agents.get(name)
        if agent and agent.channel:  # two of one name: the first stays
            channel.send("quit")
            return
        if agent and agent.pid != hello["pid"]:  # another process: what ran under the old one is gone
            self._lose(agent)
            agent = None
        if agent is None:
            agent = self.agents[name] = AgentRecord(name, int(hello["slots"]))
        agent.device, agent.host, agent.pid = hello["device"], hello["host"], int(hello["pid"])
        agent.store = (hello["store_host"], int(hello["store_port"]))
        agent.channel, agent.workers = channel, list(hello["workers"])
        agent.num_joins += 1
        self.on_joined(agent)

    def _hear(self, name: str, message: Message) -> None:
        agent = self.agents.get(name)
        if agent is None:
            return
        if message["kind"] == "telemetry":
            agent.telemetry = message["values"]
        else:
            self.on_message(agent, message)

    def _closed(self, name: str, channel: Channel) -> None:
        agent = self.agents.get(name)
        if agent and agent.channel is channel:
            agent.channel = None
            joins = agent.num_joins
            self._clock.call_after(self._away_s, lambda: self._lose_if_away(agent, joins))

    def _lose_if_away(self, agent: AgentRecord, joins: int) -> None:
        if agent.channel is None and agent.num_joins == joins and self.agents.get(agent.name) is agent:
            self._lose(agent)

    def _lose(self, agent: AgentRecord) -> None:
        del self.agents[agent.name]
        self.on_lost(agent)

    def dismiss(self, name: str) -> None:
        """Sends an agent home that is wanted no more; its going is no loss."""
        self.send(name, "quit")
        self.agents.pop(name, None)

    # ---- slots
    def acquire(self, job_id: str, wanted: Mapping[str, int]) -> dict[str, list[int]] | None:
        """Takes the lowest free slots of each agent, all that are wanted or none (None)."""
        taken: dict[str, list[int]] = {}
        for name, count in wanted.items():
            agent = self.agents.get(name)
            if agent is None or agent.channel is None or len(free := agent.free_slots) < count:
                return None
            taken[name] = free[:count]
        for name, slots in taken.items():
            self.agents[name].slots.update(dict.fromkeys(slots, job_id))
        return taken

    def release(self, name: str, slots: list[int]) -> None:
        """Gives slots back whose processes are gone."""
        agent = self.agents.get(name)
        if agent:
            for slot in slots:
                agent.slots.pop(slot, None)


def _nothing(*_: object) -> None:
    pass
