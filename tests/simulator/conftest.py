"""Shared fixtures: where other simulators' results are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def conformance() -> Path:
    """The folder of other simulators' results: $CONFORMANCE_DIR, by default ../shared/conformance from the root."""
    folder = Path(os.environ.get("CONFORMANCE_DIR", ROOT.parent / "shared" / "conformance"))
    if not folder.is_dir():
        pytest.skip(f"no results of other simulators at {folder}; set CONFORMANCE_DIR")
    return folder
