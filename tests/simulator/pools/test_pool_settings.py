"""Pools from settings: presets, options within options, what the catalogue adds, and what is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from simulator.__main__ import store_choices
from simulator.catalogue import pool_settings
from simulator.config import Setup, read_config
from simulator.errors import ConfigError
from simulator.pools import PoolSpec
from workloads.errors import WorkloadError

ROOT = Path(__file__).parents[3]
Pools = Callable[..., list[PoolSpec]]


@pytest.fixture(scope="module")
def settings() -> Iterator[Callable[..., Mapping[str, Any]]]:
    store_choices()
    with initialize_config_module("conf", version_base="1.3"):

        def of(*overrides: str) -> Mapping[str, Any]:
            plain: Any = OmegaConf.to_container(compose("config", list(overrides)), resolve=True)
            return plain

        yield of


@pytest.fixture
def pools(settings: Callable[..., Mapping[str, Any]]) -> Pools:
    return lambda *overrides: list(Setup(read_config(settings("workload=synthetic", *overrides)))._pools)


# ---- presets
@pytest.mark.parametrize(("name", "low_min", "high_min"), [("boot", 5, 11), ("image", 7, 10)])
def test_known_ranges_are_the_middle_95_percent_of_a_stage(
    pools: Pools, name: str, low_min: float, high_min: float
) -> None:
    (spec,) = pools("cluster=aks_a100_spot")
    median_s, sigma = getattr(spec.startup, f"{name}_s"), getattr(spec.startup, f"{name}_sigma")
    assert median_s * math.exp(-1.96 * sigma) == pytest.approx(60 * low_min, rel=2e-3)
    assert median_s * math.exp(1.96 * sigma) == pytest.approx(60 * high_min, rel=2e-3)
    assert spec.startup.source


def test_a_preset_on_the_spot_market_has_its_providers_notice_and_rule(pools: Pools) -> None:
    (spec,) = pools("cluster=aks_a100_spot", "cluster.spot.mean_life_s=36000")
    assert (spec.purchase, spec.spot.warning_s, spec.spot.mean_life_s) == ("spot", 30.0, 36000.0)
    assert (spec.billing_granularity_s, spec.billing_minimum_s, spec.gpu_peak_w) == (1.0, 60.0, 300.0)
    assert spec.usd_per_node_h == 0.67877


# ---- settings
def test_options_within_options_are_given_one_by_one(pools: Pools) -> None:
    (spec,) = pools("cluster.startup.boot_s=90", "cluster.startup.registers=booted", "cluster.warm.nodes=2")
    assert (spec.startup.boot_s, spec.startup.retry_s, spec.startup.registers) == (90.0, 60.0, "booted")
    assert (spec.warm.nodes, spec.warm.resume_s) == (2, 60.0)


def test_a_pool_of_several_changes_what_it_names_and_keeps_the_rest(pools: Pools) -> None:
    """Also of options within options."""
    own = ("+pools.base={purchase: committed_1y}", "+pools.spot={purchase: spot, startup: {image_s: 7}}")
    life = "+pools.spot.spot.mean_life_s=600"
    base, spot = pools("cluster.instance=aws/us-east-1/p4d.24xlarge", "cluster.startup.boot_s=90", *own, life)
    assert (base.startup.boot_s, base.startup.image_s) == (90.0, 0.0)
    assert (spot.startup.boot_s, spot.startup.image_s) == (90.0, 7.0)
    assert (base.purchase, spot.purchase, spot.spot.mean_life_s) == ("committed_1y", "spot", 600.0)
    assert (base.usd_per_node_h, spot.usd_per_node_h) == (13.921, 16.298)
    assert (spot.spot.notice_s, base.spot.notice_s) == (120.0, None)


@pytest.mark.parametrize(
    ("provider", "notice_s"),
    [
        ("aws/us-east-1/p4d.24xlarge", 120.0),
        ("gcp/us-central1/a2-highgpu-8g", 30.0),
        ("azure/eastus/NC24ads_A100_v4", 30.0),
    ],
)
@pytest.mark.parametrize("given", [{}, {"usd_per_node_h": 5.0}, {"spot": {"mean_life_s": 60.0}}])
def test_the_notice_is_the_providers(provider: str, notice_s: float, given: dict[str, Any]) -> None:
    """With its own price or without; so is the rule of its bill."""
    spec = PoolSpec(**_built(pool_settings({"instance": provider, "purchase": "spot", **given})))
    assert spec.spot.warning_s == notice_s
    assert (spec.billing_granularity_s, spec.billing_minimum_s) == (1.0, 60.0)


def test_a_notice_set_by_hand_goes_first() -> None:
    given = {"instance": "aws/us-east-1/p4d.24xlarge", "purchase": "spot", "spot": {"notice_s": 5.0}}
    assert pool_settings(given)["spot"]["notice_s"] == 5.0
    assert "spot" not in pool_settings({"instance": "aws/us-east-1/p4d.24xlarge"})


def _built(found: Mapping[str, Any]) -> dict[str, Any]:
    from simulator.pools import Spot

    return {name: Spot(**value) if name == "spot" else value for name, value in found.items()}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("cluster.purchase=sopt",), "cluster.purchase=sopt: unknown way of buying; did you mean spot"),
        (("+cluster.startup.bot_s=9",), "cluster.startup.bot_s: unknown option; did you mean boot_s"),
        (("cluster.startup.boot_s=soon",), "cluster.startup.boot_s=soon: must be a number"),
        (("cluster.startup.boot_s=-1",), "cluster.startup.boot_s=-1.0: must be a number, 0 or more"),
        (("cluster.warm.nodes=1.5",), "cluster.warm.nodes=1.5: must be a whole number"),
        (("cluster.purchase=spot", "cluster.spot.trace=none.json"), "none.json: can't be read: No such file"),
        (("cluster.failures.trace=none.csv",), "none.csv: can't be read: No such file"),
    ],
)
def test_a_pool_that_can_not_be_is_refused_by_name(pools: Pools, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises((ConfigError, WorkloadError), match=re.escape(message)):
        pools(*overrides)


# ---- the documentation
def documented() -> list[str]:
    text = (ROOT / "docs" / "pools.md").read_text()
    return re.findall(r"python -m simulator ([^`\n]*[^`\n\\])", text.replace("\\\n", " "))


@pytest.mark.parametrize("line", documented())
def test_each_command_of_the_documentation_composes(
    pools: Pools, settings: Callable[..., Mapping[str, Any]], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    given = [each.strip("'") for each in re.findall(r"'[^']*'|[^\s']+", line.partition("#")[0])]
    assert Setup(read_config(settings(*(each for each in given if each != "-m" and "range(" not in each))))


def test_the_documentation_has_a_command_for_each_feature() -> None:
    text = " ".join(documented())
    options = (
        *("startup.", "registers=", "stockout_frac=", "warm.nodes=", "failures.mtbf_s", "failures.trace"),
        *("spot.mean_life_s", "spot.trace", "purchase=committed", "replaces=", "billing_", "gpu_peak_w"),
    )
    for option in options:
        assert option in text, option
