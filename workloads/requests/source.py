"""Where requests come from: the base of every generator and reader of streams, and the names they go by."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from workloads.errors import WorkloadError
from workloads.generators.require import require
from workloads.options import build, nearest
from workloads.requests.table import Requests

# name -> module:class. A name is the last part of `requests=NAME`; the module is imported when it is asked for.
REQUEST_SOURCES = {
    "poisson": "workloads.requests.generators:PoissonRequests",
    "diurnal": "workloads.requests.generators:DiurnalRequests",
    "bursty": "workloads.requests.generators:BurstyRequests",
    "market": "workloads.requests.generators:MarketRequests",
    "sensors": "workloads.requests.sensors:SensorRequests",
    "superposition": "workloads.requests.superposition:Superposition",
    "csv": "workloads.requests.readers:CsvRequests",
    "azure_llm": "workloads.requests.readers:AzureLlmRequests",
    "burstgpt": "workloads.requests.readers:BurstGptRequests",
    "azure_functions": "workloads.requests.counts:AzureFunctionsRequests",
    "prometheus": "workloads.requests.counts:PrometheusRequests",
}


@dataclass(kw_only=True)
class RequestSource(ABC):
    """A stream of requests; its dataclass fields are its options on the command line (`requests.limit=1000`).

    A subclass implements `read`. The options here reshape what it gives, in this order: window, time scale, limit.
    """

    from_s: float = 0.0  # keep requests from here on (then counted from here) ...
    to_s: float = math.inf  # ... and before here
    time_scale: float = 1.0  # multiplies times: 0.5 doubles the rate
    limit: int | None = None  # keep the first so many

    @property
    @abstractmethod
    def has_tokens(self) -> bool:
        """Whether requests come with numbers of tokens."""

    @property
    def reads_until_s(self) -> float:
        """When `read` has given all at the latest; inf where only reading tells."""
        return math.inf

    @property
    def until_s(self) -> float:
        """When the stream is over at the latest; inf where only reading tells."""
        return max(0.0, min(self.reads_until_s, self.to_s) - self.from_s) * self.time_scale

    @abstractmethod
    def read(self, rng: np.random.Generator) -> Iterator[Requests]:
        """The stream as the source has it, in chunks of bounded size, in order; `rng` is for sources that draw.

        Raises:
            TraceError: input that breaks a rule.
        """

    def check_window(self) -> None:
        """Raises WorkloadError where the options above can't be."""
        require(
            0 <= self.from_s < self.to_s, "from_s", self.from_s, f"must be 0 or more, and less than to_s={self.to_s}"
        )
        rule = f"must be less than {self.reads_until_s:g}, when the stream ends"
        require(self.from_s < self.reads_until_s, "from_s", self.from_s, rule)
        require(0 < self.time_scale < math.inf, "time_scale", self.time_scale, "must be more than 0")
        require(self.limit is None or self.limit >= 1, "limit", self.limit, "must be 1 or more")

    def notes(self) -> list[str]:
        """What was left out of what has been read, for people."""
        return []

    def chunks(self, rng: np.random.Generator) -> Iterator[Requests]:
        """`read`, then the options above; no chunk is empty."""
        self.check_window()
        left = math.inf if self.limit is None else self.limit
        for chunk in self.read(rng):
            begin, end = np.searchsorted(chunk.arrival_s, (self.from_s, self.to_s))
            is_over = end < len(chunk)
            end = int(min(end, begin + left))
            kept = chunk.take(slice(begin, end))
            left -= len(kept)
            if len(kept):
                yield kept.at((kept.arrival_s - self.from_s) * self.time_scale)
            if is_over or left <= 0:
                return


def build_requests(options: Mapping[str, Any], *, prefix: str = "requests.") -> RequestSource:
    """The source that `{"name": NAME, OPTION: VALUE, …}` describes.

    Raises:
        WorkloadError: an unknown name or option, a missing option, or a value of the wrong type.
    """
    name = options.get("name")
    if not isinstance(name, str) or name == "???":
        raise WorkloadError(f"{prefix}name: is needed; it is one of {', '.join(REQUEST_SOURCES)}")
    if name not in REQUEST_SOURCES:
        option = "requests" if prefix == "requests." else f"{prefix}name"
        raise WorkloadError(f"{option}={name}: unknown source of requests{nearest(name, REQUEST_SOURCES)}")
    module, _, attribute = REQUEST_SOURCES[name].partition(":")
    cls: type[RequestSource] = getattr(import_module(module), attribute)
    source = build(cls, {key: value for key, value in options.items() if key != "name"}, prefix=prefix)
    try:
        source.check_window()
    except WorkloadError as error:
        raise WorkloadError(f"{prefix}{error}") from None
    return source
