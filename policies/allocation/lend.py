"""Services first; training borrows what they leave, and gives it back at notice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from policies.allocation.fair_share import FairShare
from policies.errors import PolicyError
from policies.job import Job
from policies.nodes import bits
from policies.plan import Draft
from policies.registry import register
from policies.view import ClusterView


class _Claim(NamedTuple):
    """GPUs that a job is to give up."""

    at_s: float
    left: int  # to the job, from then on
    replica: int  # `seq` of the replica that they are for; -1: whichever


@register("allocation", "lend")
@dataclass
class Lend:
    """Replicas of services take precedence, by priority and then in the order in which they were asked for; training
    shares the rest, max-min fair and elastic (`fair_share`).

    A replica that finds no room claims GPUs of training: those above jobs' minima first (from the job that has the most
    of them), then whole jobs (of the lowest priority, the latest first). Jobs are told `notice_s` beforehand, so that
    they can save their work, and go on until then. Claims are for numbers of GPUs, wherever they are: where a replica
    has to lie on one node, more may have to be claimed than it has.

    Args:
        guaranteed_gpus: that training keeps, if it wants them: services get none of these.
        headroom_gpus: kept free of training, so that so many GPUs of replicas can start without notice.
        notice_s: 0 takes GPUs at once.
    """

    guaranteed_gpus: int = 0
    headroom_gpus: int = 0
    notice_s: float = 60.0
    _claims: dict[int, _Claim] = field(default_factory=dict, init=False, repr=False, compare=False)
    _fair: FairShare = field(default_factory=FairShare, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("guaranteed_gpus", "headroom_gpus"):
            if getattr(self, name) < 0:
                raise PolicyError(f"lend: {name}={getattr(self, name)}: must be 0 or more")
        if not 0 <= self.notice_s < math.inf:
            raise PolicyError(f"lend: notice_s={self.notice_s}: must be a number of seconds, 0 or more")

    def allocate(self, view: ClusterView, draft: Draft) -> None:
        jobs = view.jobs
        if jobs.is_empty:
            return
        is_replica = jobs.is_replica.astype(bool)
        kept = min(self.guaranteed_gpus, int(jobs.max_gpus[~is_replica].sum()))
        room = view.capacity_gpus - kept - int(jobs.gpus_held[is_replica].sum())
        waiting = list(self._admitted(view, room))
        missing = self._serve(waiting, draft, self._due(view))
        short = max(0, self.headroom_gpus - max(0, draft.free_gpus)) if self.headroom_gpus else 0
        if missing or short:
            self._claim(view, draft, missing, short, kept)
            if not self.notice_s:
                self._serve(missing, draft, iter(()))
        else:
            self._claims.clear()
        self._train(view, draft, is_replica)

    # ---- services
    @staticmethod
    def _admitted(view: ClusterView, room: int) -> Iterator[Job]:
        """Replicas without GPUs that may have some, in the order in which they are to."""
        waiting = [job for job in view.pending if job.is_replica]
        for job in sorted(waiting, key=lambda job: (-job.priority, job.seq)):
            if job.num_gpus <= room:  # the others would take what is guaranteed to training
                room -= job.num_gpus
                yield job

    def _due(self, view: ClusterView) -> Iterator[tuple[Job, int]]:
        """Claims whose time has come: (job, what is left to it); each is done with once it is given out."""
        for job, claim in self._open_claims(view):
            if claim.at_s <= view.now_s:
                del self._claims[job.seq]
                if claim.left < job.gpus_held:
                    yield job, claim.left

    def _open_claims(self, view: ClusterView) -> list[tuple[Job, _Claim]]:
        """Claims on jobs that still run; others are forgotten."""
        seqs = view.jobs.seq
        found = []
        for seq, claim in list(self._claims.items()):
            row = int(seqs.searchsorted(seq))
            if row < seqs.size and seqs[row] == seq and view.jobs[row].gpus_held:
                found.append((view.jobs[row], claim))
            else:
                del self._claims[seq]
        return found

    @staticmethod
    def _serve(waiting: Iterable[Job], draft: Draft, due: Iterator[tuple[Job, int]]) -> list[Job]:
        """Starts replicas, carrying out claims as far as they need them; returns those that found no place."""
        missing = []
        for replica in waiting:
            while not draft.give(replica, replica.num_gpus):
                claim = next(due, None)
                if claim is None:
                    missing.append(replica)
                    break
                draft.give(*claim)
        return missing

    # ---- reclaim
    def _claim(self, view: ClusterView, draft: Draft, missing: Sequence[Job], short: int, kept: int) -> None:
        """Claims what replicas, and the headroom, miss beyond what has been claimed already."""
        claims = self._open_claims(view)
        left = {job: draft.gpus(job) for job in view.jobs if not job.is_replica and job.gpus_held and draft.gpus(job)}
        left |= {job: claim.left for job, claim in claims}
        most = sum(left.values()) - kept
        if draft.fits_by_count:
            short += sum(replica.num_gpus for replica in missing) - max(0, draft.free_gpus)
            short -= sum(draft.gpus(job) - claim.left for job, claim in claims)
            self._take(view, draft, fewest_victims(left, min(short, most)), -1)
            return
        served = {claim.replica for _, claim in claims}
        for replica in missing:
            if replica.seq not in served:
                victims = victims_by_node(view, left, replica.num_gpus)
                most -= sum(left[job] - rest for job, rest in victims)
                if most < 0:
                    return
                left |= dict(victims)
                self._take(view, draft, victims, replica.seq)

    def _take(self, view: ClusterView, draft: Draft, victims: Iterable[tuple[Job, int]], replica: int) -> None:
        for job, rest in victims:
            if self.notice_s:
                self._claims[job.seq] = _Claim(view.now_s + self.notice_s, rest, replica)
                draft.notify(job, view.now_s + self.notice_s)
            else:
                draft.give(job, rest)

    # ---- training
    def _train(self, view: ClusterView, draft: Draft, is_replica: np.ndarray) -> None:
        """Fair shares of what replicas leave; jobs under a claim don't grow."""
        jobs = view.jobs
        given = draft.gpus_column()
        low, high, _ = self._fair.bounds(view)
        low, high = low.copy(), high.copy()
        cut = given < jobs.gpus_held  # by a claim carried out now
        for job, _ in self._open_claims(view):
            cut[jobs.row(job)] = True
        high[cut] = np.minimum(high[cut], given[cut])
        low[cut] = np.minimum(low[cut], high[cut])
        missing = sum(job.num_gpus for job in view.pending if job.is_replica and not draft.gpus(job))
        mine = ~is_replica
        in_use, least = int(given[mine].sum()), int(low[mine & (given > 0)].sum())
        most = max(in_use + draft.free_gpus, least)
        # who runs is not made to shrink for replicas without notice
        left = min(most, max(most - max(missing, self.headroom_gpus), in_use))
        weight = None if jobs.weigh_alike else jobs.weight[mine]
        given[mine] = self._fair.shares(jobs.gpus_held[mine], weight, low[mine], high[mine], left)
        self._fair.give(view, draft, given)


