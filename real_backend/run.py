"""A live run: the simulator's scenario on real processes, to the same records."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from policies import ClusterView, Controller, JobsView, Nodes, Reasons
from real_backend.cluster import LiveCluster, StepDone
from real_backend.errors import BackendError
from real_backend.exporter import Exporter
from real_backend.files import JOURNAL, MOVES, STEPS
from real_backend.fleet import AgentRecord
from real_backend.gangs import Deaf
from real_backend.journal import Entry, Journal
from real_backend.live_job import LiveJob
from real_backend.monitor import LiveMonitor
from real_backend.pools import LivePools
from real_backend.runtime import Runtime
from real_backend.task import Task
from simulator.arrivals import Arrivals
from simulator.future import reveal
from simulator.records import Recorder
from simulator.run import Run
from simulator.scenario import Scenario
from simulator.simulation import stream
from simulator.speeds import Speeds
from workloads import JobTable, StepTimeModel
from workloads.estimates import make_estimator

_RETURN_S = 10.0  # for agents to find a controller that was restarted
_TICK_S = 0.5
_LEAVE_S = 10.0
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Steps:
    """A trace whose jobs are whole numbers of steps."""

    jobs: JobTable  # durations as the profile has them for these steps
    num_steps: list[int]


def in_steps(jobs: JobTable, step_time: StepTimeModel, gpus_per_node: int, tasks: Mapping[str, Task]) -> Steps:
    """How many steps each job is, by the step time of the GPUs that it asks for; at least one.

    Raises:
        BackendError: a model that isn't configured, or a job that may have more workers than a step has samples.
    """
    num_steps, durations = [], np.zeros(len(jobs))
    for row in range(len(jobs)):
        model, num_gpus = str(jobs.model[row]), int(jobs.num_gpus[row])
        if model not in tasks:
            raise BackendError(
                f"job {jobs.job_id[row]}: model {model!r} isn't one of models ({', '.join(tasks)}): "
                "add it to conf/model, or set workload.models"
            )
        if int(jobs.max_gpus[row]) > tasks[model].global_batch:
            raise BackendError(
                f"job {jobs.job_id[row]}: up to {jobs.max_gpus[row]} workers, but a step of {model} has "
                f"{tasks[model].global_batch} samples (models.{model}.global_batch)"
            )
        step_s = step_time.step_time_s(model, num_gpus, -(-num_gpus // gpus_per_node))
        num_steps.append(max(1, round(float(jobs.duration_s[row]) / step_s)))
        durations[row] = num_steps[-1] * step_s
    return Steps(jobs.with_columns(duration_s=durations), num_steps)


class LiveRun:
    """A scenario on a runtime whose first nodes have joined.

    Args:
        scenario: its jobs have the durations of `in_steps`; overheads and provisioning times are for the simulator
            only.
        history: of a controller that went before.
    """

    def __init__(
        self,
        scenario: Scenario,
        num_steps: Sequence[int],
        tasks: Mapping[str, Task],
        runtime: Runtime,
        history: Sequence[Entry] = (),
        progress: Progress | None = None,
        exporter: Exporter | None = None,
    ) -> None:
        self._scenario, self._runtime, self._history = scenario, runtime, history
        self._progress = progress
        jobs, specs = scenario.jobs, {pool.name: pool for pool in scenario.pools}
        if len(specs) != 1:
            raise BackendError("a live run has one pool")
        self.folder = runtime.folder
        self._clock, self._fleet = runtime.clock, runtime.fleet
        rejected = scenario.too_large()
        if rejected.size and scenario.oversized == "error":
            raise BackendError(
                f"{rejected.size} jobs can never run on this cluster, the first {jobs.job_id[rejected[0]]}"
            )
        self._journal = Journal(self.folder / JOURNAL)
        if not history:
            self._clock.restart()
            self._journal.write("begin", began_s=self._clock.began_s, address=runtime.address, time_s=0.0)
        self._recorder = Recorder(jobs, self.folder, scenario.explain)
        self._recorder.reject(rejected.tolist())
        self._notes = [f"{rejected.size} jobs can never run here and are rejected"] if rejected.size else []
        view_of_jobs = JobsView(jobs, has_estimates=scenario.estimates != "none")
        nodes = Nodes(has_demands=bool(jobs.cpus_per_gpu.any() or jobs.memory_gib_per_gpu.any()))
        has_guests = runtime.options.provider == "join"  # who come when they come
        self._pools = LivePools(
            self._clock,
            nodes,
            specs,
            on_change=lambda: self._cluster.request_decision(),
            on_timeout=lambda index: self._cluster.evict(index),
            fleet=self._fleet,
            provider=runtime.provider,
            journal=self._journal,
            ready=[] if history else sorted(self._fleet.agents, key=lambda name: (len(name), name)),
            history=history,
            takes_any=has_guests,
            join_timeout_s=math.inf if has_guests else runtime.options.join_timeout_s,
        )
        self._view = ClusterView(view_of_jobs, nodes, self._pools.views)
        self._view.explain = Reasons() if scenario.explain else None
        speeds = Speeds(scenario.step_time, max(pool.gpus_per_node for pool in scenario.pools))
        policies = copy.deepcopy((scenario.allocation, scenario.placement, scenario.scaling))
        kept = jobs.take(np.setdiff1d(np.arange(len(jobs)), rejected)) if rejected.size else jobs
        reveal(policies[2], self._view, (), kept, "", scenario.horizon_s, lambda name: stream(scenario.seed, name))
        self._cluster = LiveCluster(
            self._clock,
            self._view,
            Controller(*policies),
            jobs,
            speeds,
            self._recorder,
            scenario.decide,
            self._fleet,
            runtime.gang_options,
            tasks,
            num_steps,
            self._pools.agent_of,
            self._journal,
        )
        self._cluster.scale = self._pools.scale
        self._cluster.draining = self._pools.draining
        self._cluster.release_drained = lambda: self._pools.release_drained(self._cluster.held_gpus, is_pooled=False)
        self._cluster.on_empty = self._on_empty
        self._fleet.on_joined = self._on_joined
        self._fleet.on_lost = self._on_lost
        self._fleet.on_refused = lambda peer: self._notes.append(f"{peer} came with a wrong token and was refused")
        runtime.on_stillborn = self._pools.stillborn
        estimator = make_estimator(scenario.estimates, stream(scenario.seed, "estimates"), **scenario.estimate_options)
        skip = frozenset(rejected.tolist())
        self._arrivals = Arrivals(self._clock, self._cluster, jobs, view_of_jobs, estimator, skip, LiveJob)
        if self._arrivals.learns:
            self._cluster.learn = lambda row: estimator.observe(jobs, row, float(jobs.duration_s[row]))
        self._monitor = LiveMonitor(
            self._clock,
            self._cluster,
            jobs,
            specs,
            self._recorder,
            scenario.monitor,
            self._fleet,
            self._pools,
            exporter,
            has_bandwidth=runtime.options.network_gib_per_s > 0,
        )
        self._why_unfinished = ""
        self._stalled_s = float(self._clock.now)
        if history:
            self._go_on()
        self._clock.call_after(_TICK_S, self._tick)
        if scenario.scaling:
            self._cluster.decide_at(0.0)  # as simulated

    @property
    def cluster(self) -> LiveCluster:
        return self._cluster

    @property
    def steps(self) -> Sequence[StepDone]:
        return self._cluster.steps

    def stop(self, why: str) -> None:
        """Ends the run at the next event and marks it unfinished; safe from a signal handler."""
        self._why_unfinished = why
        self._clock.post(self._clock.stop)

    def run(self) -> Run:
        """Runs to the end: all jobs done, or nothing more to hope for."""
        try:
            if not self._arrivals.is_over or not self._view.jobs.is_empty:
                self._clock.run_all(self._scenario.horizon_s)
        except BaseException as error:
            self._finish(f"{type(error).__name__}: {error}")
            raise
        run = self._finish(self._why_unfinished)
        self._let_workers_end()
        return run

    def _finish(self, why_unfinished: str) -> Run:
        end_s = float(self._clock.now)
        waiting = [job.job_id for job in self._view.pending]
        self._cluster.write_changes(end_s)
        self._cluster.book_unfinished()
        self._pools.close(end_s)
        tables = {**self._monitor.close(end_s), **self._recorder.close(self._pools.log, self._pools.bill_of)}
        self._write_more()
        self._journal.close()
        if waiting and not why_unfinished and self._scenario.horizon_s == math.inf:
            self._notes.append(f"{len(waiting)} jobs never got the GPUs they waited for: {', '.join(waiting[:5])}")
        failures = self._cluster.failures
        self._notes += [
            f"{each['job_id']} at {each['time_s']:.1f} s: {each['why']}; {each['then']}" for each in failures
        ]
        self._notes += self._pools.failures
        facts = {
            "end_s": end_s,
            "seed": self._scenario.seed,
            "estimates": self._scenario.estimates,
            "num_decisions": self._cluster.num_decisions,
            "notes": self._notes,
        }
        if failures:
            facts["may_break"] = True
        if why_unfinished:
            text = json.dumps({"why": why_unfinished, **facts}, indent=2)
            (self.folder / "unfinished.json").write_text(text + "\n")
        return Run(facts, tables, self.folder, why_unfinished)

    def _let_workers_end(self) -> None:
        """The last jobs may still be saving."""
        gangs, clock = self._cluster.gangs, self._clock
        gangs.listener, clock.stopped = Deaf(), False
        clock.run_until(lambda: gangs.is_quiet or bool(self._why_unfinished), clock.read() + _LEAVE_S)

    def _write_more(self) -> None:
        """What only a live run has: the stages of each move, and each step."""
        moves = [
            {
                "job_id": move.job_id,
                "kind": move.kind,
                "generation": move.generation,
                "asked_s": move.asked_s,
                "stopped_s": move.stopped_s,
                "stepped_s": move.stepped_s,
                "pause_s": move.pause_s,
                "from_workers": move.from_workers,
                "to_workers": move.to_workers,
                "to_nodes": move.to_nodes,
                **{name: move.stages.get(name, math.nan) for name in STAGES},
            }
            for move in self._cluster.moves
        ]
        schema = pa.schema(
            [("job_id", pa.string()), ("kind", pa.string()), ("generation", pa.int32())]
            + [(name, pa.float64()) for name in ("asked_s", "stopped_s", "stepped_s", "pause_s")]
            + [(name, pa.int32()) for name in ("from_workers", "to_workers", "to_nodes")]
            + [(name, pa.float64()) for name in STAGES]
        )
        pq.write_table(pa.Table.from_pylist(moves, schema=schema), self.folder / MOVES)
        names = ("job", "step", "time_s", "duration_s", "loss", "num_workers", "num_nodes")
        columns = list(zip(*self._cluster.steps, strict=True)) or [()] * len(names)
        kinds = (pa.int64(), pa.int64(), pa.float64(), pa.float64(), pa.float64(), pa.int32(), pa.int32())
        arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
        pq.write_table(pa.table(dict(zip(names, arrays, strict=True))), self.folder / STEPS)

    # ---- what happens
    def _on_empty(self) -> None:
        if self._arrivals.is_over:
            self._clock.stop()

    def _on_joined(self, agent: AgentRecord) -> None:
        if not self._pools.joined(agent):
            self._fleet.dismiss(agent.name)
            self._notes.append(f"{agent.name} joined and was not needed")

    def _on_lost(self, agent: AgentRecord) -> None:
        self._cluster.gangs.lose(agent)
        index = self._pools.lost(agent.name)
        if index is not None and index >= 0:
            self._cluster.evict(index)

    def _tick(self) -> None:
        """Now and then: progress, and is anything still to be hoped for?"""
        cluster, now_s = self._cluster, self._clock.read()
        if self._progress:
            self._progress(cluster.num_finished, len(self._scenario.jobs), now_s)
        if cluster.held_gpus or not self._arrivals.is_over or self._pools.are_coming(math.inf):
            self._stalled_s = now_s
        elif now_s - self._stalled_s > self._scenario.starve_after_s:
            self._clock.stop()
        if cluster.draining:
            cluster.release_drained()
        self._clock.call_after(_TICK_S, self._tick)

    def _go_on(self) -> None:
        """Takes over from a controller that is gone: books what it did, and finds out what still runs."""
        heard: list[tuple[AgentRecord, Mapping[str, Any]]] = []
        self._fleet.on_message = lambda agent, message: heard.append((agent, message))
        self._fleet.on_joined = lambda agent: None
        now_s = self._clock.read()
        self._clock.book_at(now_s)
        self._cluster.is_replaying = True
        self._arrivals.submit_due()
        generations = self._cluster.replay(self._history)
        self._cluster.is_replaying = True
        wanted = {self._pools.agent_of(index) for index in self._pools.indexes}
        self._clock.run_until(lambda: wanted <= set(self._fleet.agents), now_s + _RETURN_S)
        finished = {m["job_id"] for _, m in heard if m.get("event") == "finished" and m.get("rank") == 0}
        adopted = self._cluster.take_over(self._fleet.agents, generations, finished)
        self._cluster.is_replaying = False
        self._fleet.on_joined, self._fleet.on_message = self._on_joined, self._cluster.gangs.hear
        for agent, message in heard:
            self._cluster.gangs.hear(agent, message)
        for name in sorted(wanted - set(self._fleet.agents)):
            self._on_lost(AgentRecord(name, 0))
        self._journal.write("taken_over", time_s=now_s, num_adopted=adopted)
        self._notes.append(f"the controller was restarted at {now_s:.1f} s; {adopted} gangs had gone on")
        self._clock.post(partial(self._cluster.request_decision))


STAGES = ("save_s", "teardown_s", "spawn_s", "import_s", "rendezvous_s", "restore_s", "first_step_s")


def resume_point(folder: Path, entries: Sequence[Entry]) -> tuple[float, str]:
    """(second 0 in Unix time, address) of the run that a journal tells of.

    Raises:
        BackendError: it doesn't begin as one.
    """
    if not entries or entries[0]["entry"] != "begin":
        raise BackendError(f"{folder / JOURNAL}: doesn't begin with `begin`; delete the folder to start anew")
    return float(entries[0]["began_s"]), str(entries[0]["address"])
