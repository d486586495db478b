"""What a decision comes to: a draft that policies write into, and the plan that it becomes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from policies.errors import PlanError
from policies.job import Job, Placement
from policies.nodes import Space

if TYPE_CHECKING:
    from policies.protocols import PlacementPolicy
    from policies.view import ClusterView


_NONE: Mapping[Any, Any] = MappingProxyType({})  # one for all: most decisions name no nodes, replicas, notices
Gang = tuple[int, Placement]  # what one job is to hold: (GPUs, on which nodes)


@dataclass(slots=True)
class Plan:
    """Sparse desired state: what isn't named stays as it is. Applying a plan twice changes nothing more."""

    allocations: Mapping[Job, Gang] = field(default_factory=dict)  # 0 GPUs: preempt
    nodes: Mapping[str, int] = field(default_factory=dict)  # pool -> wanted number of nodes
    wake_at_s: float = math.inf  # decide again then, even if nothing happens
    replicas: Mapping[str, int] = field(default_factory=dict)  # service -> wanted number of replicas
    notices: Mapping[Job, float] = field(default_factory=dict)  # job -> when GPUs will be taken from it: it may save
    drains: Mapping[str, Sequence[int]] = field(default_factory=dict)  # pool -> nodes that go before any others

    def __bool__(self) -> bool:
        return bool(self.allocations or self.nodes or self.replicas or self.notices)


class Draft:
    """One decision in the making. Policies give GPUs to jobs; placement is asked at once, so that the answer is sure.

    A fresh draft says "everything stays as it is". Nothing real changes until the cluster applies the plan.
    """

    __slots__ = (
        "_gangs",
        "_is_own",
        "_is_sorted",
        "_last",
        "_notices",
        "_placement",
        "_revised",
        "_space",
        "_view",
        "free_gpus",
        "wake_at_s",
    )

    def __init__(self, view: ClusterView, placement: PlacementPolicy) -> None:
        self._view, self._placement = view, placement
        self._space, self._is_own = view.nodes.space, False
        self._revised = self._is_sorted = False  # some job given to twice; shrinking gangs known to be first
        self._last: tuple[Job, Placement] | None = None  # placed, and not yet taken from the space
        self._gangs: dict[Job, Gang] = {}
        self._notices: Mapping[Job, float] = _NONE
        self.free_gpus = view.free_gpus  # tentatively; below 0 where draining nodes still run jobs
        self.wake_at_s = math.inf

    @property
    def fits_by_count(self) -> bool:
        """True if a gang can be placed whenever enough GPUs are free, wherever they are."""
        return self._placement.fits_by_count and not self._view.nodes.has_limits

    @property
    def space(self) -> Space:
        """The free GPUs after all that this draft has given; to look at, or to copy and try things on."""
        return self._writable() if self._last else self._space

    def gpus(self, job: Job) -> int:
        """What the job has in this draft."""
        gang = self._gangs.get(job)
        return job.gpus_held if gang is None else gang[0]

    def nodes(self, job: Job) -> Placement:
        """Where the job is in this draft."""
        gang = self._gangs.get(job)
        return job.nodes if gang is None else gang[1]

    def changes(self) -> Iterator[tuple[Job, int]]:
        """What this draft has given so far: (job, its GPUs), in the order of giving."""
        return ((job, gang[0]) for job, gang in self._gangs.items())

    def gpus_column(self) -> np.ndarray:
        """What every active job has in this draft; shape (J,), aligned with `view.jobs`."""
        gpus = self._view.jobs.gpus_held.copy()
        for job, gang in self._gangs.items():
            gpus[self._view.jobs.row(job)] = gang[0]
        return gpus

    def give(self, job: Job, num_gpus: int) -> bool:
        """Sets what a job has: more, fewer, or 0 to preempt it. False, and nothing changes, if it can't be placed.

        Raises:
            PlanError: a size that the job can't run at.
        """
        if num_gpus and not job.min_gpus <= num_gpus <= job.max_gpus:
            raise PlanError(
                f"job {job.job_id}: asked to run on {num_gpus} GPUs, but it can run on "
                f"{job.min_gpus}..{job.max_gpus} only"
            )
        gang = self._gangs.get(job)
        if gang is None:
            held, nodes = job.gpus_held, job.nodes
        else:
            held, nodes = gang
            self._revised = True
        more = num_gpus - held
        if more > 0:
            if more > self.free_gpus:
                return False
            if held and not job.gpus_held:
                return self._start_larger(job, num_gpus)
            added = self._place(job, more)
            if added is None:
                return False
            self.free_gpus -= more
            nodes = added if not nodes else merged(nodes, added)
        elif more < 0:
            nodes, removed = ((), nodes) if not num_gpus else split(nodes, -more)
            self._writable().hold(job, removed, -1)
            self.free_gpus -= more if not self._view.nodes.closed else self._given_back(removed, more)
        else:
            return True
        self._gangs[job] = (num_gpus, nodes)
        self._is_sorted = False
        return True

    def _start_larger(self, job: Job, num_gpus: int) -> bool:
        """Grows a job that this draft starts: its gang is placed as a whole, as if that had been asked at once."""
        held, nodes = self._gangs[job]
        space = self._writable()
        space.hold(job, nodes, -1)
        placed = self._place(job, num_gpus)
        if placed is None:
            space.hold(job, nodes)
            return False
        self.free_gpus -= num_gpus - held
        self._gangs[job] = (num_gpus, placed)
        return True

    def keep(self, job: Job) -> bool:
        """Gives a job that this draft preempted exactly what it holds; False if that has been given away."""
        if job not in self._gangs or not job.gpus_held:
            return True
        if self._gangs[job][0]:
            raise PlanError(f"job {job.job_id}: keep() is for jobs that this draft has preempted")
        space, nodes = self._writable(), self._view.nodes
        more = nodes.open_gpus(job.nodes) if job.nodes else job.gpus_held
        if more and more > self.free_gpus - min(0, self._view.free_gpus):
            return False
        if any(space.room(job, node) < gpus for node, gpus in job.nodes if nodes.open_gpus(((node, gpus),))):
            return False  # on draining nodes nobody else can have taken them
        space.hold(job, job.nodes)
        self.free_gpus -= more
        del self._gangs[job]
        return True

    def give_all(self, num_gpus: np.ndarray) -> None:
        """Sets what every active job has; shape (J,), aligned with the columns of `view.jobs`.

        Raises:
            PlanError: a size that a job can't run at, or more GPUs than there are.
        """
        jobs = self._view.jobs
        held = jobs.gpus_held
        if num_gpus.shape != held.shape:
            raise PlanError(f"give_all takes a column of {held.size} jobs, got shape {num_gpus.shape}")
        rows = (num_gpus != held).nonzero()[0]
        if not rows.size:
            return
        changes = [(wanted - had, jobs[row], wanted) for row, wanted, had in
                   zip(rows.tolist(), num_gpus[rows].tolist(), held[rows].tolist(), strict=True)]  # fmt: skip
        if len(changes) > 1:
            changes.sort(key=_more)  # shrink before growing; stable: else in submit order
        for _, job, wanted in changes:
            if not self.give(job, wanted):
                raise PlanError(
                    f"job {job.job_id}: {wanted} GPUs asked, {max(0, self.free_gpus)} free of "
                    f"{self._view.capacity_gpus} in this plan"
                )
        self._is_sorted = not self._revised and len(self._gangs) == len(changes)

    def notify(self, job: Job, at_s: float) -> None:
        """Tells a running job that a later decision, at `at_s`, will take GPUs from it: it saves its work until then.

        Nothing else changes now, and nothing happens by itself then: the policy is woken, and gives it less.
        """
        self._notices = {**self._notices, job: at_s}
        self.wake_at(at_s)

    def wake_at(self, time_s: float) -> None:
        """Asks for a decision at a time, whether or not anything happens; the earliest wish counts."""
        self.wake_at_s = min(self.wake_at_s, time_s)

    def _given_back(self, removed: Placement, more: int) -> int:
        """What giving these back takes from the free GPUs: nothing where they are on draining nodes."""
        return -self._view.nodes.open_gpus(removed) if removed else more

    def _place(self, job: Job, num_gpus: int) -> Placement | None:
        """Asks for a place in what is free after all that this draft has given; the answer is taken later."""
        placed = self._placement.place(job, num_gpus, self._writable() if self._last else self._space)
        if placed is not None:
            if placed and (len(placed) > 1 or placed[0][1] != num_gpus):
                check_placement(job, num_gpus, placed)
            self._last = job, placed
        return placed

    def _writable(self) -> Space:
        """A copy of the space with all that has been placed so far; most decisions place once and need none."""
        if not self._is_own:
            self._space, self._is_own = self._space.copy(), True
        if self._last:
            self._space.hold(*self._last)
            self._last = None
        return self._space

    def plan(
        self,
        nodes: Mapping[str, int] | None = None,
        replicas: Mapping[str, int] | None = None,
        drains: Mapping[str, Sequence[int]] | None = None,
    ) -> Plan:
        """The draft as a plan: changes only, shrinking gangs first."""
        gangs = self._gangs
        if not gangs and not nodes and not replicas and self.wake_at_s == math.inf:
            return NOTHING
        if self._revised:  # some job may be back at what it holds
            gangs = {job: gang for job, gang in gangs.items() if gang != (job.gpus_held, job.nodes)}
        if len(gangs) > 1 and not self._is_sorted:
            gangs = dict(sorted(gangs.items(), key=_growth))
        return Plan(gangs, nodes or _NONE, self.wake_at_s, replicas or _NONE, self._notices, drains or _NONE)


