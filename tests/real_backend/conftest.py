"""Nothing here may hang: a test that takes too long is ended, and so are the processes that it started."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

MOST_S = 100  # a test; the longest take 15 s on two idle cores


@pytest.fixture(autouse=True)
def _time_out() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the test took more than {MOST_S} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(MOST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
