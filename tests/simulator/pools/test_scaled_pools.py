"""Nodes that are ordered, come, drain, time out and are billed: by hand, to the second."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from policies import ClusterView, Target
from simulator.metrics import summarise
from tests.simulator.pools.small_pools import Wishes, lives, pool, scaled
from tests.simulator.small_runs import job, jobs_of, run_jobs, steps, times


def test_an_ordered_node_takes_jobs_when_it_is_ready_and_is_billed_from_the_order_on() -> None:
    jobs = jobs_of((0, 4, 1000), (5, 4, 100))
    run = scaled(jobs, {0: 1, 100: 2}, usd_per_node_h=3.6)
    assert times(run) == {"a": (0, 1000), "b": (150, 250)}
    assert lives(run) == [(0, 0, 0, -1, 1000), (1, 100, 150, -1, 1000)]
    assert summarise(run)["cost_usd"] == pytest.approx((1000 + 900) * 0.001)


def test_a_node_that_is_not_wanted_any_more_is_cancelled_while_it_starts() -> None:
    run = scaled(jobs_of((0, 4, 200), (5, 4, 10)), {0: 1, 20: 3, 40: 2, 50: 1})
    assert lives(run) == [(0, 0, 0, -1, 210), (-1, 20, -1, -1, 50), (-1, 20, -1, -1, 40)]  # the last ordered first
    assert times(run)["b"] == (200, 210)


def test_an_idle_node_goes_at_once_the_youngest_first() -> None:
    run = scaled(jobs_of((0, 4, 100)), {0: 3, 30: 1}, num_nodes=3)
    assert lives(run) == [(0, 0, 0, -1, 100), (1, 0, 0, 30, 30), (2, 0, 0, 30, 30)]


@dataclass
class Chooses(Wishes):
    """The same, and says which nodes go."""

    first: tuple[int, ...] = ()

    def drains(self, target: Target, view: ClusterView) -> tuple[int, ...]:
        return self.first


def test_nodes_that_a_policy_names_go_first() -> None:
    jobs = jobs_of((0, 4, 100))
    pools = [pool(num_nodes=4)]
    run = run_jobs(jobs, "fifo", "consolidate", pools=pools, scaling={"default": Chooses({0: 4, 30: 1}, first=(1, 7))})
    assert lives(run) == [(0, 0, 0, -1, 100), (1, 0, 0, 30, 30), (2, 0, 0, 30, 30), (3, 0, 0, 30, 30)]
    run = run_jobs(jobs, "fifo", "consolidate", pools=pools, scaling={"default": Chooses({0: 4, 30: 3}, first=(0, 1))})
    assert lives(run)[0] == (0, 0, 0, 30, 100)  # what runs there ends first
    assert [row[3] for row in lives(run)] == [30, -1, -1, -1]  # one was to go, and it is the first named


def test_nodes_that_a_policy_names_go_before_those_on_their_way_are_cancelled() -> None:
    run = run_jobs(
        jobs_of((0, 4, 100)), "fifo", "consolidate", pools=[pool(num_nodes=2)],
        scaling={"default": Chooses({0: 3, 30: 2}, first=(1,))},
    )  # fmt: skip
    assert lives(run) == [(0, 0, 0, -1, 100), (1, 0, 0, 30, 30), (2, 0, 50, -1, 100)]


def test_a_draining_node_finishes_what_it_runs_and_takes_nothing_new() -> None:
    """The node with the fewest GPUs held drains: b's. It goes when b ends; c waits for a."""
    run = scaled(jobs_of((0, 4, 200), (0, 2, 100), (50, 2, 10)), {0: 2, 30: 1}, num_nodes=2)
    assert times(run) == {"a": (0, 200), "b": (0, 100), "c": (200, 210)}
    assert lives(run) == [(0, 0, 0, -1, 210), (1, 0, 0, 30, 100)]


