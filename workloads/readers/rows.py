"""A file's rows on their way to a job table: columns, each row's line, and the count of what was dropped."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv

from workloads.errors import TraceError, WorkloadError
from workloads.readers.files import read_bytes
from workloads.trace import JobTable, ReadReport, Trace

# What logs write for "there is none"; anything else that isn't a number or a time is garbled, and an error.
_MISSING = frozenset(["", "none", "null", "nan", "na", "n/a", "unknown"])


@dataclass
class Rows:
    """Columns read from a file, whittled down step by step; row labels of `frame` are 0-based data rows."""

    path: Path
    frame: pd.DataFrame
    lines: np.ndarray  # 1-based line of each row, shape (rows,)
    report: ReadReport = field(init=False)

    def __post_init__(self) -> None:
        self.report = ReadReport(str(self.path), rows_read=len(self.frame))

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, column: str) -> pd.Series:
        return self.frame[column]

    def need(self, *columns: str, hint: str = "") -> None:
        """Raises a TraceError for the first column that the file lacks; `hint` says what to do about it."""
        for column in columns:
            if column not in self.frame:
                has = ", ".join(map(str, self.frame.columns))
                raise TraceError(f"is missing (the file has {has}){hint}", path=self.path, column=column)

    def drop(self, bad: Any, reason: str) -> None:
        """Drops the rows where `bad` is true and counts them."""
        bad = np.asarray(bad, bool)
        if bad.any():
            self.report.drop(reason, int(bad.sum()))
            self.frame, self.lines = self.frame[~bad], self.lines[~bad]

    def reject(self, column: str, bad: Any, rule: str) -> None:
        """Raises a TraceError for the first row where `bad` is true."""
        bad = np.asarray(bad, bool)
        if bad.any():
            row = int(bad.argmax())
            value = self.frame[column].iloc[row]
            value = value.item() if hasattr(value, "item") else value
            raise TraceError(rule, path=self.path, line=int(self.lines[row]), column=column, value=value)

    def parse_numbers(self, *columns: str) -> None:
        """Turns columns into float64; a cell that says "none" becomes nan, anything else unreadable is an error."""
        for column in columns:
            values = pd.to_numeric(self.frame[column], errors="coerce").astype(np.float64)
            self.reject(column, values.isna() & ~missing(self.frame[column]), "is not a number")
            self.frame = self.frame.assign(**{column: values})

    def parse_times(self, *columns: str, zone: str) -> None:
        """Turns columns of ISO times into Unix seconds (float64, nan where missing); see `unix_seconds`."""
        for column in columns:
            values = unix_seconds(self.frame[column], zone)
            bad = values.isna() & ~missing(self.frame[column])
            self.reject(column, bad, "is not a time such as 2017-10-09 07:01:55")
            self.frame = self.frame.assign(**{column: values})

    def from_first(self, column: str, zone: str) -> None:
        """Shifts a column of Unix seconds so that its first is 0, and notes when that was."""
        if len(self) == 0:
            return
        first = float(self.frame[column].min())
        self.frame = self.frame.assign(**{column: self.frame[column] - first})
        when = pd.Timestamp(first, unit="s", tz=ZoneInfo(zone)).isoformat(sep=" ")
        self.report.notes.append(f"{column} counts from {when} ({zone})")

    def trace(self, columns: Mapping[str, Any], names: Mapping[str, str], unsorted: str = "sort") -> Trace:
        """The job table of `columns` (by our names; `names` are the file's), with the report."""
        if len(self) == 0:
            reasons = "".join(f"; {count:,} rows dropped: {why}" for why, count in self.report.dropped.items())
            raise TraceError(f"holds no jobs{reasons}", path=self.path)
        jobs = JobTable.from_columns(columns, source=self.path, lines=self.lines, names=names, unsorted=unsorted)
        back = int((np.diff(np.asarray(columns["submit_s"], float)) < 0).sum())
        if back:
            self.report.notes.append(f"sorted by submit time: {back:,} rows came before the row above them")
        self.report.rows_kept = len(jobs)
        return Trace(jobs, self.report)


def missing(cells: pd.Series) -> pd.Series:
    """Which cells say that there is no value; bool, same rows."""
    if pd.api.types.is_numeric_dtype(cells):
        return cells.isna()
    return cells.isna() | cells.astype(str).str.strip().str.lower().isin(_MISSING)


def unix_seconds(cells: pd.Series, zone: str, *, second_pass: bool = False) -> pd.Series:
    """ISO times as Unix seconds; nan where unreadable.

    Times without an offset are local to `zone`. Where clocks go back an hour is there twice: it is taken as the
    first, or with `second_pass` as the second. Where they go forward the hour that isn't there is shifted past the gap.
    """
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise WorkloadError(f"timezone={zone!r}: no such time zone; try one like America/Los_Angeles or UTC") from error
    cells = cells.astype(object)
    try:
        times = pd.to_datetime(cells, format="ISO8601", errors="coerce")
    except ValueError:  # several offsets, or some cells with one and some without: one by one costs five times as much
        has_offset = cells.astype(str).str.contains(r"\d(?:Z|[+-]\d\d:?\d\d)\s*$", regex=True)
        values = pd.Series(np.nan, cells.index)
        values[~has_offset] = unix_seconds(cells[~has_offset], zone, second_pass=second_pass)
        values[has_offset] = _since_1970_s(
            pd.to_datetime(cells[has_offset], format="ISO8601", errors="coerce", utc=True)
        )
        return values
    if times.dt.tz is None:
        ambiguous = np.full(len(times), not second_pass)
        times = times.dt.tz_localize(zone, ambiguous=ambiguous, nonexistent="shift_forward")
    return _since_1970_s(times)


def _since_1970_s(times: pd.Series) -> pd.Series:
    return ((times - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).astype(np.float64)


def of_distinct(cells: pd.Series, work: Callable[[pd.Series], pd.Series]) -> pd.Series:
    """`work(cells)`, done once for each distinct text: logs repeat few of them millions of times."""
    codes, distinct = pd.factorize(cells)
    return pd.Series(work(pd.Series(distinct)).to_numpy()[codes], cells.index)


def read_rows(
    path: Path,
    *,
    names: Sequence[str] | None = None,
    separator: str = ",",
    text: Sequence[str] = (),
    quoted: bool = True,
) -> Rows:
    """Reads delimited text.

    Args:
        path: plain or gzip.
        names: the columns, for a file without a header line.
        separator: one character.
        text: columns to leave as text (ids that start with 0, times); the rest are numbers where every cell is one.
        quoted: whether "…" protects separators.

    Raises:
        TraceError: an empty file, a header alone, a row with too few or too many fields, or bytes that aren't UTF-8.
    """
    data = read_bytes(path).rstrip(b"\r\n \x00").removeprefix(b"\xef\xbb\xbf")
    if not data:
        raise TraceError("holds no jobs: the file is empty", path=path)
    quote: str | bool = '"' if quoted else False
    head = data.split(b"\n", 1)[0].decode("utf-8", "replace")
    try:
        header = next(csv.reader([head], delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE))
    except csv.Error as error:
        raise TraceError(f"is not a table of text: {error}", path=path, line=1) from None
    columns = [name.strip() for name in header] if names is None else list(names)
    for column in columns:
        if columns.count(column) > 1:
            raise TraceError("is there twice in the header", path=path, line=1, column=column)
    if names is None and b"\n" not in data:
        raise TraceError("holds no jobs: only a header line", path=path)
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(column_names=columns, skip_rows=0 if names is not None else 1),
            parse_options=arrow_csv.ParseOptions(
                delimiter=separator, quote_char=quote, newlines_in_values=quoted and b'"' in data
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in text},
                true_values=[],  # else a column of 1, 1, true is one of booleans
                false_values=[],
            ),
        )
    except pa.ArrowInvalid as error:
        raise _explain(path, data, separator, columns, quoted, error) from error
    for i, kind in enumerate(table.schema.types):
        if pa.types.is_binary(kind):
            raise _explain(path, data, separator, columns, quoted, "is not UTF-8 text")
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind)):
            table = table.set_column(i, table.column_names[i], table.column(i).cast(pa.string()))
    return Rows(path, table.to_pandas(), _lines(data, separator, quoted, table.num_rows, 0 if names is not None else 1))


