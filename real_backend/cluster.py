"""The cluster in wall time: the same view and plans as the simulated one, on real processes.

What a plan gives, a job holds from then on, in the view and on the bill, as in the simulator: `gpus_held` and `nodes`
are seats taken. What runs in them follows as fast as it can (`gangs`), and what can't be had shows in the next view:
seats on a node that was lost are given back, the job waits again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies import ClusterView, Controller, Placement, PlanError
from real_backend.fleet import AgentRecord, Fleet
from real_backend.gangs import Gang, GangOptions, Gangs, Move, Target
from real_backend.journal import Entry, Journal
from real_backend.live_job import LiveJob
from real_backend.task import Task
from real_backend.wall_clock import WallClock
from simulator.cluster import Cluster, DecideOptions
from simulator.progress import SimJob
from simulator.records import FAILED, Recorder
from simulator.speeds import Speeds
from workloads import JobTable

_SHORT = 1e-9
StepDone = tuple[int, int, float, float, float, int, int]  # job, step, time, duration, loss, workers, nodes


@dataclass
class Change:
    """A row of allocations, open until the job's next one: only then is it known how fast the job went."""

    time_s: float
    job: int
    num_gpus: int
    nodes: Placement
    left_s: float
    rate: float  # expected, until it is measured
    before: Change | None = None  # of the same job
    pause_s: float = 0.0

    def close(self, now_s: float, left_s: float) -> None:
        """The next change has come: what was the rate?"""
        stretch_s = now_s - self.time_s
        done_s = self.left_s - left_s
        if not self.num_gpus:
            self.rate = self.pause_s = 0.0
        elif done_s <= _SHORT or stretch_s <= 0:
            self.pause_s = stretch_s
        else:
            self.pause_s = min(self.pause_s, 0.99 * stretch_s)
            self.rate = done_s / (stretch_s - self.pause_s)


