"""Runs in which something waits for what never comes: they end, and say why."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from policies import ClusterView, Target
from simulator import ending, simulated_cluster
from simulator.checks import check
from simulator.overheads import MoveCosts
from simulator.pools import Failures, NodeStartup, PoolSpec, Spot, WarmPool
from simulator.run import Run
from tests.simulator.pools.small_pools import Wishes, pool, still, write_market
from tests.simulator.serving.small_services import fates, plan, serve
from tests.simulator.small_runs import jobs_of, run_jobs
from workloads.serving.service_times import ServiceTimes

ONE = jobs_of((0, 4, 500))
DAY_S = 86400.0


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Gives up sooner than in life, so that a test takes milliseconds."""
    monkeypatch.setattr(ending, "_MAX_FUTILE_STARTS", 300)
    monkeypatch.setattr(ending, "_MAX_FUTILE_NODES", 1000)
    monkeypatch.setattr(simulated_cluster, "STARTS", 32)
    return iter(())


def note(run: Run, pattern: str) -> str:
    """The one note of a run that has such a text."""
    (found,) = [each for each in run.facts["notes"] if re.search(pattern, each)]
    return str(found)


def waiting(run: Run) -> None:
    assert run.jobs["state"].tolist() == ["pending"]
    assert note(run, "1 jobs never got the GPUs they waited for when all else ended: a$")


@pytest.mark.parametrize("registers", ["ready", "booted"])
def test_a_market_that_never_has_a_machine(tmp_path: Path, registers: str) -> None:
    """Each order is placed again every minute and twenty seconds; the run ends two days after it began."""
    spot = Spot(trace=write_market(tmp_path, [0, 0]))
    spec = pool(
        num_nodes=0, purchase="spot", spot=spot, startup=NodeStartup(allocation_s=20.0, boot_s=5.0, registers=registers)
    )
    run = run_jobs(ONE, pools=[spec], scaling={"default": Wishes({0: 2})}, starve_after_s=2 * DAY_S)
    waiting(run)
    assert 2 * DAY_S <= run.facts["end_s"] <= 2 * DAY_S + 20
    assert note(run, "no machine had been found") == (
        "pool 'default': no machine had been found for 2 of the nodes ordered when the run ended "
        f"(spot.trace={spot.trace})"
    )
    assert run.nodes["num_stockouts"].tolist() == [2160, 2160]


def test_a_market_that_is_gone_for_good_where_orders_are_given_up(tmp_path: Path) -> None:
    """The only node is told at 100; its successor is given up, and nobody scales: nothing is left to happen but the
    market's changes, which have no end."""
    spot = Spot(trace=write_market(tmp_path, [1, *[0, 0.5] * 50]), notice_s=0.0)
    run = still(
        ONE, purchase="spot", spot=spot, startup=NodeStartup(boot_s=5.0, retry_s=math.inf), starve_after_s=DAY_S / 24
    )
    waiting(run)
    assert DAY_S / 24 < run.facts["end_s"] < DAY_S / 24 + 300
    assert run.nodes["end"].tolist() == ["reclaimed", "stock_out"]


def test_an_empty_pool_that_nobody_scales_with_a_market_that_moves(tmp_path: Path) -> None:
    spot = Spot(trace=write_market(tmp_path, [1, 2]), notice_s=0.0)
    spec = pool(num_nodes=0, purchase="spot", spot=spot)
    run = run_jobs(ONE, pools=[spec], scaling={"default": Wishes({0: 0})}, starve_after_s=3600.0)
    waiting(run)
    assert len(run.nodes) == 0
    assert 3600 <= run.facts["end_s"] < 3900


def test_a_market_that_comes_back_in_time_is_waited_for(tmp_path: Path) -> None:
    """Nothing for 100,000 s, then all one wants: it is the user who says how long that may take."""
    spot = Spot(trace=write_market(tmp_path, [0, 9], gap_s=1e5))
    spec = pool(num_nodes=0, purchase="spot", spot=spot)
    run = run_jobs(ONE, pools=[spec], scaling={"default": Wishes({0: 1})}, starve_after_s=2e5)
    assert run.jobs["state"].tolist() == ["finished"]
    run = run_jobs(ONE, pools=[spec], scaling={"default": Wishes({0: 1})}, starve_after_s=5e4)
    waiting(run)


@pytest.mark.parametrize("starve_after_s", [100.0, 1e6])
def test_nodes_that_are_on_their_way_are_waited_for(starve_after_s: float) -> None:
    """However long they take; also where a policy orders the second only when the first is there."""
    spec = pool(num_nodes=0, provision_s=50_000.0)
    wishes = Wishes({0: 1, 50_000: 2})
    run = run_jobs(jobs_of((0, 8, 10)), pools=[spec], scaling={"default": wishes}, starve_after_s=starve_after_s)
    assert run.jobs["state"].tolist() == ["finished"]
    assert run.facts["end_s"] == 100_010


def test_nodes_that_fail_before_there_are_enough_of_them(tmp_path: Path) -> None:
    """A gang of two nodes, each of which takes an hour to come and lasts a minute."""
    spec = pool(num_nodes=0, startup=NodeStartup(boot_s=3600.0, boot_sigma=0.5), failures=Failures(mtbf_s=60.0))
    run = run_jobs(
        jobs_of((0, 8, 500)), pools=[spec], scaling={"default": Wishes({0: 2})}, starve_after_s=2 * DAY_S, seed=1
    )
    assert run.jobs["state"].tolist() == ["pending"]
    assert len(run.nodes) > 50
    waiting(run)


