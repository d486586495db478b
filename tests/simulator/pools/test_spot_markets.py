"""Spot machines as traces have them: how many can be had, for how much, and what the files look like."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies import ClusterView
from policies.view import Target
from simulator.metrics import summarise
from simulator.pools import NodeStartup, Spot
from simulator.pools.traces import FailureTrace, Market, read_failures, read_market
from simulator.simulation import stream
from tests.simulator.pools.small_pools import TRACES, Wishes, fates, scaled, still, write_market
from tests.simulator.small_runs import job, jobs_of, steps, times
from workloads.errors import TraceError

MARKET = Market(100.0, (4, 4, 2, 0), (3.6, 7.2, 36.0, 0.0))


# ---- a market by itself
@pytest.mark.parametrize(
    ("time_s", "available", "next_s"),
    [(0, 4, 200), (99, 4, 200), (100, 4, 200), (200, 2, 300), (300, 0, 400), (399.9, 0, 400), (400, 4, 600)],
)
def test_how_many_can_be_had_and_until_when(time_s: float, available: float, next_s: float) -> None:
    market = Market(MARKET.gap_s, MARKET.available)
    assert MARKET.available_at(time_s) == market.available_at(time_s) == available
    assert market.next_change_s(time_s) == next_s
    assert market.price_at(time_s) is None


@pytest.mark.parametrize(
    ("time_s", "price", "next_s"), [(0, 3.6, 100), (100, 7.2, 200), (399, 0.0, 400), (400, 3.6, 500)]
)
def test_at_what_price_and_until_when(time_s: float, price: float, next_s: float) -> None:
    assert MARKET.price_at(time_s) == price
    assert MARKET.next_change_s(time_s) == next_s


def test_a_market_that_never_changes() -> None:
    assert Market(100.0, (3, 3)).next_change_s(50.0) == math.inf


@pytest.mark.parametrize(
    ("start_s", "end_s", "usd"),
    [
        (0, 100, 0.1),
        (50, 150, 0.05 + 0.1),
        (250, 450, 0.5 + 0.0 + 0.05),
        (0, 800, 2 * (0.1 + 0.2 + 1.0)),
        (70, 70, 0),
    ],
)
def test_a_price_is_paid_by_the_instant(start_s: float, end_s: float, usd: float) -> None:
    assert MARKET.usd(start_s, end_s) == pytest.approx(usd)


@pytest.mark.parametrize("gap_s", [94.40796564888446, 0.1, 1 / 3, 60.0, 300.0])
def test_the_time_of_a_change_lies_beyond_it_whatever_the_rounding(gap_s: float) -> None:
    """48,895 · 94.40796564888446 over 94.40796564888446 is below 48,895: the next change would be now, for ever."""
    market = Market(gap_s, (1, 0))
    for stretch in [*range(1, 3000), 48895]:
        assert market.available_at(stretch * gap_s) == (1, 0)[stretch % 2]
        assert market.next_change_s(stretch * gap_s) == (stretch + 1) * gap_s


# ---- in a run
def test_nodes_beyond_what_can_be_had_are_told_and_orders_find_none(tmp_path: Path) -> None:
    """Three nodes; from 100 on there are two machines, from 300 on three. Orders are placed again every 60 s."""
    trace = write_market(tmp_path, [3, 2, 2, 3, 3, 3, 3, 3])
    jobs = jobs_of((0, 12, 600))
    run = still(jobs, num_nodes=3, purchase="spot", spot=Spot(trace=trace, notice_s=40.0), provision_s=10.0)
    assert steps(run, "a") == [(0, 12), (140, 0), (350, 12), (810, 0)]
    ends = sorted(fates(run), key=lambda fate: (fate[0], fate[3]))
    assert ends[0] == (0, 0, 0, 140, "reclaimed")
    assert ends[3][:3] == (100, 340, 350)  # 100, 160, 220 and 280: none
    assert summarise(run)["num_stockouts"] == 4


@dataclass
class Prices(Wishes):
    """Notes what a node costs."""

    def desired(self, target: Target, view: ClusterView) -> int:
        self.seen.append((view.now_s, target.usd_per_unit_h))
        return target.num_units


def test_policies_see_what_the_market_asks(tmp_path: Path) -> None:
    trace = write_market(tmp_path, [3, 3, 3, 3], prices=[2.0, 5.0, 5.0, 3.0])
    prices = Prices({})
    spot = {"purchase": "spot", "spot": Spot(trace=trace), "usd_per_node_h": 9.0}
    scaled(jobs_of((0, 4, 450)), prices, **spot)
    changes = [(now_s, usd) for i, (now_s, usd) in enumerate(prices.seen) if not i or usd != prices.seen[i - 1][1]]
    assert changes == [(0, 2.0), (100, 5.0), (300, 3.0), (400, 2.0)]


def test_a_market_starts_over_at_its_end(tmp_path: Path) -> None:
    """Each time told at 200 of 300, and back at 320 of it: 210 s are done, then 190 each time."""
    trace = write_market(tmp_path, [1, 1, 0])
    run = still(jobs_of((0, 4, 700)), purchase="spot", spot=Spot(trace=trace, notice_s=10.0), provision_s=0.0)
    assert [end_s for *_, end_s, end in fates(run) if end == "reclaimed"] == [210, 510, 810]
    assert times(run)["a"] == (0, 920 + 700 - 210 - 2 * 190)


def test_means_preempted_is_the_other_way_round(tmp_path: Path) -> None:
    """1: nothing can be had; 0: as many as one likes."""
    trace = write_market(tmp_path, [0, 1, 0, 0, 0, 0, 0, 0])
    spot = Spot(trace=trace, means="preempted", notice_s=10.0)
    run = still(jobs_of((0, 8, 300)), num_nodes=2, purchase="spot", spot=spot)
    assert [fate[3:] for fate in fates(run)[:2]] == [(110, "reclaimed")] * 2
    assert read_market(trace, "preempted").available == (math.inf, 0, *[math.inf] * 6)


def test_means_launched_is_whether_any_can_be_had(tmp_path: Path) -> None:
    trace = write_market(tmp_path, [1, 0, 1])
    assert read_market(trace, "launched").available == (math.inf, 0, math.inf)
    with pytest.raises(TraceError, match=r"column 'data\[0\]': 4.0: must be 0 or 1 \(1: launched\); with cluster.spot"):
        Spot(trace=write_market(tmp_path, [4, 1]), means="launched")


def test_a_market_of_one_machine_is_noted(tmp_path: Path) -> None:
    def notes(data: list[float], num_nodes: int = 2, **spot: str) -> list[str]:
        trace = write_market(tmp_path, data)
        run = still(jobs_of((0, 4, 10)), num_nodes=num_nodes, purchase="spot", spot=Spot(trace=trace, **spot))  # type: ignore[arg-type]
        return [note for note in summarise(run)["notes"] if "spot.means" in note]

    assert notes([1, 0, 1]) == [
        "pool 'default': spot.trace has 0 and 1 alone, read as how many machines can be had, so never more than one; "
        "set spot.means=launched if 1 says that some can be had, spot.means=preempted if it says that none can"
    ]
    assert notes([1, 0, 1], num_nodes=1) == notes([2, 0, 1]) == notes([1, 0, 1], means="launched") == []


@pytest.mark.parametrize("available", [1.0, 1.5, 1.99])
def test_a_part_of_a_machine_is_none(tmp_path: Path, available: float) -> None:
    """What a fraction lets in it must not throw out again."""
    trace = write_market(tmp_path, [available, available, available + 0.001])
    run = scaled(jobs_of((0, 4, 400)), {0: 1, 20: 2}, purchase="spot", spot=Spot(trace=trace), provision_s=10.0)
    assert [end for *_, end in fates(run)] == ["still_there", "still_there"]
    assert fates(run)[1][1] == -1


def test_what_a_market_takes_at_once_makes_one_decision(tmp_path: Path) -> None:
    """Four nodes of five are told; the job is moved once, to the fifth, not to one that is about to be told."""
    trace = write_market(tmp_path, [5, 1, 1, 1, 1, 1, 1])
    jobs = jobs_of(*[(0, 4, 300)] * 5)
    run = still(jobs, num_nodes=5, purchase="spot", spot=Spot(trace=trace, notice_s=0.0), horizon_s=350.0)
    assert run.jobs["num_preemptions"].tolist() in [[i != kept for i in range(5)] for kept in range(5)]
    assert run.jobs["num_rescales"].sum() == 0
    assert (run.decisions["time_s"] == 100).sum() <= 1


def test_any_of_the_machines_alike_is_taken_by_a_stream_of_its_own(tmp_path: Path) -> None:
    trace = write_market(tmp_path, [5, 3, 3, 3])
    taken = set()
    for seed in range(12):
        run = still(
            jobs_of((0, 20, 300)), num_nodes=5, purchase="spot", spot=Spot(trace=trace), seed=seed, horizon_s=300.0
        )
        told = tuple(run.nodes.index[run.nodes["end"] == "reclaimed"])
        assert set(told) == set(stream(seed, "market default").permutation(5)[:2].tolist())
        taken.add(told)
    assert len(taken) > 3


def test_a_market_leaves_the_lives_drawn_at_random_alone(tmp_path: Path) -> None:
    """Nodes that both would take are taken as they would be without the market."""
    jobs, life = jobs_of((0, 12, 5000)), {"mean_life_s": 900.0, "notice_s": 0.0}
    trace = write_market(tmp_path, [3, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3])
    runs = [
        still(jobs, num_nodes=3, purchase="spot", spot=Spot(trace=each, **life), provision_s=0.0, horizon_s=1500.0)
        for each in ("", trace)
    ]
    gone = [run.nodes[run.nodes["end"] == "reclaimed"] for run in runs]
    lived = [set((each["terminated_s"] - each["launched_s"]).round(6)) for each in gone]
    drawn = stream(0, "spot default").exponential(900.0, 20).round(6).tolist()
    assert lived[0] <= set(drawn)
    assert lived[1] - {100.0} <= set(drawn)
    assert len(lived[0] & lived[1]) >= 2


def test_the_price_of_the_moment_is_paid(tmp_path: Path) -> None:
    """3.6 USD/h to 100, 7.2 to 200, 36 from then on; the second node is launched at 150 and billed to 250."""
    trace = write_market(tmp_path, [9, 9, 9], prices=[3.6, 7.2, 36.0])
    given = {"purchase": "spot", "spot": Spot(trace=trace), "usd_per_node_h": 99.0}
    startup = NodeStartup(allocation_s=50.0, boot_s=10.0)
    run = scaled(jobs_of((0, 4, 250), (0, 4, 60)), {0: 1, 100: 2}, startup=startup, **given)
    assert times(run)["b"] == (160, 220)
    assert run.nodes["cost_usd"].tolist() == pytest.approx([0.1 + 0.2 + 0.5, 0.1 + 0.5])
    summary = summarise(run)
    assert summary["cost_spot_usd"] == summary["cost_usd"] == pytest.approx(1.4)
    per_s = [0.8 / 250, 0.6 / 100]  # of each node, on average over its life
    assert summary["cost_startup_usd"] == pytest.approx(10 * per_s[1])
    assert summary["cost_busy_usd"] == pytest.approx(250 * per_s[0] + 60 * per_s[1])
    assert summary["cost_idle_usd"] == pytest.approx(30 * per_s[1])


def test_what_is_billed_beyond_the_end_is_billed_at_its_price(tmp_path: Path) -> None:
    trace = write_market(tmp_path, [9, 9], prices=[3.6, 7.2])
    run = still(jobs_of((0, 4, 80)), purchase="spot", spot=Spot(trace=trace), billing_minimum_s=150.0)
    assert run.nodes["cost_usd"].tolist() == pytest.approx([0.1 + 0.1])
    assert summarise(run)["cost_rounding_usd"] == pytest.approx(70 * 0.2 / 150)


def test_the_shipped_example_runs() -> None:
    """Four machines and two jobs; none at all from 900 to 1200."""
    spot = Spot(trace=str(TRACES / "market.json"), notice_s=120.0)
    jobs = jobs_of((0, 8, 3000), (0, 8, 3000))
    run = still(jobs, num_nodes=4, purchase="spot", spot=spot)
    assert run.jobs["state"].tolist() == ["finished", "finished"]
    assert job(run, "a")["num_preemptions"] > 0
    held = run.allocations
    assert not held[(held["time_s"] > 1020) & (held["time_s"] < 1200)]["num_gpus"].any()


# ---- files
def test_a_market_is_read_as_skypilot_writes_it() -> None:
    market = read_market(str(TRACES / "market.json"))
    assert market == Market(300.0, (4, 4, 2, 0, 3, 4), (9.2, 9.4, 12.0, 14.5, 10.8, 9.6))
    assert read_failures(str(TRACES / "failures.csv")) == FailureTrace([100, 250, 400], [0, 1, 5])


def test_failures_are_sorted_by_time(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("node,time_s,why\n2,50,a\n0,7.5,b\n1,50,c\n")
    assert read_failures(str(path)) == FailureTrace([7.5, 50, 50], [0, 2, 1])


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("{", "is no JSON: Expecting property name enclosed in double quotes"),
        ("[1, 2]", "must be an object with metadata, data and perhaps prices"),
        ({"data": [1]}, "must be an object with metadata, data and perhaps prices"),
        ({"metadata": {}, "data": [1]}, "column 'metadata.gap_seconds': must be a number of seconds, more than 0"),
        ({"metadata": {"gap_seconds": True}, "data": [1]}, "column 'metadata.gap_seconds': True: must be a number of"),
        (
            {"metadata": {"gap_seconds": 0}, "data": [1]},
            "column 'metadata.gap_seconds': 0: must be a number of seconds",
        ),
        ({"metadata": {"gap_seconds": 60}}, "column 'data': must be a list of numbers, and not empty"),
        ({"metadata": {"gap_seconds": 60}, "data": []}, "column 'data': must be a list of numbers, and not empty"),
        ({"metadata": {"gap_seconds": 60}, "data": [1, -1]}, "column 'data[1]': -1: must be a number, 0 or more"),
        ({"metadata": {"gap_seconds": 60}, "data": [1, "2"]}, "column 'data[1]': '2': must be a number, 0 or more"),
        (
            {"metadata": {"gap_seconds": 60}, "data": [1, 2], "prices": [1]},
            "column 'prices': 1: must have as many entries as",
        ),
    ],
)
def test_a_market_that_can_not_be(tmp_path: Path, told: Any, message: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(told if isinstance(told, str) else json.dumps(told))
    with pytest.raises(TraceError) as error:
        Spot(trace=str(path))
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_numbers_of_machines_are_no_preemptions(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"column 'data\[1\]': 3.0: must be 0 or 1 \(1: preempted\)"):
        Spot(trace=write_market(tmp_path, [0, 3]), means="preempted")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time_s\n5\n", "f.csv:1: column 'node': is missing (the file has time_s)"),
        ("time_s,node\n-1,0\n", "f.csv:2: column 'time_s': '-1': must be a number of seconds, 0 or more"),
        ("time_s,node\nx,0\n", "f.csv:2: column 'time_s': 'x': must be a number of seconds, 0 or more"),
        ("time_s,node\n5,1.5\n", "f.csv:2: column 'node': '1.5': must be a whole number, 0 or more"),
        ("time_s,node\n5,-1\n", "f.csv:2: column 'node': '-1': must be a whole number, 0 or more"),
    ],
)
def test_a_trace_of_failures_that_can_not_be(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "f.csv"
    path.write_text(text)
    with pytest.raises(TraceError) as error:
        read_failures(str(path))
    assert message in str(error.value)


@pytest.mark.parametrize("read", [read_market, read_failures])
def test_a_trace_that_is_not_there(read: Any, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="can't be read: No such file or directory"):
        read(str(tmp_path / "none"))


def test_prices_that_never_change_come_to_the_pools_price(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flat = Market(60.0, (1.0,), (3.6,))
    for start_s, lasts_s in rng.uniform(0, 1e5, (50, 2)).tolist():
        assert flat.usd(start_s, start_s + lasts_s) == pytest.approx(lasts_s * 0.001)
