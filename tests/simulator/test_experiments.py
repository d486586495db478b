"""Every file in conf/experiment runs, small, by the command in its first line."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import Command

FILES = sorted((Path(__file__).parents[2] / "conf" / "experiment").glob("*.yaml"))
TEN_MINUTES_S = 600.0


def shrunk(file: Path) -> Iterator[str]:
    """60 jobs at most, of each service's requests those of ten minutes, and of a sweep's choices the first and last."""
    text = file.read_text()
    settings = yaml.safe_load(text)
    if "workload" in settings:
        yield f"workload.num_jobs={min(60, settings['workload'].get('num_jobs', 60))}"
    streams = {f"services.{name}.requests": of["requests"] for name, of in settings.get("services", {}).items()}
    if re.search(r"override /requests: (?!none)", text):
        streams["requests"] = settings.get("requests", {})
    for stream, options in streams.items():
        if isinstance(options, dict):  # else it is another's
            begin_s = busy_from_s(options)
            yield from (f"{stream}.from_s={begin_s:g}", f"{stream}.to_s={begin_s + TEN_MINUTES_S:g}")
    for option, choices in settings.get("hydra", {}).get("sweeper", {}).get("params", {}).items():
        first, *_, last = ["0", "1"] if choices.startswith("range(") else choices.split(",")
        yield f"{option}={first},{last}"


def busy_from_s(options: dict[str, Any]) -> float:
    """A time at which requests come: around the opening hour, or half past nine; the beginning of a short stream."""
    if options.get("duration_s", 86_400.0) < 86_400.0:
        return 0.0
    return float(options.get("open_hour", 9.5)) * 3600.0 - 300.0


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_experiment(command: Command, file: Path) -> None:
    text = file.read_text()
    words = shlex.split(text.splitlines()[0].removeprefix("# "))
    assert words[:3] == ["python", "-m", "simulator"]
    told = command(*words[3:], *shrunk(file), "check=true", "figures=false", "hydra.run.dir=out",
                   "hydra.sweep.dir=out")  # fmt: skip
    assert told.code == 0, told.err
    assert Path("out/pareto.csv").is_file() == ("after_sweep: true" in text)
    summaries = list(Path("out").rglob("summary.json"))
    assert summaries
    assert not list(Path("out").rglob("unfinished.json"))
    for summary in summaries:
        services = json.loads(summary.read_text())["services"]
        assert all(service["num_requests"] for service in services.values())
