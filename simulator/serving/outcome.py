"""What became of requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np

_NONE = np.zeros(0)


@dataclass(slots=True)
class Served:
    """Requests that were answered, in the order in which that became known; arrays of shape (N,).

    `first_s` is when an answer begins: its first token, or with models that know no tokens the start of service.
    """

    number: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # in order of arrival, from 0
    arrival_s: np.ndarray = field(default_factory=lambda: _NONE)  # the first time, where it was tried again
    first_s: np.ndarray = field(default_factory=lambda: _NONE)
    finish_s: np.ndarray = field(default_factory=lambda: _NONE)
    output_tokens: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # 0: no tokens

    def __len__(self) -> int:
        return len(self.finish_s)

    @classmethod
    def of(cls, rows: Sequence[tuple[int, float, float, float, int]]) -> Served:
        """From (number, arrival, first, finish, output tokens)."""
        if not rows:
            return cls()
        number, arrival, first, finish, tokens = zip(*rows, strict=True)
        return cls(
            np.array(number, np.int64), np.array(arrival), np.array(first), np.array(finish), np.array(tokens, np.int64)
        )

    @classmethod
    def concat(cls, parts: Sequence[Served]) -> Served:
        """One after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))


@dataclass(slots=True)
class Counts:
    """How requests fared, in all so far. `arrived` = served + rejected + timed out + lost + in flight."""

    arrived: int = 0
    served: int = 0
    rejected: int = 0  # the queue was full, and no try was left
    timed_out: int = 0  # waited too long, and no try was left
    lost: int = 0  # with their replica, and no try was left
    prompt_tokens: int = 0  # of those served; 0 where the model knows no tokens
    output_tokens: int = 0
    retried: int = 0  # tries after the first; says nothing of how many requests that were

    @classmethod
    def total(cls, parts: Sequence[Counts]) -> Counts:
        """Of several services."""
        return cls(*(sum(getattr(part, each.name) for part in parts) for each in fields(cls)))

    @property
    def in_flight(self) -> int:
        """Waiting, in service, or about to be tried again."""
        return self.arrived - self.served - self.rejected - self.timed_out - self.lost