def fewest_victims(left: Mapping[Job, int], wanted: int) -> list[tuple[Job, int]]:
    """(job, what it is to have) such that `wanted` GPUs come free, or a few more where gangs go whole.

    GPUs above jobs' minima go first, from whom has the most of them; then whole jobs, of the lowest priority, the
    latest first.
    """
    after = dict(left)
    spare = {job: gpus - job.min_gpus for job, gpus in left.items() if gpus > job.min_gpus}
    while wanted > 0 and spare:
        job = max(spare, key=lambda job: (spare[job], job.seq))
        second = max((gpus for other, gpus in spare.items() if other is not job), default=0)
        take = min(wanted, max(1, spare[job] - second), spare[job])
        after[job] -= take
        wanted -= take
        spare[job] -= take
        if not spare[job]:
            del spare[job]
    for job in sorted(after, key=_last):
        if wanted <= 0:
            break
        wanted -= after[job]
        after[job] = 0
    return [(job, gpus) for job, gpus in after.items() if gpus < left[job]]


def victims_by_node(view: ClusterView, left: Mapping[Job, int], wanted: int) -> list[tuple[Job, int]]:
    """The same where all that comes free is to lie on one node, or on as few as have so many GPUs.

    Of the nodes on which that can be had, the one that loses the least training. A job that lies on that node alone
    may shrink; others go whole, since which of their GPUs they would give back is not for a policy to say.
    """
    nodes = view.nodes
    on: dict[int, list[tuple[Job, int]]] = {node: [] for node in bits(nodes.open_mask)}
    for job, gpus in left.items():
        if gpus == job.gpus_held:  # else under a claim already
            for node, count in job.nodes:
                if node in on:
                    on[node].append((job, count))
    most = {node: nodes.free[node] + sum(count for _, count in jobs) for node, jobs in on.items()}
    enough = [node for node in on if most[node] >= wanted]
    chosen = [min(enough, key=lambda node: (-nodes.free[node], node))] if enough else sorted(on, key=lambda n: -most[n])
    if sum(most[node] for node in chosen) < wanted:
        return []
    after: dict[Job, int] = {}
    for node in chosen:
        wanted -= nodes.free[node]
        for job, count in sorted(on[node], key=lambda part: _last(part[0])):
            if wanted <= 0:
                break
            if job not in after:
                shrinks = len(job.nodes) == 1 and job.gpus_held - wanted >= job.min_gpus
                after[job] = job.gpus_held - wanted if shrinks else 0
                wanted -= wanted if shrinks else count
            else:
                wanted -= count
        if wanted <= 0:
            break
    return list(after.items())


def _last(job: Job) -> tuple[int, int]:
    """Who goes first."""
    return job.priority, -job.seq
