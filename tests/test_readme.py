"""What the README promises: its policy runs as printed, its files and choices are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from policies.registry import KINDS, registry
from simulator.__main__ import main
from workloads import SOURCES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_policy_in_ten_lines_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    command = re.search(r"python -m simulator ('plugins=.*)", README)
    assert code
    assert command
    lines = [line for line in code.group(1).splitlines() if line.strip()]
    assert len(lines) <= 10
    (tmp_path / "my_policies.py").write_text(code.group(1))
    monkeypatch.chdir(tmp_path)
    arguments = command.group(1).replace("'", "").split()
    small = ["workload.num_jobs=60", "cluster.num_nodes=2", "figures=false", "check=true", "hydra.run.dir=run"]
    assert main([*arguments, *small]) == 0, capsys.readouterr().err
    assert (tmp_path / "run" / "summary.json").exists()


def test_links_and_figures_are_there() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []


def test_it_names_every_policy_and_reader() -> None:
    names = [name for kind in KINDS for name in registry.names(kind)] + list(SOURCES)
    ours = [name for name in names if name != "smallest_first"]
    assert [name for name in ours if f"`{name}`" not in README] == []
