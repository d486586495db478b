"""The engine's clock in wall time: the same queue of things to do, and an inbox for what happens outside."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from heapq import heappop
from queue import Empty, SimpleQueue

from simulator.clock import Call, Clock

_LONGEST_WAIT_S = 3600.0


class WallClock(Clock):
    """Runs what is due when it is due, and what other threads post as it comes.

    Everything runs in the thread of `run_all`, one thing after the other, so that nothing else needs a lock.

    Args:
        began_s: Unix time of second 0; None: now. A controller that restarts goes on with its predecessor's.
    """

    def __init__(self, began_s: float | None = None) -> None:
        super().__init__()
        self.began_s = time.time() if began_s is None else began_s
        self._zero_s = time.monotonic() - (time.time() - self.began_s)
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.read()

    def restart(self) -> None:
        """Makes this very moment second 0; before anything is in the queue."""
        self.began_s, self._zero_s, self._now = time.time(), time.monotonic(), 0.0

    def read(self) -> float:
        """Looks at the clock on the wall; the time since second 0."""
        self._now = max(self._now, time.monotonic() - self._zero_s)
        return self._now

    def book_at(self, time_s: float) -> None:
        """Sets `now` to when something happened that is booked only now; until the clock is read again."""
        self._now = time_s

    def post(self, action: Callable[[], None]) -> None:
        """Has `action` run in the clock's thread, soon; from any thread."""
        self._inbox.put(action)

    def call_after(self, delay_s: float, action: Callable[[], None], priority: int = 1) -> None:
        """Has `action` run `delay_s` from now."""
        self.call_at(self.read() + delay_s, Call(action), priority)

    def run_all(self, horizon_s: float = math.inf) -> None:
        """Runs until it is stopped, or up to `horizon_s`."""
        self.run_until(lambda: False, horizon_s)

    def run_until(self, is_done: Callable[[], bool], horizon_s: float = math.inf) -> bool:
        """Runs until `is_done` says so (True), it is stopped or `horizon_s` is reached (False)."""
        while not self.stopped:
            if is_done():
                return True
            if self.read() >= horizon_s:
                break
            action = self._next(horizon_s)
            if action is not None:
                self.read()
                action()
        return False

    def _next(self, horizon_s: float) -> Callable[[], None] | None:
        """What has been posted, else what is due, else whatever comes first while waiting."""
        try:
            return self._inbox.get_nowait()
        except Empty:
            pass
        queue = self._queue
        due_s = queue[0][0] if queue else math.inf
        if due_s <= self._now:
            return self._due()
        try:
            return self._inbox.get(timeout=min(due_s - self._now, horizon_s - self._now, _LONGEST_WAIT_S))
        except Empty:
            return None

    def _due(self) -> Callable[[], None] | None:
        event = heappop(self._queue)[3]
        if event.__class__ is Call:
            return event.run
        callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
        for callback in callbacks:
            callback(event)
        return None
