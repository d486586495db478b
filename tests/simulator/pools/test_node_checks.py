"""The audit finds every kind of false entry about a node, and nothing in true books."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from simulator.errors import SimulationError
from simulator.overheads import MoveCosts
from simulator.pools import Failures, NodeStartup, Spot, WarmPool
from simulator.pools.checks import broken_node_rules
from simulator.run import Run
from tests.simulator.pools.small_pools import scaled, write_failures, write_market
from tests.simulator.small_runs import jobs_of


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Nodes that ended in every way there is."""
    folder = tmp_path_factory.mktemp("rich")
    return scaled(
        jobs_of(*[(40 * i, 4, 120) for i in range(8)], (900, 1, 50)),
        {0: 1, 50: 4, 60: 3, 400: 1, 430: 2},
        startup=NodeStartup(allocation_s=15.0, boot_s=20.0, image_s=30.0, retry_s=float("inf")),
        warm=WarmPool(nodes=1, resume_s=4.0, usd_per_node_h=0.36, reuses=True),
        purchase="spot",
        spot=Spot(trace=write_market(folder, [3, 3, 1, 4, 4, 4, 4, 4, 4]), notice_s=20.0),
        failures=Failures(trace=write_failures(folder, (150, 0))),
        usd_per_node_h=3.6,
        billing_minimum_s=60.0,
        costs=MoveCosts(1.0, 2.0, 3.0),
    )


def edited(run: Run, column: str, edit: Callable[[np.ndarray], Any]) -> Run:
    """The same run with one column of the table nodes changed."""
    tables = {name: run.table(name) for name in ("jobs", "allocations", "nodes", "decisions", "metrics")}
    old = tables["nodes"]
    values = edit(np.array(old[column].to_pylist(), object if column == "end" else None))
    place = old.schema.get_field_index(column)
    tables["nodes"] = old.set_column(place, column, pa.array(values.tolist(), old.schema.field(column).type))
    return Run(run.facts, tables)


def first(run: Run, end: str) -> int:
    """The first row that ended so; one that took jobs where there is one."""
    rows = run.nodes["end"].eq(end).to_numpy()
    took_jobs = rows & np.isfinite(run.nodes["ready_s"].to_numpy())
    return int((took_jobs if took_jobs.any() else rows).argmax())


def test_there_is_a_node_of_every_end(rich: Run) -> None:
    assert set(rich.nodes["end"]) == {
        "still_there", "drained", "cancelled", "stock_out", "failed", "reclaimed", "resumed"
    }  # fmt: skip
    assert broken_node_rules(rich) == []


@pytest.mark.parametrize(
    ("end", "column", "value", "message"),
    [
        ("drained", "ordered_s", -1.0, "nodes whose times are not ordered <= launched <= ready"),
        ("drained", "launched_s", 1e6, "nodes whose times are not ordered <= launched <= ready"),
        ("resumed", "warm_s", 1e6, "nodes in the warm pool before they were launched or after they were gone"),
        ("drained", "warm_s", 100.0, "nodes that are ready and in the warm pool"),
        ("resumed", "launched_s", np.inf, "nodes that are ready or in the warm pool, and have no machine"),
        ("resumed", "drain_s", 50.0, "nodes that drain and were never ready"),
        ("drained", "node", -1, "nodes that are ready without a number, or have one and never were"),
        ("resumed", "node", 77, "nodes that are ready without a number, or have one and never were"),
        ("drained", "end", "vanished", "nodes that ended in no way there is"),
        ("drained", "end", "still_there", "nodes whose life is not that of one that ended so: still_there"),
        ("reclaimed", "drain_s", np.inf, "nodes whose life is not that of one that ended so: reclaimed"),
        ("resumed", "end", "drained", "nodes whose life is not that of one that ended so: drained"),
        ("drained", "end", "cancelled", "nodes whose life is not that of one that ended so: cancelled"),
        ("cancelled", "end", "stock_out", "nodes whose life is not that of one that ended so: stock_out"),
        ("stock_out", "num_stockouts", 0, "nodes whose life is not that of one that ended so: stock_out"),
        ("stock_out", "end", "failed", "nodes whose life is not that of one that ended so: failed"),
        ("cancelled", "end", "resumed", "nodes whose life is not that of one that ended so: resumed"),
        ("drained", "billed_s", 1.0, "nodes that are billed for less than they were there"),
        ("stock_out", "billed_s", 60.0, "nodes that are billed and were not there"),
        ("drained", "cost_usd", 0.01, "nodes that cost other than their price x the time billed"),
        ("drained", "usd_per_node_h", 3.7, "nodes that cost other than their price x the time billed"),
        ("drained", "cost_warm_usd", 0.01, "nodes that cost"),
        ("resumed", "cost_warm_usd", -0.01, "nodes that cost less than nothing, or something without being billed"),
    ],
)
def test_a_false_entry_about_a_node_is_found(rich: Run, end: str, column: str, value: Any, message: str) -> None:
    row = first(rich, end)

    def edit(values: np.ndarray) -> np.ndarray:
        values[row] = value
        return values

    broken = broken_node_rules(edited(rich, column, edit))
    assert any(line.startswith(message) and f"row {row}" in line for line in broken), broken


def test_what_a_market_asks_is_not_compared_with_the_price_of_the_pool(rich: Run) -> None:
    false = edited(rich, "usd_per_node_h", lambda values: values + 1.0)
    assert broken_node_rules(false)
    false.facts = {**false.facts, "market_pools": ["default"]}
    assert broken_node_rules(false) == []


def test_the_audit_of_a_run_looks_at_its_nodes(rich: Run) -> None:
    from simulator.checks import check

    with pytest.raises(SimulationError, match="nodes that cost other than their price x the time billed"):
        check(edited(rich, "cost_usd", lambda values: values * 2))
