"""Streams of independent requests whose rate is constant, or follows the day, bursts, or a market's hours."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from workloads.generators.arrivals import DAY_S, HOUR_S, Bursty, Diurnal
from workloads.generators.require import require
from workloads.requests.rates import Block, arrivals_s, grid
from workloads.requests.source import RequestSource
from workloads.requests.table import Requests
from workloads.requests.tokens import TokenLengths

_MINUTE_S = 60.0


@dataclass(kw_only=True)
class Generated(RequestSource):
    """A Poisson process; a subclass says how its rate changes. Second 0 is a Monday, 00:00.

    Times, prompts and outputs each have their own random stream.
    """

    rate_per_s: float = 10.0  # the mean
    duration_s: float = DAY_S
    prompt_tokens: TokenLengths | None = None  # both or none
    output_tokens: TokenLengths | None = None

    def __post_init__(self) -> None:
        require(0 < self.rate_per_s < math.inf, "rate_per_s", self.rate_per_s, "must be more than 0")
        require(0 < self.duration_s < math.inf, "duration_s", self.duration_s, "must be more than 0")
        both = (self.prompt_tokens is None) == (self.output_tokens is None)
        require(both, "output_tokens", self.output_tokens, "prompt_tokens and output_tokens go together")

    @property
    def has_tokens(self) -> bool:
        return self.prompt_tokens is not None

    @property
    def reads_until_s(self) -> float:
        return self.duration_s

    @abstractmethod
    def rates(self, rng: np.random.Generator) -> Iterable[Block]:
        """The rate over time, from 0 to `duration_s`."""

    def read(self, rng: np.random.Generator) -> Iterator[Requests]:
        rate_draws, time_draws, prompt_draws, output_draws = rng.spawn(4)
        for times_s in arrivals_s(self.rates(rate_draws), time_draws):
            if self.prompt_tokens and self.output_tokens:
                num = len(times_s)
                yield Requests(
                    times_s, self.prompt_tokens.draw(num, prompt_draws), self.output_tokens.draw(num, output_draws)
                )
            else:
                yield Requests(times_s)


@dataclass(kw_only=True)
class PoissonRequests(Generated):
    """A constant rate."""

    def rates(self, rng: np.random.Generator) -> Iterable[Block]:
        yield np.array([0.0, self.duration_s]), np.array([self.rate_per_s])


@dataclass(kw_only=True)
class DiurnalRequests(Generated):
    """A rate with a daily and a weekly cycle, constant within each minute; see `workloads.generators.arrivals`.

    `rate_per_s` is the mean over a week: a single working day has more.
    """

    daily_amplitude: float = 0.6
    peak_hour: float = 15.0
    weekend_frac: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._cycle = Diurnal(self.daily_amplitude, self.peak_hour, self.weekend_frac)

    def rates(self, rng: np.random.Generator) -> Iterable[Block]:
        for edges_s in grid(self.duration_s, _MINUTE_S):
            yield edges_s, self.rate_per_s * self._cycle.relative_rate(edges_s[:-1] + 0.5 * _MINUTE_S)


@dataclass(kw_only=True)
class BurstyRequests(Generated):
    """A Markov-modulated Poisson process: states of constant rate, each held for an exponential time.

    From a state, the next is any of the others with equal chance; the first is drawn by the time spent in each. See
    `workloads.generators.arrivals.Bursty`.
    """

    burst_rates: Sequence[float] = (1.0, 5.0)  # relative to each other
    burst_sojourn_s: Sequence[float] = (600.0, 60.0)  # mean time in each state

    def __post_init__(self) -> None:
        super().__post_init__()
        Bursty(self.burst_rates, self.burst_sojourn_s)  # checks them

    def rates(self, rng: np.random.Generator) -> Iterable[Block]:
        sojourn_s, relative = np.asarray(self.burst_sojourn_s, float), np.asarray(self.burst_rates, float)
        share = sojourn_s / sojourn_s.sum()
        rate_per_s = self.rate_per_s * relative / (share @ relative)
        state, now_s = int(rng.choice(len(share), p=share)), 0.0
        while now_s < self.duration_s:
            states = (state + np.concatenate([[0], rng.integers(1, len(share), 255).cumsum()])) % len(share)
            edges_s = now_s + np.concatenate([[0.0], (rng.standard_exponential(256) * sojourn_s[states]).cumsum()])
            now_s = float(edges_s[-1])
            state = int((states[-1] + rng.integers(1, len(share))) % len(share))
            num = int(np.searchsorted(edges_s, self.duration_s))  # edges before the end
            if num <= 256:
                edges_s = np.append(edges_s[:num], self.duration_s)
            yield edges_s, rate_per_s[states[: len(edges_s) - 1]]


@dataclass(kw_only=True)
class MarketRequests(Generated):
    """Orders and quotes around a market's hours on working days: bursts that decay after open, a rise before close.

    The rate within hours is 1 + open_burst·exp(−t/burst_s) + close_burst·exp(−u/burst_s), t since open, u until close,
    and `off_hours_frac` outside, scaled to the mean `rate_per_s` over a week; constant within each minute. The U shape
    of activity over a trading day is that of Admati and Pfleiderer, Review of Financial Studies 1988; the numbers
    here are for you to set.
    """

    open_hour: float = 9.5
    close_hour: float = 16.0
    open_burst: float = 5.0
    close_burst: float = 3.0
    burst_s: float = 900.0
    off_hours_frac: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.open_hour < 24, "open_hour", self.open_hour, "must lie in 0..24")
        rule = f"must lie in open_hour={self.open_hour:g}..24"
        require(self.open_hour < self.close_hour <= 24, "close_hour", self.close_hour, rule)
        for name in ("open_burst", "close_burst", "off_hours_frac"):
            require(0 <= getattr(self, name) < math.inf, name, getattr(self, name), "must be 0 or more")
        require(0 < self.burst_s < math.inf, "burst_s", self.burst_s, "must be more than 0")

    def relative_rate(self, time_s: np.ndarray) -> np.ndarray:
        """Rate at each time, before scaling; same shape."""
        hour, day = time_s % DAY_S / HOUR_S, time_s // DAY_S % 7
        is_open = (day < 5) & (hour >= self.open_hour) & (hour < self.close_hour)
        since_open = np.maximum(hour - self.open_hour, 0.0) * HOUR_S / self.burst_s
        until_close = np.maximum(self.close_hour - hour, 0.0) * HOUR_S / self.burst_s
        inside = 1.0 + self.open_burst * np.exp(-since_open) + self.close_burst * np.exp(-until_close)
        return np.where(is_open, inside, self.off_hours_frac)

    def rates(self, rng: np.random.Generator) -> Iterable[Block]:
        scale = self.rate_per_s / self.relative_rate(np.arange(0.5 * _MINUTE_S, 7 * DAY_S, _MINUTE_S)).mean()
        for edges_s in grid(self.duration_s, _MINUTE_S):
            yield edges_s, scale * self.relative_rate(edges_s[:-1] + 0.5 * _MINUTE_S)
