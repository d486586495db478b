"""Streams of requests from files of one request a row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workloads.errors import TraceError, WorkloadError
from workloads.readers.rows import Rows, missing
from workloads.requests.files import FileRequests, header_of, tables
from workloads.requests.table import Requests


class _Arrivals:
    """Times from rows to a stream's: counted from the first, and seen to be in order."""

    def __init__(self, column: str, counts_from_first: bool) -> None:
        self._column = column
        self._first_s = None if counts_from_first else 0.0
        self._last_s = -math.inf

    def of(self, rows: Rows) -> np.ndarray:
        """Seconds of these rows, which have been parsed; shape (rows,).

        Raises:
            TraceError: no time, or one before that of the row above.
        """
        values = rows[self._column].to_numpy(np.float64)
        rows.reject(self._column, ~np.isfinite(values), "is needed: when the request arrives")
        steps = np.diff(values, prepend=max(self._last_s, np.finfo(np.float64).min))
        rows.reject(self._column, steps < 0, "must not be less than in the row above: sort the file by it")
        if self._first_s is None:
            self._first_s = float(values[0])
        self._last_s = float(values[-1])
        return values - self._first_s


def _tokens(rows: Rows, column: str) -> np.ndarray:
    rows.parse_numbers(column)
    values = rows[column].to_numpy(np.float64)
    is_whole = np.isfinite(values) & (values == np.floor(values))
    rows.reject(column, ~(is_whole & (values >= 0)), "must be a whole number of tokens, 0 or more")
    return values.astype(np.int64)


def _note_of_dropped(num: int, path: str) -> list[str]:
    return [f"{path}: {num:,} requests without tokens, in or out, are left out"] if num else []


@dataclass(kw_only=True)
class CsvRequests(FileRequests):
    """Your own: `arrival_s` in seconds, ascending, and `prompt_tokens` and `output_tokens` where requests have them.

    Other columns are left alone; a value that can't be right is an error with its line.
    """

    @property
    def has_tokens(self) -> bool:
        return "prompt_tokens" in header_of(self.file())

    def read(self, rng: np.random.Generator) -> Iterator[Requests]:
        path = self.file()
        names = header_of(path)
        has = [name for name in ("prompt_tokens", "output_tokens") if name in names]
        if len(has) == 1:
            raise TraceError(
                f"prompt_tokens and output_tokens go together (it has {', '.join(names)})", path=path, line=1
            )
        arrivals = _Arrivals("arrival_s", counts_from_first=False)
        for rows in tables(path, ["arrival_s", *has]):
            rows.parse_numbers("arrival_s")
            rows.reject("arrival_s", rows["arrival_s"] < 0, "must be 0 or more")
            counts = [_tokens(rows, name) for name in has]
            for name, values in zip(has, counts, strict=True):
                rows.reject(name, values < 1, "must be 1 or more")
            yield Requests(arrivals.of(rows), *counts)


@dataclass(kw_only=True)
class AzureLlmRequests(FileRequests):
    """Microsoft's Azure LLM inference traces of 2023 and 2024: TIMESTAMP, ContextTokens, GeneratedTokens.

    https://github.com/Azure/AzurePublicDataset; Patel et al., Splitwise, ISCA 2024, and Stojkovic et al., DynamoLLM,
    HPCA 2025. Requests without a generated token are left out, and counted in `dropped`.
    """

    timezone: str = "UTC"  # of times without an offset

    def __post_init__(self) -> None:
        self.dropped = 0

    @property
    def has_tokens(self) -> bool:
        return True

    def notes(self) -> list[str]:
        return _note_of_dropped(self.dropped, self.path)

    def read(self, rng: np.random.Generator) -> Iterator[Requests]:
        self.dropped, arrivals = 0, _Arrivals("TIMESTAMP", counts_from_first=True)
        for rows in tables(self.file(), ["TIMESTAMP", "ContextTokens", "GeneratedTokens"], text=["TIMESTAMP"]):
            rows.parse_times("TIMESTAMP", zone=self.timezone)
            times_s = arrivals.of(rows)
            prompt, output = _tokens(rows, "ContextTokens"), _tokens(rows, "GeneratedTokens")
            kept = (prompt >= 1) & (output >= 1)
            self.dropped += int((~kept).sum())
            yield Requests(times_s, prompt, output).take(kept)


@dataclass(kw_only=True)
class BurstGptRequests(FileRequests):
    """BurstGPT: Timestamp (seconds), Model, Request tokens, Response tokens, Log Type.

    Wang et al., BurstGPT: A Real-World Workload Dataset to Optimize LLM Serving Systems, KDD 2025. Failed requests have
    no response tokens: they are left out, and counted in `dropped`.
    """

    model: str | None = None  # only this one, such as ChatGPT or GPT-4
    log_type: str | None = None  # only these: "Conversation log" or "API log"

    def __post_init__(self) -> None:
        self.dropped = 0

    @property
    def has_tokens(self) -> bool:
        return True

    def notes(self) -> list[str]:
        return _note_of_dropped(self.dropped, self.path)

    def read(self, rng: np.random.Generator) -> Iterator[Requests]:
        path, wanted = self.file(), {"Model": self.model, "Log Type": self.log_type}
        wanted = {column: value for column, value in wanted.items() if value is not None}
        self.dropped = 0
        arrivals, found, num_kept = _Arrivals("Timestamp", counts_from_first=True), set[str](), 0
        columns = ["Timestamp", "Request tokens", "Response tokens", *wanted]
        for rows in tables(path, columns, text=list(wanted)):
            rows.parse_numbers("Timestamp")
            times_s = arrivals.of(rows)
            prompt, output = _tokens(rows, "Request tokens"), _tokens(rows, "Response tokens")
            kept = np.ones(len(rows), bool)
            for column, value in wanted.items():
                found |= set(rows[column][~missing(rows[column])].unique())
                kept &= (rows[column] == value).to_numpy()
            whole = (prompt >= 1) & (output >= 1)
            self.dropped += int((kept & ~whole).sum())
            num_kept += int((kept & whole).sum())
            yield Requests(times_s, prompt, output).take(kept & whole)
        if wanted and not num_kept:
            spelt = " and ".join(f"{column}={value}" for column, value in wanted.items())
            raise WorkloadError(f"{path}: no request has {spelt}; there are {', '.join(sorted(found))}")
