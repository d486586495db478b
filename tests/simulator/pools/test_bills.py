"""What nodes cost by the rules of their providers, how the bill splits, and what energy they use; by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from simulator.errors import ConfigError
from simulator.metrics import summarise
from simulator.overheads import MoveCosts
from simulator.pools import Failures, NodeStartup, Spot, WarmPool
from simulator.run import Run
from tests.simulator.pools.small_pools import pool, scaled, still, write_failures, write_market
from tests.simulator.small_runs import jobs_of, run_jobs

PARTS = ("busy", "idle", "startup", "warm", "rounding", "bought")
POWER = {"gpu_idle_w": 100.0, "gpu_peak_w": 700.0}


def parts(run: Run) -> dict[str, float]:
    """The parts of a run's bill that are not zero; they make up the whole."""
    summary = summarise(run)
    of = {part: summary[f"cost_{part}_usd"] for part in PARTS}
    assert sum(of.values()) == pytest.approx(summary["cost_usd"])
    bought_as = [summary[f"cost_{kind}_usd"] for kind in ("on_demand", "spot", "committed")]
    assert sum(bought_as) + of["bought"] == pytest.approx(summary["cost_usd"])
    return {part: pytest.approx(usd) for part, usd in of.items() if abs(usd) > 1e-12}


# ---- rules
@pytest.mark.parametrize(
    ("granularity_s", "minimum_s", "ends_s", "billed_s"),
    [
        (0.0, 0.0, 130, 30),
        (0.0, 60.0, 130, 60),
        (1.0, 60.0, 180, 80),
        (3600.0, 0.0, 180, 3600),
        (50.0, 0.0, 200, 100),  # to the end of the second step, and not begun the third
        (50.0, 120.0, 200, 120),
    ],
)
def test_a_machine_is_billed_by_its_providers_rule_from_its_launch_on(
    granularity_s: float, minimum_s: float, ends_s: float, billed_s: float
) -> None:
    """Ordered at 80, launched at 100, let go at `ends_s` while it starts."""
    rule = {"billing_granularity_s": granularity_s, "billing_minimum_s": minimum_s, "usd_per_node_h": 3.6}
    startup = NodeStartup(allocation_s=20.0, boot_s=500.0)
    run = scaled(jobs_of((0, 4, 400)), {0: 1, 80: 2, ends_s: 1}, startup=startup, **rule)
    assert run.nodes["billed_s"].tolist()[1] == billed_s
    assert run.nodes["cost_usd"].tolist()[1] == pytest.approx(billed_s * 0.001)


@pytest.mark.parametrize("minimum_s", [0.0, 60.0])
def test_what_was_never_launched_is_free(minimum_s: float) -> None:
    startup = NodeStartup(allocation_s=200.0)
    run = scaled(
        jobs_of((0, 4, 400)), {0: 1, 80: 2, 150: 1}, startup=startup, billing_minimum_s=minimum_s, usd_per_node_h=3.6
    )
    assert run.nodes["billed_s"].tolist() == [400, 0]
    assert run.nodes["cost_usd"].tolist()[1] == 0


def test_what_is_committed_is_paid_for_as_long_as_the_run_lasts(tmp_path: Path) -> None:
    """Also while a machine is looked for that takes the place of one that failed."""
    run = still(
        jobs_of((0, 4, 600), (0, 4, 100)), num_nodes=2, purchase="committed_3y", usd_per_node_h=3.6,
        startup=NodeStartup(allocation_s=120.0, boot_s=30.0, stockout_frac=0.9),
        failures=Failures(trace=write_failures(tmp_path, (100, 0), (300, 1))),
    )  # fmt: skip
    end_s = run.facts["end_s"]
    assert run.nodes["num_stockouts"].sum() > 0
    assert summarise(run)["cost_committed_usd"] == pytest.approx(2 * end_s * 0.001)
    assert parts(run)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"min_nodes": 0},
            "cluster.purchase=committed_1y (pool 'default'): what is committed is paid for, used or not",
        ),
        ({"replaces": False}, "cluster.replaces=False (pool 'default'): must be true where nodes are committed"),
        ({"startup": NodeStartup(retry_s=math.inf)}, "what is committed is never given up: startup.retry_s must be"),
    ],
)
def test_a_commitment_that_can_not_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        pool(**{"purchase": "committed_1y", "min_nodes": 1, "max_nodes": 1, **given})
    assert message in str(error.value)


def test_a_purchase_nobody_knows() -> None:
    with pytest.raises(ConfigError, match=r"^cluster.purchase=sport: unknown way of buying; did you mean spot"):
        pool(purchase="sport")


# ---- the split
def test_a_bill_by_hand() -> None:
    """Node 0 from 0 to 300, held for 200 s; node 1 ordered at 100, launched at 120, ready at 150, idle until 180 (gone
    by plan), and billed for a minute at least; 0.001 USD a second."""
    rule = {"billing_minimum_s": 100.0, "usd_per_node_h": 3.6}
    startup = NodeStartup(allocation_s=20.0, boot_s=30.0)
    run = scaled(jobs_of((0, 4, 200), (260, 2, 40)), {0: 1, 100: 2, 180: 1}, startup=startup, **rule)
    assert parts(run) == {
        "busy": 0.200 + 0.020,  # all of the node, then half of it
        "idle": 0.060 + 0.020 + 0.030,  # not held; the other half; node 1
        "startup": 0.030,
        "rounding": 0.040,
    }