NOTHING = Plan()


def _growth(change: tuple[Job, Gang]) -> int:
    return change[1][0] - change[0].gpus_held


def _more(change: tuple[int, Job, int]) -> int:
    return change[0]


def check_placement(job: Job, num_gpus: int, placement: Placement) -> None:
    """Raises PlanError unless a placement gives each node once, and in all what was asked for."""
    nodes = {node for node, gpus in placement if gpus >= 1}
    if len(nodes) != len(placement) or sum(gpus for _, gpus in placement) != num_gpus:
        raise PlanError(f"job {job.job_id}: {num_gpus} GPUs asked, but placed as {placement} (node, GPUs)")


def merged(held: Placement, added: Placement) -> Placement:
    """Two placements of one job as one, nodes in the order in which they came."""
    if len(held) == len(added) == 1 and held[0][0] == added[0][0]:
        return ((held[0][0], held[0][1] + added[0][1]),)
    gpus = dict(held)
    for node, count in added:
        gpus[node] = gpus.get(node, 0) + count
    return tuple(gpus.items())


def split(held: Placement, num_gpus: int) -> tuple[Placement, Placement]:
    """(kept, given back): gives back from the nodes with the fewest of the job's GPUs first, later ones on ties."""
    if not held:
        return held, held
    if len(held) == 1:
        node, count = held[0]
        return ((node, count - num_gpus),), ((node, num_gpus),)
    kept, back = dict(held), []
    for _, (node, count) in sorted(enumerate(held), key=lambda part: (part[1][1], -part[0])):
        use = min(count, num_gpus)
        num_gpus -= use
        if use:
            back.append((node, use))
            if use == count:
                del kept[node]
            else:
                kept[node] = count - use
    return tuple(kept.items()), tuple(back)
