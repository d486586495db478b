"""Live runs in which only agents, workers and time are emulated: minutes of them take a fraction of a second.

The controller, its clock's queue, pools, monitoring, gangs, journal and records are those of any live run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty
from typing import Any

from real_backend.fleet import Fleet
from real_backend.options import LiveOptions
from real_backend.run import LiveRun
from real_backend.running import Plan
from real_backend.runtime import Runtime
from real_backend.wall_clock import WallClock
from simulator.clock import NODE, Call
from simulator.run import Run
from tests.real_backend.fake_agents import FakeChannel, FakeWorld, Seat

StepTime = Callable[[str, int, int], float]  # model, workers, nodes -> seconds


class JumpingClock(WallClock):
    """Time passes only where nothing is left to do, and then up to what is due next."""

    look_s = 0.0  # what passes whenever one looks: more than 0, as on the wall, shows who looks in mid-action

    def restart(self) -> None:
        self.began_s, self._now = 0.0, 0.0

    def read(self) -> float:
        self._now += self.look_s
        return float(self._now)

    def _next(self, horizon_s: float) -> Callable[[], None] | None:
        try:
            return self._inbox.get_nowait()
        except Empty:
            pass
        due_s = self._queue[0][0]  # never empty: a run looks after itself now and then
        self._now = max(self._now, min(due_s, horizon_s))
        return self._due() if due_s <= horizon_s else None


class EmulatedNodes(FakeWorld):
    """A provider whose nodes come some time after they were ordered, with workers whose steps take their time.

    Args:
        step_s: of a step.
        spawn_s: from the start of a gang to its first step.
    """

    def __init__(
        self, clock: WallClock, fleet: Fleet, num_nodes: int, slots: int, step_s: StepTime, spawn_s: float = 0.1
    ) -> None:
        super().__init__(fleet, num_nodes, slots)
        self._clock, self._slots, self._step_s, self._spawn_s = clock, slots, step_s, spawn_s
        self._specs: dict[str, Any] = {}
        self._done: dict[str, int] = {}
        self.provision_s: Callable[[str], float | None] = lambda name: 3.0  # None: it never comes
        self.created: list[str] = []
        self.deleted: list[str] = []

    # ---- a provider
    def create(self, name: str) -> None:
        self.created.append(name)
        delay_s = self.provision_s(name)
        if delay_s is not None:
            self._later(delay_s, partial(self.come, name))

    def delete(self, name: str) -> None:
        self.deleted.append(name)

    def close(self) -> None:
        pass

    def come(self, name: str) -> None:
        """An agent joins, wanted or not."""
        hello = {"name": name, "slots": self._slots, "device": "cpu", "host": "here", "pid": 1, "workers": []}
        self._fleet._join(name, FakeChannel(self, name), {**hello, "store_host": "127.0.0.1", "store_port": 1})  # type: ignore[arg-type]

    def die(self, name: str) -> None:
        """An agent is gone, with its workers."""
        for seat in [seat for seat in self.workers if seat[0] == name]:
            del self.workers[seat]
        self._fleet._lose(self._fleet.agents[name])

    # ---- agents
    def on_start(self, name: str, spec: dict[str, Any], members: list[dict[str, Any]], method: str) -> None:
        self._specs[spec["job_id"]] = spec
        super().on_start(name, spec, members, method)
        self._clock.post(self._deliver)

    def on_next(self, name: str, job_id: str, members: dict[str, dict[str, Any]]) -> None:
        super().on_next(name, job_id, members)
        self._clock.post(self._deliver)

    def on_kill(self, name: str, job_id: str, slots: list[int] | None = None) -> None:
        super().on_kill(name, job_id, slots)
        self._clock.post(self._deliver)

    # ---- workers
    def _formed(self, first: Seat) -> None:
        job_id, gang = self.workers[first]["job_id"], self.workers[first]["gang"]
        nodes = {name for (name, _), worker in self.workers.items() if worker["job_id"] == job_id}
        step_s = self._step_s(self._specs[job_id]["task"]["model"], gang["world_size"], len(nodes))
        step = partial(self._step, first, gang["generation"], step_s)
        self._later(self._spawn_s + step_s, partial(step, "stepped", first_step_s=step_s))

    def _step(self, first: Seat, generation: int, step_s: float, event: str, **stages: float) -> None:
        """A step is over: rank 0 says so, and makes the next one."""
        worker = self.workers.get(first)
        if worker is None or worker["joined"] != generation:  # has gone on to another gang
            return
        job_id = worker["job_id"]
        done = self._done[job_id] = self._done.get(job_id, 0) + 1
        more = {"step_s": [step_s], "losses": [1.0]} if event == "progress" else stages
        self._say(first, event, generation=generation, rank=0, step=done, **more)  # type: ignore[arg-type]
        if done == self._specs[job_id]["num_steps"]:
            for seat in [seat for seat, each in self.workers.items() if each["job_id"] == job_id]:
                rank = self.workers[seat]["gang"]["rank"]
                self._say(seat, "finished", generation=generation, rank=rank, step=done)
                self.exit(seat)
        else:
            self._later(step_s, partial(self._step, first, generation, step_s, "progress"))
        self._deliver()

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Elsewhere: nobody looks at the controller's clock."""
        self._clock.call_at(float(self._clock.now) + delay_s, Call(action), NODE)

    def _deliver(self) -> None:
        while self.said:
            name, message = self.said.popleft()
            if name in self._fleet.agents:
                self._fleet.on_message(self._fleet.agents[name], message)


class EmulatedRuntime(Runtime):
    """What a live run stands on, without processes and sockets."""

    def __init__(self, folder: Path, options: LiveOptions, num_nodes: int, slots: int, step_s: StepTime) -> None:
        self.folder, self.options, self.device, self.method = folder, options, "cpu", "in_place"
        self.backend, self.address = "gloo", "emulated"
        self.clock: JumpingClock = JumpingClock()
        self.fleet = Fleet(self.clock, options.away_s)
        self.errors = []
        self.on_stillborn = lambda name, why: None
        self.nodes = EmulatedNodes(self.clock, self.fleet, num_nodes, slots, step_s)
        self.provider = self.nodes


def run_emulated(
    plan: Plan, folder: Path, meanwhile: Callable[[LiveRun, EmulatedRuntime], None] = lambda live, runtime: None
) -> tuple[Run, LiveRun]:
    """A live run of a plan, as `running.run_live` would have it.

    Args:
        meanwhile: called before the run begins.
    """
    scenario = plan.scenario
    pool = scenario.pools[0]
    folder.mkdir(parents=True, exist_ok=True)
    runtime = EmulatedRuntime(
        folder, plan.settings.options(), pool.num_nodes, pool.gpus_per_node, scenario.step_time.step_time_s
    )
    live = LiveRun(scenario, plan.steps.num_steps, plan.settings.tasks(), runtime)
    meanwhile(live, runtime)
    return live.run(), live
