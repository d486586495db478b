"""Random pools, workloads and scaling, also hostile: counts and bounds hold at every step, nothing is lost."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import ClusterView, Target, registry
from simulator import ending, simulated_cluster
from simulator.billing import HOUR_S
from simulator.checks import check
from simulator.cluster import DecideOptions
from simulator.errors import SimulationError
from simulator.metrics import summarise
from simulator.monitor import MonitorOptions
from simulator.overheads import MoveCosts, Overheads
from simulator.pools import Failures, Node, NodeStartup, PoolSpec, Spot, WarmPool
from simulator.run import Run
from simulator.scenario import Scenario
from simulator.simulation import Simulation
from tests.simulator.pools.small_pools import write_failures, write_market
from tests.simulator.serving.small_services import plan
from tests.simulator.test_properties import ALLOCATIONS, PLACEMENTS, specs
from workloads import JobTable

INF = math.inf
WITH_SERVICES = [of for of in ALLOCATIONS if of[0] in ("fifo", "fair_share", "priority")]  # move no replica that runs
seconds = st.sampled_from([0.0, 3.0, 20.0])


@dataclass
class Whims:
    """Wants any number of nodes, also such as there can't be, whatever it sees."""

    seed: int
    period_s: float
    _rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def desired(self, target: Target, view: ClusterView) -> int:
        return int(self._rng.integers(-3, 12))


# ---- what is drawn: plain values, so that a failing case can be read and copied
@st.composite
def pools(draw: st.DrawFn, name: str) -> dict[str, Any]:
    purchase = draw(st.sampled_from(["on_demand", "spot", "spot", "committed_1y"]))
    fewest, more, most = sorted(draw(st.lists(st.integers(0, 4), min_size=3, max_size=3)))
    if purchase == "committed_1y":
        fewest = more = most = max(1, more)
    repair_s = draw(st.sampled_from([None, None, 6.0]))
    market = draw(st.none() | st.lists(st.sampled_from([0.0, 1.0, 2.0, 2.5, 9.0]), min_size=1, max_size=6))
    stages = draw(st.booleans())
    return {
        "name": name,
        "purchase": purchase,
        "num_nodes": more,
        "min_nodes": fewest,
        "max_nodes": max(1, most),
        "gpus_per_node": draw(st.sampled_from([1, 4, 8])),
        "usd_per_node_h": draw(st.sampled_from([0.0, 3600.0])),
        "billing_granularity_s": draw(st.sampled_from([0.0, 1.0, 60.0])),
        "billing_minimum_s": draw(st.sampled_from([0.0, 60.0])),
        "power": draw(st.booleans()),
        "provision_cv": draw(st.sampled_from([0.0, 0.5])),
        "startup": {
            "allocation_s": draw(seconds) if stages else 0.0,
            "boot_s": draw(seconds) if stages else 0.0,
            "driver_s": draw(seconds) if stages else 0.0,
            "image_s": draw(seconds) if stages else 0.0,
            "boot_sigma": draw(st.sampled_from([0.0, 0.5])),
            "stockout_frac": draw(st.sampled_from([0.0, 0.0, 0.6])),
            "retry_s": draw(st.sampled_from([7.0, 7.0, 7.0 if purchase == "committed_1y" else INF])),
            "registers": draw(st.sampled_from(["ready", "booted"])),
        },
        "warm": {
            "nodes": draw(st.sampled_from([0, 0, 1, 3])),
            "resume_s": draw(seconds),
            "usd_per_node_h": draw(st.sampled_from([0.0, 360.0])),
            "reuses": draw(st.booleans()),
        },
        "failures": {
            "mtbf_s": draw(st.sampled_from([INF, INF, 60.0])),
            "repair_s": repair_s,
        },
        "failure_trace": draw(st.none() | st.lists(st.tuples(st.sampled_from([0, 20, 20, 75]), st.integers(0, 3)))),
        "spot": {
            "notice_s": draw(st.sampled_from([0.0, 5.0, 30.0])),
            "mean_life_s": draw(st.sampled_from([INF, INF, 50.0])) if purchase == "spot" else INF,
        },
        "market": market if purchase == "spot" else None,
        "gap_s": draw(st.sampled_from([30.0, 94.40796564888446])),
        "has_prices": draw(st.booleans()),
        "replaces": True if repair_s is not None or purchase == "committed_1y" else draw(st.booleans()),
        "drain_timeout_s": draw(st.sampled_from([INF, 0.0, 12.0])),
    }


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    requests = draw(st.none() | st.integers(0, 12))
    return {
        "jobs": draw(specs()),
        "pools": [draw(pools(name)) for name in ("default", "other")[: draw(st.integers(1, 2))]],
        "requests": requests,
        "scaling": draw(st.sampled_from(["none", "whims", "whims", "threshold", "cluster_autoscaler"])),
        "period_s": draw(st.sampled_from([5.0, 17.0])),
        "allocation": draw(st.sampled_from(ALLOCATIONS if requests is None else WITH_SERVICES)),
        "placement": draw(st.sampled_from(PLACEMENTS)),
        "costs": MoveCosts(
            draw(seconds), draw(seconds), draw(seconds),
            preempt=draw(st.sampled_from(["checkpoint", "lose"])), save_s=draw(st.sampled_from([0.0, 10.0])),
        ),
        "interval_s": draw(st.sampled_from([0.0, 0.0, 10.0])),
        "horizon_s": draw(st.sampled_from([INF, 250.0])),
        "seed": draw(st.integers(0, 3)),
    }  # fmt: skip


