"""Every file in conf/experiment runs, small, by the command in its first line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from command import Command

FILES = sorted((Path(__file__).parents[2] / "conf" / "experiment").glob("*.yaml"))
WINDOW_S = (33_900, 34_500)  # ten minutes of requests, around half past nine


def shrunk(file: Path) -> Iterator[str]:
    """60 jobs at most, and of each service's requests those of WINDOW_S."""
    settings = yaml.safe_load(file.read_text())
    if "workload" in settings:
        yield f"workload.num_jobs={min(60, settings['workload'].get('num_jobs', 60))}"
    streams = ["requests"] if "requests" in settings else []
    for stream in (*streams, *(f"services.{name}.requests" for name in settings.get("services", {}))):
        yield from (f"{stream}.from_s={WINDOW_S[0]}", f"{stream}.to_s={WINDOW_S[1]}")


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_experiment(command: Command, file: Path) -> None:
    words = shlex.split(file.read_text().splitlines()[0].removeprefix("# "))
    assert words[:3] == ["python", "-m", "simulator"]
    told = command(*words[3:], *shrunk(file), "check=true", "figures=false", "hydra.run.dir=out",
                   "hydra.sweep.dir=out")  # fmt: skip
    assert told.code == 0, told.err
    summaries = list(Path("out").rglob("summary.json"))
    assert summaries
    assert not list(Path("out").rglob("unfinished.json"))
    for summary in summaries:
        services = json.loads(summary.read_text())["services"]
        assert all(service["num_requests"] for service in services.values())
