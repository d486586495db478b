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
