"""A small cluster in memory, for tests of policies: the same view and plans as a real one, and time on demand.

cluster = FakeCluster({"long": FakeJob(num_gpus=4, held=4), "short": FakeJob(num_gpus=8)}, nodes=[8])
plan = cluster.decide(Fifo(), Pooled())
cluster.apply(plan)
assert cluster.held == {"long": 4, "short": 0}
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from policies.controller import Controller
from policies.job import Job, Placement
from policies.jobs_view import JobsView
from policies.metrics_view import METRICS, SERVICE_METRICS
from policies.nodes import Nodes, NodeSize
from policies.plan import Plan
from policies.protocols import AllocationPolicy, PlacementPolicy
from policies.view import ClusterView, PoolView, ServiceView


@dataclass(frozen=True, kw_only=True)
class FakeJob:
    """A job as a test states it; `held` and `nodes` are what it holds at the start."""

    num_gpus: int = 1
    min_gpus: int | None = None  # None: num_gpus
    max_gpus: int | None = None  # None: num_gpus
    moldable: bool = False
    held: int = 0
    nodes: Placement = ()
    submit_s: float = 0.0
    remaining_s: float = 100.0  # estimated, on num_gpus GPUs
    executed_s: float = 0.0
    service_gpu_s: float | None = None  # None: executed_s on num_gpus
    last_change_s: float | None = None  # None: now, or for a job that never ran submit_s
    priority: int = 0
    weight: float = 1.0
    deadline_s: float = math.inf
    tenant: str = ""
    model: str = ""
    cpus_per_gpu: float = 0.0
    memory_gib_per_gpu: float = 0.0
    service: str = ""  # of a replica


class FakeReplica(Job):
    """A replica of a service."""

    __slots__ = ("_service",)
    is_replica = True
    _service: str

    @property
    def service(self) -> str:
        return self._service

    @classmethod
    def of(cls, service: str, *values: Any) -> FakeReplica:
        replica = cls(*values)
        replica._service = service
        return replica


@dataclass
class _Columns:
    """`StaticColumns`, from the jobs of a test."""

    job_id: list[str] = field(default_factory=list)
    priority: list[int] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    deadline_s: list[float] = field(default_factory=list)
    tenant: list[str] = field(default_factory=list)
    model: list[str] = field(default_factory=list)
    cpus_per_gpu: list[float] = field(default_factory=list)
    memory_gib_per_gpu: list[float] = field(default_factory=list)

    def append(self, name: str, job: FakeJob) -> None:
        self.job_id.append(name)
        for column in ("priority", "weight", "deadline_s", "tenant", "model", "cpus_per_gpu", "memory_gib_per_gpu"):
            getattr(self, column).append(getattr(job, column))


class FakeCluster:
    """`view` and `apply` over a handful of jobs. Speed is linear in GPUs and moves cost nothing.

    Args:
        jobs: by name, in submit order.
        nodes: GPUs of each node, or sizes with CPU and memory.
        draining: numbers of the nodes that take no new gangs.
        services: whose replicas are among the jobs.
    """

    def __init__(
        self,
        jobs: Mapping[str, FakeJob],
        nodes: Sequence[int | NodeSize] = (8,),
        *,
        draining: Collection[int] = (),
        now_s: float = 0.0,
        max_nodes: int | None = None,
        has_estimates: bool = True,
        services: Sequence[ServiceView] = (),
    ) -> None:
        sizes = [NodeSize(size) if isinstance(size, int) else size for size in nodes]
        self._static = _Columns()
        self._specs: dict[int, FakeJob] = {}
        self.jobs: dict[str, Job] = {}
        count = len(sizes) - len(draining)
        pool = PoolView(
            name="default", gpus_per_unit=max((size.num_gpus for size in sizes), default=8), min_units=0,
            max_units=max_nodes or len(sizes),
        )  # fmt: skip
        pool.num_ready, pool.num_draining = count, len(draining)
        self._view = ClusterView(
            JobsView(self._static, has_estimates), Nodes(), {"default": pool}, {each.name: each for each in services}
        )
        for size in sizes:
            self._view.nodes.add(size, "default")
        self.now_s = now_s
        for name, job in jobs.items():
            self.submit(name, job)
        for node in draining:
            self._view.nodes.close(node)

    @property
    def held(self) -> dict[str, int]:
        """GPUs by job."""
        return {name: job.gpus_held for name, job in self.jobs.items()}

    @property
    def where(self) -> dict[str, Placement]:
        """Nodes by job, of those that hold any."""
        return {name: job.nodes for name, job in self.jobs.items() if job.gpus_held}

    def view(self) -> ClusterView:
        view = self._view
        view.now_s = view.jobs.now_s = self.now_s
        held = sum(job.gpus_held for job in self.jobs.values())
        view.free_gpus = view.nodes.capacity_gpus + view.nodes.closed_held_gpus - held
        return view

    def decide(self, allocation: AllocationPolicy, placement: PlacementPolicy) -> Plan:
        """One decision of a fresh controller."""
        return Controller(allocation, placement).decide(self.view())

    def step(self, allocation: AllocationPolicy, placement: PlacementPolicy) -> dict[str, int]:
        """Decides and applies; what changed, as GPUs by job."""
        plan = self.decide(allocation, placement)
        self.apply(plan)
        return {job.job_id: gang[0] for job, gang in plan.allocations.items()}

    def apply(self, plan: Plan) -> None:
        """Brings the cluster to the plan's state, without asking whether it should (see `testing.violations`)."""
        for job, (gpus, nodes) in plan.allocations.items():
            if (gpus, nodes) != (job.gpus_held, job.nodes):
                self._change(job, gpus, nodes)

    def submit(self, name: str, spec: FakeJob) -> Job:
        """A job arrives, or is put there as it stands."""
        view, seq = self._view, len(self._static.job_id)
        self._static.append(name, spec)
        asked = spec.num_gpus
        low = asked if spec.min_gpus is None else spec.min_gpus
        high = asked if spec.max_gpus is None else spec.max_gpus
        values = (view.jobs, seq, spec.submit_s, asked, low, high, math.inf if spec.service else spec.remaining_s)
        job = FakeReplica.of(spec.service, *values) if spec.service else Job(*values)
        job.executed_at_since_s = spec.executed_s
        job.service_at_since_gpu_s = spec.executed_s * asked if spec.service_gpu_s is None else spec.service_gpu_s
        ran = bool(spec.executed_s or spec.held)
        job.since_s = job.anchor_s = self.now_s if ran else spec.submit_s
        if spec.last_change_s is not None:
            job.since_s = job.anchor_s = spec.last_change_s
        job.gpus_held, job.nodes, job.rate = spec.held, spec.nodes, spec.held / asked
        self.jobs[name], self._specs[seq] = job, spec
        view.jobs.add(job)
        if job.gpus_held:
            view.nodes.hold(job, job.nodes)
            self._bound(job)
            view.jobs.update(job)
        else:
            view.pending.add(job)
        return job

    def finish(self, name: str) -> None:
        """A job is done and goes."""
        job, view = self.jobs.pop(name), self._view
        if job.gpus_held:
            view.nodes.hold(job, job.nodes, -1)
        else:
            view.pending.remove(job)
        view.jobs.drop(job)

    def advance(self, seconds: float) -> None:
        """Time passes; jobs whose estimated work is done finish."""
        self.now_s += seconds
        self.view()
        for name in [name for name, job in self.jobs.items() if job.gpus_held and self._left_s(job) <= 1e-9]:
            self.finish(name)

    def drain(self, node: int) -> None:
        """A node takes no new gangs from now on."""
        self._view.nodes.close(node)
        pool = self._view.pools["default"]
        pool.num_ready -= 1
        pool.num_draining += 1

    def measure(self, time_s: float, target: str = "default", **values: float) -> None:
        """One sample of monitoring; metrics that aren't named are 0."""
        names = SERVICE_METRICS if target in self._view.services else METRICS
        self._view.metrics.add(target, time_s, dict.fromkeys(names, 0.0) | values)

    def _left_s(self, job: Job) -> float:
        return job.left_at_anchor_s - job.rate * (self.now_s - job.anchor_s)

    def _change(self, job: Job, gpus: int, nodes: Placement) -> None:
        view = self.view()
        service, executed, left_s = job.attained_service_gpu_s, job.executed_s, self._left_s(job)
        had = job.gpus_held
        view.nodes.hold(job, job.nodes, -1)
        view.nodes.hold(job, nodes)
        job.service_at_since_gpu_s, job.executed_at_since_s, job.left_at_anchor_s = service, executed, left_s
        job.since_s = job.anchor_s = self.now_s
        job.gpus_held, job.nodes, job.rate = gpus, nodes, gpus / job.num_gpus
        if had and not gpus:
            job.num_preemptions += 1
            view.pending.add(job)
        elif gpus and not had:
            view.pending.remove(job)
        self._bound(job)
        view.jobs.update(job)

    def _bound(self, job: Job) -> None:
        """A moldable job can't change its size while it runs."""
        spec = self._specs[job.seq]
        if spec.moldable:
            low = spec.num_gpus if spec.min_gpus is None else spec.min_gpus
            high = spec.num_gpus if spec.max_gpus is None else spec.max_gpus
            job.min_gpus, job.max_gpus = job.gpus_held or low, job.gpus_held or high


