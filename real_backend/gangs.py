"""Gangs of workers: brings what runs to what is wanted, one move at a time.

A gang has a target (how many workers on which agents) that may change at any time, and a state that follows:

| phase | is | goes on with |
|---|---|---|
| IDLE | no process | start, once the target's slots are free |
| STARTING | processes started | RUNNING at the first step |
| RUNNING | steps | LEAVING, GROWING or REJOINING where the target differs |
| GROWING | steps, while joiners start (in place) | REJOINING when all joiners are ready |
| REJOINING | the old gang leaves at a step boundary, the new forms | RUNNING at the first step |
| LEAVING | saves and exits at a step boundary | IDLE when all are gone |
| BREAKING | a worker or node was lost: the rest is killed | IDLE, then start from the last checkpoint |
| DONE | all steps done | gone with the last process |

Two ways of moving: `restart` goes through LEAVING and IDLE with a fresh group of processes; `in_place` lets those
that stay keep their process, model and optimiser.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from real_backend.fleet import AgentRecord, Fleet
from real_backend.task import Task

METHODS = ("in_place", "restart")
Target = tuple[tuple[str, int], ...]  # ((agent, workers), ...)
Seat = tuple[str, int]  # agent, slot


class Phase(Enum):
    """See the module."""

    IDLE = auto()
    STARTING = auto()
    RUNNING = auto()
    GROWING = auto()
    REJOINING = auto()
    LEAVING = auto()
    BREAKING = auto()
    DONE = auto()


@dataclass
class Move:
    """One move of a gang, by stage.

    `stages` holds seconds as the slowest worker had them (see `add`): save, teardown (of the old gang), spawn, import,
    rendezvous, restore, first_step (of the new one). `asked_s`, `stopped_s` (the old gang's last step) and `stepped_s`
    (the end of the new one's first) are on the controller's clock; nan where there is none.
    """

    job_id: str
    kind: str  # start | resume (from a checkpoint) | restart | in_place | stop
    generation: int  # that it leads to
    asked_s: float
    from_workers: int
    to_workers: int = 0
    to_nodes: int = 0
    stopped_s: float = float("nan")
    stepped_s: float = float("nan")
    stages: dict[str, float] = field(default_factory=dict)

    def lead_to(self, generation: int, seats: Sequence[Seat]) -> None:
        """Says which gang comes of it."""
        self.generation, self.to_workers, self.to_nodes = generation, len(seats), len({agent for agent, _ in seats})

    def add(self, stages: Mapping[str, float]) -> None:
        """Takes a worker's stages in: the slowest counts, of a rendezvous the last to come, who waits for nobody."""
        for name, seconds in stages.items():
            among = min if name == "rendezvous_s" else max
            self.stages[name] = among(seconds, self.stages.get(name, seconds))

    @property
    def pause_s(self) -> float:
        """How long nobody made steps: from the old gang's last (or the asking) to the start of the new one's first."""
        began_s = self.asked_s if self.stopped_s != self.stopped_s else self.stopped_s
        return max(0.0, self.stepped_s - self.stages.get("first_step_s", 0.0) - began_s)


@dataclass(frozen=True)
class GangOptions:
    """How gangs are run.

    Args:
        folder: of the run; checkpoints and logs go below it, and every host must see it under this path.
        backend: of torch.distributed.
        max_failures: a job that breaks more often has failed.
        faults: what tests want to go wrong: by job, {rank, step, how, generation}.
    """

    folder: str
    backend: str = "gloo"
    method: str = "in_place"
    checkpoint_interval_s: float = 30.0
    num_threads: int = 1
    max_failures: int = 3
    faults: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


class Listener(Protocol):
    """Who is told what happens to gangs."""

    def moved(self, gang: Gang, move: Move) -> None: ...
    def progressed(self, gang: Gang, step_s: Sequence[float], losses: Sequence[float]) -> None: ...
    def finished(self, gang: Gang) -> None: ...
    def broken(self, gang: Gang, why: str) -> None: ...
    def failed(self, gang: Gang, why: str) -> None: ...


class Deaf:
    """A listener for whom it is all over."""

    def moved(self, gang: Gang, move: Move) -> None: ...
    def progressed(self, gang: Gang, step_s: Sequence[float], losses: Sequence[float]) -> None: ...
    def finished(self, gang: Gang) -> None: ...
    def broken(self, gang: Gang, why: str) -> None: ...
    def failed(self, gang: Gang, why: str) -> None: ...


class Gang:
    """The workers of one job."""

    def __init__(self, gangs: Gangs, job_id: str, task: Task, num_steps: int) -> None:
        self._gangs, self._fleet, self._options = gangs, gangs.fleet, gangs.options
        self.job_id, self.task, self.num_steps = job_id, task, num_steps
        self.phase = Phase.IDLE
        self.target: Target = ()
        self.generation = -1
        self.step = self.saved_step = 0  # done; in the last checkpoint
        self.num_failures = 0
        self._whys: dict[Seat, str] = {}  # what is known of workers that are about to end
        self._seats: list[Seat] = []  # of the current gang, or of the one that is forming, by rank
        self._stepping: list[Seat] = []  # of the gang that made the last step
        self._alive: set[Seat] = set()
        self._over: set[Seat] = set()  # have said that they are finished
        self._coming: list[Seat] = []  # all seats of the gang that forms next, by rank
        self._joiners: set[Seat] = set()  # of these, the ones that are not ready
        self._move: Move | None = None
        self._has_state = False  # there is, or may be, a checkpoint
        self.is_waiting = False  # for slots

    @property
    def actual(self) -> Target:
        """Where its workers are."""
        return tuple(Counter(agent for agent, _ in self._seats).items()) if self._alive else ()

    @property
    def seats(self) -> Sequence[Seat]:
        """Of the gang that made the last step."""
        return self._stepping

    @property
    def is_stepping(self) -> bool:
        return self.phase in (Phase.RUNNING, Phase.GROWING)

    # ---- what is wanted
    def aim(self, target: Target) -> None:
        """What it is to have from now on; empty: nothing, its work saved. Asking again for the same changes nothing."""
        if self.phase is Phase.DONE:
            return
        self.target = target
        self.reconcile()

    def reconcile(self) -> None:
        """Starts the next move, if one is due and possible."""
        self.is_waiting = False
        if self.phase is Phase.IDLE and self.target:
            self._start()
        elif self.phase is Phase.RUNNING and dict(self.target) != dict(self.actual):
            if not self.target:
                self._leave()
            elif self._options.method == "in_place":
                self._move_in_place()
            else:
                self._leave()

    def _start(self) -> None:
        taken = self._fleet.acquire(self.job_id, dict(self.target))
        if taken is None:
            self.is_waiting = True
            return
        seats = [(agent, slot) for agent, slots in taken.items() for slot in slots]
        self.generation += 1
        self.phase = Phase.STARTING
        if self._move is None:
            self._move = self._new_move("resume" if self._has_state else "start")
        self._move.lead_to(self.generation, seats)
        self._seats, self._alive, self._over = seats, set(seats), set()
        common = {
            "action": "join",
            "generation": self.generation,
            "is_first": not self._has_state,
            **self._store(seats),
        }
        agents = list(taken)
        for node_rank, agent in enumerate(agents):
            spec = self._spec({**common, "node_rank": node_rank, "num_nodes": len(agents), "world_size": len(seats)})
            self._send_start(agent, spec, [(rank, seat[1]) for rank, seat in enumerate(seats) if seat[0] == agent])
        self._has_state = True

    def _leave(self) -> None:
        self.phase = Phase.LEAVING
        self._move = self._new_move("restart" if self.target else "stop")
        for agent in {agent for agent, _ in self._seats}:
            members = {str(slot): {"action": "exit", "save": True} for name, slot in self._seats if name == agent}
            self._fleet.send(agent, "next", job_id=self.job_id, members=members)

    def _move_in_place(self) -> None:
        want = dict(self.target)
        keep: list[Seat] = []
        for agent, slot in self._seats:
            if want.get(agent, 0):
                want[agent] -= 1
                keep.append((agent, slot))
        has_server = self.task.sync != "parameter_server" or (keep and keep[0] == self._seats[0])
        if not keep or not has_server:  # nobody stays who has the state
            self._leave()
            return
        missing = {agent: count for agent, count in want.items() if count}
        taken = self._fleet.acquire(self.job_id, missing) if missing else {}
        if taken is None:
            if len(keep) == len(self._seats):
                self.is_waiting = True
                return
            taken = {}  # shrink first: somebody may wait for these seats while we wait for theirs
        joiners = [(agent, slot) for agent, slots in taken.items() for slot in slots]
        self._coming = keep + joiners
        self._joiners = set(joiners)
        self._alive |= self._joiners
        self._move = self._new_move("in_place")
        self._move.lead_to(self.generation + 1, self._coming)
        if not joiners:
            self._rejoin()
            return
        self.phase = Phase.GROWING
        for agent in taken:
            spec = self._spec(self._next_gang())
            ranked = [
                (rank, seat[1]) for rank, seat in enumerate(self._coming) if seat in self._joiners and seat[0] == agent
            ]
            self._send_start(agent, spec, ranked)

    def _rejoin(self) -> None:
        """Tells the old gang which gang is next; joiners know."""
        self.phase = Phase.REJOINING
        gang = self._next_gang()
        ranks = {seat: rank for rank, seat in enumerate(self._coming)}
        for agent in {agent for agent, _ in self._seats}:
            members = {}
            for name, slot in self._seats:
                if name == agent:
                    rank = ranks.get((name, slot))
                    message = {"action": "exit"} if rank is None else {**gang, **self._place(rank, self._coming)}
                    members[str(slot)] = message
            self._fleet.send(agent, "next", job_id=self.job_id, members=members)
        self.generation += 1
        self._seats, self._coming = self._coming, []

    # ---- what happens
    def hear(self, seat: Seat, event: str, message: Mapping[str, Any]) -> None:
        """A worker says something."""
        move, now_s = self._move, self._gangs.now_s()
        stages = {name: value for name, value in message.items() if name.endswith("_s") and isinstance(value, float)}
        if move is not None and event != "progress":
            move.add(stages)
        if event == "ready" and seat in self._joiners:
            self._joiners.discard(seat)
            if self.phase is Phase.GROWING and not self._joiners:
                self._rejoin()
        elif event == "saved":
            self.saved_step = max(self.saved_step, int(message["step"]))
        elif event == "stepped" and message["generation"] == self.generation and message["rank"] == 0:
            self._stepped(int(message["step"]), now_s)
        elif event == "progress" and message["generation"] >= self.generation - 1:
            self._progressed(message, now_s)
        elif event == "finished":
            self._over.add(seat)
            if message["rank"] == 0 and self.phase is not Phase.DONE:
                self.finish()
        elif event == "raised":
            self.accuse(seat, str(message["error"]))

    def accuse(self, seat: Seat, why: str) -> None:
        """Notes why a worker will soon be gone."""
        self._whys[seat] = why

    def exited(self, seats: Iterable[Seat], code: int | None, why: str = "", is_own_fault: bool = True) -> None:
        """Processes are gone; `is_own_fault` unless their node is."""
        gone = [seat for seat in seats if seat in self._alive]
        self._alive.difference_update(gone)
        if not gone:
            return
        if self.phase is Phase.DONE:
            if not self._alive:
                self._gangs.forget(self)
        elif self.phase in (Phase.LEAVING, Phase.BREAKING):
            if code and self.phase is Phase.LEAVING:
                self._break(gone, code, why, is_own_fault)
            elif not self._alive:
                self._is_idle()
        else:
            missed = [
                seat for seat in gone if (seat in self._seats or seat in self._joiners) and seat not in self._over
            ]
            if missed:
                self._break(missed, code, why, is_own_fault)

    def _break(self, seats: Sequence[Seat], code: int | None, why: str, is_own_fault: bool) -> None:
        told = next((self._whys[seat] for seat in seats if seat in self._whys), "")
        ranks = [self._seats.index(seat) for seat in seats if seat in self._seats]
        text = f"worker of rank {', '.join(map(str, ranks)) or '?'} was lost: {why or told or _reason(code)}"
        self.num_failures += is_own_fault
        self.phase = Phase.BREAKING
        self._move = None
        self._coming, self._joiners = [], set()
        self.step = self.saved_step
        for agent in {agent for agent, _ in self._alive}:
            self._fleet.send(agent, "kill", job_id=self.job_id)
        if self.num_failures > self._options.max_failures:
            self.target = ()
            self.phase = Phase.DONE
            self._gangs.listener.failed(self, text)
            if not self._alive:
                self._gangs.forget(self)
            return
        self._gangs.listener.broken(self, text)
        if not self._alive:
            self._is_idle()

    def _is_idle(self) -> None:
        """No process is left: what comes next?"""
        self.phase = Phase.IDLE
        self._seats, self._stepping = [], []
        self._whys.clear()
        move = self._move
        if move is not None and not self.target:
            self._move, move.kind = None, "stop"
            self._gangs.listener.moved(self, move)
        self.reconcile()

    def _stepped(self, step: int, now_s: float) -> None:
        self.step = max(self.step, step) if self.phase is not Phase.BREAKING else self.step
        if self.phase in (Phase.STARTING, Phase.REJOINING):
            self.phase = Phase.RUNNING
            self._stepping = list(self._seats)
            move, self._move = self._move, None
            if move is not None:
                move.stepped_s = now_s
                self._gangs.listener.moved(self, move)
            self.reconcile()

    def _progressed(self, message: Mapping[str, Any], now_s: float) -> None:
        if self.phase is Phase.BREAKING or self.phase is Phase.DONE:
            return
        if self._move is not None and self.phase in (Phase.REJOINING, Phase.LEAVING):
            self._move.stopped_s = now_s  # so far
        self.step = int(message["step"])
        self._gangs.listener.progressed(self, message["step_s"], message["losses"])

    def finish(self) -> None:
        """All steps are done."""
        self.step = self.num_steps
        self.phase = Phase.DONE
        self.target = ()
        for agent, slot in self._alive - set(self._stepping):  # came too late
            self._fleet.send(agent, "kill", job_id=self.job_id, slots=[slot])
        self._gangs.listener.finished(self)
        if not self._alive:
            self._gangs.forget(self)

    # ---- a controller that was restarted
    def try_adopt(self, workers: Sequence[tuple[str, Mapping[str, Any]]], target: Target) -> bool:
        """Takes over workers (agent, what it says of one) that have gone on; False if they aren't the whole gang."""
        generations = {worker.get("generation") for _, worker in workers}
        ranks = sorted((int(worker.get("rank") or 0), name, int(worker["slot"])) for name, worker in workers)
        is_stepping = all(
            worker.get("last") in ("stepped", "progress", "beat", "saved", "joined") for _, worker in workers
        )
        if not is_stepping or len(generations) != 1 or [rank for rank, _, _ in ranks] != list(range(len(ranks))):
            return False
        if not workers or Counter(name for name, _ in workers) != Counter(dict(target)):
            return False
        step = max(int(worker.get("step", 0)) for _, worker in workers)
        self.adopt([(name, slot) for _, name, slot in ranks], int(generations.pop() or 0), step)
        self.target = target
        return True

    def adopt(self, seats: Sequence[Seat], generation: int, step: int) -> None:
        """Takes over these workers as they are."""
        self._seats, self._stepping, self._alive = list(seats), list(seats), set(seats)
        self.generation, self.step, self._has_state = generation, step, True
        self.phase = Phase.RUNNING

    def resume(self, generation: int) -> None:
        """Is to start from its last checkpoint, in a generation that has not been."""
        self.generation, self._has_state = generation, True

    def discard(self, seats: Sequence[Seat]) -> None:
        """Ends workers that can't be taken over, before anything else starts."""
        if seats:
            self._seats, self._alive, self.phase = list(seats), set(seats), Phase.BREAKING
            for agent in {agent for agent, _ in seats}:
                self._fleet.send(agent, "kill", job_id=self.job_id)

    # ---- messages
    def _new_move(self, kind: str) -> Move:
        return Move(self.job_id, kind, self.generation, self._gangs.now_s(), len(self._stepping))

    def _store(self, seats: Sequence[Seat]) -> dict[str, Any]:
        host, port = self._fleet.agents[seats[0][0]].store
        return {"store_host": host, "store_port": port}

    def _place(self, rank: int, seats: Sequence[Seat]) -> dict[str, int]:
        agent = seats[rank][0]
        local_rank = sum(name == agent for name, _ in seats[:rank])
        return {"rank": rank, "world_size": len(seats), "local_rank": local_rank}

    def _next_gang(self) -> dict[str, Any]:
        return {"action": "join", "generation": self.generation + 1, "source": 0, **self._store(self._coming)}

    def _spec(self, gang: Mapping[str, Any]) -> dict[str, Any]:
        options = self._options
        return {
            "job_id": self.job_id,
            "task": self.task.to_dict(),
            "num_steps": self.num_steps,
            "backend": options.backend,
            "checkpoints": f"{options.folder}/checkpoints/{_file_name(self.job_id)}",
            "checkpoint_interval_s": options.checkpoint_interval_s,
            "num_threads": options.num_threads,
            "log": f"{options.folder}/logs/{_file_name(self.job_id)}.log",
            "faults": [dict(fault) for fault in options.faults.get(self.job_id, ())],
            "gang": dict(gang),
        }

    def _send_start(self, agent: str, spec: Mapping[str, Any], ranked: Sequence[tuple[int, int]]) -> None:
        seats = self._coming or self._seats
        members = [{"slot": slot, "gang": self._place(rank, seats)} for rank, slot in ranked]
        self._fleet.send(agent, "start", spec=spec, members=members, method=self._options.method)


class Gangs:
    """All gangs, and the way from an agent's message to the gang it is about."""

    def __init__(self, fleet: Fleet, options: GangOptions, now_s: Callable[[], float], listener: Listener) -> None:
        self.fleet, self.options, self.now_s, self.listener = fleet, options, now_s, listener
        self._gangs: dict[str, Gang] = {}
        fleet.on_message = self.hear

    def __getitem__(self, job_id: str) -> Gang:
        return self._gangs[job_id]

    def __iter__(self) -> Iterator[Gang]:
        return iter(list(self._gangs.values()))

    def add(self, job_id: str, task: Task, num_steps: int) -> Gang:
        """A gang for a job, with nothing yet."""
        gang = self._gangs[job_id] = Gang(self, job_id, task, num_steps)
        return gang

    def get(self, job_id: str) -> Gang | None:
        return self._gangs.get(job_id)

    def forget(self, gang: Gang) -> None:
        """It is over, and its last process gone."""
        self._gangs.pop(gang.job_id, None)

    @property
    def is_quiet(self) -> bool:
        """True if no gang has a process left."""
        return not self._gangs or all(gang.phase is Phase.IDLE for gang in self._gangs.values())

    def lose(self, agent: AgentRecord) -> None:
        """An agent is gone, and its workers with it."""
        for job_id in set(agent.slots.values()):
            gang = self._gangs.get(job_id)
            if gang:
                seats = [(agent.name, slot) for slot, owner in agent.slots.items() if owner == job_id]
                gang.exited(seats, None, f"node {agent.name} was lost", is_own_fault=False)
        self._retry()

    def hear(self, agent: AgentRecord, message: Mapping[str, Any]) -> None:
        """An agent says something about a job."""
        gang = self._gangs.get(message["job_id"])
        kind = message["kind"]
        if kind == "exited":
            slots = [int(slot) for slot in message["slots"]]
            self.fleet.release(agent.name, slots)
            if gang:
                gang.exited([(agent.name, slot) for slot in slots], message["code"], message.get("why", ""))
            self._retry()
        elif gang is None:
            return
        elif kind == "worker":
            gang.hear((agent.name, int(message["slot"])), message["event"], message)
        elif kind == "hung":
            gang.accuse((agent.name, int(message["slot"])), f"no sign of life for {message['silent_s']:g} s")

    def _retry(self) -> None:
        """Slots are free again: those that wait for some may go on, in the order in which their jobs came."""
        for gang in list(self._gangs.values()):
            if gang.is_waiting:
                gang.reconcile()


def _reason(code: int | None) -> str:
    if code is None:
        return "it is gone"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _file_name(job_id: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in job_id)
