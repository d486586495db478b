"""Shows a workload: how it was read, its statistics, a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from workloads import figure, statistics
from workloads.source import WorkloadSource


def show(source: WorkloadSource, name: str, rng: np.random.Generator, folder: Path, console: Console) -> None:
    """Loads `source`, prints its report and statistics on `console`, and writes the figure into `folder`.

    Raises:
        WorkloadError: what the source refuses.
    """
    trace = source.load(rng)
    console.print(str(trace.report), markup=False, highlight=False, soft_wrap=True)
    wanted = statistics.demand(trace.jobs)
    table = Table(title=f"workload {name}", show_header=False, title_justify="left")
    for what, how_much in statistics.table(trace.jobs, wanted):
        table.add_row(what, how_much)
    console.print(table, highlight=False)
    title = f"{name}: {len(trace.jobs):,} job{'s' if len(trace.jobs) > 1 else ''}"
    for path in figure.save(trace.jobs, wanted, title, folder):
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
