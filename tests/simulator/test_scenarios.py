"""What the scenarios of docs/scenarios.md are to show, on the first of their jobs and requests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from simulator.__main__ import opened, store_choices
from simulator.checks import check
from simulator.config import Setup, read_config
from simulator.metrics import summarise
from simulator.simulation import simulate
from workloads.requests import build_requests

HOUR_S = 3600.0
ROOT = Path(__file__).parents[2]
Summary = Mapping[str, Any]
Settings = Callable[..., Mapping[str, Any]]


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """Composes an experiment's settings as plain values."""
    store_choices()
    with initialize_config_module("conf", version_base="1.3"):

        def of(experiment: str, *overrides: str) -> Mapping[str, Any]:
            given = [f"experiment@_global_={experiment}", *map(opened, overrides)]
            plain: Any = OmegaConf.to_container(compose("config", given), resolve=True)
            return plain

        yield of


def run(settings: Mapping[str, Any]) -> Summary:
    setup = Setup(read_config(settings))
    done = simulate(setup.scenario(setup.load()))
    check(done)
    return summarise(done)


@pytest.mark.parametrize("name", ["autonomous_driving", "smart_city", "fintech"])
def test_what_a_scenario_is_held_against_can_be_run_and_is_told_of(settings: Settings, name: str) -> None:
    text = (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text()
    commands = re.findall(r"^#   \S.*?  +(\S.*)$", text, re.MULTILINE)
    assert len(commands) >= 3
    told = (ROOT / "docs" / "scenarios.md").read_text()
    for command in commands:
        assert f"`{command}`" in told
        Setup(read_config(settings(name, *shlex.split(command))))


# The first five minutes of the first shift, and the first night.
DRIVING = ("services.perception.requests.to_s=21900", "workload.num_jobs=12")


def test_a_fleet_on_its_timetable_loses_no_sweep_and_retraining_is_done(settings: Settings) -> None:
    summary = run(settings("autonomous_driving", *DRIVING))
    sweeps = summary["services"]["perception"]
    assert sweeps["num_requests"] == sweeps["num_served"] == 5 * 10 * 300
    assert sweeps["slo_attainment_frac"] > 0.999
    assert summary["deadline_attainment_frac"] == 1.0


def test_a_rule_that_follows_load_drops_sweeps_at_a_shift_s_begin(settings: Settings) -> None:
    reactive = ("~services.perception.scaling", "scaling=concurrency", "scaling.target=0.6")
    sweeps = run(settings("autonomous_driving", *DRIVING, *reactive))["services"]["perception"]
    assert sweeps["num_timed_out"] > 100
    assert sweeps["num_requests"] == sweeps["num_served"] + sweeps["num_timed_out"]


@pytest.mark.parametrize(
    "instead",
    [
        ("~services.perception.scaling", "scaling=static", "services.perception.replicas=6"),
        (
            *("pools.road.num_nodes=2", "pools.lab.num_nodes=2", "training_pool=lab"),
            "services.perception.pool=road",
        ),
    ],
    ids=["static", "split"],
)
def test_gpus_kept_for_the_day_are_missed_at_night(settings: Settings, instead: tuple[str, ...]) -> None:
    summary = run(settings("autonomous_driving", *DRIVING, *instead))
    assert summary["deadline_attainment_frac"] < 0.8


# Until ninety seconds after open.
MARKET = ("services.signals.requests.to_s=34290", "services.fraud.requests.to_s=600", "horizon_s=34800")


def test_signals_are_in_time_at_open_only_if_it_is_foreseen(settings: Settings) -> None:
    foreseen = run(settings("fintech", *MARKET))["services"]
    assert foreseen["signals"]["slo_minutes_in_violation"] == 0
    assert foreseen["fraud"]["slo_attainment_frac"] > 0.999
    instead = ("~services.signals.scaling", "scaling=kubernetes_hpa")
    followed = run(settings("fintech", *MARKET, *instead))["services"]["signals"]
    assert followed["num_requests"] == foreseen["signals"]["num_requests"]
    assert followed["slo_minutes_in_violation"] == 2


def test_cameras_see_what_the_city_does(settings: Settings) -> None:
    """An hour at night and two by day, a tenth of all, within five standard deviations."""
    parts = settings("smart_city")["services"]["cameras"]["requests"]["parts"]
    counts = {}
    for name, tenth in {"every_minute": {"num_sensors": 300}, "motion": {"rate_per_s": 10.0}}.items():
        source = build_requests({**parts[name], **tenth, "duration_s": 15 * HOUR_S})
        arrival_s = np.concatenate([chunk.arrival_s for chunk in source.chunks(np.random.default_rng(0))])
        counts[name] = np.bincount((arrival_s // HOUR_S).astype(int))
    assert counts["every_minute"][4] == pytest.approx(300 * 60, abs=10)
    for hour in (4, 9, 14):
        expected = HOUR_S * 10 * (1 + 0.87 * np.cos(2 * np.pi * (hour + 0.5 - 14.3) / 24))
        assert counts["motion"][hour] == pytest.approx(expected, abs=5 * expected**0.5 + 0.002 * expected)


def test_a_city_rents_few_nodes_on_a_calm_night(settings: Settings) -> None:
    small = ("services.cameras.requests.to_s=7200", "workload.limit=4", "horizon_s=7200", "seed=1")
    enough = ("scaling=static", "services.cameras.replicas=44", "node_scaling=static", "cluster.num_nodes=14")
    follows, static = (run(settings("smart_city", *small, *more)) for more in ((), enough))
    assert follows["services"]["cameras"]["slo_attainment_frac"] > 0.99
    assert static["cost_usd"] == pytest.approx(14 * 2 * 3.912, rel=1e-3)
    assert follows["cost_usd"] < static["cost_usd"] / 2
