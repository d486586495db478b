"""Shared fixtures: where other simulators' results are, and the command line in a folder of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command import Command

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def conformance() -> Path:
    """The folder of other simulators' results: $CONFORMANCE_DIR, by default ../shared/conformance from the root."""
    folder = Path(os.environ.get("CONFORMANCE_DIR", ROOT.parent / "shared" / "conformance"))
    if not folder.is_dir():
        pytest.skip(f"no results of other simulators at {folder}; set CONFORMANCE_DIR")
    return folder


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """`python -m simulator` in an empty folder, which is the current one meanwhile."""
    monkeypatch.chdir(tmp_path)
    return Command(tmp_path, capsys)
