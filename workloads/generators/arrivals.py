"""When jobs arrive: four point processes that share a mean rate, so that only the pattern differs, and a timetable.

Each process works by inversion: arrivals of a Poisson process of constant rate are mapped through the inverse of the
mean number of arrivals up to t. That is exact, has no loop over jobs, and gives exactly the number of jobs asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from workloads.generators.require import require

HOUR_S, DAY_S, WEEK_S = 3600.0, 86_400.0, 604_800.0


class Arrivals(Protocol):
    """A pattern of arrivals."""

    def times_s(self, rate_per_s: float, num_jobs: int, rng: np.random.Generator) -> np.ndarray:
        """The first `num_jobs` submit times of a process of mean rate `rate_per_s`, ascending; shape (J,)."""
        ...


@dataclass(frozen=True)
class Poisson:
    """Independent arrivals at a constant rate."""

    def times_s(self, rate_per_s: float, num_jobs: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_exponential(num_jobs).cumsum() / rate_per_s


@dataclass(frozen=True)
class Diurnal:
    """A Poisson process whose rate has a daily and a weekly cycle; second 0 is a Monday, 00:00.

    The rate is 1 + daily_amplitude·cos(2π(hour − peak_hour)/24), times weekend_frac on Saturday and Sunday, scaled to
    the mean rate over a week; constant within each minute.
    """

    daily_amplitude: float = 0.6  # 0: no daily cycle; 1: no arrivals at the quietest moment
    peak_hour: float = 15.0  # of the day
    weekend_frac: float = 0.5  # rate at the weekend over that of a working day

    def __post_init__(self) -> None:
        require(0 <= self.daily_amplitude <= 1, "daily_amplitude", self.daily_amplitude, "must lie in 0..1")
        require(0 <= self.peak_hour < 24, "peak_hour", self.peak_hour, "must lie in 0..24")
        require(0 <= self.weekend_frac < np.inf, "weekend_frac", self.weekend_frac, "must be 0 or more")

    def relative_rate(self, time_s: np.ndarray) -> np.ndarray:
        """Rate over mean rate at each time; same shape."""
        return self._shape(time_s) / self._shape(_WEEK_MIDPOINTS_S).mean()

    def _shape(self, time_s: np.ndarray) -> np.ndarray:
        hour, day = time_s % DAY_S / HOUR_S, time_s % WEEK_S // DAY_S
        daily = 1.0 + self.daily_amplitude * np.cos(2.0 * np.pi * (hour - self.peak_hour) / 24.0)
        return daily * np.where(day >= 5, self.weekend_frac, 1.0)

    def times_s(self, rate_per_s: float, num_jobs: int, rng: np.random.Generator) -> np.ndarray:
        # "even" seconds: the clock on which the process has its constant mean rate
        even_s = rng.standard_exponential(num_jobs).cumsum() / rate_per_s
        even_at_minute_s = np.concatenate([[0.0], 60.0 * self.relative_rate(_WEEK_MIDPOINTS_S).cumsum()])
        weeks, rest_s = np.divmod(even_s, even_at_minute_s[-1])
        return weeks * WEEK_S + np.interp(rest_s, even_at_minute_s, np.arange(even_at_minute_s.size) * 60.0)


_WEEK_MIDPOINTS_S = np.arange(30.0, WEEK_S, 60.0)


@dataclass(frozen=True)
class Bursty:
    """A Markov-modulated Poisson process: the rate jumps between states, each held for an exponential time.

    From a state, the next is any of the others with equal chance; the first is drawn from the stationary distribution.
    `burst_rates` are relative to each other; they are scaled so that the long-run mean is the mean rate.
    Fischer and Meier-Hellstern, "The Markov-modulated Poisson process (MMPP) cookbook", Performance Evaluation 1993.
    """

    burst_rates: Sequence[float] = (1.0, 10.0)
    burst_sojourn_s: Sequence[float] = (4 * HOUR_S, 0.5 * HOUR_S)  # mean time in each state

    def __post_init__(self) -> None:
        rates, sojourn = self.burst_rates, self.burst_sojourn_s
        require(len(rates) >= 2, "burst_rates", list(rates), "needs two states or more")
        require(all(0 <= x < np.inf for x in rates), "burst_rates", list(rates), "must be 0 or more")
        require(any(x > 0 for x in rates), "burst_rates", list(rates), "needs a rate above 0")
        require(
            len(sojourn) == len(rates), "burst_sojourn_s", list(sojourn), f"must have one entry a state ({len(rates)})"
        )
        require(all(0 < x < np.inf for x in sojourn), "burst_sojourn_s", list(sojourn), "must be more than 0 s")

    def times_s(self, rate_per_s: float, num_jobs: int, rng: np.random.Generator) -> np.ndarray:
        job_draws, state_draws = rng.spawn(2)
        even_s = job_draws.standard_exponential(num_jobs).cumsum() / rate_per_s
        mean_sojourn_s = np.asarray(self.burst_sojourn_s, np.float64)
        share = mean_sojourn_s / mean_sojourn_s.sum()
        relative_rate = np.asarray(self.burst_rates, np.float64) / (share @ np.asarray(self.burst_rates, np.float64))

        state = int(state_draws.choice(len(share), p=share))
        clock_s, even_clock_s = [np.zeros(1)], [np.zeros(1)]  # both clocks at every change of state
        while even_clock_s[-1][-1] < even_s[-1]:
            states = state + np.concatenate([[0], state_draws.integers(1, len(share), 1024).cumsum()])
            states %= len(share)
            state, states = int(states[-1]), states[:-1]
            held_s = state_draws.standard_exponential(len(states)) * mean_sojourn_s[states]
            clock_s.append(clock_s[-1][-1] + held_s.cumsum())
            even_clock_s.append(even_clock_s[-1][-1] + (held_s * relative_rate[states]).cumsum())
        return np.interp(even_s, np.concatenate(even_clock_s), np.concatenate(clock_s))


@dataclass(frozen=True)
class Batch:
    """Groups of `batch_size` jobs at once: the first at second 0, the gaps between groups exponential.

    A batch_size of num_jobs or more submits everything at second 0.
    """

    batch_size: int = 16

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, "batch_size", self.batch_size, "must be 1 or more")

    def times_s(self, rate_per_s: float, num_jobs: int, rng: np.random.Generator) -> np.ndarray:
        gaps = rng.standard_exponential(-(-num_jobs // self.batch_size))
        gaps[0] = 0.0
        return (gaps.cumsum() * (self.batch_size / rate_per_s)).repeat(self.batch_size)[:num_jobs]


@dataclass(frozen=True)
class Daily:
    """`batch_size` jobs at once at each of `batch_hours`, day after day: nightly retraining, overnight risk runs.

    Nothing is drawn, and the rate is `rate_per_s` whatever is asked for.
    """

    batch_size: int = 16
    batch_hours: Sequence[float] = (0.0,)  # of the day

    def __post_init__(self) -> None:
        hours = list(self.batch_hours)
        require(self.batch_size >= 1, "batch_size", self.batch_size, "must be 1 or more")
        require(len(hours) > 0, "batch_hours", hours, "needs an hour or more")
        require(all(0 <= hour < 24 for hour in hours), "batch_hours", hours, "must lie in 0..24")

    @property
    def rate_per_s(self) -> float:
        return self.batch_size * len(self.batch_hours) / DAY_S

    def times_s(self, rate_per_s: float, num_jobs: int, rng: np.random.Generator) -> np.ndarray:
        days, which = np.divmod(np.arange(-(-num_jobs // self.batch_size)), len(self.batch_hours))
        at_s = days * DAY_S + np.sort(np.asarray(self.batch_hours, np.float64))[which] * HOUR_S
        return at_s.repeat(self.batch_size)[:num_jobs]


ARRIVALS: dict[str, type[Arrivals]] = {
    "poisson": Poisson,
    "diurnal": Diurnal,
    "bursty": Bursty,
    "batch": Batch,
    "daily": Daily,
}