# ---- and what becomes of it
def spec_of(given: dict[str, Any], folder: Path) -> PoolSpec:
    own = dict(given)
    folder = folder / own["name"]
    folder.mkdir(exist_ok=True)
    market, gap_s, has_prices, power = (own.pop(name) for name in ("market", "gap_s", "has_prices", "power"))
    failures = own.pop("failure_trace")
    prices = [own["usd_per_node_h"] * (1 + i) for i in range(len(market or ()))] if has_prices else None
    trace = write_market(folder, market, gap_s, prices) if market else ""
    own["startup"], own["warm"] = NodeStartup(**own["startup"]), WarmPool(**own["warm"])
    own["spot"] = Spot(**own["spot"], trace=trace)
    own["failures"] = Failures(**own["failures"], trace=write_failures(folder, *failures) if failures else "")
    return PoolSpec(**own, provision_s=9.0, gpu_peak_w=700.0 if power else None)


def scenario_of(given: dict[str, Any], folder: Path) -> Scenario:
    specs = [spec_of(pool, folder) for pool in given["pools"]]
    scaling: dict[str, Any] = {}
    for index, spec in enumerate(specs):
        if given["scaling"] == "whims":
            scaling[spec.name] = Whims(index, given["period_s"])
        elif given["scaling"] == "threshold":
            scaling[spec.name] = registry.create(
                "scaling", "threshold", metric="pending_gpus", upper=0.5, lower=0.25, sustained_s=0.0,
                cooldown_out_s=0.0, cooldown_in_s=10.0, period_s=given["period_s"],
            )  # fmt: skip
        elif given["scaling"] == "cluster_autoscaler":
            scaling[spec.name] = registry.create("scaling", "cluster_autoscaler")
    there_may_be = sum(spec.most if scaling else spec.num_nodes for spec in specs)
    count = given["requests"] if there_may_be else None
    services = [] if count is None else [plan([7.0 * i for i in range(count)], replicas=1, sample_s=10.0, retries=1)]
    return Scenario(
        jobs=JobTable.from_specs(given["jobs"]),
        pools=specs,
        services=services,
        scaling=scaling,
        allocation=registry.create("allocation", given["allocation"][0], **given["allocation"][1]),
        placement=registry.create("placement", given["placement"][0], **given["placement"][1]),
        overheads=Overheads(given["costs"]),
        decide=DecideOptions(given["interval_s"]),
        monitor=MonitorOptions(interval_s=5.0),
        horizon_s=given["horizon_s"],
        starve_after_s=200.0,
        seed=given["seed"],
    )


