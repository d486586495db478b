"""Services first; training borrows what they leave, and gives it back at notice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from policies.allocation.fair_share import FairShare
from policies.allocation.victims import ByNode, Claim, Victims, fewest_victims
from policies.errors import PolicyError
from policies.job import Job
from policies.plan import Draft
from policies.registry import register
from policies.serving import gpus_on_closed
from policies.view import ClusterView


@register("allocation", "lend")
@dataclass
class Lend:
    """Replicas of services take precedence, by priority and then in the order in which they were asked for; training
    shares the rest, max-min fair and elastic (`fair_share`).

    A replica that finds no room claims GPUs of training: those above jobs' minima first (from the job that has the most
    of them), then whole jobs (of the lowest priority, the latest first). Where it has to lie on one node, or nodes have
    limits of CPU and memory, they are claimed on the node where training loses the least. Jobs are told `notice_s`
    beforehand, so that they can save their work, and go on until then. What is needed no longer by then stays.

    Args:
        guaranteed_gpus: that training keeps, if it wants them: services get none of these.
        headroom_gpus: kept free of training, so that so many GPUs of replicas can start without notice.
        notice_s: 0 takes GPUs at once.
    """

    guaranteed_gpus: int = 0
    headroom_gpus: int = 0
    notice_s: float = 60.0
    _claims: list[Claim] = field(default_factory=list, init=False, repr=False, compare=False)  # oldest first
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
        room = view.capacity_gpus - kept - _held_by_replicas(view, is_replica)
        waiting = list(_admitted(view, room))
        headroom = max(0, min(self.headroom_gpus, room - sum(replica.num_gpus for replica in waiting)))
        due = self._due(view)
        missing = _serve(waiting, draft, due)
        while due and draft.free_gpus < headroom:
            _carry_out(due.pop(0), draft)
        if missing or draft.free_gpus < headroom:
            self._claim(view, draft, missing, headroom, kept)
            if not self.notice_s:
                missing = _serve(missing, draft, [])
        else:
            self._claims.clear()
        for each in self._claims:
            draft.wake_at(each.at_s)
        shared = {"", jobs.training_pool}  # pools of replicas that may be where training is
        rivals = [replica.num_gpus for replica in missing if not jobs.training_pool or replica.pool in shared]
        self._train(view, draft, is_replica, sum(rivals) + headroom)

    # ---- claims
    def _due(self, view: ClusterView) -> list[tuple[Job, Claim]]:
        """Claims whose time has come, oldest first; what isn't needed of them is done with too."""
        claims = self._open_claims(view)
        self._claims = [claim for _, claim in claims if claim.at_s > view.now_s]
        return [(job, claim) for job, claim in claims if claim.at_s <= view.now_s]

    def _open_claims(self, view: ClusterView) -> list[tuple[Job, Claim]]:
        """Claims on jobs that still run; others are forgotten."""
        seqs = view.jobs.seq
        found = []
        for claim in self._claims:
            row = int(seqs.searchsorted(claim.job))
            if row < seqs.size and seqs[row] == claim.job and view.jobs[row].gpus_held:
                found.append((view.jobs[row], claim))
        self._claims = [claim for _, claim in found]
        return found

    def _claim(self, view: ClusterView, draft: Draft, missing: Sequence[Job], headroom: int, kept: int) -> None:
        """Claims what replicas, and the headroom, miss beyond what has been claimed already."""
        mine = [job for job in view.jobs if not job.is_replica and draft.gpus(job) and not gpus_on_closed(job, view)]
        left = {job: draft.gpus(job) for job in mine}
        claims = [(job, claim) for job, claim in self._open_claims(view) if job in left]
        for job, claim in claims:
            left[job] = claim.rest(job, left[job])
        free = max(0, draft.free_gpus) + sum(draft.gpus(job) - gpus for job, gpus in left.items())
        most = sum(left.values()) - kept
        places = not draft.fits_by_count and any(job.nodes for job in mine)
        by_node = ByNode(view.nodes, draft, claims) if places else None
        for replica in missing:
            if by_node:
                victims = by_node.victims(replica, left, most)
            else:
                victims = fewest_victims(left, replica.num_gpus - free, most)
            if victims is not None:  # else it would be no use
                lost = self._take(view, draft, victims, left, replica.seq)
                free += lost - replica.num_gpus
                most -= lost
        for wanted in range(headroom - free, 0, -1):
            victims = fewest_victims(left, wanted, most)
            if victims is not None:
                self._take(view, draft, victims, left, -1)
                break

    def _take(self, view: ClusterView, draft: Draft, victims: Victims, left: dict[Job, int], replica: int) -> int:
        """Notes claims, or takes GPUs where there is no notice; returns how many."""
        lost = 0
        for job, rest in victims:
            gpus = left[job] - rest
            lost += gpus
            left[job] = rest
            if self.notice_s:
                self._claims.append(Claim(job.seq, view.now_s + self.notice_s, gpus if rest else 0, replica))
                draft.notify(job, view.now_s + self.notice_s)
            else:
                draft.give(job, rest)
        return lost

    # ---- training
    def _train(self, view: ClusterView, draft: Draft, is_replica: np.ndarray, reserved: int) -> None:
        """Fair shares of what replicas leave; jobs under a claim stay as they are."""
        jobs = view.jobs
        given = draft.gpus_column()
        low, high, _ = self._fair.bounds(view)
        low, high = low.copy(), high.copy()
        cut = given < jobs.gpus_held  # by a claim carried out now
        high[cut] = np.minimum(high[cut], given[cut])
        low[cut] = np.minimum(low[cut], high[cut])
        for job, _ in self._open_claims(view):
            row = jobs.row(job)
            low[row] = high[row] = given[row]
        mine = ~is_replica
        in_use, least = int(given[mine].sum()), int(low[mine & (given > 0)].sum())
        most = max(in_use + draft.free_gpus, least)
        left = min(most, max(most - reserved, in_use))  # who runs is not made to shrink for replicas without notice
        weight = None if jobs.weigh_alike else jobs.weight[mine]
        given[mine] = self._fair.shares(jobs.gpus_held[mine], weight, low[mine], high[mine], left)
        self._fair.give(view, draft, given)


