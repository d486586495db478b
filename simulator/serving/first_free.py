"""The loop of the central queue: each request, in order, takes the server that is free first.

Three forms of it that give the same bits: over lists with the heap of the standard library, over arrays, and that one
compiled by Numba, where it is installed (extra `fast`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from heapq import heapreplace

import numpy as np

Loop = Callable[[np.ndarray, np.ndarray, np.ndarray, float, np.ndarray], int]


def serve(joins_s: list[float], services_s: list[float], free_s: list[float], until_s: float) -> list[float]:
    """When the requests start that start before `until_s`, the first ones; `free_s` is a heap, and updated."""
    starts: list[float] = []
    add = starts.append
    if not free_s:
        return starts
    for join_s, service_s in zip(joins_s, services_s, strict=True):
        start_s = free_s[0]
        if start_s < join_s:
            start_s = join_s
        if start_s >= until_s:
            break
        heapreplace(free_s, start_s + service_s)
        add(start_s)
    return starts


def serve_arrays(
    join_s: np.ndarray, service_s: np.ndarray, free_s: np.ndarray, until_s: float, start_s: np.ndarray
) -> int:
    """The same, written into `start_s`; returns how many start. `free_s`, not empty, is a heap, and updated."""
    num_servers = len(free_s)
    for request in range(len(join_s)):
        begin_s = max(free_s[0], join_s[request])
        if begin_s >= until_s:
            return request
        start_s[request] = begin_s
        end_s = begin_s + service_s[request]
        place, child = 0, 1  # sinks from the top to where none below is less
        while child < num_servers:
            if child + 1 < num_servers and free_s[child + 1] < free_s[child]:
                child += 1
            if free_s[child] >= end_s:
                break
            free_s[place] = free_s[child]
            place, child = child, 2 * child + 1
        free_s[place] = end_s
    return len(join_s)


@cache
def compiled() -> Loop | None:
    """`serve_arrays` as machine code, which takes most of a second to make; None where Numba isn't installed."""
    try:
        import numba  # optional, and slow to import
    except ImportError:
        return None
    loop: Loop = numba.njit(serve_arrays)
    return loop
