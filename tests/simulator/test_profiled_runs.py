"""Profiles in runs: step times, the costs of moves, and a note where they are extrapolated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulator.config import GROUPS, RunConfig, Setup
from simulator.errors import ConfigError
from simulator.overheads import MoveCosts
from simulator.speeds import Speeds
from tests.simulator.small_runs import jobs_of, run_jobs
from tests.small_profile import write_small
from workloads import WorkloadError
from workloads.profile import Profiled, load_profile


def overheads(**settings: Any) -> Any:
    """The overheads of a run with these settings."""
    groups: dict[str, Any] = {group: {} for group in GROUPS}
    groups |= {"allocation": {"name": "fifo"}, "placement": {"name": "pooled"}, "scaling": {"name": "static"}}
    groups |= {"workload": {"name": "synthetic"}, "cluster": {"num_nodes": 2}, "step_time": {"name": "linear"}}
    groups |= {"estimates": {"name": "none"}}
    return Setup(RunConfig(**{**groups, "overheads": settings}))._parts["overheads"]


def test_moves_by_method(tmp_path: Path) -> None:
    restart = overheads(profile=write_small(tmp_path), method="restart", restart_s=30.0)
    assert restart.of("resnet") == MoveCosts(start_s=1 + 2 + 4 + 16, restart_s=127.0, rescale_s=127.0)
    assert restart.of("bert") == MoveCosts(restart_s=30.0)  # no moves of its own: as the rest says
    in_place = overheads(profile=write_small(tmp_path), method="in_place")
    assert in_place.of("resnet") == MoveCosts(12.0, 15.0, 1 + 2, "in_place", stall_s=4 + 3 + 5)


def test_an_exception_goes_before_the_profile(tmp_path: Path) -> None:
    given = overheads(profile=write_small(tmp_path), by_model={"resnet": {"restart_s": 7}, "gpt": {"start_s": 1}})
    assert given.of("resnet").restart_s == 7.0
    assert given.of("resnet").rescale_s == 127.0
    assert given.of("gpt") == MoveCosts(start_s=1.0)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"method": "restart"}, ConfigError, "overheads.profile: is needed"),
        ({"profile": "???"}, ConfigError, "overheads.profile: is needed"),
        ({"profile": "small", "method": "inplace"}, ConfigError, "overheads.method=inplace: .* did you mean in_place"),
        ({"profile": "sia_t5"}, WorkloadError, r"profile=sia_t5: no such profile; did you mean sia_t4"),
        ({"profile": "sia_t4"}, ConfigError, r"sia_t4.yaml: models: none has moves.restart"),
    ],
)
def test_refused(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        overheads(**settings)


def test_a_run_says_once_what_it_extrapolates(tmp_path: Path) -> None:
    profiled = Profiled(write_small(tmp_path), default_model="resnet")
    jobs = jobs_of(*((i, 16, 10.0, {"min_gpus": 1, "max_gpus": 16, "model": "resnet"}) for i in range(3)))
    run = run_jobs(jobs, "fair_share", "pooled", gpus=8, nodes=2, step_time=profiled)
    (note,) = [each for each in run.facts["notes"] if "extrapolated" in each]
    assert note == ("step times are extrapolated, beyond what was measured, for resnet on 16 GPUs, 2 nodes")


def test_nothing_is_said_within_what_was_measured(tmp_path: Path) -> None:
    profile = load_profile(write_small(tmp_path))
    speeds = Speeds(profile, gpus_per_node=4)
    assert speeds.rate("resnet", 4, 8, 2) == profile.step_time_s("resnet", 4) / profile.step_time_s("resnet", 8, 2)
    assert speeds.notes() == []
    speeds.rate("resnet", 4, 9, 3)
    speeds.rate("resnet", 4, 9, 3)
    assert speeds.notes() == ["step times are extrapolated, beyond what was measured, for resnet on 9 GPUs, 3 nodes"]
