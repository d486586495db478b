"""Says so where the live backend isn't tested."""

from __future__ import annotations

import importlib.util

import pytest


def test_torch_is_there() -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed, so live runs are not tested: pip install -c constraints.txt -e '.[torch]'")
