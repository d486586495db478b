"""environment.json: on what a run was made, and how long it took; the only record that differs between repetitions."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from simulator.summary import write_json

_PACKAGES = ("elastic-gpu-simulator", "simpy", "hydra-core", "numpy", "pandas", "pyarrow", "scipy", "matplotlib")


def write_environment(folder: Path, seed: int, wall_s: float, cpu_s: float, num_jobs: int) -> dict[str, Any]:
    """Writes `folder`/environment.json and returns what is in it.

    Args:
        wall_s, cpu_s: what the run took, by a clock on the wall and of CPU time of this process.
        num_jobs: submitted.
    """
    environment = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "wall_s": round(wall_s, 3),
        "cpu_s": round(cpu_s, 3),
        "jobs_per_cpu_s": round(num_jobs / cpu_s, 1) if cpu_s > 0 else None,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": _git_state(Path(__file__).resolve()),
        "platform": platform.platform(),
        "num_cpus": os.cpu_count(),
    }
    write_json(folder / "environment.json", environment)
    return environment


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_state(file: Path) -> dict[str, Any] | None:
    """The commit that `file` belongs to and whether tracked files have changed since; None where git has no answer."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)  # a package installed below someone else's checkout isn't ours
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "is_dirty": bool(changes)}
