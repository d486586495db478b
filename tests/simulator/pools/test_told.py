"""What tables and figures tell of pools, where there is something to tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulator.comparison import compare
from simulator.console import rows
from simulator.figures import draw_run
from simulator.metrics import summarise
from simulator.overheads import MoveCosts
from simulator.pools import Failures, NodeStartup, PoolSpec, Spot, WarmPool
from simulator.run import Run
from tests.simulator.pools.small_pools import scaled, still, write_failures, write_market
from tests.simulator.serving.small_services import Script, plan, serve
from tests.simulator.small_runs import jobs_of
from tests.simulator.test_compare import fake, printed


@pytest.fixture
def rich(tmp_path: Path) -> Run:
    trace = write_market(tmp_path, [9, 9, 1, 9, 9, 9, 9, 9])
    return scaled(
        jobs_of((0, 4, 300), (0, 4, 150), (10, 4, 100)),
        {0: 1, 20: 3},
        startup=NodeStartup(allocation_s=5.0, boot_s=20.0),
        warm=WarmPool(nodes=1, usd_per_node_h=0.36),
        purchase="spot",
        spot=Spot(trace=trace, notice_s=20.0),
        failures=Failures(trace=write_failures(tmp_path, (100, 0))),
        usd_per_node_h=3.6,
        costs=MoveCosts(restart_s=10.0),
        gpu_peak_w=400.0,
    )


def test_the_table_of_a_run_tells_shares_of_the_cost(rich: Run) -> None:
    summary = summarise(rich)
    told = dict(rows(summary))
    share = {
        key: f"{summary[f'cost_{key}_usd'] / summary['cost_usd']:.1%}"
        for key in ("busy", "idle", "startup", "warm", "overhead", "lost")
    }
    assert told["of it bought as"] == "spot 100.0%"
    assert told["of it for"] == (
        f"busy {share['busy']}, idle {share['idle']}, start-up {share['startup']}, warm pool {share['warm']}"
    )
    assert told["of busy for"] == f"moves {share['overhead']}, lost work {share['lost']}"
    assert told["energy of GPUs"] == f"{summary['energy_kwh']:,.3g} kWh"
    assert told["nodes"] == f"1 failed, {summary['num_nodes_reclaimed']} reclaimed"


def test_what_there_is_none_of_is_not_told() -> None:
    told = dict(rows(summarise(still(jobs_of((0, 4, 10)), usd_per_node_h=3.6))))
    whole = {"of it bought as", "of busy for", "energy of GPUs", "nodes", "orders that had to wait"}
    assert not whole & told.keys()
    assert told["of it for"].startswith("busy ")
    free = dict(rows(summarise(still(jobs_of((0, 4, 10))))))
    assert "of it for" not in free  # no cost is known


def test_orders_that_waited_are_told_beside_their_attempts() -> None:
    told = dict(rows({**summarise(still(jobs_of((0, 4, 10)))), "num_orders_waited": 12, "num_stockouts": 130}))
    assert told["orders that had to wait"] == "12; attempts that found no machine: 130"
    given_up = {"num_orders_waited": 3, "num_stockouts": 3, "num_nodes_stock_out": 2}
    told = dict(rows({**summarise(still(jobs_of((0, 4, 10)))), **given_up}))
    assert told["orders that had to wait"] == "3, 2 given up; attempts that found no machine: 3"


def test_warm_nodes_that_cost_nothing_are_noted() -> None:
    def notes(price: float, **warm: Any) -> list[str]:
        run = still(jobs_of((0, 4, 10)), usd_per_node_h=price, warm=WarmPool(nodes=2, **warm))
        return [note for note in summarise(run)["notes"] if "warm" in note]

    assert notes(3.6) == [
        "pool 'default': its warm machines (warm.nodes=2) cost nothing while they wait; "
        "set cluster.warm.usd_per_node_h to what their disks cost, or to 0"
    ]
    assert notes(3.6, usd_per_node_h=0.0) == notes(3.6, usd_per_node_h=0.1) == notes(0.0) == []


def test_the_figures_mark_what_starts_and_what_was_lost(rich: Run, tmp_path: Path) -> None:
    draw_run(rich, tmp_path)
    over_time, gantt = ((tmp_path / f"{name}.svg").read_text() for name in ("over_time", "gantt"))
    for text in ("ready or starting", "node failed or reclaimed"):
        assert text in over_time
    assert "yellow: the node starts; red: it failed or was reclaimed" in gantt
    draw_run(still(jobs_of((0, 4, 10))), tmp_path / "plain")
    over_time, gantt = ((tmp_path / "plain" / f"{name}.svg").read_text() for name in ("over_time", "gantt"))
    assert not any(text in over_time for text in ("starting", "reclaimed"))
    assert "yellow" not in gantt


def test_the_bill_of_services_has_the_warm_pool_and_the_rounding(tmp_path: Path) -> None:
    spec: dict[str, Any] = {"num_nodes": 1, "gpus_per_node": 1, "usd_per_node_h": 3.6, "billing_granularity_s": 60.0}
    warm = WarmPool(nodes=1, usd_per_node_h=0.36)
    run = serve(
        plan([5.0, 50.0, 200.0]), pools=[PoolSpec(**spec, min_nodes=1, max_nodes=2, warm=warm)],
        scaling={"default": Script([(20.0, 2), (110.0, 1)])},
    )  # fmt: skip
    draw_run(run, tmp_path)
    bill = (tmp_path / "cost_split.svg").read_text()
    summary = summarise(run)
    assert summary["cost_warm_usd"] > 0
    assert summary["cost_rounding_usd"] > 0
    for part in ("nodes starting", "warm pool", "rounding", "idle", "prepared and stopped", "billed beyond a node"):
        assert part in bill


def test_a_comparison_has_columns_for_spot_and_lost_work_where_there_is_some() -> None:
    def columns(**more: Any) -> str:
        runs = [fake(seed=seed, cost_spot_usd=40.0, **more) if more else fake(seed=seed) for seed in range(2)]
        return printed(compare(runs))

    told = columns(cost_lost_usd=5.0)
    assert told.count("of it") == 2
    assert {"spot", "lost"} <= set(told.split())
    assert "of it" not in columns()


def test_a_comparison_has_energy_where_it_is_known() -> None:
    told = printed(compare([fake(seed=seed, energy_kwh=kwh) for seed, kwh in enumerate((10.0, 14.0))]))
    assert {"energy", "kWh", "12.0"} <= set(told.split())
    large = printed(compare([fake(energy_kwh=2.5e5), fake("srtf", energy_kwh=1e5)]))
    assert {"energy", "MWh", "250", "100"} <= set(large.split())
    assert "energy" not in printed(compare([fake(), fake("srtf")]))
