"""How long tests wait for what must come: much longer than it takes on a machine that is slow and busy."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

PATIENCE_S = 270.0


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Returns as soon as something holds.

    Raises:
        AssertionError: it never does; says `what`.
    """
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, f"waited {PATIENCE_S:g} s in vain: {what}"
        time.sleep(0.05)


def agents_of(folder: object) -> list[psutil.Process]:
    """The living agents of a run, by the path of its token on their command lines."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        is_agent = "agent" in words and any(word.startswith(f"{folder}/") for word in words)
        if is_agent and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found
