"""Any CSV of one job a row: the format to bring your own trace in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from workloads.errors import TraceError, WorkloadError
from workloads.job_spec import Elasticity
from workloads.readers.files import FileSource, near
from workloads.readers.rows import Rows, read_rows
from workloads.trace import COLUMNS, Trace

_UNITS_S = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_TIMES = ("submit_s", "duration_s", "deadline_s", "checkpoint_interval_s", "user_estimate_s")
_CLOCK = ("submit_s", "deadline_s")  # points in time; the others are lengths
_REQUIRED = ("submit_s", "num_gpus", "duration_s")
_TEXT = ("job_id", "model", "tenant")


@dataclass(kw_only=True)
class CsvReader(FileSource):
    """One job a row; a column that is named like a field of `JobSpec` is read, any other is left alone.

    `submit_s`, `num_gpus` and `duration_s` are needed; rows without `job_id` are numbered from 0. Nothing is dropped
    or repaired: a value that can't be right is an error with its line.
    """

    columns: Mapping[str, str] = field(default_factory=dict)  # our field: the file's column, where they differ
    separator: str = ","
    time_unit: str = "s"  # ms | s | min | h: of every column that our name says is in seconds
    submit_format: str = "seconds"  # seconds: as they are | unix: counted from the first | iso: times, likewise
    timezone: str = "UTC"  # of iso times that carry no offset
    unsorted: str = "error"  # error | sort, for rows that aren't in submit order

    def read(self, rng: np.random.Generator) -> Trace:
        path = self.file()
        self.choice("unsorted", "error", "sort")
        clock = self.choice("submit_format", "seconds", "unix", "iso")
        scale = _UNITS_S[self.choice("time_unit", *_UNITS_S)]
        if len(self.separator) != 1:
            raise WorkloadError(f"separator={self.separator!r}: must be one character")
        for name in self.columns:
            if name not in COLUMNS:
                raise WorkloadError(
                    f"columns.{name}: no such job field{near(name, COLUMNS)}; known: {', '.join(COLUMNS)}"
                )
        given = {name: self.columns.get(name, name) for name in COLUMNS}
        as_text = [given[name] for name in (*_TEXT, "elasticity", *(_CLOCK if clock == "iso" else ()))]
        rows = read_rows(path, separator=self.separator, text=as_text)
        found = self._found(rows, given)

        data: dict[str, Any] = {name: rows[column] for name, column in found.items()}
        for name in set(found) & set(_TIMES):
            if clock == "iso" and name in _CLOCK:
                rows.parse_times(found[name], zone=self.timezone)
                data[name] = rows[found[name]]
            elif scale != 1.0:
                rows.parse_numbers(found[name])
                data[name] = rows[found[name]] * scale
        if clock != "seconds":
            self._count_from_first(rows, data, found)
        if "job_id" in data:
            data["job_id"] = _whole_ids(data["job_id"])
        if "elasticity" in data:
            words = {kind.name.lower(): str(int(kind)) for kind in Elasticity}
            data["elasticity"] = data["elasticity"].astype(object).map(lambda word: words.get(str(word).lower(), word))
        return rows.trace(data, found, self.unsorted)

    def _found(self, rows: Rows, given: Mapping[str, str]) -> dict[str, str]:
        """our field -> column, for the columns that the file has."""
        has = [str(column) for column in rows.frame.columns]
        for name, column in given.items():
            if column not in has and (name in self.columns or name in _REQUIRED):
                fix = "" if name in self.columns else f"; if it has another name: columns.{name}=THAT"
                rule = f"is not in the file{near(column, has)} (it has {', '.join(has)}){fix}"
                raise TraceError(rule, path=rows.path, line=1, column=column)
        return {name: column for name, column in given.items() if column in has}

    def _count_from_first(self, rows: Rows, data: dict[str, Any], found: Mapping[str, str]) -> None:
        submit = pd.to_numeric(data["submit_s"], errors="coerce")
        first = submit.min()
        rows.reject(found["submit_s"], submit.isna(), "is not a time")
        when = pd.Timestamp(first, unit="s", tz=self.timezone)
        rows.report.notes.append(f"{found['submit_s']} counts from {when.isoformat(sep=' ')} ({self.timezone})")
        for name in set(_CLOCK) & set(data):
            data[name] = pd.to_numeric(data[name], errors="coerce") - first


def _whole_ids(ids: pd.Series) -> pd.Series:
    """Ids as integers where that loses nothing (007 stays text); they are smaller and faster."""
    numbers = pd.to_numeric(ids, errors="coerce")
    if pd.api.types.is_integer_dtype(numbers) and (numbers.astype(str) == ids.astype(str)).all():
        return numbers
    return ids.mask(ids.astype(str).str.strip() == "")