def _lines(data: bytes, separator: str, quoted: bool, num_rows: int, num_header: int) -> np.ndarray:
    """The 1-based line of each row; blank lines and line breaks inside quotes make it more than counting."""
    if data.count(b"\n") + 1 == num_rows + num_header:
        return np.arange(num_header + 1, num_header + num_rows + 1)
    rows = _slow_rows(data, separator, quoted)
    return np.array([line for line, fields in rows if fields][num_header:], np.int64)


def _slow_rows(data: bytes, separator: str, quoted: bool) -> list[tuple[int, list[str]]]:
    """(line on which it starts, fields) of every row."""
    text = io.StringIO(data.decode("utf-8", "replace"), newline="")
    reader = csv.reader(text, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    rows, start = [], 1
    for fields in reader:
        rows.append((start, fields))
        start = reader.line_num + 1
    return rows


def _explain(
    path: Path, data: bytes, separator: str, columns: Sequence[str], quoted: bool, error: object
) -> TraceError:
    """The first row that the fast reader couldn't take, found the slow way."""
    for line, fields in _slow_rows(data, separator, quoted):
        for i, cell in enumerate(fields):
            if "\ufffd" in cell:
                column = columns[i] if i < len(columns) else None
                return TraceError("is not UTF-8 text", path=path, line=line, column=column, value=cell)
        if fields and len(fields) != len(columns):
            plural = "" if len(fields) == 1 else "s"
            rule = f"has {len(fields)} field{plural} where {len(columns)} are due ({', '.join(columns)})"
            return TraceError(rule, path=path, line=line, value=separator.join(fields)[:120])
    return TraceError(str(error), path=path)
