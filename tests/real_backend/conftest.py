"""Nothing here may hang: a test that takes too long is ended, and so are the processes that it started."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

if importlib.util.find_spec("torch") is None:  # test_needs_torch.py says so
    collect_ignore_glob = [f"test_{name}.py" for name in ("checkpoint", "controller", "data", "models", "training")]
    collect_ignore_glob += [
        f"test_{name}.py" for name in ("cluster", "commands", "gangs", "live", "live_pools", "scaling", "telemetry")
    ]
    collect_ignore_glob += [f"test_{name}.py" for name in ("gpt_cache", "serving_calibration")]
MOST_S = 300  # a test; the longest takes a minute on two idle cores


@pytest.fixture(autouse=True)
def _time_out() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the test took more than {MOST_S} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(MOST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
