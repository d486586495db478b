"""The three forms of the central queue's loop give the same bits."""

from __future__ import annotations

import math
from heapq import heapify
from importlib.util import find_spec

import numpy as np
import pytest

from simulator.serving.central_queue import CentralQueue
from simulator.serving.first_free import Loop, compiled, serve, serve_arrays
from simulator.serving.model import RequestOptions
from tests.simulator.serving.scripts import led_through, random_script
from workloads.requests import Requests
from workloads.serving.service_times import ServiceTimes

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="Numba isn't installed (extra `fast`)")


def check(loop: Loop, num_servers: int, until_s: float, ties: bool) -> None:
    rng = np.random.default_rng(num_servers)
    num = 3000
    join_s = np.cumsum(rng.standard_exponential(num)) / num_servers
    service_s = 0.9 * rng.standard_exponential(num)
    if ties:
        join_s, service_s = np.floor(join_s), np.full(num, 1.0)
    free = rng.uniform(0.0, 2.0, num_servers).tolist()
    heapify(free)
    free_s, start_s = np.array(free), np.empty(num)
    starts = serve(join_s.tolist(), service_s.tolist(), free, until_s)
    assert loop(join_s, service_s, free_s, until_s, start_s) == len(starts)
    assert start_s[: len(starts)].tolist() == starts
    assert sorted(free_s.tolist()) == sorted(free)
    assert all(free_s[(k - 1) // 2] <= free_s[k] for k in range(1, num_servers))


@pytest.mark.parametrize("num_servers", [1, 2, 3, 10, 115])
@pytest.mark.parametrize("until_s", [0.5, 20.0, math.inf])
@pytest.mark.parametrize("ties", [False, True])
def test_arrays_are_lists(num_servers: int, until_s: float, ties: bool) -> None:
    check(serve_arrays, num_servers, until_s, ties)


@needs_numba
@pytest.mark.parametrize("num_servers", [1, 2, 115])
@pytest.mark.parametrize("ties", [False, True])
def test_machine_code_is_lists(num_servers: int, ties: bool) -> None:
    loop = compiled()
    assert loop is not None
    check(loop, num_servers, 20.0, ties)


@needs_numba
@pytest.mark.parametrize("retries", [0, 2])
def test_a_compiled_queue_is_the_plain_one(retries: int) -> None:
    """Bit by bit, while replicas come, are drained and killed."""
    rng = np.random.default_rng(retries)
    requests, script = Requests(np.cumsum(rng.standard_exponential(5000) / 20.0)), random_script(rng, 80, 250.0)
    told = []
    for compile_after in (0, 10**9):
        model = CentralQueue(
            ServiceTimes(mean_s=0.4), RequestOptions(retries=retries), np.random.default_rng(7), compile_after
        )
        served = led_through(model, requests, script, 5.0)
        told.append((served.number.tolist(), served.first_s.tolist(), served.finish_s.tolist(), model.counts))
    assert told[0] == told[1]
