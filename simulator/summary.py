"""summary.json: written last and in one go, so that a folder with it is a finished run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulator.metrics import summarise
from simulator.run import SUMMARY, Run


def write_summary(run: Run, labels: Mapping[str, Any], folder: Path, warmup_s: float = 0.0) -> dict[str, Any]:
    """Writes `folder`/summary.json and returns what is in it; see `summarise`."""
    summary = summarise(run, labels, warmup_s)
    write_json(folder / SUMMARY, summary)
    return summary


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """A JSON file, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)