class Watched(Simulation):
    """A run whose books are looked at before and after every decision."""

    def watch(self) -> Run | None:
        """The run; None if it rightly gives up on a policy that lets nothing get anywhere."""
        controller = self._cluster._controller
        decide = controller.decide
        run_time = 0.0

        def watched(view: ClusterView, *more: Any) -> Any:
            nonlocal run_time
            assert view.now_s >= run_time
            run_time = view.now_s
            self.look()
            return decide(view, *more)

        controller.decide = watched  # type: ignore[method-assign]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ending, "_MAX_FUTILE_STARTS", 50)
            patch.setattr(ending, "_MAX_FUTILE_NODES", 500)
            patch.setattr(simulated_cluster, "STARTS", 32)
            try:
                run = self.run()
            except SimulationError as error:
                if "without getting any work done" not in str(error):
                    raise
                return None
        self.look(is_over=True)
        return run

    def look(self, *, is_over: bool = False) -> None:
        now_s = self._clock.now
        for name, view in self._pools.views.items():
            spec = view_spec = self._pools._specs[name]
            mine = [node for node in self._pools.log if node.pool.name == name]
            # `close` has given those that are still there the time of the end
            here = [node for node in mine if (node.end == "still_there" if is_over else node.terminated_s == INF)]
            told = [node for node in here if node.is_told]
            spares = [node for node in here if node.is_spare and not node.is_told]
            counted = [node for node in here if not node.is_spare and not node.is_told]
            ready = [node for node in counted if node.ready_s < INF and node.drain_s == INF]
            draining = [node for node in here if node.ready_s < INF and node.drain_s < INF]
            coming = [node for node in counted if node.ready_s == INF]
            joined = [node for node in coming if node.is_seen]
            assert (view.num_ready, view.num_without_gpus) == (len(ready) + len(joined), len(joined))
            assert (view.num_starting, view.num_draining) == (len(coming) - len(joined), len(draining))

            assert view.num_units <= spec.most
            if view_spec.replaces and spec.startup.retry_s < INF:
                assert view.num_units == self._pools._wanted[name] >= spec.fewest
            assert len(spares) <= spec.warm.nodes
            if spec.startup.retry_s < INF:
                assert len(spares) == spec.warm.nodes
            assert all(node.ready_s == INF for node in spares)
            assert all(node.ready_s == INF or node.drain_s < INF for node in told)

            open_nodes = [i for i, of in enumerate(self._nodes.pools) if of == name and self._nodes.open_mask >> i & 1]
            assert sorted(node.index for node in ready) == open_nodes
            launched = [node for node in here if node.launched_s < INF]
            assert sorted(self._pools.there(name), key=_number) == launched
            market = spec.spot.market()
            if market is not None and not is_over:
                assert len([node for node in launched if not node.is_told]) <= market.available_at(now_s)
        assert self._nodes.capacity_gpus == sum(
            node.pool.gpus_per_node for node in self._pools.log if node.index >= 0 and self._is_open(node, is_over)
        )

    def _is_open(self, node: Node, is_over: bool) -> bool:
        is_here = node.end == "still_there" if is_over else node.terminated_s == INF
        return is_here and node.drain_s == INF


def _number(node: Node) -> int:
    return node.number


def ran(given: dict[str, Any]) -> tuple[Scenario, Run | None]:
    with tempfile.TemporaryDirectory() as folder:
        scenario = scenario_of(given, Path(folder))
        return scenario, Watched(scenario).watch()


@settings(max_examples=120, deadline=None, derandomize=True, print_blob=True)
@given(scenarios())
def test_nothing_is_lost_leaked_or_given_away(given: dict[str, Any]) -> None:
    scenario, run = ran(given)
    if run is None:
        return
    check(run)
    no_job_is_lost(given, run)
    nodes_are_paid_for(given, scenario.pools, run)
    work_is_lost_only_since_it_was_saved(given, run)


def no_job_is_lost(given: dict[str, Any], run: Run) -> None:
    summary = summarise(run)
    assert len(run.jobs) == len(given["jobs"])
    parts = ("num_finished", "num_failed", "num_rejected", "num_unfinished")
    assert summary["num_submitted"] == sum(summary[part] for part in parts)
    if summary["num_unfinished"] and given["horizon_s"] == INF:
        assert any("never got the GPUs" in note or "run was ended" in note for note in run.facts["notes"])
    split = sum(summary[f"cost_{part}_usd"] for part in ("busy", "idle", "startup", "warm", "rounding", "bought"))
    assert split == pytest.approx(summary["cost_usd"], rel=1e-9, abs=1e-9)
    kinds = sum(summary[f"cost_{kind}_usd"] for kind in ("on_demand", "spot", "committed"))
    assert kinds == pytest.approx(summary["cost_usd"], rel=1e-9, abs=1e-9)


