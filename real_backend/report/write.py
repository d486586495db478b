"""From pairs of runs to fidelity.json, report.html and figures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from real_backend.report.compared import Compared
from real_backend.report.errors import RESAMPLES, ranking, row_of
from real_backend.report.figures import draw_report
from real_backend.report.page import render
from real_backend.report.pairs import About, Pair
from real_backend.report.steps import step_rows
from real_backend.report.verdict import found_notes, run_notes, verdict
from simulator.errors import RunError
from simulator.metrics import json_safe
from simulator.summary import write_json

FIDELITY, PAGE, FIGURES = "fidelity.json", "report.html", "figures"
_METHOD = {
    "error": "simulated / live − 1; with repeats the mean of the live values",
    "interval": f"95%; of JCT: bootstrap over jobs, each with both of its JCTs, and over live repeats, {RESAMPLES} "
    "draws; of makespan and cost: Student's t over live repeats",
}


def write_report(folder: Path, pairs: Sequence[Pair], about: About, seed: int = 0) -> dict[str, Any]:
    """Writes report.html, figures/ and, last and in one go, fidelity.json into `folder`; returns what is in that.

    The same runs and seed give the same bytes.

    Args:
        seed: of the bootstrap.

    Raises:
        RunError: no pairs, two of one name, a pair of different jobs, or a run that can't be read.
    """
    names = [pair.policy for pair in pairs]
    if not names or len(set(names)) != len(names):
        raise RunError(f"a report needs one pair or more, of different names: {', '.join(names) or 'none given'}")
    folder = Path(folder)
    all_compared = [Compared.of(pair) for pair in pairs]
    rows = [row_of(each, seed) for each in all_compared]
    ranks = ranking(all_compared, rows, seed)
    content: dict[str, Any] = json_safe(
        {
            "verdict": verdict(rows, ranks),
            "compute": about.compute,
            "device": about.device,
            "profile": about.profile,
            "notes": [*about.notes, *found_notes(all_compared, ranks)],
            "policies": rows,
            **ranks,
            "steps": step_rows(pairs),
            "method": {**_METHOD, "seed": seed},
            "about": {"facts": about.facts},
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FIDELITY).unlink(missing_ok=True)  # an older report is none from here on
    _remove_drawings(folder / FIGURES)
    figures = draw_report(all_compared, rows, folder / FIGURES)
    _write_text(folder / PAGE, render(content, about, figures, run_notes(all_compared)))
    write_json(folder / FIDELITY, content)
    return content


def _remove_drawings(folder: Path) -> None:
    """Of an older report, whose policies may have been others."""
    for name in ("errors", "jobs", "over_time", "gantt-[0-9][0-9]*"):
        for suffix in ("svg", "png"):
            for path in folder.glob(f"{name}.{suffix}"):
                path.unlink()


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
