"""Nodes that fail without notice: when, what is lost with them, and what comes in their place; by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from simulator.errors import ConfigError
from simulator.metrics import summarise
from simulator.overheads import MoveCosts
from simulator.pools import Failures, NodeStartup
from simulator.simulation import stream
from tests.simulator.pools.small_pools import TRACES, Wishes, fates, lives, pool, scaled, still, write_failures
from tests.simulator.small_runs import job, jobs_of, steps, times

ONE = jobs_of((0, 4, 500))


def at(folder: Path, *rows: tuple[float, int], **options: Any) -> Failures:
    return Failures(trace=write_failures(folder, *rows), **options)


@pytest.mark.parametrize("preempt", ["checkpoint", "lose"])
@pytest.mark.parametrize(("every_s", "lost_s"), [(math.inf, 100.0), (30.0, 10.0), (100.0, 0.0), (120.0, 100.0)])
def test_what_was_not_saved_is_lost_however_preemptions_go(
    tmp_path: Path, preempt: str, every_s: float, lost_s: float
) -> None:
    """The node fails at 100; another is ordered at once and is there at 150."""
    jobs = jobs_of((0, 4, 500, {"checkpoint_interval_s": every_s}))
    run = still(jobs, failures=at(tmp_path, (100, 0)), costs=MoveCosts(preempt=preempt))
    assert steps(run, "a") == [(0, 4), (100, 0), (150, 4), (550 + lost_s, 0)]
    assert job(run, "a")["lost_work_s"] == lost_s
    assert job(run, "a")["num_preemptions"] == 1
    assert fates(run) == [(0, 0, 0, 100, "failed"), (100, 100, 150, 550 + lost_s, "still_there")]
    summary = summarise(run)
    assert (summary["num_nodes_failed"], summary["num_nodes_reclaimed"]) == (1, 0)
    assert summary["lost_gpu_h"] == pytest.approx(4 * lost_s / 3600)


def test_what_a_restart_costs_is_paid_again(tmp_path: Path) -> None:
    run = still(ONE, failures=at(tmp_path, (100, 0)), costs=MoveCosts(start_s=20.0, restart_s=30.0))
    assert job(run, "a")["lost_work_s"] == 80  # it began after 20 s
    assert times(run) == {"a": (0, 150 + 30 + 500)}


def test_in_the_pause_of_a_move_nothing_is_lost_but_the_pause(tmp_path: Path) -> None:
    run = still(ONE, failures=at(tmp_path, (100, 0)), costs=MoveCosts(start_s=120.0))
    assert job(run, "a")["lost_work_s"] == 0
    assert times(run) == {"a": (0, 150 + 500)}
    assert job(run, "a")["overhead_gpu_s"] == 4 * 100


def test_a_job_on_several_nodes_stops_when_one_of_them_fails(tmp_path: Path) -> None:
    """a is on both nodes, b on the second and c on the third, which goes on; a restarts when there is room again."""
    jobs = jobs_of((0, 6, 500), (0, 2, 300), (0, 4, 300))
    run = still(jobs, num_nodes=3, failures=at(tmp_path, (100, 1)))
    first = run.allocations[:3].sort_values("job")
    assert [nodes.tolist() for nodes in first["nodes"]] == [[0, 1], [1], [2]]
    assert steps(run, "a") == [(0, 6), (100, 0), (150, 6), (650, 0)]
    assert steps(run, "b") == [(0, 2), (100, 0), (150, 2), (450, 0)]
    assert steps(run, "c") == [(0, 4), (300, 0)]
    assert [job(run, name)["lost_work_s"] for name in "abc"] == [100, 100, 0]


def test_what_runs_elsewhere_goes_on(tmp_path: Path) -> None:
    run = still(jobs_of((0, 4, 500), (0, 4, 300)), num_nodes=2, failures=at(tmp_path, (100, 1)))
    assert times(run) == {"a": (0, 500), "b": (0, 450)}
    assert job(run, "a")["num_preemptions"] == 0
    assert job(run, "b")["num_preemptions"] == 1


def test_a_time_to_repair_takes_the_place_of_a_start_up(tmp_path: Path) -> None:
    failures = at(tmp_path, (100, 0), repair_s=7.0)
    run = still(ONE, failures=failures, startup=NodeStartup(boot_s=300.0), usd_per_node_h=3.6)
    assert fates(run) == [(0, 0, 0, 100, "failed"), (100, 100, 107, 607, "still_there")]
    assert summarise(run)["cost_usd"] == pytest.approx(0.607)  # what is repaired is paid for


def test_without_replacement_scaling_sees_to_it(tmp_path: Path) -> None:
    wishes = Wishes({0: 1})
    run = scaled(ONE, wishes, failures=at(tmp_path, (105, 0)), replaces=False)
    assert wishes.changes == {0: (1, 0, 0), 110: (0, 0, 0), 120: (0, 0, 1), 160: (1, 0, 0)}
    assert fates(run)[1] == (110, 110, 160, 660, "still_there")


def test_the_least_number_is_kept_to_by_scaling_and_not_by_the_pool(tmp_path: Path) -> None:
    """Below its least number a pool may be for a while; a policy that wants less is held to it."""
    wishes = Wishes({0: 0})
    run = scaled(ONE, wishes, num_nodes=2, min_nodes=2, failures=at(tmp_path, (105, 1)), replaces=False)
    assert wishes.changes == {0: (2, 0, 0), 110: (1, 0, 0), 120: (1, 0, 1), 160: (2, 0, 0)}
    assert len(run.nodes) == 3


def test_a_draining_node_may_fail_too_and_is_not_replaced(tmp_path: Path) -> None:
    run = scaled(jobs_of((0, 4, 200), (0, 2, 100)), {0: 2, 30: 1}, num_nodes=2, failures=at(tmp_path, (50, 1)))
    assert lives(run) == [(0, 0, 0, -1, 300), (1, 0, 0, 30, 50)]
    assert job(run, "b")["lost_work_s"] == 50
    assert times(run)["b"] == (0, 300)


def test_a_trace_says_which_of_the_ready_nodes_by_age(tmp_path: Path) -> None:
    """The shipped example: the first of two at 100, the second at 250, and 5, round and round, is the second at 400."""
    run = still(
        jobs_of((0, 8, 2000)), num_nodes=2, failures=Failures(trace=str(TRACES / "failures.csv")), horizon_s=500
    )
    assert [(ordered_s, end_s, end) for ordered_s, _, _, end_s, end in fates(run)] == [
        (0, 100, "failed"),
        (0, 500, "still_there"),
        (100, 250, "failed"),
        (250, 400, "failed"),
        (400, 500, "still_there"),
    ]


def test_a_trace_passes_over_pools_without_a_ready_node(tmp_path: Path) -> None:
    run = still(ONE, failures=at(tmp_path, (100, 0), (120, 0), (160, 0)))
    assert [(ready_s, end_s) for _, _, ready_s, end_s, _ in fates(run)] == [(0, 100), (150, 160), (210, 710)]


@pytest.mark.parametrize("seed", [0, 1])
def test_times_between_failures_are_exponential_from_a_stream_of_its_own(seed: int) -> None:
    """Each node draws when it is ready; the first two are there from the start."""
    jobs = jobs_of((0, 4, 3000, {"checkpoint_interval_s": 1.0}), (0, 4, 3000, {"checkpoint_interval_s": 1.0}))
    run = still(jobs, num_nodes=2, failures=Failures(mtbf_s=400.0), seed=seed)
    draws = stream(seed, "failures default")
    came = run.nodes[run.nodes["ready_s"] < math.inf].sort_values("node")
    expected_s = [draws.exponential(400.0) for _ in range(len(came))]
    lived_s = (came["terminated_s"] - came["ready_s"]).to_numpy()
    failed = (came["end"] == "failed").to_numpy()
    assert failed.sum() > 5
    assert lived_s[failed] == pytest.approx([life for life, did in zip(expected_s, failed, strict=True) if did])
    assert (came["ready_s"] - came["ordered_s"]).round(6).isin([0.0, 50.0]).all()


def test_a_policy_changes_no_failure() -> None:
    """The k-th node lives as long under any policy."""
    lived = []
    for allocation in ("fifo", "fair_share"):
        jobs = jobs_of(*[(i, 2, 300, {"min_gpus": 1, "max_gpus": 4, "checkpoint_interval_s": 1.0}) for i in range(6)])
        run = still(jobs, num_nodes=2, failures=Failures(mtbf_s=200.0), allocation=allocation)
        failed = run.nodes[run.nodes["end"] == "failed"]
        lived.append(dict(zip(failed["node"], failed["terminated_s"] - failed["ready_s"], strict=True)))
    both = lived[0].keys() & lived[1].keys()
    assert len(both) > 3
    assert all(lived[0][node] == pytest.approx(lived[1][node]) for node in both)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mtbf_s": 0.0}, "cluster.failures.mtbf_s=0.0: must be more than 0 (inf: none)"),
        ({"mtbf_s": math.nan}, "cluster.failures.mtbf_s=nan: must be more than 0 (inf: none)"),
        ({"repair_s": -1.0}, "cluster.failures.repair_s=-1.0: must be a number of seconds, 0 or more"),
        ({"repair_s": math.inf}, "cluster.failures.repair_s=inf: must be a number of seconds, 0 or more"),
    ],
)
def test_failures_that_can_not_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Failures(**given)
    assert str(error.value) == message


def test_a_node_can_not_be_repaired_in_a_pool_that_replaces_none() -> None:
    with pytest.raises(ConfigError, match=r"cluster.replaces=False \(pool 'default'\): must be true where nodes are"):
        pool(failures=Failures(mtbf_s=1e6, repair_s=60.0), replaces=False)
