"""Small runs on pools in a line: nodes wanted by a list, markets and failures as lists of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from policies import ClusterView, PoolView, Target
from simulator.pools import PoolSpec
from simulator.run import Run
from tests.simulator.small_runs import run_jobs

TRACES = Path(__file__).with_name("traces")


class Notes(list[Any]):
    """A list that a run's own copy of a policy shares with the test."""

    def __deepcopy__(self, memo: object) -> Notes:
        return self


@dataclass
class Wishes:
    """Wants so many nodes from such a time on; asked every 10 s. Notes what it sees of its pool."""

    counts: Mapping[float, int]
    period_s: ClassVar[float] = 10.0
    seen: Notes = field(default_factory=Notes)

    def desired(self, target: Target, view: ClusterView) -> int:
        assert isinstance(target, PoolView)
        self.seen.append((view.now_s, target.num_ready, target.num_without_gpus, target.num_starting))
        return [count for time_s, count in self.counts.items() if time_s <= view.now_s][-1]

    @property
    def changes(self) -> dict[float, tuple[int, int, int]]:
        """(ready, of these without GPUs, starting) from each time on at which it saw that they had changed."""
        told: dict[float, tuple[int, int, int]] = {}
        last = None
        for now_s, *counts in self.seen:
            if counts != last:
                told[now_s], last = tuple(counts), counts
        return told


def pool(**options: Any) -> PoolSpec:
    """A pool of one node of 4 GPUs, 0..4 of them, each there 50 s after it is ordered."""
    defaults: dict[str, Any] = {"num_nodes": 1, "min_nodes": 0, "max_nodes": 4, "gpus_per_node": 4, "provision_s": 50.0}
    return PoolSpec(**(defaults | options))


def scaled(jobs: Any, counts: Mapping[float, int] | Wishes, placement: str = "consolidate", **options: Any) -> Run:
    """Runs jobs on such a pool, whose nodes are wanted by a list; options of the pool, or of the run."""
    run = {name: options.pop(name) for name in ("allocation", "costs", "seed", "horizon_s") if name in options}
    wishes = counts if isinstance(counts, Wishes) else Wishes(counts)
    allocation = run.pop("allocation", "fifo")
    return run_jobs(jobs, allocation, placement, pools=[pool(**options)], scaling={"default": wishes}, **run)


def still(jobs: Any, placement: str = "consolidate", **options: Any) -> Run:
    """The same with a pool that nobody scales."""
    run = {
        name: options.pop(name)
        for name in ("allocation", "costs", "seed", "horizon_s", "starve_after_s", "checked")
        if name in options
    }
    allocation = run.pop("allocation", "fifo")
    return run_jobs(jobs, allocation, placement, pools=[pool(min_nodes=None, max_nodes=None, **options)], **run)


def lives(run: Run) -> list[tuple[float, ...]]:
    """(node, ordered, ready, drained, terminated) of each node, -1 for never."""
    columns = ["node", "ordered_s", "ready_s", "drain_s", "terminated_s"]
    return [tuple(row) for row in run.nodes[columns].replace(np.inf, -1.0).to_numpy().tolist()]


def fates(run: Run) -> list[tuple[Any, ...]]:
    """(ordered, launched, ready, terminated, how it ended) of each node, -1 for never."""
    columns = ["ordered_s", "launched_s", "ready_s", "terminated_s", "end"]
    return list(run.nodes[columns].replace(np.inf, -1.0).itertuples(index=False, name=None))


def node(run: Run, row: int) -> pd.Series:
    """A row of the table nodes."""
    return run.nodes.iloc[row]


def write_market(
    folder: Path, data: Sequence[float], gap_s: float = 100.0, prices: Sequence[float] | None = None
) -> str:
    """A spot trace in SkyPilot's format; its path."""
    told: dict[str, Any] = {"metadata": {"gap_seconds": gap_s}, "data": list(data)}
    path = folder / "market.json"
    path.write_text(json.dumps(told | ({} if prices is None else {"prices": list(prices)})))
    return str(path)


def write_failures(folder: Path, *rows: tuple[float, int]) -> str:
    """A trace of failures from (time, node); its path."""
    path = folder / "failures.csv"
    path.write_text("time_s,node\n" + "".join(f"{time_s},{place}\n" for time_s, place in rows))
    return str(path)
