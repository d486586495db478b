"""Timing: CPU seconds of one process, rivals in turn, so that a noisy machine slows both alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from statistics import median


def cpu_s(action: Callable[[], object]) -> float:
    """CPU seconds that one call takes."""
    gc.collect()
    begin_s = time.process_time()
    action()
    return time.process_time() - begin_s


def in_turn(repeats: int, *actions: Callable[[], object]) -> list[list[float]]:
    """CPU seconds of each action, A B A B ...; a list an action."""
    rounds = [[cpu_s(action) for action in actions] for _ in range(repeats)]
    return [list(column) for column in zip(*rounds, strict=True)]


def ratio(a: list[float], b: list[float]) -> float:
    """The median over rounds of a / b."""
    return median(x / y for x, y in zip(a, b, strict=True))


def slowness() -> float:
    """How much slower this machine is now than the one the absolute goals were set on, when that one was quiet; >= 1.

    By the bare heapq loop, which takes 2.3 us of CPU a job there; shared machines vary by a factor of two.
    """
    from tests.benchmarks.baselines import heapq_fifo, poisson_jobs

    jobs = poisson_jobs(20_000, 2500, 0.9)
    best_s = min(cpu_s(lambda: heapq_fifo(jobs, 625, 4, keep=False)) for _ in range(5))
    return max(1.0, best_s / len(jobs) / 2.3e-6)
