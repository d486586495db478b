"""The direction of imports, and what is loaded to start."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("policies", "workloads", "simulator", "real_backend")
FORBIDDEN = {
    "policies": {"workloads", "simulator", "real_backend", "torch", "simpy", "hydra", "omegaconf", "conf"},
    "workloads": {"policies", "simulator", "real_backend", "torch", "simpy"},
    "simulator": {"real_backend", "torch"},
    "real_backend": set(),  # may import all, and nobody imports it
}
MAY = {"policies/forecasting/neural.py": {"torch"}}  # inside a function: see LATE
LATE = (
    "torch",
    "matplotlib",
    "seaborn",
    "scipy",
    "sklearn",
    "statsmodels",
    "numba",
)  # slow: imported where they are used


def imports(file: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_direction(package: str) -> None:
    files = {file.relative_to(ROOT).as_posix(): imports(file) for file in (ROOT / package).rglob("*.py")}
    wrong = {file: found & FORBIDDEN[package] - MAY.get(file, set()) for file, found in files.items()}
    assert {file: sorted(found) for file, found in wrong.items() if found} == {}


def test_only_main_modules_touch_hydra() -> None:
    users = {
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        if "hydra" in imports(file)
    }
    assert users == {
        "simulator/__main__.py",
        "workloads/__main__.py",
        "real_backend/commands.py",  # its __main__ is imported anew by every worker, and must be light
    }


def test_the_report_and_the_controller_need_no_torch() -> None:
    """What reads runs, or only decides, starts fast and runs where there is no torch."""
    code = "import sys, real_backend.report, real_backend.cluster, real_backend.run; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout.strip() == "False"


def test_what_is_slow_is_not_loaded_to_start() -> None:
    code = (
        "import sys, simulator, simulator.simulation\n"
        "from policies import registry\n"
        "assert 'neural' in registry.names('forecaster')\n"
        "from simulator.__main__ import main\n"
        "assert main(['--cfg', 'job']) == 0\n"
        f"print('late:', [name for name in {LATE!r} if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout.splitlines()[-1] == "late: []"
