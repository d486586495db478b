"""Whose GPUs are taken: as few as will do, by number or on one node."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from policies.job import Job
from policies.nodes import Nodes, Space, bits
from policies.plan import Draft, Gang, split

Victims = Sequence[tuple[Job, int]]  # (job, what is left to it)
_Jobs = Mapping[int, Mapping[Job, int]]  # node -> job -> its GPUs there


class Claim(NamedTuple):
    """GPUs that a job is to give up."""

    job: int  # its `seq`
    at_s: float
    gpus: int  # 0: all it has
    replica: int  # `seq` of the one that they are for; -1: whichever

    def rest(self, job: Job, has: int) -> int:
        """What is left to the job."""
        return max(has - self.gpus, job.min_gpus) if self.gpus and has else 0


def fewest_victims(
    left: Mapping[Job, int], wanted: int, most: float = math.inf, here: Mapping[Job, int] | None = None
) -> Victims | None:
    """Takes `wanted` GPUs, or a few more where gangs go whole; None if they can't be had.

    GPUs above jobs' minima go first, from whom has the most of them; then whole jobs, of the lowest priority, the
    latest first. What of that turns out not to be needed stays.

    Args:
        left: what each job has.
        most: GPUs that may be taken in all.
        here: whose GPUs, and how many of each, count (None: all). A job that has others too goes whole: which of its
            GPUs it would give back is not for a policy to say.
    """
    if wanted <= 0:
        return ()
    here = left if here is None else here
    after = {job: left[job] for job in here}
    spare = {job: gpus - job.min_gpus for job, gpus in after.items() if here[job] == gpus > job.min_gpus}
    while wanted > 0 and most > 0 and spare:
        job = max(spare, key=lambda job: (spare[job], job.seq))
        second = max((gpus for other, gpus in spare.items() if other is not job), default=0)
        take = int(min(wanted, most, spare[job], max(1, spare[job] - second)))
        after[job] -= take
        wanted -= take
        most -= take
        spare[job] -= take
        if not spare[job]:
            del spare[job]
    gone = []
    for job in sorted(after, key=lambda job: (job.priority, -job.seq)):
        if wanted > 0 and 0 < after[job] <= most:
            wanted -= min(here[job], after[job])
            most -= after[job]
            after[job] = 0
            gone.append(job)
    if wanted > 0:
        return None
    for job in reversed(gone):
        if here[job] <= -wanted:
            wanted += here[job]
            after[job] = left[job]
    shrunk = [job for job, gpus in after.items() if 0 < gpus < left[job]]
    for job in sorted(shrunk, key=lambda job: job.seq):
        back = min(left[job] - after[job], -wanted)
        wanted += back
        after[job] += back
    return [(job, gpus) for job, gpus in after.items() if gpus < left[job]]


class ByNode:
    """Finds victims where all that a replica gets is to lie on one node, or on as few as have so many GPUs.

    Of all nodes, on the one where training loses the least. Replicas are asked about in turn: each finds what those
    before it leave.
    """

    def __init__(self, nodes: Nodes, draft: Draft, claims: Iterable[tuple[Job, Claim]]) -> None:
        self._nodes, self._draft, self._claims = nodes, draft, list(claims)
        self._space = draft.space.copy()  # with what the replicas before have, or have claimed
        self._gangs: dict[Job, Gang] = {}  # there, of jobs under a claim

    def victims(self, replica: Job, left: Mapping[Job, int], most: int) -> Victims | None:
        """What it has to claim beyond what it has claimed already; None if it can't be had.

        Args:
            left: what each job has, all claims carried out.
            most: GPUs that may be taken in all.
        """
        mine = [(job, claim) for job, claim in self._claims if claim.replica == replica.seq]
        for job, claim in mine:
            has, _ = self._gang(job)
            self._gangs |= self._release(self._space, [(job, claim.rest(job, has))], {job: has})
        is_wide = replica.num_gpus > self._space.max_node_gpus
        if self._hold(replica) or (mine and is_wide):
            return ()
        pools = self._nodes.pools
        on: dict[int, dict[Job, int]] = {
            node: {} for node in bits(self._nodes.open_mask) if replica.pool in ("", pools[node])
        }
        for job, gpus in left.items():
            has, nodes = self._gang(job)
            if len(nodes) == 1 or gpus == has:  # of one that lies on several, and is to shrink, nobody knows where
                for node, count in nodes:
                    if node in on:
                        on[node][job] = min(count, gpus)
        victims = self._on_many(replica, left, most, on) if is_wide else self._on_one(replica, left, most, on)
        if victims:
            self._gangs |= self._release(self._space, victims, left)
            self._hold(replica)
        return victims

    def _on_one(self, replica: Job, left: Mapping[Job, int], most: int, on: _Jobs) -> Victims | None:
        """On the node where training loses the least; the first of those."""
        best, least = None, math.inf
        for node, here in on.items():
            wanted = replica.num_gpus - self._space.free(node)
            for more in range(max(1, wanted), sum(here.values()) + 1):  # CPUs or memory may be what is short
                victims = fewest_victims(left, more, most, here)
                if victims is None:
                    break
                space = self._space.copy()
                self._release(space, victims, left)
                if space.room(replica, node) >= replica.num_gpus:
                    lost = sum(left[job] - rest for job, rest in victims)
                    if lost < least:
                        best, least = victims, lost
                    break
        return best

    def _on_many(self, replica: Job, left: Mapping[Job, int], most: int, on: _Jobs) -> Victims | None:
        """Whole nodes, those on which training loses the least first."""
        size = {node: self._nodes.sizes[node].num_gpus for node in on}
        can = [node for node, here in on.items() if self._space.free(node) + sum(here.values()) == size[node]]
        can.sort(key=lambda node: (sum(left[job] for job in on[node]), node))
        gone: dict[Job, int] = {}
        wanted = replica.num_gpus
        for node in can:
            if wanted > 0:
                gone |= dict.fromkeys(on[node], 0)
                wanted -= size[node]
        enough = wanted <= 0 and sum(left[job] for job in gone) <= most
        return list(gone.items()) if enough else None

    # ---- the space in which all that is tried
    def _gang(self, job: Job) -> Gang:
        return self._gangs.get(job) or (self._draft.gpus(job), self._draft.nodes(job))

    def _hold(self, replica: Job) -> bool:
        """Takes its GPUs on one node, if there is room."""
        node = self._space.best_fit(replica, replica.num_gpus)
        if node >= 0:
            self._space.hold(replica, ((node, replica.num_gpus),))
        return node >= 0

    def _release(self, space: Space, victims: Victims, left: Mapping[Job, int]) -> dict[Job, Gang]:
        """Jobs give back in `space` what is taken from them; what they have then."""
        gangs: dict[Job, Gang] = {}
        for job, rest in victims:
            has, nodes = self._gang(job)
            gpus = left[job] - rest if rest else has
            kept, back = split(nodes, gpus) if rest else ((), nodes)
            space.hold(job, back, -1)
            gangs[job] = has - gpus, kept
        return gangs
