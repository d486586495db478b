"""What must be true of the nodes of any run, recomputed from its tables: their lives, ends and bills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from simulator.billing import HOUR_S
from simulator.pools.node import CANCELLED, DRAINED, ENDS, FAILED, RECLAIMED, RESUMED, STILL_THERE, STOCK_OUT
from simulator.run import Run

_SHOWN = 3
_REL = 1e-9
_COLUMNS = (
    *("node", "pool", "ordered_s", "launched_s", "warm_s", "ready_s", "drain_s", "terminated_s", "end"),
    *("num_stockouts", "usd_per_node_h", "billed_s", "cost_usd", "cost_warm_usd"),
)
Columns = Mapping[str, np.ndarray]


def broken_node_rules(run: Run) -> list[str]:
    """A line for each rule that is broken."""
    nodes = run.columns("nodes", *_COLUMNS)
    end_s = float(run.facts["end_s"])
    broken = [*_lives(nodes, end_s), *_ends(nodes, end_s)]
    return broken or [*_bills(nodes, run.facts.get("market_pools", ()))]


def _told(what: str, bad: np.ndarray) -> Iterator[str]:
    rows = bad.nonzero()[0]
    if len(rows):
        shown = ", ".join(f"row {row}" for row in rows[:_SHOWN]) + (", ..." if len(rows) > _SHOWN else "")
        yield f"{what} ({len(rows):,}): {shown}"


def _lives(nodes: Columns, end_s: float) -> Iterator[str]:
    gone_s = nodes["terminated_s"]
    wrong = ~((nodes["ordered_s"] >= 0) & (nodes["ordered_s"] <= gone_s) & (gone_s <= end_s))
    reached_s = nodes["ordered_s"]
    for name in ("launched_s", "ready_s", "drain_s"):
        is_known = np.isfinite(nodes[name])
        wrong |= is_known & ~((nodes[name] >= reached_s) & (nodes[name] <= gone_s))
        reached_s = np.where(is_known, nodes[name], reached_s)
    yield from _told(
        "nodes whose times are not ordered <= launched <= ready <= drained <= terminated <= end of the run", wrong
    )
    launched, warm, ready = (np.isfinite(nodes[name]) for name in ("launched_s", "warm_s", "ready_s"))
    strayed = warm & ~((nodes["warm_s"] >= nodes["launched_s"]) & (nodes["warm_s"] <= gone_s))
    yield from _told("nodes in the warm pool before they were launched or after they were gone", strayed)
    yield from _told("nodes that are ready and in the warm pool", warm & ready)
    yield from _told("nodes that are ready or in the warm pool, and have no machine", (warm | ready) & ~launched)
    yield from _told("nodes that drain and were never ready", np.isfinite(nodes["drain_s"]) & ~ready)
    yield from _told("nodes that are ready without a number, or have one and never were", ready != (nodes["node"] >= 0))
    _, at, count = np.unique(nodes["node"], return_inverse=True, return_counts=True)
    yield from _told("nodes that are there twice", (nodes["node"] >= 0) & (count[at] > 1))


def _ends(nodes: Columns, end_s: float) -> Iterator[str]:
    end = nodes["end"].astype(str)
    yield from _told("nodes that ended in no way there is", ~np.isin(end, ENDS))
    launched, warm, ready, drained = (
        np.isfinite(nodes[name]) for name in ("launched_s", "warm_s", "ready_s", "drain_s")
    )
    fits = {
        STILL_THERE: nodes["terminated_s"] == end_s,
        DRAINED: ready & drained,
        CANCELLED: ~ready & ~warm,
        STOCK_OUT: ~launched & (nodes["num_stockouts"] > 0),
        FAILED: launched,
        RECLAIMED: launched & (drained | ~ready),  # who takes jobs is told first, and drains
        RESUMED: warm,
    }
    for name, fit in fits.items():
        yield from _told(f"nodes whose life is not that of one that ended so: {name}", (end == name) & ~fit)


def _bills(nodes: Columns, market_pools: object) -> Iterator[str]:
    gone_s = nodes["terminated_s"]
    launched_s = np.minimum(nodes["launched_s"], gone_s)
    used_s = np.minimum(nodes["warm_s"], gone_s) - launched_s
    slack_s = _REL * (1.0 + gone_s)
    yield from _told("nodes that are billed for less than they were there", nodes["billed_s"] < used_s - slack_s)
    yield from _told("nodes that are billed and were not there", (used_s <= 0) & (nodes["billed_s"] > 0))
    paid_usd = nodes["cost_usd"] - nodes["cost_warm_usd"]
    usd = nodes["billed_s"] * nodes["usd_per_node_h"] / HOUR_S
    has_price = ~np.isin(nodes["pool"].astype(str), list(market_pools))  # type: ignore[call-overload]
    wrong = has_price & ~(np.abs(paid_usd - usd) <= _REL * (1.0 + usd))
    yield from _told("nodes that cost other than their price x the time billed", wrong)
    free = (paid_usd < -_REL) | (nodes["cost_warm_usd"] < 0) | ((nodes["billed_s"] == 0) & (paid_usd > _REL))
    yield from _told("nodes that cost less than nothing, or something without being billed", free)
    yield from _told(
        "nodes that cost for waiting in the warm pool and were not there",
        (nodes["cost_warm_usd"] > 0) & ~np.isfinite(nodes["warm_s"]),
    )
