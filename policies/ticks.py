"""Ticks one period after the other, as they come of adding up: the same floating-point numbers, without the ticking."""

from __future__ import annotations

import math

import numpy as np

_EXACT = 1 << 20  # sums of multiples of its inverse are exact, as far as simulated time goes
_MANY = 64


def ticks_to(tick_s: float, period_s: float, time_s: float) -> tuple[float, float]:
    """(the last before `time_s`, the first from then on) of the ticks tick_s, tick_s + period_s, ..., added up one by
    one; the former is -inf where `tick_s` is the latter."""
    before_s = -math.inf
    if time_s == math.inf:
        return before_s, time_s
    if tick_s < time_s and (tick_s * _EXACT).is_integer() and (period_s * _EXACT).is_integer():
        steps = math.ceil((time_s - tick_s) / period_s)  # maybe one too many or too few, by rounding
        while tick_s + (steps - 1) * period_s >= time_s:
            steps -= 1
        while tick_s + steps * period_s < time_s:
            steps += 1
        return tick_s + (steps - 1) * period_s, tick_s + steps * period_s
    while time_s - tick_s > _MANY * period_s:
        ticks_s = np.full(min(int((time_s - tick_s) / period_s), 4096), period_s)
        ticks_s[0] = tick_s
        np.add.accumulate(ticks_s, out=ticks_s)
        *_, before_s, tick_s = ticks_s[: max(int(ticks_s.searchsorted(time_s)), 2)].tolist()
    while tick_s < time_s:
        before_s, tick_s = tick_s, tick_s + period_s
    return before_s, tick_s


def after_turns(asked_s: float, period_s: float, due_s: float, every_s: float, last_s: float) -> float:
    """When something is due once all ticks up to `last_s` are over.

    It is done at the first tick from when it is due on, and due again `every_s` after that tick. `asked_s` is the last
    tick of which all is known, `due_s` when it was due then.
    """
    exact = all((number * _EXACT).is_integer() for number in (asked_s, period_s, due_s, every_s))
    if exact and every_s and due_s > asked_s and not every_s % period_s and not (due_s - asked_s) % period_s:
        return due_s + every_s * max(math.floor((last_s - due_s) / every_s) + 1, 0)
    while True:
        tick_s = ticks_to(asked_s + period_s, period_s, due_s)[1]
        if tick_s > last_s:
            return due_s
        asked_s, due_s = tick_s, tick_s + every_s
