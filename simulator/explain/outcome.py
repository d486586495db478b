"""What came of a decision: when the units that it ordered were ready, and when those that it let go were gone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulator.explain.asked import Asked
from simulator.run import Run


@dataclass(frozen=True)
class Unit:
    """The life of a node or a replica; inf: not in this run."""

    ordered_s: float
    ready_s: float
    gone_s: float


def ordered(run: Run, asked: Asked) -> list[Unit]:
    """The units that were ordered by an answer, as they were ordered; fewer where draining nodes were taken back."""
    lives = _Lives.of(run, asked)
    rows = (lives.ordered_s == asked.time_s).nonzero()[0]
    return lives.units(rows[-asked.change :] if asked.change > 0 else rows[:0])  # at 0 s there are the first ones too


def coming(run: Run, asked: Asked) -> list[Unit]:
    """The units that were on their way when it was asked."""
    lives, now_s = _Lives.of(run, asked), asked.time_s
    is_coming = (lives.ordered_s <= now_s) & (lives.ready_s > now_s) & (lives.gone_s >= now_s)
    is_coming &= ~((lives.ordered_s == now_s) & (asked.change > 0))
    return lives.units(is_coming.nonzero()[0])[: asked.starting]


def removed(run: Run, asked: Asked) -> list[Unit]:
    """The units that were let go: cancelled before they were ready, or drained."""
    lives, now_s = _Lives.of(run, asked), asked.time_s
    is_let_go = (lives.drain_s == now_s) | ((lives.gone_s == now_s) & (lives.ready_s > now_s))
    return lives.units(is_let_go.nonzero()[0][: max(-asked.change, 0)])


@dataclass(frozen=True)
class _Lives:
    """The units of one target, in the order in which they were ordered; inf where something never was."""

    ordered_s: np.ndarray
    ready_s: np.ndarray
    drain_s: np.ndarray
    gone_s: np.ndarray

    @classmethod
    def of(cls, run: Run, asked: Asked) -> _Lives:
        if asked.pending is None:
            names, table = ("pool", "ordered_s", "ready_s", "drain_s", "terminated_s"), "nodes"
        else:
            names, table = ("service", "requested_s", "ready_s", "drain_s", "end_s"), "replicas"
        columns = run.columns(table, *names)
        mine = columns[names[0]] == asked.target
        times = (columns[name][mine] for name in names[1:])
        return cls(*(np.where(np.isnan(each), math.inf, each) for each in times))

    def units(self, rows: np.ndarray) -> list[Unit]:
        times = (each[rows].tolist() for each in (self.ordered_s, self.ready_s, self.gone_s))
        return [Unit(*life) for life in zip(*times, strict=True)]