@pytest.mark.parametrize("allocation", ["fifo", "srtf", "las", "fair_share", "priority", "greedy", "sjf"])
@pytest.mark.parametrize("placement", ["consolidate", "spread", "pooled"])
def test_draining_preempts_nobody(allocation: str, placement: str) -> None:
    run = scaled(jobs_of((0, 4, 100), (0, 4, 50)), {0: 2, 20: 1}, placement, num_nodes=2, allocation=allocation)
    assert times(run) == {"a": (0, 100), "b": (0, 50)}
    assert lives(run)[1][4] in (50, 100)  # when what was there has ended


@pytest.mark.parametrize("allocation", ["srtf", "las", "fair_share", "priority"])
def test_what_drains_takes_nothing_from_the_others(allocation: str) -> None:
    """Node 1 drains under b; c gets the place of a, although b and c hold more than the open node has."""
    jobs = jobs_of((0, 4, 30), (0, 4, 100), (25, 4, 20))
    run = scaled(jobs, {0: 2, 20: 1}, num_nodes=2, allocation=allocation)
    assert steps(run, "b") in ([(0, 4), (100, 0)],)
    assert times(run)["c"][1] <= 50


def test_a_draining_node_is_wanted_again_and_used_at_once() -> None:
    run = scaled(jobs_of((0, 4, 200), (0, 2, 100), (50, 2, 10)), {0: 2, 30: 1, 60: 2}, num_nodes=2)
    assert times(run)["c"] == (60, 70)
    assert lives(run) == [(0, 0, 0, -1, 200), (1, 0, 0, -1, 200)]


def test_a_drain_that_takes_too_long_preempts() -> None:
    run = scaled(jobs_of((0, 4, 200), (0, 2, 100)), {0: 2, 30: 1}, num_nodes=2, drain_timeout_s=25.0)
    assert steps(run, "b") == [(0, 2), (55, 0), (200, 2), (245, 0)]
    assert job(run, "b")["num_preemptions"] == 1
    assert lives(run)[1] == (1, 0, 0, 30, 55)


def test_a_drain_called_off_does_not_time_out() -> None:
    counts = {0: 2, 30: 1, 40: 2}
    run = scaled(jobs_of((0, 4, 200), (0, 2, 100)), counts, num_nodes=2, drain_timeout_s=25.0)
    assert times(run) == {"a": (0, 200), "b": (0, 100)}


def test_without_nodes_each_time_out_preempts_only_what_has_to_go() -> None:
    """Pooled, 12 GPUs held, one node of three goes at 30 and one at 50; each may drain for 40 s."""
    jobs = jobs_of((0, 4, 300), (0, 4, 300), (0, 4, 300))
    run = scaled(jobs, {0: 3, 30: 2, 50: 1}, "pooled", num_nodes=3, drain_timeout_s=40.0)
    assert steps(run, "c")[:2] == [(0, 4), (70, 0)]
    assert steps(run, "b")[:2] == [(0, 4), (90, 0)]
    assert sorted(life[4] for life in lives(run))[:2] == [70, 90]


@pytest.mark.parametrize("allocation", ["fifo", "fair_share", "srtf", "las", "priority", "greedy", "sjf"])
def test_from_no_nodes_at_all(allocation: str) -> None:
    run = scaled(jobs_of((0, 4, 100)), {0: 0, 10: 1}, num_nodes=0, allocation=allocation)
    assert times(run) == {"a": (60, 160)}


def test_start_up_times_vary_as_asked_and_by_the_seed_alone() -> None:
    def ready(seed: int) -> np.ndarray:
        spec = pool(max_nodes=200, provision_cv=0.5)
        jobs = jobs_of((0, 4, 1000))
        run = run_jobs(jobs, pools=[spec], scaling={"default": Wishes({0: 200})}, seed=seed)
        return run.nodes["ready_s"].to_numpy()[1:]

    assert ready(0).mean() == pytest.approx(50, rel=0.1)  # standard error 25 / sqrt(199) = 1.8
    assert ready(0).std() == pytest.approx(25, rel=0.2)
    assert ready(0).tolist() == ready(0).tolist() != ready(1).tolist()
