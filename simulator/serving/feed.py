"""A stream of requests, handed out as time goes on."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from workloads.requests import Requests, RequestSource


class RequestFeed(Protocol):
    """Where a service has its requests from."""

    @property
    def next_s(self) -> float: ...
    @property
    def is_over(self) -> bool: ...
    def prepare(self, until_s: float) -> None: ...
    def until(self, time_s: float) -> Requests: ...


class Feed:
    """Takes requests out of a stream, up to a time; one chunk of it is in memory at once."""

    def __init__(self, source: RequestSource, rng: np.random.Generator) -> None:
        self._chunks = source.chunks(rng)
        no_tokens = np.zeros(0, np.int64) if source.has_tokens else None
        self._none = Requests(np.zeros(0), no_tokens, no_tokens)
        self._chunk, self._begin = self._none, 0
        self._refill()

    def prepare(self, until_s: float) -> None:
        """What has to be done before requests are taken: here nothing."""

    def until(self, time_s: float) -> Requests:
        """The requests that arrive before `time_s` and haven't been taken yet."""
        parts = []
        while self.next_s < time_s:
            end = int(np.searchsorted(self._chunk.arrival_s, time_s))
            parts.append(self._chunk.take(slice(self._begin, end)))
            self._begin = end
            self._refill()
        if len(parts) == 1:
            return parts[0]
        return Requests.concat(parts) if parts else self._none

    def _refill(self) -> None:
        """Sees to it that the next request, if any, is at `_begin`."""
        if self._begin == len(self._chunk):
            self._chunk, self._begin = next(self._chunks, self._none), 0
            self.next_s = float(self._chunk.arrival_s[0]) if len(self._chunk) else math.inf
        else:
            self.next_s = float(self._chunk.arrival_s[self._begin])

    @property
    def is_over(self) -> bool:
        return self.next_s == math.inf
