"""How the Kubernetes cluster-autoscaler adds nodes: estimates by node group, and expanders that choose one.

Source: the cluster-autoscaler, as of autumn 2026.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from policies.nodes import NodeSize
from policies.scaling.packing import Fitter, Pod, Room, first_fit


@dataclass(frozen=True)
class NodeGroup:
    """A pool as it may grow."""

    name: str
    size: NodeSize
    headroom: int  # nodes that it may still get
    usd_per_node_h: float = 0.0


@dataclass(frozen=True)
class Option:
    """Nodes of one group, and the pods that they would serve."""

    group: NodeGroup
    num_nodes: int
    pods: tuple[Pod, ...]


def oldest(pods: Sequence[Pod]) -> tuple[float, float]:
    """Since when the oldest pod waits, and the oldest with a GPU; inf and -inf where there is none."""
    return (
        min((pod.since_s for pod in pods), default=math.inf),
        min((pod.since_s for pod in pods if pod.gpus), default=-math.inf),
    )


def too_new(
    oldest_s: float, with_gpu_s: float, now_s: float, buffer_s: float = 2.0, gpu_buffer_s: float = 30.0
) -> bool:
    """Whether to wait for one more loop: even the oldest pod, or the oldest with a GPU, has hardly waited."""
    return oldest_s + buffer_s > now_s or with_gpu_s + gpu_buffer_s > now_s


def estimate(pods: Sequence[Pod], group: NodeGroup) -> Option | None:
    """How many new nodes of a group it takes: the pods that ask for most first, each on the first node with room.

    "Most" is the sum of its shares of a node's CPUs and memory; GPUs don't count, and ties stay in order. None where
    the group can't serve any of them.
    """
    empty = Room.empty(group.size)
    wanted = sorted((pod for pod in pods if empty.fits(pod)), key=lambda pod: -_share(pod, group.size))
    new: list[Room] = []
    served = []
    full: Fitter | None = None  # once there can be no more nodes
    for pod in wanted:
        if full is None and first_fit([pod], new):
            if len(new) < group.headroom:
                new.append(empty.copy())
                new[-1].put(pod)
            else:
                full = Fitter(new)
                continue
        elif full is not None and not full.place(pod):
            continue
        served.append(pod)
    return Option(group, len(new), tuple(served)) if new else None


def _share(pod: Pod, size: NodeSize) -> float:
    return pod.cpus / size.num_cpus + pod.memory_gib / size.memory_gib


# ---- expanders: of several options the best by each, all that tie
def least_waste(option: Option) -> float:
    """The share of CPUs and of memory that would stay unused; GPUs don't count."""
    size, num = option.group.size, option.num_nodes
    cpus, memory = sum(pod.cpus for pod in option.pods), sum(pod.memory_gib for pod in option.pods)
    return (1.0 - cpus / (num * size.num_cpus)) + (1.0 - memory / (num * size.memory_gib))


def price(option: Option) -> float:
    """What the nodes cost by the GPU that pods ask for. An emulation: the source also weighs the shape of nodes."""
    gpus = sum(pod.gpus for pod in option.pods)
    return option.num_nodes * option.group.usd_per_node_h / gpus if gpus else math.inf


_SCORES: Mapping[str, Callable[[Option], float]] = {  # the least wins
    "least-waste": least_waste,
    "most-pods": lambda option: -len(option.pods),
    "least-nodes": lambda option: option.num_nodes,
    "price": price,
}
EXPANDERS = (*_SCORES, "priority", "random")


def chosen(
    options: Sequence[Option], expanders: Sequence[str], priorities: Mapping[str, float], rng: np.random.Generator
) -> Option:
    """The option that a chain of expanders leaves; at its end one is drawn of those that tie."""
    left = list(options)
    for expander in expanders:
        if expander == "random":
            break
        if expander == "priority":
            scores = [-priorities.get(option.group.name, -math.inf) for option in left]
        else:
            scores = [_SCORES[expander](option) for option in left]
        best = min(scores)
        left = [
            option
            for option, score in zip(left, scores, strict=True)
            if score == best or math.isclose(score, best, rel_tol=1e-12)
        ]
    return left[int(rng.integers(len(left)))] if len(left) > 1 else left[0]


@dataclass
class Backoff:
    """How long a group that failed to grow is left alone: longer each time, until all is forgotten."""

    initial_s: float = 300.0
    max_s: float = 1800.0
    reset_s: float = 10800.0
    _duration_s: float = field(default=0.0, init=False)
    _until_s: float = field(default=-math.inf, init=False)

    def fail(self, now_s: float) -> None:
        if not self._duration_s or self._until_s + self.reset_s < now_s:
            self._duration_s = self.initial_s
        elif self._until_s < now_s:  # several failures at once count as one
            self._duration_s = min(2 * self._duration_s, self.max_s)
        self._until_s = now_s + self._duration_s

    def succeed(self) -> None:
        self._duration_s, self._until_s = 0.0, -math.inf

    @property
    def until_s(self) -> float:
        return self._until_s

    def is_on(self, now_s: float) -> bool:
        return self._until_s > now_s

    def left_s(self, now_s: float) -> float:
        """How much longer it lasts."""
        return max(self._until_s - now_s, 0.0)


@dataclass
class Orders:
    """Nodes on their way, by when they were asked for; the oldest come first."""

    _open: list[tuple[float, int]] = field(default_factory=list, init=False)  # (when, how many)

    @property
    def num(self) -> int:
        return sum(count for _, count in self._open)

    def add(self, now_s: float, count: int) -> None:
        if count > 0:
            self._open.append((now_s, count))

    def update(self, now_s: float, num_starting: int) -> None:
        """Takes note of how many are still on their way."""
        gone = self.num - num_starting
        self.add(now_s, -gone)  # asked for by somebody else
        while gone > 0:
            ordered_s, count = self._open[0]
            taken = min(gone, count)
            gone -= taken
            self._open[:1] = [(ordered_s, count - taken)] if count > taken else []

    @property
    def oldest_s(self) -> float:
        """When the oldest was asked for; inf: there is none."""
        return min((ordered_s for ordered_s, _ in self._open), default=math.inf)

    def overdue(self, now_s: float, within_s: float) -> int:
        """Forgets those that have been on their way for longer, and says how many."""
        late = [count for ordered_s, count in self._open if ordered_s + within_s < now_s]
        del self._open[: len(late)]
        return sum(late)
