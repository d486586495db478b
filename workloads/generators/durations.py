"""How long jobs take: distributions of seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from workloads.errors import WorkloadError
from workloads.generators.require import require

_MAX_REDRAWS = 200


class Durations(Protocol):
    """A distribution of durations."""

    def draw_s(self, num: int, rng: np.random.Generator) -> np.ndarray:
        """`num` independent durations in seconds; shape (num,)."""
        ...


@dataclass(frozen=True)
class Lognormal:
    """exp of a normal; `sigma` is the standard deviation of the logarithm."""

    median_s: float = 1100.0
    sigma: float = 1.5

    def __post_init__(self) -> None:
        require(0 < self.median_s < np.inf, "median_s", self.median_s, "must be more than 0 s")
        require(0 <= self.sigma < np.inf, "sigma", self.sigma, "must be 0 or more")

    def draw_s(self, num: int, rng: np.random.Generator) -> np.ndarray:
        return self.median_s * np.exp(self.sigma * rng.standard_normal(num))


@dataclass(frozen=True)
class Pareto:
    """Pareto bounded to tail_from_s..max_s: heavy-tailed, with every moment finite.

    Harchol-Balter, Crovella and Murta, "On choosing a task assignment policy", 1999 (their B(k, p, α)).
    """

    tail_index: float = 1.1  # α; the smaller the heavier
    tail_from_s: float = 600.0
    max_s: float = 2_592_000.0

    def __post_init__(self) -> None:
        require(0 < self.tail_index < np.inf, "tail_index", self.tail_index, "must be more than 0")
        require(0 < self.tail_from_s < np.inf, "tail_from_s", self.tail_from_s, "must be more than 0 s")
        above = f"must be finite and more than the start of the tail, {self.tail_from_s:g} s"
        require(self.tail_from_s < self.max_s < np.inf, "max_s", self.max_s, above)

    def draw_s(self, num: int, rng: np.random.Generator) -> np.ndarray:
        inside = 1.0 - (self.tail_from_s / self.max_s) ** self.tail_index
        return self.tail_from_s * (1.0 - rng.random(num) * inside) ** (-1.0 / self.tail_index)


@dataclass(frozen=True)
class Exponential:
    """Memoryless."""

    mean_s: float = 3600.0

    def __post_init__(self) -> None:
        require(0 < self.mean_s < np.inf, "mean_s", self.mean_s, "must be more than 0 s")

    def draw_s(self, num: int, rng: np.random.Generator) -> np.ndarray:
        return self.mean_s * rng.standard_exponential(num)


@dataclass(frozen=True)
class Constant:
    """Every job the same."""

    mean_s: float = 3600.0

    def __post_init__(self) -> None:
        require(0 < self.mean_s < np.inf, "mean_s", self.mean_s, "must be more than 0 s")

    def draw_s(self, num: int, rng: np.random.Generator) -> np.ndarray:
        return np.full(num, self.mean_s)


@dataclass(frozen=True)
class Mixture:
    """Each job from one of `parts`, chosen with chance proportional to `weights`."""

    parts: Sequence[Durations]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        require(len(self.parts) > 0, "mixture", [], "needs a part or more")
        good = all(0 <= weight < np.inf for weight in self.weights) and sum(self.weights) > 0
        require(good, "weights of the mixture", list(self.weights), "must be 0 or more, one of them above 0")

    def draw_s(self, num: int, rng: np.random.Generator) -> np.ndarray:
        weights = np.asarray(self.weights, np.float64)
        part_of = rng.choice(len(self.parts), num, p=weights / weights.sum())
        duration_s = np.empty(num)
        for i, part in enumerate(self.parts):
            mine = part_of == i
            duration_s[mine] = part.draw_s(int(mine.sum()), rng)
        return duration_s


DURATIONS: dict[str, Callable[..., Durations]] = {
    "lognormal": Lognormal,
    "pareto": Pareto,
    "exponential": Exponential,
    "constant": Constant,
}


def draw_within(
    durations: Durations, factor: np.ndarray, low_s: float, high_s: float, rng: np.random.Generator
) -> np.ndarray:
    """A duration times `factor` for each job, those outside low_s..high_s drawn again; shape of `factor`.

    Raises:
        WorkloadError: hardly any draw falls inside.
    """
    duration_s = factor * durations.draw_s(len(factor), rng)
    for _ in range(_MAX_REDRAWS):
        outside = np.flatnonzero(~((duration_s >= low_s) & (duration_s <= high_s)))
        if not outside.size:
            return duration_s
        duration_s[outside] = factor[outside] * durations.draw_s(outside.size, rng)
    raise WorkloadError(
        f"durations outside {low_s:g}..{high_s:g} s: {outside.size:,} of {len(factor):,} jobs still were "
        f"after {_MAX_REDRAWS} redraws; widen duration_min_s..duration_max_s"
    )
