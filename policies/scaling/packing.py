"""Gangs as pods on nodes: what node autoscalers simulate before they order or remove any.

A gang is cut into pods as large as a node: 12 GPUs on nodes of 8 are a pod of 8 and one of 4. What runs is where its
job says it is; where placement is pooled nobody knows, and it is taken to fill nodes one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from policies.job import Job, Placement
from policies.jobs_view import JobsView
from policies.nodes import NodeSize, bits
from policies.view import ClusterView, PoolView, Target

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Pod:
    """A part of a gang that needs one node."""

    seq: int  # of its job
    gpus: int
    cpus: float = 0.0
    memory_gib: float = 0.0
    since_s: float = 0.0  # waits since, or runs since


@dataclass(slots=True)
class Room:
    """A node, there or on its way or imagined, and what is free on it."""

    size: NodeSize
    index: int = -1  # in the view's nodes; -1: not there yet
    pool: str = ""
    gpus: float = 0.0
    cpus: float = 0.0
    memory_gib: float = 0.0
    pods: list[Pod] = field(default_factory=list)

    @classmethod
    def empty(cls, size: NodeSize, index: int = -1, pool: str = "") -> Room:
        return cls(size, index, pool, size.num_gpus, size.num_cpus, size.memory_gib)

    def fits(self, pod: Pod) -> bool:
        return (
            pod.gpus <= self.gpus + _ROUNDING
            and pod.cpus <= self.cpus + _ROUNDING
            and pod.memory_gib <= self.memory_gib + _ROUNDING
        )

    def put(self, pod: Pod) -> None:
        self.gpus -= pod.gpus
        self.cpus -= pod.cpus
        self.memory_gib -= pod.memory_gib
        self.pods.append(pod)

    def copy(self) -> Room:
        return Room(self.size, self.index, self.pool, self.gpus, self.cpus, self.memory_gib, self.pods.copy())

    @property
    def gpus_used_frac(self) -> float:
        """Share of its GPUs that pods hold."""
        return 1.0 - self.gpus / self.size.num_gpus if self.size.num_gpus else 0.0


def pods_of(job: Job, size: NodeSize) -> list[Pod]:
    """The gang that a waiting job asks for, cut into pods of at most a node of this size."""
    per_node = max(size.num_gpus, 1)
    counts = [per_node] * (job.num_gpus // per_node) + [job.num_gpus % per_node] * bool(job.num_gpus % per_node)
    return [_pod(job, gpus) for gpus in counts]


class Waiting:
    """The gangs of the jobs that wait, in submit order; each is cut once, however often it is looked at."""

    def __init__(self) -> None:
        self._size: NodeSize | None = None
        self._gangs: dict[int, list[Pod]] = {}  # by job

    def gangs(self, view: ClusterView, size: NodeSize) -> Iterator[list[Pod]]:
        """Cut into pods of at most a node of this size; as far as one looks, while none comes or goes."""
        if size != self._size or len(self._gangs) > 2 * len(view.pending) + 64:
            self._size, self._gangs = size, {}
        known = self._gangs
        for job in view.pending:
            gang = known.get(job.seq)
            if gang is None or gang[0].since_s != job.since_s:  # it has run in between
                gang = known[job.seq] = pods_of(job, size)
            yield gang


def first_fit(pods: Iterable[Pod], rooms: Sequence[Room]) -> list[Pod]:
    """Puts each pod into the first room that has space; returns those that found none."""
    fitter = Fitter(rooms)
    return [pod for pod in pods if not fitter.place(pod)]


class Left:
    """The pods that found no room, as `first_fit` finds them: those behind the one that fills the rooms unseen, until
    somebody looks, for which nothing may have changed."""

    def __init__(self, pods: Iterable[Pod], rooms: Sequence[Room]) -> None:
        self._pods, self._rest = list[Pod](), iter(pods)
        self.is_whole = False
        fitter = Fitter(rooms)
        for pod in self._rest:
            if not fitter.place(pod):
                self._pods.append(pod)
                if fitter.no_space_for <= 1:  # there is no pod without a GPU
                    return
        self.is_whole = True

    def __deepcopy__(self, memo: object) -> Left:
        copy = Left((), ())
        copy._pods = list(self.pods)
        return copy

    @property
    def pods(self) -> list[Pod]:
        if not self.is_whole:
            self._pods += self._rest
            self.is_whole = True
        return self._pods


class Fitter:
    """Puts pods into rooms one by one, and remembers what found no space: nothing larger needs to be tried again."""

    def __init__(self, rooms: Sequence[Room]) -> None:
        self._rooms = rooms
        self._too_large: list[Pod] = []
        self.no_space_for = math.inf  # GPUs of the smallest pod of GPUs alone that found no space

    def place(self, pod: Pod) -> bool:
        """Puts it into the first room that has space; False if there is none."""
        for other in self._too_large:
            if pod.gpus >= other.gpus and pod.cpus >= other.cpus and pod.memory_gib >= other.memory_gib:
                return False
        for room in self._rooms:
            if room.fits(pod):
                room.put(pod)
                return True
        self._too_large.append(pod)
        if not (pod.cpus or pod.memory_gib):
            self.no_space_for = min(self.no_space_for, pod.gpus)
        return False


def fits_whole(gang: Sequence[Pod], rooms: Sequence[Room]) -> bool:
    """Puts a gang into rooms, each pod into the first with space; if one finds none all stays as it was."""
    placed: list[tuple[Room, Pod]] = []
    for pod in gang:
        room = next((room for room in rooms if room.fits(pod)), None)
        if room is None:
            for other, taken in placed:
                _take(other, taken)
            return False
        room.put(pod)
        placed.append((room, pod))
    return True


def node_size(view: ClusterView, pool: PoolView) -> NodeSize:
    """What one node of a pool offers: as its nodes do, or where it has had none its GPUs alone."""
    for index in range(len(view.nodes.pools) - 1, -1, -1):
        if view.nodes.pools[index] == pool.name:
            return view.nodes.sizes[index]
    return NodeSize(pool.gpus_per_unit)


class Running:
    """The gangs that run on nodes, as pods; each is cut once, as long as it stays."""

    def __init__(self) -> None:
        self._pods: dict[int, tuple[float, Placement, list[tuple[int, Pod]]]] = {}  # by job: (since, nodes, pods)

    def pods(self, job: Job) -> list[tuple[int, Pod]]:
        """(node, pod) of each part of a gang."""
        known = self._pods.get(job.seq)
        if known is None or known[0] != job.since_s or known[1] is not job.nodes:
            pods = [(index, _pod(job, gpus)) for index, gpus in job.nodes]
            known = self._pods[job.seq] = job.since_s, job.nodes, pods
        return known[2]

    def forget(self, jobs: JobsView) -> None:
        """Keeps only what is still there, now and then."""
        if len(self._pods) > 2 * len(jobs) + 64:
            there = {job.seq for job in jobs}
            self._pods = {seq: pods for seq, pods in self._pods.items() if seq in there}


def rooms_of(view: ClusterView, pools: Collection[str], running: Running | None = None) -> list[Room]:
    """The open nodes of these pools with what runs on them, in the order in which they came.

    `running` remembers from one time to the next.
    """
    running = running or Running()
    running.forget(view.jobs)
    nodes = view.nodes
    every = [Room.empty(nodes.sizes[index], index, nodes.pools[index]) for index in bits(nodes.open_mask)]
    by_index = {room.index: room for room in every}
    pooled = []
    for job in view.jobs:
        if job.gpus_held and not job.nodes:
            pooled.append(job)
        if job.nodes:
            for index, pod in running.pods(job):
                if index in by_index:
                    by_index[index].put(pod)
    for job in pooled:
        left = job.gpus_held
        for room in every:
            gpus = min(left, int(room.gpus))
            if gpus > 0:
                room.put(_pod(job, gpus))
                left -= gpus
    return [room for room in every if room.pool in pools]


def state_of(view: ClusterView, pools: Iterable[PoolView]) -> Hashable:
    """What is another value once a job or a node has come, gone or changed: then `rooms_of` and the rest hold anew.

    A job that comes, or whose GPUs change, is the last that did; one that only goes leaves fewer. What has changed at
    this very instant may change once more, by the decision that this is a part of.
    """
    changed_s = view.jobs.last_change_s
    last_s = float(changed_s.max()) if changed_s.size else -math.inf
    counts = tuple((pool.num_ready, pool.num_starting, pool.num_draining, pool.num_without_gpus) for pool in pools)
    return len(view.jobs), last_s, last_s >= view.now_s and view.now_s, view.nodes.open_mask, counts


def coming(target: PoolView, size: NodeSize, waits_for_gpus: bool = True) -> list[Room]:
    """The nodes of a pool that are on their way, empty; with `waits_for_gpus` also those that have joined without."""
    count = target.num_starting + target.num_without_gpus * waits_for_gpus
    return [Room.empty(size, pool=target.name) for _ in range(count)]


def of_pool(indices: Iterable[int], target: Target, view: ClusterView) -> list[int]:
    """Of these nodes those of a pool, in order."""
    return [index for index in indices if view.nodes.pools[index] == target.name]


def _pod(job: Job, gpus: int) -> Pod:
    return Pod(job.seq, gpus, gpus * job.cpus_per_gpu, gpus * job.memory_gib_per_gpu, job.since_s)


def _take(room: Room, pod: Pod) -> None:
    """Undoes the last `put`s."""
    room.gpus += pod.gpus
    room.cpus += pod.cpus
    room.memory_gib += pod.memory_gib
    room.pods.remove(pod)
