"""The replicas of a service one by one, as a container orchestrator sees them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import overload

from policies import PodSample
from simulator.serving.measures import SHARED
from simulator.serving.replica import Replica


class Pods(Sequence[PodSample]):
    """Live: each is made when it is looked at, so that only who looks pays.

    | replica | phase | ready | deleting |
    |---|---|---|---|
    | waits for GPUs, is scheduled, pulls its image | pending | no | no |
    | loads weights, starts its engine | running | no | no |
    | ready | running | yes | no |
    | draining | running | no | yes |

    What waits in a common queue is nobody's own: each replica has an equal share in what was last measured, if it was
    ready then.

    Args:
        replicas: by record, those that are not gone; read whenever one looks.
        window_s: over which is measured.
        now_s: tells the time.
    """

    def __init__(self, replicas: Mapping[int, Replica], window_s: float, now_s: Callable[[], float]) -> None:
        self._replicas, self._window_s, self._now_s = replicas, window_s, now_s
        self._values: Mapping[str, float] = {}
        self._measured_s = -math.inf

    def measure(self, time_s: float, values: Mapping[str, float], num_ready: int) -> None:
        """A sample of the service has come in, of a time at which so many replicas were ready."""
        share = 1.0 / max(1, num_ready)
        self._values = {name: value * share if name in SHARED else value for name, value in values.items()}
        self._measured_s = time_s

    def __len__(self) -> int:
        return len(self._replicas)

    def __iter__(self) -> Iterator[PodSample]:
        return map(self._sample, self._replicas.values())

    @overload
    def __getitem__(self, index: int) -> PodSample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PodSample]: ...
    def __getitem__(self, index: int | slice) -> PodSample | Sequence[PodSample]:
        return list(self)[index]

    def _sample(self, replica: Replica) -> PodSample:
        drains, started = replica.drain_s == replica.drain_s, replica.started_s <= self._now_s()
        if drains:
            changed_s = replica.drain_s
        else:
            changed_s = replica.ready_s if replica.is_ready else replica.requested_s
        is_measured = replica.ready_s <= self._measured_s
        return PodSample(
            values=self._values if is_measured else {},
            phase="running" if started else "pending",
            is_ready=replica.is_ready,
            is_deleting=drains,
            start_s=replica.started_s if started else None,
            ready_changed_s=changed_s,
            measured_s=self._measured_s if is_measured else -math.inf,
            window_s=self._window_s,
        )