class LiveCluster(Cluster):
    """Jobs on real GPUs or CPU slots.

    Args:
        tasks: what each model of the trace is, when it runs.
        num_steps: of each job, by row.
        agent_of: the agent behind a node of the view.
    """

    def __init__(
        self,
        clock: WallClock,
        view: ClusterView,
        controller: Controller,
        table: JobTable,
        speeds: Speeds,
        recorder: Recorder,
        decide: DecideOptions,
        fleet: Fleet,
        options: GangOptions,
        tasks: Mapping[str, Task],
        num_steps: Sequence[int],
        agent_of: Callable[[int], str],
        journal: Journal,
    ) -> None:
        super().__init__(clock, view, controller, table, recorder, decide)
        self._wall = clock
        self._speeds, self._tasks, self._num_steps = speeds, tasks, num_steps
        self._agent_of, self._journal = agent_of, journal
        self.gangs = Gangs(fleet, options, lambda: float(clock.now), self)
        self._active: dict[int, LiveJob] = {}
        self._open: dict[int, Change] = {}  # by row in the trace
        self._changes: list[Change] = []
        self._row_of = {str(job_id): row for row, job_id in enumerate(table.job_id)}
        self.moves: list[Move] = []
        self.steps: list[StepDone] = []
        self.failures: list[dict[str, Any]] = []
        self.is_replaying = False

    # ---- plans
    def submit(self, job: SimJob) -> None:
        """A job arrives."""
        assert isinstance(job, LiveJob)
        super().submit(job)
        self._active[job.row] = job
        task = self._tasks[str(self._table.model[job.row])]
        self.gangs.add(job.job_id, task, self._num_steps[job.row])

    def _change(self, job: SimJob, gpus: int, placement: Placement) -> None:
        assert isinstance(job, LiveJob)
        if gpus and not placement:
            raise PlanError(
                f"job {job.job_id}: {gpus} GPUs without nodes; live runs need placement=packed, consolidate or spread"
            )
        gang = self.gangs[job.job_id]
        self._journal.write(
            "change",
            time_s=self._clock.now,
            job=job.row,
            num_gpus=gpus,
            nodes=placement,
            left_s=job.left_s,
            generation=gang.generation + 1,
        )
        self._book_change(job, gpus, placement)
        gang.aim(self._target(placement))

    def _book_change(self, job: LiveJob, gpus: int, placement: Placement) -> None:
        now_s, held = self._clock.now, job.gpus_held
        job.settle(now_s)
        if gpus:
            model = str(self._table.model[job.row])
            job.expect(now_s, self._speeds.rate(model, job.num_gpus, gpus, len(placement)), 0.0)
            if held:
                job.num_rescales += 1
            else:
                self._pending.remove(job)
            self.num_starts += 1
        else:
            job.num_preemptions += 1
            job.stop(now_s)
            self._pending.add(job)
        self._book_gang(job, gpus, placement)
        self._open_change(job, now_s)

    def _changed(self) -> None:
        pass  # each gang goes its way

    def _target(self, placement: Placement) -> Target:
        return tuple((self._agent_of(node), gpus) for node, gpus in placement)

    def _open_change(self, job: LiveJob, now_s: float) -> None:
        last = self._open.pop(job.row, None)
        if last:
            last.close(now_s, job.left_s)
        change = Change(now_s, job.row, job.gpus_held, job.nodes, job.left_s, job.rate, last)
        self._changes.append(change)
        self._open[job.row] = change

    # ---- what gangs say
    def moved(self, gang: Gang, move: Move) -> None:
        """A move is over: the job steps, or has stopped."""
        self.moves.append(move)
        job = self._job_of(gang)
        if job is None or math.isnan(move.stepped_s):
            return
        self._journal.write(
            "moved",
            job=job.row,
            time_s=move.stepped_s,
            pause_s=move.pause_s,
            generation=move.generation,
            step=gang.step,
        )
        self._book_pause(job, move.pause_s)
        self._progress(job, gang)

    def _book_pause(self, job: LiveJob, pause_s: float) -> None:
        change = self._open.get(job.row)
        if change is not None and change.num_gpus:
            change.pause_s += pause_s
        job.overhead_gpu_s += pause_s * job.gpus_held

    def progressed(self, gang: Gang, step_s: Sequence[float], losses: Sequence[float]) -> None:
        """Steps have been done."""
        job = self._job_of(gang)
        if job is None:
            return
        workers, nodes = len(gang.seats), len({agent for agent, _ in gang.seats})
        time_s = float(self._clock.now) - sum(step_s)
        for step, (duration_s, loss) in enumerate(zip(step_s, losses, strict=True), gang.step - len(step_s) + 1):
            time_s += duration_s
            self.steps.append((job.row, step, time_s, duration_s, loss, workers, nodes))
        self._progress(job, gang)

    def finished(self, gang: Gang) -> None:
        """All steps are done."""
        job = self._job_of(gang)
        if job is None:
            return
        now_s = self._clock.now
        self._journal.write("finished", job=job.row, time_s=now_s)
        self._book_end(job, now_s)
        self._after_end()

    def _book_end(self, job: LiveJob, now_s: float) -> None:
        job.settle(now_s)
        job.left_s = 0.0
        self._end(job, now_s)
        self._recorder.finish(job, now_s, job.service_at_since_gpu_s)
        self.num_finished += 1
        if self.learn:
            self.learn(job.row)

    def broken(self, gang: Gang, why: str) -> None:
        """Workers were lost; the gang starts again from its last checkpoint."""
        job = self._job_of(gang)
        if job is None:
            return
        self._note_failure(gang, why, "restarts from its last checkpoint")
        left_s = self._left_s(job, gang.step)
        self._journal.write("broken", job=job.row, time_s=self._clock.now, left_s=left_s, why=why)
        self._book_loss(job, left_s)

    def _book_loss(self, job: LiveJob, left_s: float) -> None:
        job.fall_back(self._clock.now, left_s)
        change = self._open.get(job.row)
        if change is not None:  # work that was lost counts as not done in this stretch
            change.left_s = max(change.left_s, job.left_s)

    def failed(self, gang: Gang, why: str) -> None:
        """It broke too often."""
        job = self._job_of(gang)
        if job is None:
            return
        self._note_failure(gang, why, f"has failed {gang.num_failures} times, and is given up")
        now_s = self._clock.now
        self._journal.write("failed", job=job.row, time_s=now_s)
        self._book_failure(job, now_s)
        self._after_end()

    def _book_failure(self, job: LiveJob, now_s: float) -> None:
        job.settle(now_s)
        self._end(job, now_s)
        self._recorder.leave(job, FAILED)

    def _note_failure(self, gang: Gang, why: str, then: str) -> None:
        now_s = self._clock.now
        self.failures.append({"time_s": round(now_s, 3), "job_id": gang.job_id, "why": why, "then": then})

    def _end(self, job: LiveJob, now_s: float) -> None:
        self._book_gang(job, 0, ())
        self._jobs.drop(job)
        del self._active[job.row]
        job.rate = 0.0
        self._open_change(job, now_s)
        del self._open[job.row]
        self.num_idle = 0

    def _after_end(self) -> None:
        if self._jobs.is_empty:
            self.on_empty()
        self.request_decision(freed=True)

    def _progress(self, job: LiveJob, gang: Gang) -> None:
        rate = job.rate
        if not rate and job.gpus_held:
            model = str(self._table.model[job.row])
            rate = self._speeds.rate(model, job.num_gpus, job.gpus_held, len(job.nodes))
        left_s = self._left_s(job, gang.step)
        job.progress(self._clock.now, left_s, rate)
        change = self._open.get(job.row)
        if change is not None and not change.num_gpus and change.before:  # steps up to the boundary where it stopped
            change.left_s = left_s
            change.before.close(change.time_s, left_s)

    def _left_s(self, job: LiveJob, step: int) -> float:
        return float(self._table.duration_s[job.row]) * (1.0 - step / self._num_steps[job.row])

    def _job_of(self, gang: Gang) -> LiveJob | None:
        return self._active.get(self._row_of[gang.job_id])

    # ---- a controller that was restarted
    def replay(self, history: Sequence[Entry]) -> dict[str, int]:
        """Books what the journal says of jobs; returns the last generation of each gang that may run."""
        generations: dict[str, int] = {}
        self.is_replaying = True
        for entry in history:
            job = self._active.get(entry.get("job", -1))
            if job is None:
                continue
            kind = entry["entry"]
            self._wall.book_at(entry["time_s"])
            if kind == "change":
                job.left_s = min(job.left_s, entry["left_s"])
                self._book_change(job, entry["num_gpus"], tuple((node, gpus) for node, gpus in entry["nodes"]))
                generations[job.job_id] = entry["generation"]
            elif kind == "moved":
                self._book_pause(job, entry["pause_s"])
                job.left_s = min(job.left_s, self._left_s(job, entry["step"]))
                generations[job.job_id] = entry["generation"]
            elif kind == "broken":
                self._book_loss(job, entry["left_s"])
                generations[job.job_id] += 1
            elif kind == "finished":
                self._book_end(job, entry["time_s"])
                self.gangs.forget(self.gangs[job.job_id])
            elif kind == "failed":
                self._book_failure(job, entry["time_s"])
                self.gangs.forget(self.gangs[job.job_id])
        self.is_replaying = False
        return generations

    def take_over(self, agents: Mapping[str, AgentRecord], generations: Mapping[str, int], finished: set[str]) -> int:
        """Takes over the gangs that have gone on; the others start from their checkpoints. Returns how many went on."""
        num_adopted = 0
        for job in list(self._active.values()):
            gang, target = self.gangs[job.job_id], self._target(job.nodes)
            workers = [(agent.name, worker) for agent in agents.values() for worker in agent.workers
                       if worker["job_id"] == job.job_id]  # fmt: skip
            for name, worker in workers:
                agents[name].slots[int(worker["slot"])] = job.job_id
            if job.job_id in finished:
                gang.adopt([(name, int(worker["slot"])) for name, worker in workers], 0, self._num_steps[job.row])
                gang.finish()
                continue
            last = generations.get(job.job_id, -1)
            if job.gpus_held and gang.try_adopt(workers, target):
                num_adopted += 1
                continue
            if last >= 0:
                gang.resume(max([last + 1, *(int(worker.get("generation") or 0) for _, worker in workers)]))
            gang.discard([(name, int(worker["slot"])) for name, worker in workers])
            gang.aim(target)
        return num_adopted

    def request_decision(self, freed: bool = False) -> None:
        """As in simulated time; none is made of what is only booked again."""
        if not self.is_replaying:
            super().request_decision(freed)

    # ---- nodes that go, and the end
    def evict(self, node: int) -> None:
        """Takes from every job what it has on a node that is gone or must go; it waits for a new decision."""
        for job in list(self._active.values()):
            if any(index == node for index, _ in job.nodes):
                self.preempt(job)
        self.request_decision()

    def write_changes(self, now_s: float) -> None:
        """Hands the allocations to the recorder, at the end of the run."""
        for job, change in self._open.items():
            change.close(now_s, self._active[job].left_s)
        self._changes.sort(key=lambda change: change.time_s)
        for change in self._changes:
            row = (change.time_s, change.job, change.num_gpus, change.rate, change.pause_s, change.left_s)
            self._recorder.allocations.numbers.extend(row)
            self._recorder.allocations.placements.append(change.nodes)
