"""Spot nodes: the notice, what can be saved in it, and where in its life a node may be told; by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from simulator.errors import ConfigError
from simulator.metrics import summarise
from simulator.overheads import MoveCosts
from simulator.pools import NodeStartup, Spot
from simulator.simulation import stream
from tests.simulator.pools.small_pools import Wishes, fates, lives, pool, scaled, still, write_market
from tests.simulator.small_runs import job, jobs_of, steps, times

ONE = jobs_of((0, 4, 500))


def told_at_100(folder: Path, **options: Any) -> dict[str, Any]:
    """Options of a spot pool that has nothing from 100 to 200, and as many as one likes before and after."""
    trace = write_market(folder, [9, 0, 9, 9, 9, 9, 9, 9, 9, 9])
    return {"purchase": "spot", "spot": Spot(trace=trace, **{"notice_s": 30.0, **options})}


@pytest.mark.parametrize("preempt", ["checkpoint", "lose"])
@pytest.mark.parametrize(
    ("notice_s", "save_s", "every_s", "lost_s"),
    [
        (30.0, 0.0, math.inf, 0.0),
        (30.0, 10.0, math.inf, 0.0),
        (30.0, 30.0, math.inf, 0.0),  # just in time
        (30.0, 31.0, math.inf, 130.0),  # not: all since its start
        (30.0, 31.0, 25.0, 5.0),  # since its last checkpoint at 125
        (0.0, 0.0, math.inf, 100.0),  # no notice is none, however fast it saves
        (0.0, 0.0, 40.0, 20.0),
    ],
)
def test_the_notice_is_used_to_save_as_far_as_it_allows(
    tmp_path: Path, preempt: str, notice_s: float, save_s: float, every_s: float, lost_s: float
) -> None:
    """Told at 100, gone `notice_s` later. The next is ordered at 100, found at the first try from 200 on, there at
    50 s later; orders are placed again every 60 s."""
    jobs = jobs_of((0, 4, 500, {"checkpoint_interval_s": every_s}))
    run = still(jobs, costs=MoveCosts(preempt=preempt, save_s=save_s), **told_at_100(tmp_path, notice_s=notice_s))
    gone_s, back_s = 100 + notice_s, 100 + 2 * 60 + 50
    end_s = back_s + 500 - gone_s + lost_s
    assert steps(run, "a") == [(0, 4), (gone_s, 0), (back_s, 4), (end_s, 0)]
    assert job(run, "a")["lost_work_s"] == lost_s
    assert fates(run) == [(0, 0, 0, gone_s, "reclaimed"), (100, 220, back_s, end_s, "still_there")]
    assert summarise(run)["num_nodes_reclaimed"] == 1


def test_a_node_that_was_told_takes_nothing_new_and_its_successor_is_ordered_at_once(tmp_path: Path) -> None:
    """The job that comes at 110 could run on the old node until 130, and waits for the new one at 150."""
    wishes = Wishes({0: 1})
    given = told_at_100(tmp_path)
    given["spot"] = Spot(trace=write_market(tmp_path, [1, 0.5, 1, 1, 1, 1]), notice_s=30.0)
    run = scaled(
        jobs_of((0, 2, 500), (110, 2, 10)), wishes, startup=NodeStartup(allocation_s=30.0, boot_s=20.0), **given
    )
    assert wishes.changes[100] == (0, 0, 1)
    assert times(run)["b"] == (240, 250)  # none at 130; again at 190 + 30
    assert steps(run, "a")[1:3] == [(130, 0), (240, 2)]
    assert [life[3] for life in lives(run)] == [100, -1]


def test_an_idle_node_that_was_told_goes_at_once(tmp_path: Path) -> None:
    run = still(jobs_of((0, 4, 50), (300, 4, 50)), usd_per_node_h=3.6, **told_at_100(tmp_path, notice_s=90.0))
    assert fates(run)[0] == (0, 0, 0, 100, "reclaimed")
    assert run.nodes["billed_s"].tolist()[0] == 100


def test_a_node_goes_when_its_last_job_is_done_within_the_notice(tmp_path: Path) -> None:
    run = still(jobs_of((0, 4, 120), (300, 4, 50)), **told_at_100(tmp_path, notice_s=90.0))
    assert fates(run)[0] == (0, 0, 0, 120, "reclaimed")
    assert times(run)["a"] == (0, 120)
    assert job(run, "a")["num_preemptions"] == 0


def test_what_was_told_can_not_be_wanted_again(tmp_path: Path) -> None:
    """A node that drains comes back when it is wanted; not one that will be reclaimed."""
    wishes = Wishes({0: 1, 105: 0, 115: 1})
    run = scaled(ONE, wishes, **told_at_100(tmp_path))
    assert [end for *_, end in fates(run)] == ["reclaimed", "cancelled", "still_there"]
    assert fates(run)[2][:3] == (120, 240, 290)  # no machine at 120 and 180


def test_a_node_may_be_told_while_it_drains(tmp_path: Path) -> None:
    run = scaled(jobs_of((0, 4, 300), (0, 2, 300)), {0: 2, 40: 1}, num_nodes=2, **told_at_100(tmp_path))
    assert lives(run)[:2] == [(0, 0, 0, 100, 130), (1, 0, 0, 40, 130)]
    assert [end for *_, end in fates(run)] == ["reclaimed", "reclaimed", "still_there"]  # one is wanted


def test_a_node_may_be_told_before_it_is_ready(tmp_path: Path) -> None:
    """Ordered at 60, launched at 80, ready it would be at 160; told at 100, it is billed until 130 and never ready. Its
    successor is ordered at 100."""
    wishes = Wishes({0: 0, 60: 1})
    startup = NodeStartup(allocation_s=20.0, boot_s=30.0, driver_s=50.0, registers="booted")
    given = told_at_100(tmp_path)
    run = scaled(ONE, wishes, num_nodes=0, startup=startup, usd_per_node_h=3.6, **given)
    assert fates(run) == [(60, 80, -1, 130, "reclaimed"), (100, 200, 280, 780, "still_there")]
    assert run.nodes["num_stockouts"].tolist() == [0, 1]  # none at 120, one at 180 + 20
    assert run.nodes["billed_s"].tolist() == [50, 580]
    assert wishes.changes == {0: (0, 0, 0), 70: (0, 0, 1), 230: (1, 1, 0), 280: (1, 0, 0)}


def test_a_node_that_has_joined_without_gpus_may_be_told(tmp_path: Path) -> None:
    """Booted at 90, told at 100: policies see one on its way instead of one that has joined."""
    wishes = Wishes({0: 0, 40: 1})
    startup = NodeStartup(allocation_s=20.0, boot_s=30.0, driver_s=50.0, registers="booted")
    scaled(ONE, wishes, num_nodes=0, startup=startup, **told_at_100(tmp_path))
    assert wishes.changes == {
        0: (0, 0, 0), 50: (0, 0, 1), 90: (1, 1, 0), 100: (0, 0, 1), 230: (1, 1, 0), 280: (1, 0, 0)
    }  # fmt: skip


def test_without_replacement_scaling_sees_to_it_from_the_notice_on(tmp_path: Path) -> None:
    wishes = Wishes({0: 1})
    given = told_at_100(tmp_path)
    run = scaled(ONE, wishes, replaces=False, startup=NodeStartup(boot_s=50.0), **given)
    assert wishes.changes[100] == (0, 0, 0)
    assert fates(run)[1][0] == 100


def test_a_drain_that_may_take_less_than_the_notice_ends_first(tmp_path: Path) -> None:
    """The job is preempted by the drain at 110, and saves as preemptions do."""
    run = still(ONE, drain_timeout_s=10.0, **told_at_100(tmp_path))
    assert steps(run, "a")[:2] == [(0, 4), (110, 0)]
    assert fates(run)[0][3:] == (110, "reclaimed")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lives_at_random_are_exponential_from_the_launch_on(seed: int) -> None:
    """Each draws when it is launched, in a stream of its own."""
    startup = NodeStartup(allocation_s=15.0, boot_s=10.0)
    spot = Spot(mean_life_s=150.0, notice_s=20.0)
    run = still(jobs_of((0, 4, 5000)), purchase="spot", spot=spot, startup=startup, seed=seed, horizon_s=2000.0)
    draws = stream(seed, "spot default")
    expected_s = [draws.exponential(150.0) for _ in range(len(run.nodes))]
    lived = run.nodes["terminated_s"] - run.nodes["launched_s"]
    reclaimed = (run.nodes["end"] == "reclaimed").to_numpy()
    assert reclaimed.sum() >= 4
    assert lived[reclaimed].tolist() == pytest.approx(
        [life_s + 20.0 for life_s, was in zip(expected_s, reclaimed, strict=True) if was]
    )


def test_where_jobs_are_nowhere_the_latest_go_as_many_as_must(tmp_path: Path) -> None:
    """Pooled: 6 of 8 GPUs are held when one node of two is told; b, the latest, saves and goes, a stays."""
    trace = write_market(tmp_path, [2, 1, 2, 2, 2, 2])
    spot = Spot(trace=trace, notice_s=30.0)
    jobs = jobs_of((0, 4, 500), (0, 2, 300))
    run = still(jobs, "pooled", num_nodes=2, purchase="spot", spot=spot, costs=MoveCosts(preempt="lose", save_s=20.0))
    assert steps(run, "a") == [(0, 4), (500, 0)]
    assert steps(run, "b")[:2] == [(0, 2), (130, 0)]
    assert job(run, "b")["lost_work_s"] == 0
    assert [end for *_, end in fates(run)].count("reclaimed") == 1


def test_where_jobs_are_nowhere_free_gpus_go_first(tmp_path: Path) -> None:
    trace = write_market(tmp_path, [2, 1, 2, 2, 2, 2])
    run = still(ONE, "pooled", num_nodes=2, purchase="spot", spot=Spot(trace=trace, notice_s=30.0))
    assert steps(run, "a") == [(0, 4), (500, 0)]


def test_who_was_told_goes_before_who_came_later(tmp_path: Path) -> None:
    """Pooled: b is told at 100 and saves; c starts at 110 on what a has left, and isn't taken for it at 130."""
    trace = write_market(tmp_path, [2, 1, 2, 2, 2, 2])
    jobs = jobs_of((0, 3, 500), (0, 3, 300), (110, 1, 100))
    spot = Spot(trace=trace, notice_s=30.0)
    run = still(jobs, "pooled", num_nodes=2, purchase="spot", spot=spot, costs=MoveCosts(save_s=20.0))
    assert steps(run, "b")[:2] == [(0, 3), (130, 0)]
    assert job(run, "b")["lost_work_s"] == 0
    assert job(run, "c")["num_preemptions"] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"notice_s": -1.0}, "cluster.spot.notice_s=-1.0: must be a number of seconds, 0 or more"),
        ({"notice_s": math.inf}, "cluster.spot.notice_s=inf: must be a number of seconds, 0 or more"),
        ({"mean_life_s": 0.0}, "cluster.spot.mean_life_s=0.0: must be more than 0 (inf: none at random)"),
        ({"means": "prices"}, "cluster.spot.means='prices': must be one of available, preempted, launched"),
    ],
)
def test_spot_options_that_can_not_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Spot(**given)
    assert str(error.value) == message


@pytest.mark.parametrize("purchase", ["on_demand", "committed_1y"])
def test_only_spot_nodes_are_reclaimed(purchase: str) -> None:
    message = "such nodes are never reclaimed: leave spot.mean_life_s and spot.trace, or set spot"
    with pytest.raises(ConfigError, match=rf"cluster.purchase={purchase} \(pool 'default'\): {message}"):
        pool(purchase=purchase, spot=Spot(mean_life_s=60.0), min_nodes=1, max_nodes=1)
