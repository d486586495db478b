"""What every way of serving requests can be told and asked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from simulator.errors import ConfigError
from simulator.serving.outcome import Counts, Served
from workloads.requests import Requests

BALANCERS = ("least_loaded", "round_robin", "power_of_two")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """How requests find a replica, and what happens to those that don't find one in time.

    Args:
        balancer: least_loaded (one queue for all; with llm the replica with the fewest requests) | round_robin |
            power_of_two (the shorter queue of two drawn at random; Mitzenmacher, IEEE TPDS 2001).
        queue_limit: requests that may wait in a queue; one more is rejected, unless it is served at once, or joins a
            batch that an idle replica waits for. With least_loaded and no llm it is the service's queue, else a
            replica's.
        timeout_s: a request that has waited for so long, and isn't being served, gives up.
        retries: how often a request that was rejected, gave up, or lost its replica is tried again.
        retry_delay_s: after which, doubled each time.
    """

    balancer: str = "least_loaded"
    queue_limit: int | None = None
    timeout_s: float = math.inf
    retries: int = 0
    retry_delay_s: float = 1.0

    def __post_init__(self) -> None:
        rules = {
            "balancer": (self.balancer in BALANCERS, f"must be one of {', '.join(BALANCERS)}"),
            "queue_limit": (self.queue_limit is None or self.queue_limit >= 0, "must be 0 or more, or null"),
            "timeout_s": (self.timeout_s > 0, "must be more than 0"),
            "retries": (self.retries >= 0, "must be 0 or more"),
            "retry_delay_s": (0 <= self.retry_delay_s < math.inf, "must be 0 or more"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ConfigError(f"service.{name}={getattr(self, name)}: {rule}")

    @property
    def is_plain(self) -> bool:
        """One queue in which everybody waits for as long as it takes."""
        return self.balancer == "least_loaded" and self.queue_limit is None and self.timeout_s == math.inf

    def delay_s(self, tries: int) -> float:
        """How long after its failure a request that was tried again `tries` times is tried once more."""
        return self.retry_delay_s * 2.0**tries


class ServingModel(ABC):
    """Replicas that serve one stream of requests. Time goes on with `advance` only.

    Between two calls of `advance` replicas may be added, drained and killed at the time that was reached. What is done
    in the call is exact however far it goes: a request that doesn't start before `until_s` is left for the next.
    """

    counts: Counts

    @abstractmethod
    def advance(self, new: Requests, until_s: float) -> Served:
        """Serves up to `until_s`; `new` are the requests that arrive before it. Returns those finished by then."""

    @abstractmethod
    def add(self, replica: int, now_s: float) -> None:
        """A replica is ready: it takes requests from now on."""

    @abstractmethod
    def drain(self, replica: int, now_s: float) -> None:
        """It gets no more requests, and finishes those it has."""

    @abstractmethod
    def kill(self, replica: int, now_s: float) -> None:
        """It is gone at once; its requests are tried again, or lost."""

    @abstractmethod
    def drained(self, now_s: float) -> Sequence[int]:
        """Replicas that were drained and have nothing left to do; each is named once."""

    @abstractmethod
    def idle_from_s(self, replica: int) -> float:
        """When a replica that was drained may be done: not before the time reached, nor after it is done.

        Exact where that is known. Else it is after the time reached while there is work, and who advances to it sees
        some more of that work done: advance to it, ask `drained`, ask again.
        """

    @property
    @abstractmethod
    def num_busy(self) -> int:
        """Replicas that are serving a request, draining ones too, as of the last `advance`."""

    @property
    @abstractmethod
    def num_waiting(self) -> int:
        """Requests that have arrived and are not being served."""

    @property
    @abstractmethod
    def num_in_service(self) -> int:
        """Requests that are being served."""
