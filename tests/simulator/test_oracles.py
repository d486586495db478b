"""Queueing theory: mean waits and responses that are known in closed form.

Each mean is estimated from independent replications with fixed seeds (0, 1, 2, ...; none picked), the first tenth of
the jobs left out as warm-up. The replications' means are independent, so Student's t gives an honest 99 % confidence
interval; the theory must lie in it, and the interval must be narrow enough to mean something.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from small_runs import run_jobs

from simulator.run import Run
from workloads import JobTable

Draw = Callable[[np.random.Generator, int], np.ndarray]  # service times of mean 1


def exponential(rng: np.random.Generator, num: int) -> np.ndarray:
    return rng.exponential(1.0, num)


def uniform(rng: np.random.Generator, num: int) -> np.ndarray:
    """Squared coefficient of variation 1/3."""
    return rng.uniform(0.0, 2.0, num) + 1e-9


def two_lengths(rng: np.random.Generator, num: int) -> np.ndarray:
    """A tenth of the jobs are long: 5.5 or 0.5; squared coefficient of variation 2.25."""
    return np.where(rng.random(num) < 0.1, 5.5, 0.5)


def workload(seed: int, num: int, rate: float, draw: Draw, num_gpus: int = 1, **columns: int) -> JobTable:
    """Poisson arrivals."""
    arrivals, services = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    data = {
        "submit_s": arrivals.exponential(1.0 / rate, num).cumsum(),
        "num_gpus": np.full(num, num_gpus),
        "duration_s": draw(services, num),
    }
    return JobTable.from_columns(data | {name: np.full(num, value) for name, value in columns.items()})


def assert_mean(samples: list[float], theory: float, within: float) -> None:
    """The theory lies in the 99 % interval of the mean of `samples`, which is at most +-`within` of it."""
    mean, count = float(np.mean(samples)), len(samples)
    half = float(stats.t.ppf(0.995, count - 1)) * float(np.std(samples, ddof=1)) / math.sqrt(count)
    said = f"{mean:.4f} +- {half:.4f} (99 %, {count} replications), theory {theory:.4f}"
    print(said)
    assert abs(mean - theory) <= half, said
    assert half <= within * theory, f"the interval is too wide to say anything: {said}"


def mean_wait(run: Run) -> float:
    jobs = run.jobs.iloc[len(run.jobs) // 10 :]
    return float((jobs["start_s"] - jobs["submit_s"]).mean())


def mean_response(run: Run) -> float:
    jobs = run.jobs.iloc[len(run.jobs) // 10 :]
    return float((jobs["finish_s"] - jobs["submit_s"]).mean())


@pytest.mark.parametrize(
    ("draw", "scv", "rho"),
    [(exponential, 1.0, 0.7), (uniform, 1 / 3, 0.8), (two_lengths, 2.25, 0.6)],
    ids=["M/M/1", "M/U/1", "M/G/1 with long jobs"],
)
def test_one_server(draw: Draw, scv: float, rho: float) -> None:
    """Pollaczek-Khinchine: E[W] = rho (1 + C^2) / (2 (1 - rho)), for mean service 1; C^2 = 1 is M/M/1."""
    waits = [mean_wait(run_jobs(workload(seed, 8000, rho, draw), gpus=1, checked=False)) for seed in range(20)]
    assert_mean(waits, rho * (1 + scv) / (2 * (1 - rho)), within=0.08)


def erlang_c(servers: int, load: float) -> float:
    """The share of arrivals that wait in M/M/c (Erlang's C formula)."""
    block = 1.0
    for k in range(1, servers + 1):
        block = load * block / (k + load * block)
    return block / (1 - load / servers * (1 - block))


@pytest.mark.parametrize(("servers", "rho"), [(2, 0.7), (8, 0.8)])
def test_many_servers(servers: int, rho: float) -> None:
    """M/M/c: E[W] = C(c, a) / (c mu - lambda)."""
    load = servers * rho
    waits = [
        mean_wait(run_jobs(workload(seed, 12000, load, exponential), gpus=servers, checked=False)) for seed in range(20)
    ]
    assert_mean(waits, erlang_c(servers, load) / (servers - load), within=0.15)


def test_every_wait_is_that_of_the_recursion() -> None:
    """G/G/c, first come first served: a job starts when it has arrived and the first server is free."""
    jobs = workload(0, 3000, 4 * 0.95, two_lengths)
    run = run_jobs(jobs, gpus=4)
    free = [0.0] * 4
    starts = []
    for submit_s, duration_s in zip(jobs.submit_s.tolist(), jobs.duration_s.tolist(), strict=True):
        start_s = max(submit_s, heapq.heappop(free))
        heapq.heappush(free, start_s + duration_s)
        starts.append(start_s)
    assert run.jobs["start_s"].tolist() == starts  # to the last bit


PS_GPUS = 240


def shared_processor(seed: int, num: int, rho: float, draw: Draw) -> JobTable:
    """Malleable jobs of 1..240 GPUs whose work is stated on all of them."""
    return workload(seed, num, rho, draw, num_gpus=PS_GPUS, min_gpus=1, max_gpus=PS_GPUS)


@pytest.mark.parametrize("draw", [exponential, two_lengths], ids=["M/M/1-PS", "M/G/1-PS with long jobs"])
def test_processor_sharing(draw: Draw) -> None:
    """M/G/1-PS: E[T] = E[S] / (1 - rho), whatever the distribution of S (Kleinrock, "Queueing Systems" II, 4.4).

    `fair_share` over malleable jobs of 1..240 GPUs with linear speed on one node of 240 GPUs. It deals in whole GPUs:
    k jobs have 240/k each but for one GPU, so a job's rate is within k/240 of an equal share. At this load there is 1
    job on average and there are more than 10 in 0.05 % of the time; none waits before there are 240. The next test
    measures the error that this makes: far below the interval here.
    """
    rho, responses = 0.5, []
    for seed in range(20):
        run = run_jobs(shared_processor(seed, 2000, rho, draw), "fair_share", gpus=PS_GPUS, checked=False)
        responses.append(mean_response(run))
    assert_mean(responses, 1 / (1 - rho), within=0.08)


def test_shares_in_whole_gpus_are_close_to_equal_ones() -> None:
    """Every job's response against exact processor sharing of the same jobs (a fluid), at a higher load."""
    jobs = shared_processor(1, 1000, 0.8, exponential)
    run = run_jobs(jobs, "fair_share", gpus=PS_GPUS)
    ours = (run.jobs["finish_s"] - run.jobs["submit_s"]).to_numpy()
    exact = equal_sharing(jobs.submit_s, jobs.duration_s) - jobs.submit_s
    error = np.abs(ours - exact) / exact
    print(f"error of a response: mean {error.mean():.2e}, largest {error.max():.2e}")
    assert error.mean() < 0.005
    assert abs(ours.mean() / exact.mean() - 1) < 0.001


def equal_sharing(submit_s: np.ndarray, work_s: np.ndarray) -> np.ndarray:
    """Finish times where k jobs go at 1/k each: a job leaves when the work given to each has reached its own."""
    finish_s = np.zeros(submit_s.size)
    given, now_s, active = 0.0, 0.0, []  # work given so far to a job that was there from the start
    arrivals = iter(enumerate(submit_s.tolist()))
    coming = next(arrivals, None)
    while active or coming:
        done_s = now_s + (active[0][0] - given) * len(active) if active else math.inf
        if coming and coming[1] <= done_s:
            given += (coming[1] - now_s) / len(active) if active else 0.0
            now_s = coming[1]
            heapq.heappush(active, (given + work_s[coming[0]], coming[0]))
            coming = next(arrivals, None)
        else:
            now_s = done_s
            given, job = heapq.heappop(active)
            finish_s[job] = now_s
    return finish_s
