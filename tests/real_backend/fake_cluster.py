"""A live cluster whose agents are fake: real decisions, real books, and no processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from policies import ClusterView, Controller, JobsView, Nodes, NodeSize, registry
from real_backend.cluster import LiveCluster
from real_backend.fleet import Fleet
from real_backend.gangs import GangOptions
from real_backend.journal import Journal
from real_backend.live_job import LiveJob
from real_backend.task import Task
from real_backend.wall_clock import WallClock
from simulator.cluster import DecideOptions
from simulator.records import Recorder
from simulator.speeds import Speeds
from tests.real_backend.fake_agents import FakeWorld
from workloads import JobTable, Linear


class FakeLive:
    """A cluster of `num_nodes` nodes of `slots` slots, and the jobs of a table, none of them submitted yet."""

    def __init__(self, folder: Path, jobs: JobTable, allocation: Any, num_nodes: int = 2, slots: int = 4) -> None:
        self.clock = WallClock()
        self.fleet = Fleet(self.clock)
        self.world = FakeWorld(self.fleet, num_nodes, slots)
        view_of_jobs, nodes = JobsView(jobs), Nodes(has_demands=False)
        for _ in range(num_nodes):
            nodes.add(NodeSize(slots), "default")
        placement = registry.create("placement", "consolidate", strict=False)
        self.recorder = Recorder(jobs, None)
        self.cluster = LiveCluster(
            self.clock,
            ClusterView(view_of_jobs, nodes, {}),
            Controller(allocation, placement),
            jobs,
            Speeds(Linear(), slots),
            self.recorder,
            DecideOptions(),
            self.fleet,
            GangOptions(str(folder)),
            {"mlp": Task()},
            [10**6] * len(jobs),
            lambda node: f"node{node}",
            Journal(folder / "journal.jsonl"),
        )
        self.jobs = [
            LiveJob(view_of_jobs, seq, spec.submit_s, spec.num_gpus, *spec.size_range, spec.duration_s, spec.duration_s)
            for seq, spec in enumerate(jobs)
        ]

    def submit(self, *rows: int) -> None:
        """Jobs arrive; a decision follows, and all that it leads to."""
        for row in rows:
            self.cluster.submit(self.jobs[row])
        self.cluster.request_decision()
        self.settle()

    def settle(self) -> None:
        """Lets everything happen that is due."""
        self.world.talk(self.cluster.gangs)
        while self.world.said or (self.clock._queue and self.clock._queue[0][0] <= self.clock.read()):
            if not self.world.said:
                event = self.clock._due()
                if event:
                    event()
            self.world.talk(self.cluster.gangs)
