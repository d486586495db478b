"""What the engine is measured against: the least code that gives the same answers, without a seam or records."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from heapq import heappop, heappush
from typing import Any

import numpy as np
import simpy

from workloads import JobTable

Placement = tuple[tuple[int, int], ...]


class BareJob:
    """A job object as one would write it."""

    __slots__ = ("duration_s", "finish_s", "nodes", "num_gpus", "start_s", "submit_s")

    def __init__(self, submit_s: float, num_gpus: int, duration_s: float) -> None:
        self.submit_s, self.num_gpus, self.duration_s = submit_s, num_gpus, duration_s
        self.start_s = self.finish_s = 0.0
        self.nodes: Placement = ()


class BestFit:
    """The placement of `consolidate`: the lowest node among those with the fewest free GPUs, else the emptiest."""

    def __init__(self, num_nodes: int, gpus_per_node: int) -> None:
        self.size = gpus_per_node
        self.free = [gpus_per_node] * num_nodes
        self.masks = [0] * gpus_per_node + [(1 << num_nodes) - 1]

    def take(self, num_gpus: int) -> Placement:
        held: Placement = ()
        while num_gpus:
            fit = min(num_gpus, self.size)
            while fit <= self.size and not self.masks[fit]:
                fit += 1
            if fit > self.size:
                fit = self.size
                while not self.masks[fit]:
                    fit -= 1
            mask = self.masks[fit]
            node, gpus = (mask & -mask).bit_length() - 1, min(fit, num_gpus)
            self.put(node, fit - gpus)
            held += ((node, gpus),)
            num_gpus -= gpus
        return held

    def put(self, node: int, free: int) -> None:
        bit = 1 << node
        self.masks[self.free[node]] ^= bit
        self.free[node] = free
        self.masks[free] |= bit


def heapq_fifo(jobs: JobTable, num_nodes: int, gpus_per_node: int, keep: bool = True) -> list[BareJob]:
    """First come, first served on a heap of finish times; the jobs with their times and nodes, as they finish.

    Without `keep` the answers are thrown away: what the loop alone costs.
    """
    nodes, free, pushed = BestFit(num_nodes, gpus_per_node), num_nodes * gpus_per_node, 0
    waiting: deque[BareJob] = deque()
    running: list[tuple[float, int, BareJob]] = []
    done: list[BareJob] = []
    arrivals = zip(jobs.submit_s.tolist(), jobs.num_gpus.tolist(), jobs.duration_s.tolist(), strict=True)
    coming = next(arrivals, None)
    while coming or running:
        if running and (coming is None or running[0][0] <= coming[0]):
            now_s, _, job = heappop(running)
            job.finish_s = now_s
            if keep:
                done.append(job)
            free += job.num_gpus
            for node, gpus in job.nodes:
                nodes.put(node, nodes.free[node] + gpus)
        else:
            job = BareJob(*coming)
            now_s = job.submit_s
            waiting.append(job)
            coming = next(arrivals, None)
        while waiting and waiting[0].num_gpus <= free:
            job = waiting.popleft()
            free -= job.num_gpus
            job.nodes = nodes.take(job.num_gpus)
            job.start_s = now_s
            pushed += 1
            heappush(running, (now_s + job.duration_s, pushed, job))
    return done


def container_fifo(jobs: JobTable, num_gpus: int) -> float:
    """The textbook SimPy model: a process a job and a Container of GPUs, no placement; the sum of finish times."""
    env = simpy.Environment()
    gpus = simpy.Container(env, num_gpus, num_gpus)
    total = 0.0

    def job(num: int, duration_s: float) -> Generator[Any, Any, None]:
        nonlocal total
        yield gpus.get(num)
        yield env.timeout(duration_s)
        yield gpus.put(num)
        total += env.now

    def source() -> Generator[Any, Any, None]:
        last_s = 0.0
        for submit_s, num, duration_s in zip(
            jobs.submit_s.tolist(), jobs.num_gpus.tolist(), jobs.duration_s.tolist(), strict=True
        ):
            yield env.timeout(submit_s - last_s)
            last_s = submit_s
            env.process(job(num, duration_s))

    env.process(source())
    env.run()
    return total


class ProcessPerJob:
    """Preemptive or elastic scheduling with a SimPy process a job, interrupted whenever its GPUs change.

    `decide` gets the active jobs in submit order and the time, and says how many GPUs each is to have.
    """

    def __init__(self, jobs: JobTable, num_gpus: int, pause_s: float = 0.0) -> None:
        self.env = simpy.Environment()
        self.jobs, self.num_gpus, self.pause_s = jobs, num_gpus, pause_s
        self.active: dict[int, ProcessJob] = {}
        self.num_decisions = 0
        self.total_s = 0.0

    def fill(self, num_jobs: int) -> None:
        """Starts with the first jobs of the table all there."""
        for seq in range(num_jobs):
            self._start(seq)
        self.env.run(until=1e-9)
        self.reallocate()

    def go_on(self, first: int, last: int) -> None:
        """Submits jobs `first` to `last` at the gaps that the table has between them, and ends with the last."""
        gaps_s = np.diff(self.jobs.submit_s[first - 1 : last]).tolist()
        self.env.run(until=self.env.process(self._source(first, gaps_s)))

    def _start(self, seq: int) -> None:
        job = ProcessJob(self, seq)
        self.active[seq] = job
        job.process = self.env.process(job.live())

    def _source(self, first: int, gaps_s: list[float]) -> Generator[Any, Any, None]:
        for seq, gap_s in enumerate(gaps_s, first):
            yield self.env.timeout(gap_s)
            self._start(seq)
            yield self.env.timeout(0)  # let it get to where it can be interrupted
            self.reallocate()

    def decide(self, jobs: list[ProcessJob], now_s: float) -> list[int]:
        raise NotImplementedError

    def reallocate(self) -> None:
        self.num_decisions += 1
        jobs = list(self.active.values())
        for job in jobs:
            job.book(self.env.now)
        for job, gpus in zip(jobs, self.decide(jobs, self.env.now), strict=True):
            if gpus != job.gpus:
                job.process.interrupt(gpus)


class ProcessJob:
    """One job of `ProcessPerJob`."""

    __slots__ = ("anchor_s", "asked", "gpus", "high", "left_s", "low", "model", "process", "seq")

    def __init__(self, model: ProcessPerJob, seq: int) -> None:
        table = model.jobs
        self.model, self.seq = model, seq
        self.asked, self.low, self.high = int(table.num_gpus[seq]), int(table.min_gpus[seq]), int(table.max_gpus[seq])
        self.left_s, self.gpus, self.anchor_s = float(table.duration_s[seq]), 0, 0.0
        self.process: Any = None

    def book(self, now_s: float) -> None:
        """Brings the work left up to date."""
        if self.gpus and now_s > self.anchor_s:
            self.left_s -= (now_s - self.anchor_s) * self.gpus / self.asked
            self.anchor_s = now_s

    def live(self) -> Generator[Any, Any, None]:
        env = self.model.env
        while True:
            try:
                if not self.gpus:
                    yield env.event()
                else:
                    yield env.timeout(max(0.0, self.anchor_s - env.now + self.left_s * self.asked / self.gpus))
                break
            except simpy.Interrupt as change:
                self.book(env.now)
                self.anchor_s = env.now + (self.model.pause_s if self.gpus and change.cause else 0.0)
                self.gpus = change.cause
        del self.model.active[self.seq]
        self.model.total_s += env.now
        self.model.reallocate()


class ProcessSrtf(ProcessPerJob):
    """Shortest remaining time first, skipping what does not fit."""

    def decide(self, jobs: list[ProcessJob], now_s: float) -> list[int]:
        free, gpus = self.num_gpus, [0] * len(jobs)
        for i in sorted(range(len(jobs)), key=lambda i: jobs[i].left_s):
            if jobs[i].asked <= free:
                gpus[i] = jobs[i].asked
                free -= jobs[i].asked
        return gpus


class ProcessFairShare(ProcessPerJob):
    """Max-min fair shares in whole GPUs, raising the level until the GPUs are gone."""

    def decide(self, jobs: list[ProcessJob], now_s: float) -> list[int]:
        gpus = [job.low for job in jobs]
        free, level = self.num_gpus - sum(gpus), 0
        while free > 0 and level <= max(job.high for job in jobs):
            for i, job in enumerate(jobs):
                if free > 0 and gpus[i] == level and gpus[i] < job.high:
                    gpus[i] += 1
                    free -= 1
            level += 1
        return gpus


def poisson_jobs(num_jobs: int, num_gpus: int, load: float, *, elastic: bool = False, seed: int = 0) -> JobTable:
    """Poisson arrivals, exponential durations; 1, 2, 4 or 8 GPUs, or elastic 1..4 asking for 2."""
    rng = np.random.default_rng(seed)
    gpus = np.full(num_jobs, 2) if elastic else rng.choice([1, 2, 4, 8], num_jobs, p=[0.6, 0.2, 0.1, 0.1])
    duration_s = rng.exponential(3600.0, num_jobs) + 1.0
    rate = load * num_gpus / (gpus * duration_s).mean()
    columns = {
        "submit_s": rng.exponential(1.0 / rate, num_jobs).cumsum(),
        "num_gpus": gpus,
        "duration_s": duration_s,
        "min_gpus": np.ones(num_jobs) if elastic else gpus,
        "max_gpus": np.full(num_jobs, 4) if elastic else gpus,
    }
    return JobTable.from_columns(columns)
