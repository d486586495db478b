"""The command line, run in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from simulator.__main__ import main

SMALL = ("workload=synthetic", "workload.num_jobs=40", "workload.reference_gpus=16", "cluster.num_nodes=2")
QUIET = (*SMALL, "figures=false", "check=true")


@dataclass(frozen=True)
class Told:
    """What a command said."""

    code: int
    out: str
    err: str


class Command:
    """`python -m simulator` in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys

    def __call__(self, *arguments: str) -> Told:
        """In this process."""
        self._capsys.readouterr()
        code = main(arguments)
        told = self._capsys.readouterr()
        return Told(code, told.out, told.err)

    def apart(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """In a process of its own, started and not waited for."""
        command = [sys.executable, "-m", "simulator", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=self.folder, env={**os.environ, **(env or {})}, text=True, **pipes)  # type: ignore[call-overload,no-any-return]

    @staticmethod
    def end_of(process: subprocess.Popen[str], timeout_s: float = 120.0) -> Told:
        """Waits for a process."""
        out, err = process.communicate(timeout=timeout_s)
        return Told(process.returncode, out, err)
