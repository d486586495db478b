"""Loops on top of each other, each on its own clock: what the three scenarios are there to show does happen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from command import Command


def summary_of(command: Command, *overrides: str) -> dict[str, Any]:
    told = command(*overrides, "figures=false", "check=true", "hydra.run.dir=run")
    assert told.code == 0, told.err
    summary: dict[str, Any] = json.loads((command.folder / "run" / "summary.json").read_text())
    return summary


def test_a_cold_start_longer_than_the_cool_down_kills_replicas_while_they_load(command: Command) -> None:
    of = {
        window_s: summary_of(
            command,
            "experiment=cold_start_thrash",
            "requests.to_s=14400",
            f"scaling.behavior.scale_down.window_s={window_s}",
        )
        for window_s in (60, 1800)
    }
    hasty, patient = (of[window_s]["services"]["assistant"] for window_s in (60, 1800))
    assert hasty["num_replicas_never_ready"] > 50
    assert hasty["gpu_never_ready_h"] > 1.0
    assert patient["num_replicas_never_ready"] <= 2
    assert hasty["slo_attainment_frac"] < patient["slo_attainment_frac"] - 0.1


def test_a_slow_driver_makes_several_nodes_of_one_job(command: Command) -> None:
    """Six jobs a day, one at a time: each is worth one node, but until its driver is there it looks like none."""
    wrong, right = (
        summary_of(command, "experiment=slow_driver", f"scaling.waits_for_gpus={waits}") for waits in ("false", "true")
    )
    assert right["num_nodes_ordered"] == 24
    assert wrong["num_nodes_ordered"] >= 3 * 24
    assert wrong["cost_usd"] > 2 * right["cost_usd"]
    assert wrong["num_finished"] == right["num_finished"] == 24


@pytest.mark.parametrize("remedy", ["scaling.consolidation=WhenEmpty"])
def test_consolidation_at_once_buys_the_same_nodes_again(command: Command, remedy: str) -> None:
    churning = summary_of(command, "experiment=consolidation_churn")
    calm = summary_of(command, "experiment=consolidation_churn", remedy)
    assert churning["num_preemptions"] > 50
    assert calm["num_preemptions"] == 0
    assert churning["num_nodes_ordered"] > 1.5 * calm["num_nodes_ordered"]
    assert churning["jct_mean_s"] > calm["jct_mean_s"]
