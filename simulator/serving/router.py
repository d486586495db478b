"""One stream of requests for several sites of a service: who serves what.

Time is cut into slices. At the begin of each the sites are looked at, and the slice's requests go, in order, to the
preferred site until it is full, then to the next; the last takes the rest. A waterfall, as global load balancers have
it: Google Cloud's WATERFALL_BY_REGION "spills over" from the nearest region with capacity to others
(docs.cloud.google.com/load-balancing/docs/service-lb-policy, as of 2026), and its preferred backends are used to
capacity before the rest. There capacity is a rate or a utilisation that is measured with a delay; here it is requests
in flight, known as of the slice's begin. Envoy's priority levels are another thing: they spill by how many hosts are
healthy, not by load.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from policies import ServiceView
from simulator.errors import ConfigError
from simulator.serving.feed import Feed
from simulator.serving.spec import ServiceSpec
from workloads.options import nearest
from workloads.requests import Requests

ROUTINGS = ("latency", "cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingOptions:
    """How requests find a site.

    | routing | prefers |
    |---|---|
    | latency | the least `network_s`; of several the one with the fewest requests in flight a ready replica |
    | cost | the least price of a replica-hour, then as latency; last the sites that are too far for the objective |

    Args:
        route_s: how long a slice is. A site is given no more in one than it has room for at its begin, so a slice that
            is longer than requests take keeps a site from all that it could serve.
        spill_per_replica: requests in flight a ready replica at which a site is full.
    """

    routing: str = "latency"
    route_s: float = 1.0
    spill_per_replica: float = 8.0

    def __post_init__(self) -> None:
        rules = {
            "routing": (self.routing in ROUTINGS, f"unknown routing{nearest(str(self.routing), ROUTINGS)}"),
            "route_s": (0.001 <= self.route_s < math.inf, "must be a number of seconds, 0.001 or more"),
            "spill_per_replica": (0 < self.spill_per_replica < math.inf, "must be more than 0"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ConfigError(f"service.{name}={getattr(self, name)}: {rule}")


@dataclass(frozen=True, slots=True)
class Route:
    """Of a site: which stream of requests it has a share in, and what it is called among its sites."""

    stream: str  # the service's name
    site: str
    options: RoutingOptions


class Site(Protocol):
    """A service that has a share in a stream."""

    spec: ServiceSpec
    view: ServiceView

    def load_at(self, time_s: float) -> int:
        """Requests in flight at a time before which all has happened."""


class RoutedFeed:
    """The requests of one site: a `Feed` whose requests are the router's."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._parts: list[Requests] = []  # routed here, and not taken yet; none is empty

    def give(self, requests: Requests) -> None:
        """The router sends some."""
        if len(requests):
            self._parts.append(requests)

    def prepare(self, until_s: float) -> None:
        """Routes all that comes before; every site is then looked at, also the one that asks."""
        self._router.route(until_s)

    def until(self, time_s: float) -> Requests:
        """Those that arrive before `time_s`, once it is prepared, and haven't been taken yet."""
        taken = []
        while self._parts and self._parts[0].arrival_s[0] < time_s:
            part = self._parts.pop(0)
            end = int(np.searchsorted(part.arrival_s, time_s))
            taken.append(part.take(slice(end)))
            if end < len(part):
                self._parts.insert(0, part.take(slice(end, None)))
        if len(taken) == 1:
            return taken[0]
        return Requests.concat(taken) if taken else self._router.none

    @property
    def next_s(self) -> float:
        """No request comes here before; inf where none ever does."""
        return float(self._parts[0].arrival_s[0]) if self._parts else self._router.next_s

    @property
    def is_over(self) -> bool:
        return self.next_s == math.inf


@dataclass(slots=True)
class _Place:
    """A site as the router knows it."""

    site: Site
    feed: RoutedFeed
    rank: tuple[float, ...]  # lower is preferred

    def wait(self, time_s: float) -> float:
        """Requests in flight a ready replica: what stands for the time that one more would wait."""
        ready = self.site.view.num_ready
        return self.site.load_at(time_s) / ready if ready else math.inf

    def room(self, time_s: float, spill_per_replica: float) -> int:
        """How many more requests it takes until it is full; it is at once where no replica is ready."""
        ready = self.site.view.num_ready
        return max(0, math.floor(spill_per_replica * ready) - self.site.load_at(time_s)) if ready else 0


class Router:
    """Sends the requests of a stream to sites.

    A site that asks for its requests up to a time has all slices routed that begin before it. For each, the sites are
    advanced to its begin, which is before any event that is still to come: whoever asks, the outcome is the same.
    """

    def __init__(self, stream: Feed, options: RoutingOptions) -> None:
        self._stream, self._options = stream, options
        self.none = stream.until(-math.inf)
        self._places: list[_Place] = []
        self._ranks: list[list[_Place]] = []  # of equal preference, best first

    def feed(self) -> RoutedFeed:
        """For one more site, which is then to `join`."""
        return RoutedFeed(self)

    def join(self, site: Site, feed: RoutedFeed) -> None:
        """A site takes part."""
        self._places.append(_Place(site, feed, self._rank(site)))
        ranks = sorted({place.rank for place in self._places})
        self._ranks = [[place for place in self._places if place.rank == rank] for rank in ranks]

    def _rank(self, site: Site) -> tuple[float, ...]:
        spec = site.spec
        if self._options.routing == "latency":
            return (spec.network_s,)
        if spec.network_s >= min(spec.slo.latency_s, spec.slo.ttft_s):
            return (1.0, spec.network_s)
        return (0.0, site.view.usd_per_unit_h, spec.network_s)

    @property
    def next_s(self) -> float:
        """When the next request comes that isn't routed; inf where none does."""
        return self._stream.next_s

    def route(self, until_s: float) -> None:
        """All slices that begin before `until_s`."""
        route_s, stream = self._options.route_s, self._stream
        while stream.next_s < until_s:
            number = _slice_of(stream.next_s, route_s)
            if number * route_s >= until_s:
                return
            self._share_out(stream.until((number + 1) * route_s), number * route_s)

    def _share_out(self, requests: Requests, time_s: float) -> None:
        first = 0
        *before, last = self._order(time_s)
        for place in before:
            if first == len(requests):
                return
            end = min(len(requests), first + place.room(time_s, self._options.spill_per_replica))
            place.feed.give(requests.take(slice(first, end)))
            first = end
        last.feed.give(requests.take(slice(first, None)))

    def _order(self, time_s: float) -> Iterator[_Place]:
        for rank in self._ranks:
            yield from rank if len(rank) == 1 else sorted(rank, key=lambda place: place.wait(time_s))


def _slice_of(time_s: float, route_s: float) -> int:
    """The slice that a time lies in: the last that begins at it or before."""
    number = int(time_s / route_s)
    while number * route_s > time_s:
        number -= 1
    while (number + 1) * route_s <= time_s:
        number += 1
    return number
