"""Pools from the command line: presets, and everything at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulator.command import SMALL, Command
from tests.simulator.pools.small_pools import TRACES

CLUSTERS = Path(__file__).parents[3] / "conf" / "cluster"


@pytest.mark.parametrize("preset", ["aks_a100", "aks_a100_spot"])
def test_the_command_of_a_preset_runs(command: Command, preset: str) -> None:
    first = (CLUSTERS / f"{preset}.yaml").read_text().splitlines()[0]
    overrides = first.removeprefix("# python -m simulator ").split()
    small = [each for each in SMALL if not each.startswith("cluster.")]
    told = command(*overrides, *small, "figures=false", "check=true", "hydra.run.dir=run")
    assert told.code == 0, told.err
    assert "40 / 40" in told.out


def test_a_run_with_everything_from_the_command_line(command: Command) -> None:
    told = command(
        *SMALL, "figures=false", "check=true", "cluster.purchase=spot", f"cluster.spot.trace={TRACES}/market.json",
        "cluster.warm.nodes=1", "cluster.failures.mtbf_s=20000", "cluster.startup.boot_s=60",
        "cluster.max_nodes=4", "cluster.min_nodes=0", "scaling=queue", "cluster.gpu_peak_w=400",
        "hydra.run.dir=run",
    )  # fmt: skip
    assert told.code == 0, told.err
    for row in (
        "of it bought as",
        "spot 100.0%",
        "start-up",
        "energy of GPUs",
        "reclaimed",
        "orders that had to wait",
    ):
        assert row in told.out


def test_a_run_without_any_of_it_tells_of_none(command: Command) -> None:
    told = command(*SMALL, "figures=false", "hydra.run.dir=run")
    for row in ("of it", "energy", "reclaimed", "orders"):
        assert row not in told.out
