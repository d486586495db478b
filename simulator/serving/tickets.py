"""Requests in a queue, as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(slots=True)
class Tickets:
    """Requests in the order in which they joined a queue; arrays of shape (N,)."""

    join_s: np.ndarray  # when it joined: its arrival, or that of its last try
    number: np.ndarray  # in order of arrival, from 0
    arrival_s: np.ndarray
    service_s: np.ndarray
    tries: np.ndarray  # before this one

    @classmethod
    def none(cls) -> Tickets:
        return cls.new(np.zeros(0), np.zeros(0), 0)

    @classmethod
    def new(cls, arrival_s: np.ndarray, service_s: np.ndarray, first: int) -> Tickets:
        """Of requests that have just arrived; `first` is the number of the first."""
        num = len(arrival_s)
        number = np.arange(first, first + num)
        return cls(arrival_s, number, arrival_s, service_s, np.zeros(num, np.int64))

    def then(self, other: Tickets) -> Tickets:
        """These, and the others behind them."""
        if not len(self.join_s):
            return other
        return Tickets(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in self.__slots__))

    def take(self, rows: np.ndarray | slice) -> Tickets:
        """Some of them."""
        return Tickets(*(getattr(self, name)[rows] for name in self.__slots__))
