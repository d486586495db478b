"""Machines that are kept prepared: who takes them, what is prepared in their place, and what they cost; by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from simulator.errors import ConfigError
from simulator.metrics import summarise
from simulator.pools import NodeStartup, Spot, WarmPool
from simulator.run import Run
from simulator.simulation import stream
from tests.simulator.pools.small_pools import Wishes, fates, node, pool, scaled, write_market
from tests.simulator.small_runs import jobs_of, times

STARTUP = NodeStartup(allocation_s=20.0, boot_s=30.0, driver_s=40.0, image_s=50.0)  # 140 s
THREE_JOBS = jobs_of((0, 4, 1000), (5, 4, 100), (6, 4, 100))


def warm(**options: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {"nodes": 1, "resume_s": 5.0, "usd_per_node_h": 0.36}
    return {"startup": STARTUP, "usd_per_node_h": 3.6, "warm": WarmPool(**(defaults | options))}


def rows(run: Run) -> list[tuple[float, ...]]:
    """(ordered, launched, warm, ready, terminated) of each node, -1 for never."""
    columns = ["ordered_s", "launched_s", "warm_s", "ready_s", "terminated_s"]
    return list(run.nodes[columns].replace(math.inf, -1.0).itertuples(index=False, name=None))


def test_a_prepared_machine_is_there_sooner_and_another_is_prepared_in_its_place() -> None:
    """One is wanted at 100, another at 110 when the next isn't prepared yet, and one more at 300, when it is."""
    wishes = Wishes({0: 1, 100: 2, 110: 3, 300: 4})
    run = scaled(THREE_JOBS, wishes, **warm())
    assert rows(run) == [
        (0, 0, -1, 0, 1000),  # of the pool from the start
        (0, 0, 0, -1, 100),  # prepared when the run begins
        (100, 100, -1, 105, 1000),  # takes its place
        (100, 120, 240, -1, 300),  # the next for the warm pool
        (110, 130, -1, 250, 1000),  # through all stages
        (300, 300, -1, 305, 1000),
        (300, 320, 440, -1, 1000),
    ]
    ends = run.nodes["end"].tolist()
    assert ends == ["still_there", "resumed", "still_there", "resumed", "still_there", "still_there", "still_there"]
    assert times(run) == {"a": (0, 1000), "b": (105, 205), "c": (205, 305)}
    assert wishes.changes == {  # what is in the warm pool isn't counted
        0: (1, 0, 0), 110: (2, 0, 0), 120: (2, 0, 1), 250: (3, 0, 0), 310: (4, 0, 0)
    }  # fmt: skip


def test_what_waits_costs_little_and_what_is_prepared_costs_a_nodes_price() -> None:
    run = scaled(THREE_JOBS, {0: 1, 100: 2}, **warm())
    assert rows(run)[1:] == [(0, 0, 0, -1, 100), (100, 100, -1, 105, 1000), (100, 120, 240, -1, 1000)]
    assert run.nodes["billed_s"].tolist() == pytest.approx([1000, 0, 900, 120])
    assert run.nodes["cost_warm_usd"].tolist() == pytest.approx([0, 0.01, 0, 0.076])
    summary = summarise(run)
    assert summary["cost_warm_usd"] == pytest.approx((100 + 760) * 0.0001)
    assert summary["cost_startup_usd"] == pytest.approx((5 + 120) * 0.001)  # resuming, and preparing the next
    assert summary["cost_usd"] == pytest.approx((1000 + 900 + 120) * 0.001 + 860 * 0.0001)
    assert summary["cost_idle_usd"] == pytest.approx(summary["cost_usd"] - (0.086 + 0.125 + 1.200))


def test_a_node_that_is_let_go_takes_the_place_of_one_that_is_being_prepared() -> None:
    """b's node goes at 210, when it is empty; the one for the warm pool, under way since 100, would take until 240."""
    run = scaled(jobs_of((0, 4, 1000), (5, 4, 100)), {0: 1, 100: 2, 210: 1, 220: 2}, **warm(reuses=True))
    assert fates(run)[2:] == [
        (100, 100, 105, 210, "drained"),
        (100, 120, -1, 210, "cancelled"),
        (210, 210, -1, 220, "resumed"),
        (220, 220, 225, 1000, "still_there"),
        (220, 240, -1, 1000, "still_there"),
    ]
    assert node(run, 4)["warm_s"] == 210


def test_a_full_warm_pool_takes_no_node_back() -> None:
    run = scaled(jobs_of((0, 4, 1000), (5, 4, 100)), {0: 1, 100: 2, 250: 1}, **warm(reuses=True))
    assert fates(run)[2:] == [(100, 100, 105, 250, "drained"), (100, 120, -1, 1000, "still_there")]