def random_cluster(seed: int, placement: PlacementPolicy) -> FakeCluster:
    """A cluster with some of everything, its running gangs placed by `placement`; the larger the seed the larger.

    Rigid, moldable and malleable jobs, and replicas of a service, running, waiting or preempted, with priorities,
    weights and ties; nodes of several sizes, some draining; in a third of the clusters limits of CPU and memory.
    """
    rng = np.random.default_rng(seed)
    limited = bool(rng.random() < 1 / 3)
    num_nodes, num_jobs = int(rng.integers(1, 3 + seed % 7)), int(rng.integers(1, 4 + 2 * (seed % 20)))
    sizes: list[NodeSize] = []
    for num_gpus in rng.choice([1, 2, 4, 8], num_nodes) if rng.random() < 0.5 else [8] * num_nodes:
        limits = (float(rng.integers(8, 64)), float(rng.integers(16, 256))) if limited else (math.inf, math.inf)
        sizes.append(NodeSize(int(num_gpus), *limits))
    jobs = {f"j{i}": _random_job(rng, limited) for i in range(num_jobs)}
    service = ServiceView(name="chat", gpus_per_unit=1, min_units=0, max_units=9)
    service.num_ready = sum(bool(job.service) for job in jobs.values())
    cluster = FakeCluster(
        jobs, sizes, now_s=1000.0, max_nodes=num_nodes + int(rng.integers(0, 5)), services=[service]
    )  # fmt: skip
    cluster.apply(Controller(_Random(rng, float(rng.random())), placement).decide(cluster.view()))
    for job in cluster.jobs.values():
        if job.gpus_held:
            job.since_s = job.anchor_s = float(rng.integers(0, 20) * 50)
            cluster.view().jobs.update(job)
    for node in range(num_nodes):
        if rng.random() < 0.15:
            cluster.drain(node)
    for i in range(int(rng.integers(0, 5))):
        values: dict[str, Any] = {name: float(rng.random() * 2) for name in METRICS}
        cluster.measure(1000.0 - 60.0 * (4 - i), **values)
        load = {name: float(rng.random() * 2) for name in SERVICE_METRICS}
        cluster.measure(1000.0 - 60.0 * (4 - i), "chat", **load)
    return cluster


