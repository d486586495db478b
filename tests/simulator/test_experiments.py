"""Every file in conf/experiment runs, small, by the command in its first line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from command import Command

FILES = sorted((Path(__file__).parents[2] / "conf" / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_experiment(command: Command, file: Path) -> None:
    words = shlex.split(file.read_text().splitlines()[0].removeprefix("# "))
    assert words[:3] == ["python", "-m", "simulator"]
    told = command(*words[3:], "workload.num_jobs=60", "check=true", "figures=false", "hydra.run.dir=out",
                   "hydra.sweep.dir=out")  # fmt: skip
    assert told.code == 0, told.err
    assert list(Path("out").rglob("summary.json"))
    assert not list(Path("out").rglob("unfinished.json"))
