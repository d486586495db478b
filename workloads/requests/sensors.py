"""Streams of devices that send at a fixed rate: cameras, lidars, meters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workloads.generators.arrivals import DAY_S, HOUR_S
from workloads.generators.require import require
from workloads.requests.source import RequestSource
from workloads.requests.table import Requests

_MOST = 1 << 18  # requests in a chunk, about


@dataclass(kw_only=True)
class SensorRequests(RequestSource):
    """`num_sensors` that each send every 1 / `rate_hz` seconds from a random phase, from `on_hour` to `off_hour` of
    every day; each message is late by up to `jitter_s`, uniformly (network, exposure).
    """

    num_sensors: int = 10
    rate_hz: float = 10.0
    jitter_s: float = 0.0
    duration_s: float = DAY_S
    on_hour: float = 0.0  # second 0 is 00:00
    off_hour: float = 24.0

    def __post_init__(self) -> None:
        require(self.num_sensors >= 1, "num_sensors", self.num_sensors, "must be 1 or more")
        require(0 < self.rate_hz < math.inf, "rate_hz", self.rate_hz, "must be more than 0")
        require(0 <= self.jitter_s < math.inf, "jitter_s", self.jitter_s, "must be 0 or more")
        require(0 < self.duration_s < math.inf, "duration_s", self.duration_s, "must be more than 0")
        require(0 <= self.on_hour < 24, "on_hour", self.on_hour, "must lie in 0..24")
        rule = f"must lie in on_hour={self.on_hour:g}..24"
        require(self.on_hour < self.off_hour <= 24, "off_hour", self.off_hour, rule)
        pause_s = DAY_S - HOUR_S * (self.off_hour - self.on_hour)
        rule = f"must not be longer than the {pause_s:g} s in which sensors are off"
        require(not pause_s or self.jitter_s <= pause_s, "jitter_s", self.jitter_s, rule)

    @property
    def has_tokens(self) -> bool:
        return False

    def read(self, rng: np.random.Generator) -> Iterator[Requests]:
        phase_draws, jitter_draws = rng.spawn(2)
        phases_s = np.sort(phase_draws.random(self.num_sensors)) * (1.0 / self.rate_hz)
        for begin_s, end_s in self._stretches():
            for came_s in self._between(end_s - begin_s, phases_s, jitter_draws):
                came_s = came_s[: int(np.searchsorted(came_s, self.duration_s - begin_s))]
                if came_s.size:
                    yield Requests(begin_s + came_s)

    def _stretches(self) -> Iterator[tuple[float, float]]:
        """(from, to) of each time for which the sensors are on."""
        if self.off_hour - self.on_hour == 24:
            yield 0.0, self.duration_s
            return
        for day in range(math.ceil(self.duration_s / DAY_S)):
            on_s = day * DAY_S + self.on_hour * HOUR_S
            off_s = min(day * DAY_S + self.off_hour * HOUR_S, self.duration_s)
            if on_s < off_s:
                yield on_s, off_s

    def _between(self, lasts_s: float, phases_s: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """What comes of a stretch, counted from its begin."""
        period_s = 1.0 / self.rate_hz
        at_a_time = max(1, _MOST // self.num_sensors)  # periods
        num_periods = math.ceil(lasts_s * self.rate_hz)
        late = np.zeros(0)  # sent, and arriving in a later chunk
        for begin in range(0, num_periods, at_a_time):
            end = min(begin + at_a_time, num_periods)
            sent_s = (np.arange(begin, end)[:, None] * period_s + phases_s).ravel()
            sent_s = sent_s[: int(np.searchsorted(sent_s, lasts_s))]
            if self.jitter_s:
                came_s = np.sort(np.concatenate([late, sent_s + rng.random(sent_s.size) * self.jitter_s]))
                num = came_s.size if end == num_periods else int(np.searchsorted(came_s, end * period_s))
                sent_s, late = came_s[:num], came_s[num:]
            yield sent_s
