"""Shared fixtures: files written by hand, and the public traces where a machine has them."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from workloads import Trace, source_class

ROOT = Path(__file__).resolve().parents[2]

Write = Callable[..., str]
Load = Callable[..., Trace]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes text to a file of the test's own folder (gzip where the name ends in .gz) and gives its path."""

    def to(name: str, text: str) -> str:
        path = tmp_path / name
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(path)

    return to


@pytest.fixture
def load() -> Load:
    """Loads jobs from the source of a name, with its options."""

    def read(source: str, **options: object) -> Trace:
        return source_class(source)(**options).load(np.random.default_rng(0))

    return read


@pytest.fixture(scope="session")
def traces() -> Path:
    """The folder of public traces: $TRACES_DIR, by default ../shared/traces from the project's root."""
    folder = Path(os.environ.get("TRACES_DIR", ROOT.parent / "shared" / "traces"))
    if not folder.is_dir():
        pytest.skip(f"no public traces at {folder}; set TRACES_DIR")
    return folder
