"""From an order to a node that takes jobs: each stage, and what is seen and paid meanwhile, by hand to the second."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies import registry
from simulator.errors import ConfigError
from simulator.metrics import summarise
from simulator.pools import NodeStartup, Spot
from simulator.simulation import stream
from tests.simulator.pools.small_pools import Wishes, fates, lives, node, pool, scaled, still, write_market
from tests.simulator.small_runs import jobs_of, run_jobs, times

STAGES = {"allocation_s": 20.0, "boot_s": 30.0, "driver_s": 40.0, "image_s": 50.0}
TWO_JOBS = jobs_of((0, 4, 1000), (5, 4, 100))


def test_a_node_goes_through_its_stages_and_is_billed_from_its_launch_on() -> None:
    run = scaled(TWO_JOBS, {0: 1, 100: 2}, startup=NodeStartup(**STAGES), usd_per_node_h=3.6)
    assert fates(run)[1] == (100, 120, 240, 1000, "still_there")
    assert times(run) == {"a": (0, 1000), "b": (240, 340)}
    summary = summarise(run)
    assert summary["cost_usd"] == pytest.approx((1000 + 880) * 0.001)
    assert summary["cost_startup_usd"] == pytest.approx(120 * 0.001)


def test_stages_take_the_place_of_the_time_to_provision() -> None:
    spec = pool(startup=NodeStartup(**STAGES), provision_s=9.0)
    assert spec.lead_s == 140
    assert pool(provision_s=9.0).lead_s == 9
    run = scaled(TWO_JOBS, {0: 1, 100: 2}, startup=NodeStartup(boot_s=11.0), provision_s=9.0)
    assert fates(run)[1][:3] == (100, 100, 111)


@pytest.mark.parametrize(
    ("registers", "seen"),
    [
        ("ready", {0: (1, 0, 0), 110: (1, 0, 1), 240: (2, 0, 0)}),
        ("booted", {0: (1, 0, 0), 110: (1, 0, 1), 150: (2, 1, 0), 240: (2, 0, 0)}),
    ],
)
def test_policies_see_a_node_as_ready_once_it_registers(
    registers: str, seen: dict[float, tuple[int, int, int]]
) -> None:
    """(ready, of these without GPUs, starting); ordered at 100, launched at 120, booted at 150, ready at 240."""
    wishes = Wishes({0: 1, 100: 2})
    run = scaled(TWO_JOBS, wishes, startup=NodeStartup(**STAGES, registers=registers))
    assert wishes.changes == seen
    assert times(run)["b"] == (240, 340)  # it takes jobs only then


@pytest.mark.parametrize(("cancelled_s", "end_s"), [(110, 110), (130, 130), (200, 200)])
@pytest.mark.parametrize("registers", ["ready", "booted"])
def test_a_node_is_cancelled_at_any_stage(registers: str, cancelled_s: float, end_s: float) -> None:
    """Before its machine is there it costs nothing."""
    wishes = Wishes({0: 1, 100: 2, cancelled_s: 1})
    run = scaled(TWO_JOBS, wishes, startup=NodeStartup(**STAGES, registers=registers), usd_per_node_h=3.6)
    launched_s = 120 if cancelled_s > 120 else -1
    assert fates(run)[1] == (100, launched_s, -1, end_s, "cancelled")
    assert wishes.changes[cancelled_s + 10] == (1, 0, 0)
    assert node(run, 1)["cost_usd"] == pytest.approx(0.001 * max(0, cancelled_s - 120))


@pytest.mark.parametrize(("waits_for_gpus", "most"), [(True, 2), (False, 4)])
def test_an_autoscaler_that_takes_a_node_without_gpus_for_one_without_room_orders_too_many(
    waits_for_gpus: bool, most: int
) -> None:
    """The node that a waiting job needs has joined long before it offers its GPUs."""
    scaling = registry.create("scaling", "cluster_autoscaler", waits_for_gpus=waits_for_gpus)
    startup = NodeStartup(boot_s=30.0, driver_s=200.0, registers="booted")
    run = run_jobs(TWO_JOBS, "fifo", "consolidate", pools=[pool(startup=startup)], scaling={"default": scaling})
    assert len(run.nodes) == most


def test_monitoring_measures_the_gpus_that_are_offered() -> None:
    """All of them are held while the second node has joined without any: it is no node half full."""
    startup = NodeStartup(boot_s=30.0, driver_s=200.0, registers="booted")
    scaling = {"default": Wishes({0: 1, 100: 2})}
    run = run_jobs(TWO_JOBS, "fifo", "consolidate", pools=[pool(startup=startup)], scaling=scaling)
    measured = run.table("metrics", ["time_s", "gpu_allocation_frac"]).to_pandas().set_index("time_s")
    assert measured["gpu_allocation_frac"].loc[60:420].tolist() == [1.0] * 7


# ---- stock-outs
def test_an_order_without_a_machine_is_placed_again_until_there_is_one(tmp_path: Path) -> None:
    """None can be had from 100 to 300: looked for until 120, again from 180 to 200 and from 260 to 280, then found."""
    wishes = Wishes({0: 1, 100: 2})
    startup = NodeStartup(**STAGES, retry_s=60.0)
    trace = write_market(tmp_path, [1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    run = scaled(TWO_JOBS, wishes, startup=startup, purchase="spot", spot=Spot(trace=trace), usd_per_node_h=3.6)
    assert fates(run)[1] == (100, 360, 480, 1000, "still_there")
    assert wishes.changes == {0: (1, 0, 0), 110: (1, 0, 1), 480: (2, 0, 0)}  # it is on its way all the time
    summary = summarise(run)
    assert (summary["num_stockouts"], summary["num_nodes_stock_out"], summary["num_orders_waited"]) == (3, 0, 1)
    assert summary["cost_usd"] == pytest.approx((1000 + 640) * 0.001)


def test_an_order_that_is_given_up_is_the_policys_to_place_again(tmp_path: Path) -> None:
    wishes = Wishes({0: 1, 100: 2})
    startup = NodeStartup(allocation_s=25.0, boot_s=30.0, retry_s=math.inf)
    trace = write_market(tmp_path, [1, 1, 2, 2, 2, 2, 2, 2, 2, 2])
    run = scaled(TWO_JOBS, wishes, startup=startup, purchase="spot", spot=Spot(trace=trace), usd_per_node_h=3.6)
    given_up = [(ordered_s, -1, -1, ordered_s + 25, "stock_out") for ordered_s in (100, 130, 160)]
    assert fates(run)[1:] == [*given_up, (190, 215, 245, 1000, "still_there")]
    assert wishes.changes[130] == (1, 0, 0)
    summary = summarise(run)
    assert (summary["num_stockouts"], summary["num_nodes_stock_out"], summary["num_orders_waited"]) == (3, 3, 3)
    assert summary["cost_usd"] == pytest.approx((1000 + 785) * 0.001)


@pytest.mark.parametrize("seed", range(5))
def test_how_often_no_machine_is_found_is_drawn_from_a_stream_of_its_own(seed: int) -> None:
    startup = NodeStartup(boot_s=30.0, stockout_frac=0.7, retry_s=7.0)
    run = scaled(TWO_JOBS, {0: 1, 100: 2}, startup=startup, seed=seed)
    draws, tries = stream(seed, "stockout default"), 0
    while draws.random() < 0.7:
        tries += 1
    assert node(run, 1)["num_stockouts"] == tries
    assert node(run, 1)["launched_s"] == 100 + 7 * tries


def test_an_order_that_waits_for_a_machine_is_cancelled_like_any(tmp_path: Path) -> None:
    startup = NodeStartup(allocation_s=10.0, boot_s=30.0)
    trace = write_market(tmp_path, [1])
    wishes = Wishes({0: 1, 100: 2, 200: 1})
    run = scaled(TWO_JOBS, wishes, startup=startup, purchase="spot", spot=Spot(trace=trace))
    assert fates(run)[1:] == [(100, -1, -1, 200, "cancelled")]


# ---- distributions
def ready_after(seed: int, **startup: Any) -> np.ndarray:
    spec = {"max_nodes": 300, "startup": NodeStartup(**startup)}
    return scaled(jobs_of((0, 4, 5000)), {0: 300}, seed=seed, **spec).nodes["ready_s"].to_numpy()[1:]


def test_each_stage_is_log_normal_about_its_median_and_drawn_by_the_seed_alone() -> None:
    one = ready_after(0, boot_s=100.0, boot_sigma=0.5)
    assert np.median(one) == pytest.approx(100, rel=0.12)  # standard error of a median of 299: 1.25 · 0.5 / √299 = 3.6%
    assert np.log(one).std() == pytest.approx(0.5, rel=0.13)  # 0.5 / √598 = 4.1% of it
    assert (
        one.tolist() == ready_after(0, boot_s=100.0, boot_sigma=0.5).tolist() != ready_after(1, boot_s=100.0).tolist()
    )
    times_s = [ready_after(0, **{stage: 100.0, stage.replace("_s", "_sigma"): 0.5}) for stage in STAGES]
    assert len({tuple(each.tolist()) for each in times_s}) == 4  # each stage has draws of its own
    more = ready_after(0, boot_s=100.0, boot_sigma=0.5, image_s=20.0)
    assert more == pytest.approx(one + 20)  # a constant stage leaves the others' draws alone


def test_a_policy_changes_no_start_up() -> None:
    """The k-th order takes the same time, whoever orders it when."""
    startup = NodeStartup(boot_s=50.0, boot_sigma=0.8, image_s=20.0, image_sigma=0.3)
    slow = scaled(jobs_of((0, 4, 900)), {0: 1, 100: 2, 300: 4}, startup=startup)
    fast = scaled(jobs_of((0, 4, 900)), {0: 4}, startup=startup)
    took = [(run.nodes["ready_s"] - run.nodes["ordered_s"])[1:].tolist() for run in (slow, fast)]
    assert took[0] == pytest.approx(took[1])
    assert min(took[0]) > 0


def test_nodes_that_are_there_from_the_start_have_no_start_up() -> None:
    run = still(jobs_of((0, 4, 10)), startup=NodeStartup(**STAGES, stockout_frac=0.99))
    assert lives(run) == [(0, 0, 0, -1, 10)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"boot_s": -1.0}, "cluster.startup.boot_s=-1.0: must be a number, 0 or more"),
        ({"image_sigma": math.nan}, "cluster.startup.image_sigma=nan: must be a number, 0 or more"),
        ({"allocation_s": math.inf}, "cluster.startup.allocation_s=inf: must be a number, 0 or more"),
        ({"stockout_frac": 1.0}, "cluster.startup.stockout_frac=1.0: must lie in 0..1, below 1"),
        ({"retry_s": 0.0}, "cluster.startup.retry_s=0.0: must be more than 0 (inf: an order is given up)"),
        ({"registers": "soon"}, "cluster.startup.registers='soon': must be ready or booted"),
    ],
)
def test_a_start_up_that_can_not_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        NodeStartup(**given)
    assert str(error.value) == message
