"""How Karpenter packs pods: onto nodes that are there, then onto claims for new ones whose type stays open.

Source: Karpenter's provisioner, as of autumn 2026.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from policies.nodes import NodeSize
from policies.scaling.packing import Fitter, Pod, Room, first_fit


@dataclass(frozen=True)
class InstanceType:
    """A kind of node that may be launched; here a pool."""

    name: str
    size: NodeSize
    usd_per_h: float = 0.0


@dataclass
class Claim:
    """A node to be launched: the types that could still be it, and what it is to run."""

    types: list[InstanceType]
    pods: list[Pod] = field(default_factory=list)

    def add(self, pod: Pod) -> bool:
        """Takes a pod on if a type remains that holds all; the others are no longer considered."""
        pods = [*self.pods, pod]
        fitting = [each for each in self.types if _holds(each.size, pods)]
        if fitting:
            self.types, self.pods = fitting, pods
        return bool(fitting)

    @property
    def cheapest(self) -> InstanceType:
        """What is launched; the first named of those that cost the same."""
        return min(self.types, key=lambda each: each.usd_per_h)


@dataclass
class Schedule:
    """Where pods would go."""

    claims: list[Claim]
    unplaced: list[Pod]


def by_size(pods: Sequence[Pod]) -> list[Pod]:
    """CPU, then memory, the most first; else in the order in which they came. GPUs don't count."""
    return sorted(pods, key=lambda pod: (-pod.cpus, -pod.memory_gib, pod.since_s, pod.seq))


def schedule(
    pods: Sequence[Pod], rooms: Sequence[Room], types: Sequence[InstanceType], headroom: Mapping[str, int]
) -> Schedule:
    """Packs pods: onto the first room that has space, else the claim with the fewest pods, else a new claim.

    `rooms` are filled; `headroom` says how many more of each type there may be: a claim leaves out types of which
    all might be used up by claims before it.
    """
    claims: list[Claim] = []
    unplaced = []
    there = Fitter(rooms)
    for pod in by_size(pods):
        if there.place(pod):
            continue
        if any(claim.add(pod) for claim in sorted(claims, key=lambda claim: len(claim.pods))):
            continue
        left = [each for each in types if headroom[each.name] > sum(each in claim.types for claim in claims)]
        new = Claim(left)
        if left and new.add(pod):
            claims.append(new)
        else:
            unplaced.append(pod)
    return Schedule(claims, unplaced)


def launched(claims: Sequence[Claim]) -> dict[str, int]:
    """How many nodes of each type the claims come to."""
    counts: dict[str, int] = {}
    for claim in claims:
        counts[claim.cheapest.name] = counts.get(claim.cheapest.name, 0) + 1
    return counts


def _holds(size: NodeSize, pods: Sequence[Pod]) -> bool:
    room = Room.empty(size)
    return not first_fit(pods, [room])


@dataclass
class Batch:
    """Pods that came close to each other are provisioned for together.

    A batch is over once no pod has come for `idle_s`, or `max_s` after its first. What could not be provisioned for is
    tried again `retry_s` later.
    """

    idle_s: float = 1.0
    max_s: float = 10.0
    retry_s: float = 10.0
    _pods: Sequence[Pod] = field(default=(), init=False)  # those of the last look
    _waiting: set[tuple[int, float]] = field(default_factory=set, init=False)  # (job, waits since) of them
    _seen: set[tuple[int, float]] = field(default_factory=set, init=False)  # of earlier batches
    _first_s: float | None = field(default=None, init=False)  # when the first of this batch came
    _newest_s: float | None = field(default=None, init=False)  # the last one; None: there is none
    _tried_s: float = field(default=0.0, init=False)

    def over_s(self, pods: Sequence[Pod]) -> float:
        """When it is over, if nothing comes or goes; inf: nothing waits."""
        if not pods:
            return math.inf
        if self._newest_s is None:
            return self._tried_s + self.retry_s
        assert self._first_s is not None
        return min(self._newest_s + self.idle_s, self._first_s + self.max_s)

    def is_over(self, now_s: float, pods: Sequence[Pod]) -> bool:
        """Whether to provision now for these pods, all that wait; of the same list only the time is looked at."""
        if pods is not self._pods:
            self._pods, self._waiting = pods, {(pod.seq, pod.since_s) for pod in pods}
            self._seen &= self._waiting
            new = [since_s for _, since_s in self._waiting - self._seen]
            self._newest_s = max(new, default=None)
            if new and self._first_s is None:
                self._first_s = min(new)
        if not pods:
            return False
        if self._newest_s is None:
            is_over = now_s >= self._tried_s + self.retry_s
        else:
            assert self._first_s is not None
            is_over = now_s >= self._newest_s + self.idle_s or now_s >= self._first_s + self.max_s
        if is_over:
            self._seen, self._first_s, self._newest_s, self._tried_s = self._waiting.copy(), None, None, now_s
        return is_over
