"""Streams of devices that send at a fixed rate: cameras, lidars, meters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workloads.generators.arrivals import DAY_S
from workloads.generators.require import require
from workloads.requests.source import RequestSource
from workloads.requests.table import Requests

_MOST = 1 << 18  # requests in a chunk, about


@dataclass(kw_only=True)
class SensorRequests(RequestSource):
    """`num_sensors` that each send every 1 / `rate_hz` seconds from a random phase; each message is late by up to
    `jitter_s`, uniformly (network, exposure).
    """

    num_sensors: int = 10
    rate_hz: float = 10.0
    jitter_s: float = 0.0
    duration_s: float = DAY_S

    def __post_init__(self) -> None:
        require(self.num_sensors >= 1, "num_sensors", self.num_sensors, "must be 1 or more")
        require(0 < self.rate_hz < math.inf, "rate_hz", self.rate_hz, "must be more than 0")
        require(0 <= self.jitter_s < math.inf, "jitter_s", self.jitter_s, "must be 0 or more")
        require(0 < self.duration_s < math.inf, "duration_s", self.duration_s, "must be more than 0")

    @property
    def has_tokens(self) -> bool:
        return False

    @property
    def reads_until_s(self) -> float:
        return self.duration_s

    def read(self, rng: np.random.Generator) -> Iterator[Requests]:
        phase_draws, jitter_draws = rng.spawn(2)
        period_s = 1.0 / self.rate_hz
        phases_s = np.sort(phase_draws.random(self.num_sensors)) * period_s
        at_a_time = max(1, _MOST // self.num_sensors)  # periods
        num_periods = math.ceil(self.duration_s * self.rate_hz)
        late = np.zeros(0)  # sent, and arriving in a later chunk
        for begin in range(0, num_periods, at_a_time):
            end = min(begin + at_a_time, num_periods)
            sent_s = (np.arange(begin, end)[:, None] * period_s + phases_s).ravel()
            if self.jitter_s:
                came_s = np.sort(np.concatenate([late, sent_s + jitter_draws.random(sent_s.size) * self.jitter_s]))
                num = came_s.size if end == num_periods else int(np.searchsorted(came_s, end * period_s))
                sent_s, late = came_s[:num], came_s[num:]
            sent_s = sent_s[: int(np.searchsorted(sent_s, self.duration_s))]
            if sent_s.size:
                yield Requests(sent_s)
