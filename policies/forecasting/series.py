"""Series to forecast: read from a file, or made up."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies.errors import PolicyError
from policies.registry import nearest

_TIME = "time_s"
_MOST_STEPS = 10_000_000


@dataclass(frozen=True, slots=True)
class Series:
    """Equidistant: value i is known at `start_s + i step_s`."""

    start_s: float
    step_s: float
    values: np.ndarray  # shape (T,)

    @property
    def times_s(self) -> np.ndarray:
        return self.start_s + self.step_s * np.arange(len(self.values))


def read_series(path: str | Path, column: str | None = None, step_s: float | None = None) -> Series:
    """A CSV file (plain or .gz) with a header, a column `time_s` that ascends, and columns of values.

    Args:
        path: the file.
        column: the one to read; may be left out where there is but one.
        step_s: the width of a step; None: the median distance of two rows. The rows since the step before are averaged
            into a step, which is known at its end; a step without one repeats the step before.

    Raises:
        PolicyError: what is wrong in the file, with its line and column.
    """
    rows = _rows(path)
    header = next(rows, (0, []))[1]
    if _TIME not in header:
        raise PolicyError(f"{path}:1: column {_TIME!r}: is missing; there are {', '.join(header) or 'none'}")
    others = [name for name in header if name != _TIME]
    if column is None and len(others) == 1:
        column = others[0]
    if column is None:
        raise PolicyError(f"{path}:1: set column=NAME; there are {', '.join(others) or 'none'}")
    if column not in others:
        raise PolicyError(f"{path}:1: column {column!r}: is missing: {nearest(column, others)}")
    places = [(header.index(name), name) for name in (_TIME, column)]
    pairs: list[list[float]] = []
    for line, row in rows:
        pairs.append([_number(row, place, f"{path}:{line}: column {name!r}") for place, name in places])
        if len(pairs) > 1 and pairs[-1][0] <= pairs[-2][0]:
            raise PolicyError(f"{path}:{line}: column {_TIME!r}: {pairs[-1][0]:g}: must be more than in the row above")
    if len(pairs) < 2:
        raise PolicyError(f"{path}: holds {len(pairs)} rows; a series needs 2 or more")
    times_s, values = np.array(pairs).T
    return _stepped(times_s, values, float(np.median(np.diff(times_s))) if step_s is None else step_s)


def _rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row that is not empty."""
    try:
        file = gzip.open(path, "rt", newline="") if str(path).endswith(".gz") else open(path, newline="")  # noqa: SIM115
    except OSError as error:
        raise PolicyError(f"{path}: can't be read: {error.strerror}") from None
    with file:
        reader = csv.reader(file)
        for row in reader:
            if row:
                yield reader.line_num, [cell.strip() for cell in row]


def _number(row: Sequence[str], place: int, where: str) -> float:
    text = row[place] if place < len(row) else ""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise PolicyError(f"{where}: {text!r}: must be a finite number")
    return number


def _stepped(times_s: np.ndarray, values: np.ndarray, step_s: float) -> Series:
    if not 0 < step_s < math.inf:
        raise PolicyError(f"step_s={step_s}: must be more than 0")
    steps = np.ceil((times_s - times_s[0]) / step_s - 1e-6)
    if steps[-1] >= _MOST_STEPS:
        raise PolicyError(f"step_s={step_s:g}: is too short: the series would have {steps[-1] + 1:,.0f} steps")
    places = steps.astype(np.int64)
    sums, counts = np.bincount(places, values), np.bincount(places)
    last = np.maximum.accumulate(np.where(counts > 0, np.arange(len(counts)), 0))
    return Series(float(times_s[0]), float(step_s), sums[last] / counts[last])


def synthetic(seed: int = 0, days: int = 28, step_s: float = 300.0) -> Series:
    """A made-up demand: a day's wave, quieter weekends, noise that lasts for half an hour, and a burst now and then."""
    rng = np.random.default_rng(seed)
    times_s = step_s * np.arange(round(days * 86400.0 / step_s))
    day = 1.0 + 0.5 * np.sin(2 * np.pi * (times_s / 86400.0 - 0.375)) + 0.15 * np.sin(4 * np.pi * times_s / 86400.0)
    week = np.where(times_s // 86400.0 % 7 < 5, 1.0, 0.6)
    keep = math.exp(-step_s / 1800.0)
    noise, bursts = np.zeros(len(times_s)), np.zeros(len(times_s))
    for i, shock in enumerate(rng.normal(0.0, math.sqrt(1.0 - keep**2), len(times_s))):
        noise[i] = shock + (keep * noise[i - 1] if i else 0.0)
    for begin in np.flatnonzero(rng.random(len(times_s)) < step_s / 86400.0):  # one a day
        bursts[begin:] += rng.exponential(30.0) * np.exp(-(times_s[begin:] - times_s[begin]) / 1200.0)
    return Series(0.0, step_s, np.maximum(0.0, 100.0 * day * week + 8.0 * noise + bursts))