def test_a_bill_by_hand_where_jobs_are_nowhere() -> None:
    """Pooled: what is held is spread over ready nodes alike, so at their mean price."""
    specs = [pool(name="cheap", usd_per_node_h=3.6), pool(name="dear", usd_per_node_h=10.8, purchase="spot")]
    run = run_jobs(jobs_of((0, 8, 100), (0, 1, 200)), "fifo", "pooled", pools=specs)
    # b waits for a: 200 s more, in which one of eight GPUs is held
    assert run.facts["end_s"] == 300
    assert parts(run) == {"busy": (800 + 200) / 2400 * 1.2, "idle": 1400 / 2400 * 1.2}
    summary = summarise(run)
    assert (summary["cost_on_demand_usd"], summary["cost_spot_usd"]) == pytest.approx((0.3, 0.9))


def test_what_moves_and_lost_work_cost(tmp_path: Path) -> None:
    """a waits 20 s at its start, fails at 100, waits 40 s for its restart at 150, and does 80 s again; 4 of 4 GPUs."""
    failures = Failures(trace=write_failures(tmp_path, (100, 0)))
    costs = MoveCosts(start_s=20.0, restart_s=40.0)
    run = still(jobs_of((0, 4, 300)), failures=failures, costs=costs, usd_per_node_h=3.6)
    summary = summarise(run)
    assert run.facts["end_s"] == 150 + 40 + 300
    assert summary["cost_overhead_usd"] == pytest.approx(0.060)
    assert summary["cost_lost_usd"] == pytest.approx(0.080)
    assert parts(run) == {"busy": 0.100 + 0.340, "startup": 0.050}


@pytest.mark.parametrize("placement", ["consolidate", "pooled"])
def test_the_parts_are_the_whole_with_everything_at_once(tmp_path: Path, placement: str) -> None:
    trace = write_market(tmp_path, [3, 2, 1, 3, 4, 0, 4], prices=[1, 5, 2, 9, 3, 4, 7])
    run = scaled(
        jobs_of(*[(40 * i, 2, 150, {"checkpoint_interval_s": 20.0}) for i in range(12)]),
        {0: 1, 50: 4, 400: 2, 600: 3},
        placement,
        startup=NodeStartup(allocation_s=5.0, boot_s=20.0, boot_sigma=0.5, image_s=10.0, stockout_frac=0.3),
        warm=WarmPool(nodes=1, usd_per_node_h=0.1, reuses=True),
        purchase="spot",
        spot=Spot(trace=trace, mean_life_s=400.0),
        failures=Failures(mtbf_s=500.0),
        billing_granularity_s=60.0,
        billing_minimum_s=60.0,
        costs=MoveCosts(5.0, 10.0, 5.0, save_s=10.0),
    )
    assert parts(run).keys() == {"busy", "idle", "startup", "warm", "rounding"}


# ---- energy
def test_energy_by_hand() -> None:
    """Node 0 is on for 300 s, node 1 from 120 (launch) to 180; a GPU draws 100 W, and 600 more when it is busy."""
    startup = NodeStartup(allocation_s=20.0, boot_s=30.0)
    half = {"gpu_utilisation_frac": 0.5}
    jobs = jobs_of((0, 4, 200, {"gpu_utilisation_frac": 1.0}), (260, 2, 40, half))
    run = scaled(jobs, {0: 1, 100: 2, 180: 1}, startup=startup, **POWER)
    on_gpu_s, busy_gpu_s = 4 * (300 + 60), 4 * 200 + 2 * 40 * 0.5
    assert summarise(run)["energy_kwh"] == pytest.approx((on_gpu_s * 100 + busy_gpu_s * 600) / 3.6e6)


def test_energy_where_jobs_are_nowhere() -> None:
    jobs = jobs_of((0, 4, 100, {"gpu_utilisation_frac": 0.25}))
    run = still(jobs, "pooled", num_nodes=2, **POWER)
    assert summarise(run)["energy_kwh"] == pytest.approx((800 * 100 + 100 * 600) / 3.6e6)


def test_what_is_stopped_in_the_warm_pool_draws_nothing() -> None:
    run = still(jobs_of((0, 4, 100, {"gpu_utilisation_frac": 0.0})), warm=WarmPool(nodes=3), **POWER)
    assert summarise(run)["energy_kwh"] == pytest.approx(400 * 100 / 3.6e6)


def test_idle_power_is_a_share_of_the_peak_where_it_is_not_known() -> None:
    """105 of 700 W."""
    run = still(jobs_of((0, 4, 100, {"gpu_utilisation_frac": 0.0})), gpu_peak_w=700.0)
    assert summarise(run)["energy_kwh"] == pytest.approx(400 * 105 / 3.6e6)


def test_energy_is_not_told_where_the_power_of_some_nodes_is_not_known() -> None:
    assert summarise(still(jobs_of((0, 4, 100))))["energy_kwh"] is None
    specs = [pool(name="known", **POWER), pool(name="not")]
    assert summarise(run_jobs(jobs_of((0, 4, 100)), pools=specs))["energy_kwh"] is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gpu_idle_w": -1.0}, "cluster.gpu_idle_w=-1.0 (pool 'default'): must be a number of watts, 0 or more"),
        (
            {"gpu_idle_w": 9.0, "gpu_peak_w": 8.0},
            "cluster.gpu_idle_w=9.0 (pool 'default'): must be at most gpu_peak_w=8",
        ),
        (
            {"billing_minimum_s": math.inf},
            "cluster.billing_minimum_s=inf (pool 'default'): must be a number, 0 or more",
        ),
        (
            {"billing_granularity_s": -1.0},
            "cluster.billing_granularity_s=-1.0 (pool 'default'): must be a number, 0 or",
        ),
    ],
)
def test_a_rule_or_a_power_that_can_not_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        pool(**given)
    assert message in str(error.value)
