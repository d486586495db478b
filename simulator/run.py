"""A run's records, from memory or from its folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from simulator.errors import RunError

SUMMARY, UNFINISHED = "summary.json", "unfinished.json"
_MARKS = (SUMMARY, UNFINISHED, "jobs.parquet", "allocations.parquet")  # a folder that holds one of these is a run


class Run:
    """Tables and facts of one run; metrics, figures and comparisons read only this.

    Args:
        facts: what the tables don't say: when it ended, seed, estimates, decisions.
        tables: by name, where the run was kept in memory.
        folder: where its parquet files are, else.
        why_unfinished: empty for a run that came to its end.
        summary: the content of summary.json, where there is one.
    """

    def __init__(
        self,
        facts: Mapping[str, Any],
        tables: Mapping[str, pa.Table],
        folder: Path | None = None,
        why_unfinished: str = "",
        summary: Mapping[str, Any] | None = None,
    ) -> None:
        self.facts, self.folder, self.why_unfinished = facts, folder, why_unfinished
        self.summary: Mapping[str, Any] = summary or {}
        self._tables = tables

    @classmethod
    def load(cls, folder: Path | str) -> Run:
        """A finished run from its folder; its tables are read when they are asked for.

        Raises:
            RunError: the folder isn't there, isn't a run's, or the run hasn't finished.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise RunError(f"{folder}: no such folder")
        if not (folder / SUMMARY).is_file():
            raise RunError(_why_no_summary(folder))
        try:
            summary = json.loads((folder / SUMMARY).read_text())
            facts = {**summary["facts"], "notes": summary["notes"], "services": summary.get("services", {})}
            facts["routed"] = summary.get("routed", {})
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{folder / SUMMARY}: not a run's summary ({type(error).__name__}: {error})") from None
        return cls(facts, {}, folder, summary=summary)

    @property
    def labels(self) -> Mapping[str, Any]:
        """What was chosen: allocation, placement, scaling, workload, …; empty before there is a summary."""
        return self.summary.get("labels", {})

    def table(self, name: str, columns: Iterable[str] | None = None) -> pa.Table:
        """A table as Arrow has it, or some of its columns.

        Raises:
            RunError: a file that is missing or can't be read.
        """
        names = None if columns is None else list(columns)
        if name in self._tables:
            return self._tables[name] if names is None else self._tables[name].select(names)
        assert self.folder is not None
        path = self.folder / f"{name}.parquet"
        try:
            with pq.ParquetFile(path) as file:
                return file.read(names)
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: can't be read ({str(error).splitlines()[0]})") from None

    def columns(self, name: str, *columns: str) -> dict[str, np.ndarray]:
        """Some columns of a table as arrays of numbers, or of str."""
        table = self.table(name, columns)
        return {column: _array(table[column]) for column in columns}

    @cached_property
    def jobs(self) -> pd.DataFrame:
        return self.table("jobs").to_pandas()

    @cached_property
    def allocations(self) -> pd.DataFrame:
        return self.table("allocations").to_pandas()

    @cached_property
    def nodes(self) -> pd.DataFrame:
        return self.table("nodes").to_pandas()

    @cached_property
    def decisions(self) -> pd.DataFrame:
        return self.table("decisions").to_pandas()

    @cached_property
    def metrics(self) -> pd.DataFrame:
        return self.table("metrics").to_pandas()


def find_runs(paths: Iterable[Path | str]) -> list[Path]:
    """Folders of runs, finished or not, in and below `paths`: each once, sorted, numbers in names by their value.

    Raises:
        RunError: a path that isn't a folder, or that holds no run.
    """
    found: dict[Path, Path] = {}  # by real path
    for path in map(Path, paths):
        if not path.is_dir():
            raise RunError(f"{path}: no such folder")
        runs = [folder for folder in (path, *path.rglob("*")) if folder.is_dir() and _is_run(folder)]
        if not runs:
            raise RunError(f"{path}: no run in it: no folder holds a {SUMMARY}")
        for folder in sorted(runs, key=_natural):
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _MARKS)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts `2` before `10`."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _why_no_summary(folder: Path) -> str:
    if (folder / UNFINISHED).is_file():
        try:
            why = json.loads((folder / UNFINISHED).read_text())["why"]
        except (ValueError, TypeError, KeyError):
            why = f"see {UNFINISHED}"
        return f"{folder}: the run did not finish: {why}; run it again, or leave it out"
    if _is_run(folder):
        return f"{folder}: no {SUMMARY}: the run is going on or was killed; wait for it, or run it again"
    return f"{folder}: not a run's folder: no {SUMMARY} in it"


def _array(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
        if not column.num_chunks:
            return np.zeros(0, object)
        names = np.array(column.chunk(0).dictionary.to_pylist(), str)
        codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in column.chunks])
        return names[codes]
    return column.to_numpy()
