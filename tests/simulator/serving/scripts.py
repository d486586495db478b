"""Replicas that come, are drained and are killed at random times, and a model that is led through it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from simulator.serving.model import ServingModel
from simulator.serving.outcome import Served
from workloads.requests import Requests

Script = Sequence[tuple[float, str, int]]  # (when, add | drain | kill, replica)


def random_script(rng: np.random.Generator, num: int, end_s: float, most: int = 12) -> Script:
    """`num` changes up to `end_s`, at most `most` replicas at a time; the last change leaves one."""
    script: list[tuple[float, str, int]] = [(0.0, "add", 0), (0.0, "add", 1)]
    open_, draining, num_added = [0, 1], list[int](), 2
    for when_s in np.sort(rng.uniform(0.0, end_s, num)).tolist():
        what = str(rng.choice(["add", "add", "drain", "kill"]))
        if what == "add" and len(open_) < most:
            script.append((when_s, "add", num_added))
            open_.append(num_added)
            num_added += 1
        elif what != "add" and (pool := open_ + draining if what == "kill" else open_):
            replica = int(rng.choice(pool))
            script.append((when_s, what, replica))
            (open_ if replica in open_ else draining).remove(replica)
            if what == "drain":
                draining.append(replica)
    return [*script, (end_s, "add", num_added)]


def led_through(model: ServingModel, requests: Requests, script: Script, step_s: float = math.inf) -> Served:
    """All answers, by request, of a model that is led through a script in steps of at most `step_s`."""
    end_s = script[-1][0]
    stops = {when_s for when_s, _, _ in script}
    if step_s < math.inf:
        stops |= set(np.arange(step_s, end_s, step_s).tolist())
    parts, begin, left = [], 0, list(script)
    for until_s in [*sorted(stops), 1e7]:
        end = int(np.searchsorted(requests.arrival_s, until_s))
        parts.append(model.advance(requests.take(slice(begin, end)), until_s))
        begin = end
        while left and left[0][0] == until_s:
            _, what, replica = left.pop(0)
            getattr(model, what)(replica, until_s)
    whole = Served.concat(parts)
    order = np.argsort(whole.number)
    return Served(*(getattr(whole, name)[order] for name in Served.__slots__))
