"""Agents and workers that answer at once and run nothing: for the controller's own logic and its cost."""

from __future__ import annotations

from collections import deque
from typing import Any

from real_backend.fleet import AgentRecord, Fleet
from real_backend.gangs import Gang, Gangs, Move

Seat = tuple[str, int]


class FakeChannel:
    """What the fleet sends to one agent goes to the world."""

    def __init__(self, world: FakeWorld, name: str) -> None:
        self._world, self._name = world, name

    def send(self, kind: str, **fields: Any) -> None:
        self._world.sent.append((self._name, kind, fields))
        getattr(self._world, f"on_{kind}")(self._name, **fields)


class FakeWorld:
    """Workers by seat; what they would say waits in `said` until `talk` hands it to the gangs."""

    def __init__(self, fleet: Fleet, num_nodes: int = 2, slots: int = 4) -> None:
        self._fleet = fleet
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.said: deque[tuple[str, dict[str, Any]]] = deque()
        self.workers: dict[Seat, dict[str, Any]] = {}
        self.is_mute = False  # workers start, and say nothing
        for number in range(num_nodes):
            name = f"node{number}"
            fleet.agents[name] = AgentRecord(name, slots, store=("127.0.0.1", 1), channel=FakeChannel(self, name))

    # ---- what agents are told
    def on_start(self, name: str, spec: dict[str, Any], members: list[dict[str, Any]], method: str) -> None:
        for member in members:
            seat = name, member["slot"]
            assert seat not in self.workers, f"two workers at {seat}"
            gang = {**spec["gang"], **member["gang"]}
            self.workers[seat] = {"job_id": spec["job_id"], "gang": gang, "joined": -1}
            self._say(seat, "ready", generation=gang["generation"], rank=gang["rank"], spawn_s=0.1)
            self._join(seat, gang)

    def on_next(self, name: str, job_id: str, members: dict[str, dict[str, Any]]) -> None:
        for slot, message in members.items():
            seat = name, int(slot)
            if seat not in self.workers:  # has ended meanwhile
                continue
            if message["action"] == "join":
                self._say(seat, "left", teardown_s=0.01)
                self._join(seat, message)
            else:
                if message.get("save") and self.workers[seat]["gang"]["rank"] == 0:
                    self._say(seat, "saved", step=7, save_s=0.2)
                self._say(seat, "left", teardown_s=0.01)
                self.exit(seat)

    def on_kill(self, name: str, job_id: str, slots: list[int] | None = None) -> None:
        for seat, worker in list(self.workers.items()):
            if seat[0] == name and worker["job_id"] == job_id and (slots is None or seat[1] in slots):
                self.exit(seat, -9)

    def on_quit(self, name: str) -> None:
        pass

    # ---- what happens to workers
    def _join(self, seat: Seat, gang: dict[str, Any]) -> None:
        worker = self.workers[seat]
        worker["gang"], worker["joined"] = gang, gang["generation"]
        mine = [
            other for other, each in self.workers.items()
            if each["job_id"] == worker["job_id"] and each["joined"] == gang["generation"]
        ]  # fmt: skip
        if len(mine) == gang["world_size"] and not self.is_mute:
            self._formed(next(other for other in mine if self.workers[other]["gang"]["rank"] == 0))

    def _formed(self, first: Seat) -> None:
        """A gang is complete, and makes its first step; `first` is its rank 0."""
        generation = self.workers[first]["gang"]["generation"]
        self._say(first, "joined", restore_s=0.05, rendezvous_s=0.02)
        self._say(first, "stepped", generation=generation, rank=0, step=1, first_step_s=0.3)

    def step(self, gangs: Gangs, job_id: str, step: int) -> None:
        """Rank 0 of a job says how far it is."""
        first = next(
            seat for seat, each in self.workers.items() if each["job_id"] == job_id and each["gang"]["rank"] == 0
        )
        generation = self.workers[first]["gang"]["generation"]
        self._say(first, "progress", generation=generation, rank=0, step=step, step_s=[0.1], losses=[1.0])
        self.talk(gangs)

    def finish(self, gangs: Gangs, job_id: str) -> None:
        """All workers of a job have done all steps, and end."""
        for seat, each in list(self.workers.items()):
            if each["job_id"] == job_id:
                self._say(seat, "finished", generation=0, rank=each["gang"]["rank"], step=10**6)
                self.exit(seat)
        self.talk(gangs)

    def exit(self, seat: Seat, code: int = 0) -> None:
        """A worker's process is gone."""
        worker = self.workers.pop(seat)
        self.said.append((seat[0], {"kind": "exited", "job_id": worker["job_id"], "slots": [seat[1]], "code": code}))

    def _say(self, seat: Seat, event: str, **fields: Any) -> None:
        job_id = self.workers[seat]["job_id"]
        message = {"kind": "worker", "job_id": job_id, "slot": seat[1], "event": event, "generation": -1, "rank": -1}
        self.said.append((seat[0], {**message, **fields}))

    def talk(self, gangs: Gangs) -> None:
        """The gangs hear all that has been said, and all that is said in answer."""
        while self.said:
            name, message = self.said.popleft()
            gangs.hear(self._fleet.agents[name], message)


class Listener:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.moves: list[Move] = []
        self.told: list[str] = []

    def moved(self, gang: Gang, move: Move) -> None:
        self.moves.append(move)

    def progressed(self, gang: Gang, step_s: Any, losses: Any) -> None:
        self.told.append(f"{gang.job_id} step {gang.step}")

    def finished(self, gang: Gang) -> None:
        self.told.append(f"{gang.job_id} finished")

    def broken(self, gang: Gang, why: str) -> None:
        self.told.append(f"{gang.job_id} broken: {why}")

    def failed(self, gang: Gang, why: str) -> None:
        self.told.append(f"{gang.job_id} failed: {why}")
