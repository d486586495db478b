"""SimPy's environment with events at absolute times, an order within an instant, and alarms."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from simpy import Environment
from simpy.events import Event

# What happens at one instant happens in this order. SimPy's own events (timeouts of processes) are at 1.
COMPLETION = 0
NODE = 1
ARRIVAL = 2
SAMPLE = 3
DECISION = 4
LAST = 5


class Call:
    """Something to do at a time, and again at others: as much of an event as the loop needs."""

    __slots__ = ("run",)

    def __init__(self, run: Callable[[], None]) -> None:
        self.run = run


class Clock(Environment):
    """An Environment whose events may be put at an absolute time, and whose loop may be ended from inside.

    The methods here (and `Cluster.request_decision`) touch SimPy's private `_queue`, `_eid` and `_now` (SimPy
    4.1); tests/simulator/test_clock.py watches them. `now + (t - now)` may miss t by a rounding error, so a delay
    can't take the place of `until`.
    """

    stopped = False
    pass_s = math.inf  # before time goes on from here, or from later on, `on_pass` is told until when nothing happens

    on_pass: Callable[[float], None] | None = None  # set by whoever watches; it sets `pass_s` anew, may put an event
    is_stirred = False

    def stir(self) -> None:
        """Something may have changed that is watched: `on_pass` is called before time goes on."""
        if self.on_pass is not None:
            self.is_stirred, self.pass_s = True, min(self.pass_s, self._now)

    def stop(self) -> None:
        """Ends `run_all` after the event at hand."""
        self.stopped = True

    def until(self, time_s: float, callback: Callable[[Event], Any], priority: int = NODE) -> Event:
        """An event at `time_s` that calls back; a process can yield it."""
        event = Event(self)
        event._ok, event._value, event.callbacks = True, None, [callback]
        heappush(self._queue, (time_s, priority, next(self._eid), event))  # type: ignore[misc]
        return event

    def call_at(self, time_s: float, call: Call, priority: int) -> None:
        """Runs a call at `time_s`: `until` for those who need no event to yield, at a third of the cost."""
        heappush(self._queue, (time_s, priority, next(self._eid), call))  # type: ignore[misc]

    def run_all(self, horizon_s: float = math.inf) -> None:
        """Runs until nothing is left, or up to and including `horizon_s`; what `Environment.run` does, inlined.

        The readable form is `while self._queue: self.step()`; the loop here saves a method call an event
        (tests/benchmarks/test_fifo.py).
        """
        queue = self._queue
        after_s = math.nextafter(horizon_s, math.inf)
        while queue and not self.stopped:
            if queue[0][0] > self.pass_s:
                self.on_pass(min(queue[0][0], after_s))  # type: ignore[misc]
            if queue[0][0] > horizon_s:
                self._now = horizon_s
                return
            self._now, _, _, event = heappop(queue)
            if event.__class__ is Call:
                event.run()
                continue
            self.stir()  # no job, but some node: who watches is to look around
            callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
            for callback in callbacks:
                callback(event)
            if not event._ok and not hasattr(event, "_defused"):
                raise event._value


class Alarm:
    """Calls `action` at the earliest time asked for.

    Nothing is ever cancelled: an alarm set to an earlier time leaves its later ring in the queue, and a ring before
    the time that is set by then finds nothing due.
    """

    __slots__ = ("_action", "_call", "_clock", "_priority", "time_s")

    def __init__(self, clock: Clock, action: Callable[[], None], priority: int) -> None:
        self._clock, self._action, self._priority = clock, action, priority
        self._call = Call(self._ring)
        self.time_s = math.inf

    def set(self, time_s: float) -> None:
        """Rings at `time_s` at the latest."""
        if time_s < self.time_s:
            self.time_s = time_s
            self._clock.call_at(time_s, self._call, self._priority)

    def _ring(self) -> None:
        if self._clock._now >= self.time_s:
            self.time_s = math.inf
            self._action()