def nodes_are_paid_for(given: dict[str, Any], specs: Sequence[PoolSpec], run: Run) -> None:
    """Never less than the integral of the price over the time from launch to end."""
    by_name = {spec.name: spec for spec in specs}
    drawn = {pool["name"]: pool for pool in given["pools"]}
    for row in run.nodes.itertuples():
        spec, of = by_name[row.pool], drawn[row.pool]
        launched_s = min(row.launched_s, row.terminated_s)
        until_s = min(row.warm_s, row.terminated_s)
        prices = [spec.usd_per_node_h * (1 + i) for i in range(len(of["market"] or ()))] if of["has_prices"] else []
        usd = _integral(launched_s, until_s, prices, of["gap_s"]) if prices else spec.usd_per_node_h * (
            until_s - launched_s) / HOUR_S  # fmt: skip
        usd += (row.terminated_s - until_s) * (spec.warm.usd_per_node_h or 0.0) / HOUR_S
        assert row.cost_usd >= usd * (1 - 1e-9) - 1e-9
        if not spec.billing_granularity_s and not spec.billing_minimum_s:
            assert row.cost_usd == pytest.approx(usd, rel=1e-6, abs=1e-6)
    committed = run.nodes[run.nodes["purchase"].str.startswith("committed") & run.nodes["warm_s"].eq(INF)]
    for name, spec in by_name.items():
        if spec.is_committed and not spec.warm.nodes:
            lived_s = committed[committed["pool"] == name]["billed_s"].sum()
            assert lived_s >= spec.num_nodes * run.facts["end_s"] * (1 - 1e-9)


def _integral(start_s: float, end_s: float, prices: list[float], gap_s: float) -> float:
    """By stretches, one after the other."""
    usd, stretch = 0.0, int(start_s / gap_s)
    while stretch * gap_s < end_s:
        from_s, to_s = max(start_s, stretch * gap_s), min(end_s, (stretch + 1) * gap_s)
        usd += prices[stretch % len(prices)] * max(0.0, to_s - from_s) / HOUR_S
        stretch += 1
    return usd


def work_is_lost_only_since_it_was_saved(given: dict[str, Any], run: Run) -> None:
    every_s = np.array([job.checkpoint_interval_s for job in given["jobs"]])
    of_jobs = run.allocations[run.allocations["job"] < len(every_s)].sort_values(["job", "time_s"], kind="stable")
    rate = of_jobs.groupby("job")["rate"].shift(1)
    pause_s = of_jobs.groupby("job")["pause_s"].shift(1)
    ran_s = (of_jobs["time_s"] - of_jobs.groupby("job")["time_s"].shift(1) - pause_s).clip(lower=0.0)
    stops = of_jobs["num_gpus"].eq(0) & rate.gt(0)
    most = (rate * np.minimum(ran_s, every_s[of_jobs["job"]]))[stops].groupby(of_jobs["job"]).sum()
    for row, lost_s in enumerate(run.jobs["lost_work_s"].tolist()):
        assert lost_s <= most.get(row, 0.0) * (1 + 1e-9) + 1e-6


@settings(max_examples=60, deadline=None, derandomize=True, print_blob=True)
@given(scenarios(), st.sampled_from(PLACEMENTS[1:]), st.sampled_from([0.0, 10.0]))
def test_a_reclaim_that_is_told_in_time_costs_no_work(
    given: dict[str, Any], placement: tuple[str, dict[str, Any]], save_s: float
) -> None:
    """Jobs are on nodes, and nothing fails."""
    never: dict[str, Any] = {"failures": {"mtbf_s": INF}, "failure_trace": None, "purchase": "spot"}
    spot = {"notice_s": 10.0, "mean_life_s": 30.0}
    told = {
        **given,
        "pools": [{**pool, **never, "spot": spot} for pool in given["pools"]],
        "placement": placement,
        "costs": replace(given["costs"], preempt="checkpoint", save_s=save_s),
    }
    _, run = ran(told)
    if run is not None:
        assert not run.jobs["lost_work_s"].any()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(scenarios())
def test_the_same_seed_gives_the_same_bytes(given: dict[str, Any]) -> None:
    (_, first), (_, second) = ran(given), ran(given)
    if first is None or second is None:
        assert first is second
        return
    for name in ("jobs", "allocations", "nodes", "decisions", "metrics"):
        pd.testing.assert_frame_equal(first.table(name).to_pandas(), second.table(name).to_pandas(), check_exact=True)
