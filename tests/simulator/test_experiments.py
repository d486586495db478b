"""Every file in conf/experiment runs, small, by the command in its first line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from command import Command

FILES = sorted((Path(__file__).parents[2] / "conf" / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_experiment(command: Command, file: Path) -> None:
    text = file.read_text()
    words = shlex.split(text.splitlines()[0].removeprefix("# "))
    assert words[:3] == ["python", "-m", "simulator"]
    small = "workload.num_jobs=60" if "/workload: none" not in text else "horizon_s=900"
    told = command(*words[3:], small, "check=true", "figures=false", "hydra.run.dir=out", "hydra.sweep.dir=out")
    assert told.code == 0, told.err
    assert list(Path("out").rglob("summary.json"))
    assert not list(Path("out").rglob("unfinished.json"))
