"""Prefill and decode steps of a GPT, timed: seconds from keys and values in memory to the logits of the next token.

Each round goes through all settings in an order of its own, so that a machine which is slower for a while doesn't make
one setting slower than the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from real_backend.errors import BackendError
from real_backend.models.gpt import Gpt
from real_backend.models.gpt_cache import Cache, read


@dataclass(frozen=True)
class Setting:
    """What is timed."""

    kind: str  # prefill: reads prompts into an empty cache | decode: reads one token more of each request
    requests: int
    length: int  # tokens of each, in a decode step with the new one


@dataclass(frozen=True)
class ServingRow:
    """Step times at one setting; seconds."""

    kind: str
    requests: int
    length: int
    num_steps: int
    median_s: float
    p10_s: float
    p90_s: float

    @property
    def spread_frac(self) -> float:
        """How much longer the slower steps took than the faster ones; large where other programs run beside."""
        return self.p90_s / self.p10_s - 1.0


def measure_steps(
    module: Gpt,
    settings: Sequence[Setting],
    *,
    rounds: int,
    steps: int,
    warmup: int,
    seed: int,
    clock: Callable[[], float] = time.perf_counter,
    say: Callable[[str], None] = lambda what: None,
) -> list[ServingRow]:
    """A row a setting, of `rounds` times `steps` steps; `warmup` steps before each are not counted.

    Args:
        clock: `time.thread_time` where one thread of a CPU does it all: what it waits for its core, which other
            programs may have, is no part of a step.

    Raises:
        BackendError: a setting that doesn't fit into the GPU's memory.
    """
    rng = np.random.default_rng(seed)
    times: list[list[float]] = [[] for _ in settings]
    for turn in range(rounds):
        for index in rng.permutation(len(settings)):
            setting = settings[index]
            what = f"{setting.kind} of {setting.requests} × {setting.length} tokens"
            say(f"round {turn + 1} of {rounds}: {what}")
            try:
                times[index] += _times(module, setting, warmup + steps, clock)[warmup:]
            except torch.OutOfMemoryError:
                raise BackendError(f"serving: {what}: doesn't fit into the GPU's memory") from None
    return [_row(setting, some) for setting, some in zip(settings, times, strict=True)]


@contextmanager
def threads(num: int) -> Iterator[None]:
    """So many of torch's on a CPU, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(num)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _times(module: Gpt, setting: Setting, count: int, clock: Callable[[], float]) -> list[float]:
    """Seconds of steps that all begin alike: what the cache holds doesn't change how long they take, only how much."""
    device = module.head.weight.device
    begin = 0 if setting.kind == "prefill" else setting.length - 1
    cache = Cache.empty(module, setting.requests, setting.length)
    tokens = torch.randint(module.head.out_features, (setting.requests, setting.length - begin), device=device)
    times = []
    for _ in range(count):
        cache.length = begin
        _settle(device)
        began_s = clock()
        read(module, tokens, cache)
        _settle(device)
        times.append(clock() - began_s)
    return times


def _settle(device: torch.device) -> None:
    """Waits for what a GPU has been told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _row(setting: Setting, times: Sequence[float]) -> ServingRow:
    low, high = np.quantile(times, [0.1, 0.9])
    return ServingRow(
        setting.kind, setting.requests, setting.length, len(times), median(times), float(low), float(high)
    )
