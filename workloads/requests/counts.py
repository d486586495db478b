"""Streams of requests from files that say how many there were, not when each came."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workloads.errors import TraceError, WorkloadError
from workloads.generators.require import require
from workloads.readers.files import read_text
from workloads.readers.rows import Rows
from workloads.requests.files import FileRequests, header_of, tables
from workloads.requests.rates import Block, arrivals_s
from workloads.requests.table import Requests
from workloads.requests.tokens import TokenLengths

_MINUTE_S = 60.0
_GAP_STEPS = 1.5  # points that are farther apart have others missing between them


@dataclass(kw_only=True)
class Counted(FileRequests):
    """Requests whose times within what was counted, and whose tokens, are drawn."""

    rate_scale: float = 1.0  # multiplies the numbers
    prompt_tokens: TokenLengths | None = None  # both or none
    output_tokens: TokenLengths | None = None

    def __post_init__(self) -> None:
        require(0 < self.rate_scale < math.inf, "rate_scale", self.rate_scale, "must be more than 0")
        both = (self.prompt_tokens is None) == (self.output_tokens is None)
        require(both, "output_tokens", self.output_tokens, "prompt_tokens and output_tokens go together")

    @property
    def has_tokens(self) -> bool:
        return self.prompt_tokens is not None

    def rates(self) -> Iterable[Block]:
        """The rate over time, from 0 on."""
        raise NotImplementedError

    def read(self, rng: np.random.Generator) -> Iterator[Requests]:
        time_draws, prompt_draws, output_draws = rng.spawn(3)
        blocks = ((edges_s, self.rate_scale * rates) for edges_s, rates in self.rates())
        for times_s in arrivals_s(blocks, time_draws):
            if self.prompt_tokens and self.output_tokens:
                num = len(times_s)
                yield Requests(
                    times_s, self.prompt_tokens.draw(num, prompt_draws), self.output_tokens.draw(num, output_draws)
                )
            else:
                yield Requests(times_s)


@dataclass(kw_only=True)
class AzureFunctionsRequests(Counted):
    """Microsoft's Azure Functions trace of 2019: invocations a minute of a day, one row a function.

    HashOwner, HashApp, HashFunction, Trigger, 1 … 1440. Shahrad et al., Serverless in the Wild, ATC 2020. All rows
    that `function` (its hash, or the beginning of one) and `trigger` let through are added up; within a minute requests
    come as a Poisson process of that minute's rate, so that their numbers are the trace's in the mean.
    """

    function: str = ""
    trigger: str = ""  # http | timer | queue | event | storage | orchestration | others

    def rates(self) -> Iterable[Block]:
        path = self.file()
        minutes = sorted((name for name in header_of(path) if name.isdecimal()), key=int)
        if not minutes:
            raise TraceError("has no columns 1, 2, …: invocations in each minute", path=path, line=1)
        for number, name in enumerate(minutes, 1):
            if name != str(number):
                raise TraceError("is missing: minutes are counted from 1 on", path=path, line=1, column=str(number))
        total, num = np.zeros(len(minutes)), 0
        for rows in tables(path, ["HashFunction", "Trigger", *minutes], text=["HashFunction", "Trigger"]):
            kept = rows["HashFunction"].fillna("").str.startswith(self.function).to_numpy()
            if self.trigger:
                kept = kept & (rows["Trigger"] == self.trigger).to_numpy()
            rows.drop(~kept, "another function or trigger")
            if not len(rows):
                continue
            total += _invocations(rows, minutes).sum(axis=0)
            num += len(rows)
        if not num:
            raise WorkloadError(
                f"{path}: no row has function={self.function or 'any'}, trigger={self.trigger or 'any'}"
            )
        yield np.arange(len(minutes) + 1) * _MINUTE_S, total / _MINUTE_S


def _invocations(rows: Rows, minutes: Sequence[str]) -> np.ndarray:
    """Numbers, shape (rows, minutes); all columns at once, of which there are a thousand."""
    cells = rows.frame[minutes]
    if not all(pd.api.types.is_numeric_dtype(kind) for kind in cells.dtypes):
        cells = cells.apply(pd.to_numeric, errors="coerce")
    numbers = cells.to_numpy(np.float64)
    is_bad = ~(np.isfinite(numbers) & (numbers >= 0))
    if is_bad.any():
        column = int(np.argwhere(is_bad)[0, 1])
        rows.reject(minutes[column], is_bad[:, column], "must be a number of invocations, 0 or more")
    return numbers


@dataclass(kw_only=True)
class PrometheusRequests(Counted):
    """A range export of Prometheus, for "my own service": what `/api/v1/query_range` returns, as JSON.

    Several series are added up. `kind=rate` takes a value as requests per second from its time to the next, as
    `rate(http_requests_total[1m])` gives it; where points are missing (nothing was measured, or NaN) it holds for one
    step, the median distance of points, and then there are no requests. `kind=counter` takes the differences of a
    counter, also over missing points, a fall being a reset.
    """

    kind: str = "rate"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.kind in ("rate", "counter"), "kind", self.kind, "must be rate or counter")

    def rates(self) -> Iterable[Block]:
        path = self.file()
        series = list(_series(path))
        times_s = np.unique(np.concatenate([times for times, _ in series]))  # those without a value, too
        series = [(times[~np.isnan(values)], values[~np.isnan(values)]) for times, values in series]
        if len(times_s) < 2:
            raise TraceError("needs two points in time or more", path=path)
        steps_s = np.concatenate([np.diff(times) for times, _ in series])
        step_s = float(np.median(steps_s)) if len(steps_s) else float(np.diff(times_s).min())
        spans = [_increases(*each) if self.kind == "counter" else _held(*each, step_s) for each in series]
        edges_s = np.unique(np.concatenate([times_s, *(ends for _, ends, _ in spans)]))
        edges_s = edges_s[edges_s <= times_s[-1]]
        total = np.zeros(len(edges_s) - 1)
        for begins_s, ends_s, rates in spans:
            if len(begins_s):
                at = np.searchsorted(begins_s, edges_s[:-1], "right") - 1
                is_within = (at >= 0) & (edges_s[:-1] < ends_s[at])
                total += np.where(is_within, rates[at], 0.0)
        yield edges_s - edges_s[0], total


Spans = tuple[np.ndarray, np.ndarray, np.ndarray]  # begins_s, ends_s, rates: in order, none overlapping the next


def _held(times_s: np.ndarray, rates: np.ndarray, step_s: float) -> Spans:
    """Each value holds up to the next, or where that is far, or there is none, for a step."""
    ends_s = np.append(times_s[1:], np.inf)
    return times_s, np.where(ends_s - times_s > _GAP_STEPS * step_s, times_s + step_s, ends_s), rates


def _increases(times_s: np.ndarray, values: np.ndarray) -> Spans:
    """The mean rate between each two values of a counter; where it fell it began anew from 0."""
    increase = np.diff(values)
    increase = np.where(increase < 0, values[1:], increase)
    return times_s[:-1], times_s[1:], increase / np.diff(times_s)


def _series(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(times, values) of each series of an export; a value is NaN where there is none."""
    text = read_text(path)
    if not text.strip():
        raise TraceError("holds no requests: the file is empty", path=path)
    try:
        content: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise TraceError(f"is no JSON: {error.msg}", path=path, line=error.lineno) from None
    if isinstance(content, dict) and content.get("status") == "error":
        raise TraceError(f"is the answer of a query that failed: {content.get('error')}", path=path)
    data = content.get("data", content) if isinstance(content, dict) else None
    if not isinstance(data, dict) or data.get("resultType") != "matrix" or not isinstance(data.get("result"), list):
        rule = "must be a range export: {data: {resultType: matrix, result: [{values: [[time, value], …]}]}}"
        raise TraceError(rule, path=path)
    if not data["result"]:
        raise TraceError("holds no series: the query matched nothing in that range", path=path)
    for number, each in enumerate(data["result"]):
        points = each.get("values") if isinstance(each, dict) else None
        try:
            table = np.array([(float(time_s), float(value)) for time_s, value in points or ()]).reshape(-1, 2)
        except (TypeError, ValueError):
            raise TraceError("must be pairs [time, value]", path=path, column=f"data.result[{number}].values") from None
        where = f"data.result[{number}].values"
        if not np.isfinite(table[:, 0]).all() or np.isinf(table[:, 1]).any():
            raise TraceError("must be finite, or NaN where there is no value", path=path, column=where)
        if (np.diff(table[:, 0]) <= 0).any():
            raise TraceError("must be in order of time", path=path, column=where)
        if (table[:, 1] < 0).any():
            raise TraceError("must be 0 or more", path=path, column=where, value=float(np.nanmin(table[:, 1])))
        yield table[:, 0], table[:, 1]