def test_without_reuse_a_node_that_is_let_go_is_gone() -> None:
    run = scaled(jobs_of((0, 4, 1000), (5, 4, 100)), {0: 1, 100: 2, 210: 1, 220: 2}, **warm())
    assert fates(run)[2:] == [
        (100, 100, 105, 210, "drained"),
        (100, 120, -1, 1000, "still_there"),  # isn't prepared yet at 220
        (220, 240, 360, 1000, "still_there"),
    ]


def test_resuming_has_a_distribution_and_a_stream_of_its_own() -> None:
    run = scaled(THREE_JOBS, {0: 1, 100: 2, 300: 3}, **warm(resume_sigma=0.5), seed=3)
    draws = stream(3, "warm default")
    expected = [5.0 * math.exp(0.5 * draws.standard_normal()) for _ in range(2)]
    resumed = run.nodes[(run.nodes["ready_s"] < math.inf) & (run.nodes["ordered_s"] > 0)]
    assert (resumed["ready_s"] - resumed["ordered_s"]).tolist() == pytest.approx(expected)
    assert pool(**warm()).lead_s == 5


def test_a_machine_of_the_warm_pool_that_is_reclaimed_is_replaced_at_the_notice(tmp_path: Path) -> None:
    """Of the two machines (one of the pool, one warm) a market that falls to one at 100 takes one, by lot."""
    trace = write_market(tmp_path, [2, 1, 2, 2, 2, 2, 2, 2, 2, 2])
    seeds: dict[bool, tuple[int, pd.DataFrame]] = {}
    for seed in range(20):
        spot = Spot(trace=trace, notice_s=30.0)
        run = scaled(jobs_of((0, 4, 400)), {0: 1}, purchase="spot", spot=spot, seed=seed, **warm())
        taken = run.nodes[run.nodes["end"] == "reclaimed"]
        assert taken[["ordered_s", "terminated_s"]].to_numpy().tolist() == [[0, 130]]
        seeds[bool(taken["warm_s"].iloc[0] == 0)] = (seed, run.nodes)
    was_warm, was_ready = seeds[True][1], seeds[False][1]
    # The spare's successor is ordered at once; no machine is found at 120 and 180 + 20, the market having one only.
    assert was_warm["ordered_s"].tolist() == [0, 0, 100]
    assert was_warm["launched_s"].tolist() == [0, 0, 200]
    assert was_warm["num_stockouts"].tolist() == [0, 0, 1]
    # The node's place is taken by the spare, which is there at 105.
    assert was_ready["end"].tolist()[:2] == ["reclaimed", "resumed"]
    assert was_ready["ready_s"].tolist()[2] == 105


def test_a_machine_that_is_told_while_it_is_prepared_never_waits(tmp_path: Path) -> None:
    """Launched at 120 and told at 200: prepared it would be at 240, and gone it is at 260."""
    trace = write_market(tmp_path, [9, 9, 0, 9, 9, 9, 9, 9, 9, 9, 9])
    spot = Spot(trace=trace, notice_s=60.0)
    run = scaled(jobs_of((0, 4, 1000), (5, 4, 1000)), {0: 1, 100: 2}, purchase="spot", spot=spot, **warm())
    told = run.nodes[(run.nodes["ordered_s"] == 100) & (run.nodes["ready_s"] == math.inf)]
    assert told[["launched_s", "warm_s", "terminated_s", "end"]].to_numpy().tolist() == [
        [120, math.inf, 260, "reclaimed"]
    ]
    assert told["billed_s"].tolist() == [140]
    assert told["cost_warm_usd"].tolist() == [0]


def test_a_spare_order_that_is_given_up_is_placed_again_with_the_next_order(tmp_path: Path) -> None:
    """One machine more can be had until 200, and none for the warm pool when its own is taken at 100."""
    trace = write_market(tmp_path, [2, 2, 9, 9, 9, 9, 9, 9, 9, 9])
    given = warm()
    given["startup"] = NodeStartup(boot_s=30.0, retry_s=math.inf)
    run = scaled(THREE_JOBS, {0: 1, 100: 2, 250: 3}, purchase="spot", spot=Spot(trace=trace), **given)
    assert fates(run)[1:] == [
        (0, 0, -1, 100, "resumed"),
        (100, 100, 105, 1000, "still_there"),
        (100, -1, -1, 100, "stock_out"),  # a third machine
        (250, 250, 280, 1000, "still_there"),  # nothing is prepared: through all stages
        (250, 250, -1, 1000, "still_there"),
    ]
    assert node(run, 5)["warm_s"] == 280


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"nodes": -1}, "cluster.warm.nodes=-1: must be a number, 0 or more"),
        ({"resume_s": math.inf}, "cluster.warm.resume_s=inf: must be a number, 0 or more"),
        ({"resume_sigma": -0.5}, "cluster.warm.resume_sigma=-0.5: must be a number, 0 or more"),
        ({"usd_per_node_h": math.nan}, "cluster.warm.usd_per_node_h=nan: must be a number, 0 or more"),
    ],
)
def test_a_warm_pool_that_can_not_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        WarmPool(**given)
    assert str(error.value) == message
