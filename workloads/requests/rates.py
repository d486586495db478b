"""Arrivals at a rate that changes: a Poisson process of constant rate, mapped through the inverse of the mean number
of arrivals up to t. Exact for rates that are constant between edges, and without a loop over requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

Block = tuple[np.ndarray, np.ndarray]  # edges_s (K + 1,), rate_per_s (K,): a rate between each two edges
_MOST = 1 << 18  # arrivals in a chunk, about


def arrivals_s(blocks: Iterable[Block], rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Arrival times in chunks, ascending, of the rates of `blocks`, which follow one another without a gap.

    The draws are one sequence, however the blocks are cut: the same seed gives the same arrivals.
    """
    # "even" time: the clock on which the process has rate 1
    ahead = rng.standard_exponential(1)  # even times drawn and not yet reached
    began = 0.0  # even time at the block's begin
    for edges_s, rates in blocks:
        for edges, rate in _cut(edges_s, rates):
            even_at = began + np.concatenate([[0.0], np.cumsum(rate * np.diff(edges))])
            began = float(even_at[-1])
            parts = [ahead]
            while parts[-1][-1] < began:
                lacking = began - parts[-1][-1]
                gaps = rng.standard_exponential(int(lacking + 4.0 * lacking**0.5) + 16)
                gaps[0] += parts[-1][-1]
                parts.append(np.cumsum(gaps, out=gaps))
            even = np.concatenate(parts) if len(parts) > 1 else parts[0]
            num = int(np.searchsorted(even, began))
            ahead = even[num:]
            if num:
                yield np.interp(even[:num], even_at, edges)


def _cut(edges_s: np.ndarray, rates: np.ndarray) -> Iterator[Block]:
    """The same rates in blocks of a bounded number of arrivals."""
    expected = np.concatenate([[0.0], np.cumsum(rates * np.diff(edges_s))])
    num = int(expected[-1] // _MOST)
    if not num:
        yield edges_s, rates
        return
    cuts_s = np.interp(np.arange(1, num + 1) * (expected[-1] / (num + 1)), expected, edges_s)
    edges = np.union1d(edges_s, cuts_s)
    rate = rates[np.searchsorted(edges_s, edges[:-1], "right") - 1]
    places = np.searchsorted(edges, np.concatenate([[edges_s[0]], cuts_s, [edges_s[-1]]]))
    for begin, end in zip(places[:-1].tolist(), places[1:].tolist(), strict=True):
        if end > begin:
            yield edges[begin : end + 1], rate[begin:end]


def grid(duration_s: float, step_s: float, at_a_time: int = 1440) -> Iterator[np.ndarray]:
    """Edges of steps from 0 to `duration_s`, some at a time, each part beginning where the last ended."""
    num = int(np.ceil(duration_s / step_s - 1e-9))
    for begin in range(0, num, at_a_time):
        edges = np.arange(begin, min(begin + at_a_time, num) + 1) * step_s
        yield np.minimum(edges, duration_s)