def _random_job(rng: np.random.Generator, limited: bool) -> FakeJob:
    num_gpus = int(rng.choice([1, 1, 2, 3, 4, 8, 12]))
    kind = rng.choice(["rigid", "moldable", "malleable", "replica"], p=[0.3, 0.3, 0.3, 0.1])
    low = num_gpus if kind in ("rigid", "replica") else int(rng.integers(1, num_gpus + 1))
    high = num_gpus if kind in ("rigid", "replica") else num_gpus + int(rng.integers(0, 9))
    has_run = rng.random() < 0.6
    return FakeJob(
        num_gpus=num_gpus,
        min_gpus=low,
        max_gpus=high,
        moldable=bool(kind == "moldable"),
        service="chat" if kind == "replica" else "",
        submit_s=0.0,
        remaining_s=float(rng.integers(1, 50) * 20),
        executed_s=float(rng.integers(1, 40) * 100) if has_run else 0.0,
        last_change_s=float(rng.integers(0, 20) * 50) if has_run else None,
        priority=int(rng.integers(0, 4)),
        weight=float(rng.choice([1.0, 1.0, 0.5, 3.0])),
        cpus_per_gpu=float(rng.choice([0, 1, 4, 9])) if limited else 0.0,
        memory_gib_per_gpu=float(rng.choice([0, 8, 33.3])) if limited else 0.0,
    )


@dataclass
class _Random:
    """Starts jobs at random sizes until a share of the cluster is full."""

    rng: np.random.Generator
    fill_frac: float

    def allocate(self, view: ClusterView, draft: Any) -> None:
        for row in self.rng.permutation(len(view.jobs)).tolist():
            job = view.jobs[row]
            if draft.free_gpus > (1 - self.fill_frac) * view.capacity_gpus:
                draft.give(job, int(self.rng.integers(job.min_gpus, job.max_gpus + 1)))