def _held_by_replicas(view: ClusterView, is_replica: np.ndarray) -> int:
    """GPUs of open nodes that replicas hold."""
    held = view.jobs.gpus_held
    draining = 0
    if view.nodes.closed_held_gpus:
        draining = sum(gpus_on_closed(view.jobs[row], view) for row in (is_replica & (held > 0)).nonzero()[0].tolist())
    return int(held[is_replica].sum()) - draining


def _admitted(view: ClusterView, room: int) -> Iterator[Job]:
    """Replicas without GPUs that may have some, in the order in which they are to."""
    waiting = [job for job in view.pending if job.is_replica]
    for job in sorted(waiting, key=lambda job: (-job.priority, job.seq)):
        if job.num_gpus <= room:  # the others would take what is guaranteed to training
            room -= job.num_gpus
            yield job


def _serve(waiting: Iterable[Job], draft: Draft, due: list[tuple[Job, Claim]]) -> list[Job]:
    """Starts replicas, carrying out claims as far as they need them; returns those that found no place."""
    missing = []
    for replica in waiting:
        while not draft.give(replica, replica.num_gpus):
            if not due:
                missing.append(replica)
                break
            own = next((i for i, (_, claim) in enumerate(due) if claim.replica == replica.seq), 0)
            _carry_out(due.pop(own), draft)
    return missing


def _carry_out(due: tuple[Job, Claim], draft: Draft) -> None:
    job, claim = due
    draft.give(job, claim.rest(job, draft.gpus(job)))
