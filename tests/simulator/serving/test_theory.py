"""The queue against queueing theory: exact formulas must lie in the confidence intervals of long runs.

A run is cut into 40 parts, of which the first is left out; the mean over the others is known to ± `_QUANTILE` standard
errors (99.9% of Student's distribution with 38 degrees of freedom; there are 15 such checks), which must be below 12%.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from simulator.serving.model import RequestOptions
from simulator.serving.models import make_model
from workloads.requests import Requests
from workloads.serving.service_times import ServiceTimes

pytestmark = pytest.mark.slow
NUM, NUM_PARTS = 1_000_000, 40
_QUANTILE = 3.57


def waits_s(num: int, load: float, times: ServiceTimes) -> np.ndarray:
    """Waits by part, of requests of 1 s on average; shape (parts, requests)."""
    arrivals, draws = np.random.default_rng(num).spawn(2)
    arrival_s = np.cumsum(arrivals.standard_exponential(NUM)) / (load * num)
    model = make_model("queue", RequestOptions(), draws, times)
    for replica in range(num):
        model.add(replica, 0.0)
    done = model.advance(Requests(arrival_s), math.inf)
    assert (done.number == np.arange(NUM)).all()
    return (done.first_s - done.arrival_s).reshape(NUM_PARTS, -1)[1:]


def check(wait_s: np.ndarray, of: Callable[[np.ndarray], float], theory_s: float) -> None:
    """What is told of each part has a mean whose interval holds the theory's."""
    told = np.array([of(part) for part in wait_s])
    half_s = _QUANTILE * told.std(ddof=1) / math.sqrt(len(told))
    print(f"{of.__name__}: {told.mean():.4f} ± {half_s:.4f} s, theory {theory_s:.4f} s")
    assert half_s < 0.12 * theory_s
    assert abs(told.mean() - theory_s) < half_s


def p99_s(wait_s: np.ndarray) -> float:
    return float(np.quantile(wait_s, 0.99))


def erlang_c(load: float, num: int) -> float:
    """The chance that a request waits in M/M/c."""
    blocked = 1.0
    for k in range(1, num + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked / (1.0 - load / num * (1.0 - blocked))


@pytest.mark.parametrize(("num", "load"), [(1, 0.8), (4, 0.7), (16, 0.85)])
def test_mmc(num: int, load: float) -> None:
    """Erlang C: the mean, and as waits beyond 0 are exponential, the 99th percentile."""
    wait_s = waits_s(num, load, ServiceTimes(mean_s=1.0))
    wait_chance, spare = erlang_c(load * num, num), num * (1.0 - load)
    check(wait_s, np.mean, wait_chance / spare)
    check(wait_s, p99_s, math.log(wait_chance / 0.01) / spare)


@pytest.mark.parametrize(("distribution", "cv"), [("gamma", 0.5), ("gamma", 2.0), ("lognormal", 1.0)])
def test_mg1(distribution: str, cv: float) -> None:
    """Pollaczek and Khinchine: the mean."""
    wait_s = waits_s(1, 0.7, ServiceTimes(mean_s=1.0, distribution=distribution, cv=cv))
    check(wait_s, np.mean, 0.7 / 0.3 * (1.0 + cv**2) / 2.0)


@pytest.mark.parametrize(("num", "load"), [(1, 0.8), (4, 0.8), (16, 0.85)])
def test_mdc(num: int, load: float) -> None:
    """M/D/c, the M/G/c whose waits are known: Crommelin (1932), Franx (Operations Research Letters 29, 2001)."""
    wait_s = waits_s(num, load, ServiceTimes(mean_s=1.0, distribution="constant"))
    theory = DeterministicQueue(num, load * num)
    check(wait_s, np.mean, theory.mean_s())
    check(wait_s, p99_s, theory.quantile_s(0.99))


class DeterministicQueue:
    """M/D/c with services of 1 s: who is in service at a time has left 1 s later, and nobody else has.

    So that numbers in the system a second apart are a Markov chain, whose stationary chances are found by repeating it.
    """

    def __init__(self, num: int, rate_per_s: float, most: int = 600) -> None:
        self._num, self._rate = num, rate_per_s
        comes = np.exp(np.arange(most) * math.log(rate_per_s) - rate_per_s - [math.lgamma(k + 1) for k in range(most)])
        chance = np.eye(1, most)[0]
        for _ in range(4000):
            left = np.append(chance[num:], np.zeros(num))
            left[0] += chance[:num].sum()
            chance = np.convolve(left, comes)[:most]
        assert chance.sum() == pytest.approx(1.0, abs=1e-9)
        self._chance = chance

    def mean_s(self) -> float:
        """By Little's law, of those who wait."""
        waiting = np.maximum(np.arange(len(self._chance)) - self._num, 0)
        return float(waiting @ self._chance) / self._rate

    def share_within(self, wait_s: float) -> float:
        """The share of requests that wait for at most so long."""
        at_most = self._chance.cumsum()[self._num :]  # so many wait
        whole_s = math.floor(wait_s) + 1
        arrivals = self._rate * (whole_s - wait_s)
        terms = [
            math.exp(k * math.log(arrivals) - arrivals - math.lgamma(k + 1)) * at_most[whole_s * self._num - k - 1]
            for k in range(whole_s * self._num)
        ]
        return float(sum(terms))

    def quantile_s(self, share: float) -> float:
        """By bisection."""
        low_s, high_s = 0.0, 30.0
        for _ in range(50):
            middle_s = (low_s + high_s) / 2.0
            low_s, high_s = (middle_s, high_s) if self.share_within(middle_s) < share else (low_s, middle_s)
        return high_s