@pytest.mark.usefixtures("impatient")
def test_nodes_that_fail_at_once() -> None:
    """A thousand a second: it isn't a day that is waited for."""
    spec = pool(num_nodes=1, min_nodes=0, provision_s=0.0, failures=Failures(mtbf_s=1e-3))
    run = run_jobs(jobs_of((0, 8, 500)), pools=[spec], scaling={"default": Wishes({0: 1})}, checked=False)
    assert note(run, "nodes were ordered in a row, and nothing could start on them")
    assert run.facts["end_s"] < 10


def thrashed(run: Run, lost_more_than: int = 50) -> str:
    check(run)
    assert run.jobs["state"].isin(["pending", "running"]).all()
    told = note(run, "without getting any work done in all")
    lost = int(re.search(r"while ([\d,]+) nodes failed or were reclaimed", told)[1].replace(",", ""))  # type: ignore[index]
    assert lost > lost_more_than
    return told


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("preempt", ["lose", "checkpoint"])
def test_nodes_that_fail_sooner_than_a_job_restarts(preempt: str) -> None:
    """It is not the policy that thrashes, though it moves the job time and again before it gets anywhere."""
    costs = MoveCosts(start_s=900.0, restart_s=900.0, preempt=preempt)
    run = still(ONE, costs=costs, failures=Failures(mtbf_s=20.0, repair_s=1.0))
    assert "a" in thrashed(run)
    assert run.jobs["lost_work_s"].tolist() == [0]


@pytest.mark.usefixtures("impatient")
def test_nodes_that_fail_sooner_than_a_job_saves() -> None:
    """With a checkpoint every minute it gets there."""
    run = still(jobs_of((0, 4, 5000)), failures=Failures(mtbf_s=300.0, repair_s=1.0))
    told = thrashed(run)
    assert "checkpoint_interval_s, spot.notice_s, overheads.save_s" in told
    saves = jobs_of((0, 4, 5000, {"checkpoint_interval_s": 60.0}))
    run = still(saves, failures=Failures(mtbf_s=300.0, repair_s=1.0))
    assert run.jobs["state"].tolist() == ["finished"]


def test_nodes_that_fail_so_much_sooner_that_it_takes_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of ten mean lives would need 22,000 attempts: a hundred that get no further than one before are enough,
    and the time that the user says."""
    monkeypatch.setattr(simulated_cluster, "STARTS", 32)
    for starve_after_s, most_s in ((DAY_S, 2e6), (100 * DAY_S, 1e7)):
        run = still(
            jobs_of((0, 4, 50_000)), failures=Failures(mtbf_s=5000.0, repair_s=1.0), starve_after_s=starve_after_s
        )
        thrashed(run)
        assert max(100 * 4500, starve_after_s) < run.facts["end_s"] < most_s


@pytest.mark.usefixtures("impatient")
def test_spot_nodes_that_go_sooner_than_a_job_restarts() -> None:
    spot = Spot(mean_life_s=20.0, notice_s=5.0)
    run = still(ONE, purchase="spot", spot=spot, provision_s=0.0, costs=MoveCosts(restart_s=600.0, start_s=600.0))
    thrashed(run)


@dataclass
class Swings:
    """Wants a node, then none, then one again."""

    period_s: ClassVar[float] = 60.0

    def desired(self, target: Target, view: ClusterView) -> int:
        return int(view.now_s / 60.0) % 2


def test_nodes_that_come_and_go_for_a_job_that_needs_more() -> None:
    run = run_jobs(jobs_of((0, 8, 10)), pools=[pool()], scaling={"default": Swings()}, starve_after_s=DAY_S)
    waiting(run)
    assert DAY_S < run.facts["end_s"] < DAY_S + 600


def test_a_run_ends_with_its_last_job_whatever_pools_do(tmp_path: Path) -> None:
    """A warm pool that finds no machine, orders that are placed again, nodes that fail: nobody waits for them."""
    spec = pool(
        purchase="spot", spot=Spot(trace=write_market(tmp_path, [3, 3])), warm=WarmPool(nodes=2),
        startup=NodeStartup(boot_s=10.0), failures=Failures(mtbf_s=1e6),
    )  # fmt: skip
    run = run_jobs(ONE, pools=[spec], scaling={"default": Wishes({0: 4})})
    assert run.facts["end_s"] == 500


# ---- services
def spot_service(**options: Any) -> list[PoolSpec]:
    return [PoolSpec(**{"num_nodes": 1, "gpus_per_node": 1, "purchase": "spot", "provision_s": 10.0, **options})]


def test_requests_that_wait_for_a_machine_that_never_comes(tmp_path: Path) -> None:
    spot = Spot(trace=write_market(tmp_path, [1, *[0] * 20_000]), notice_s=0.0)
    run = serve(plan([90, 150, 160], sample_s=60.0), pools=spot_service(spot=spot), starve_after_s=DAY_S)
    assert fates(run) == {"served": 1, "in_flight": 2}
    assert DAY_S < run.facts["end_s"] < DAY_S + 400
    assert note(run, "service 'chat': 2 requests had not been answered when all else ended")
    assert note(run, "pool 'default': no machine had been found for 1 of the nodes ordered")


@pytest.mark.usefixtures("impatient")
def test_requests_whose_replicas_are_reclaimed_before_they_are_ready() -> None:
    spec = plan([50], service_times=ServiceTimes(mean_s=60.0), sample_s=60.0, retries=99)
    spot = Spot(mean_life_s=1.0, notice_s=2.0)
    run = serve(spec, pools=spot_service(spot=spot, provision_s=0.0), starve_after_s=DAY_S)
    assert fates(run) == {"in_flight": 1}
    assert note(run, "service 'chat': 1 requests had not been answered when all else ended")
    assert note(run, "nodes failed or were reclaimed under them")
