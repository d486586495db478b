"""Streams of requests from files that say how many there were, not when each came."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workloads.errors import TraceError, WorkloadError
from workloads.generators.require import require
from workloads.readers.files import read_text
from workloads.requests.files import FileRequests, header_of, tables
from workloads.requests.rates import Block, arrivals_s
from workloads.requests.table import Requests
from workloads.requests.tokens import TokenLengths

_MINUTE_S = 60.0


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
        minutes = [name for name in header_of(path) if name.isdecimal()]
        if not minutes:
            raise TraceError("has no columns 1, 2, …: invocations in each minute", path=path, line=1)
        total, num = np.zeros(len(minutes)), 0
        for rows in tables(path, ["HashFunction", "Trigger", *minutes], text=["HashFunction", "Trigger"]):
            kept = rows["HashFunction"].fillna("").str.startswith(self.function).to_numpy()
            if self.trigger:
                kept = kept & (rows["Trigger"] == self.trigger).to_numpy()
            rows.drop(~kept, "another function or trigger")
            if not len(rows):
                continue
            rows.parse_numbers(*minutes)
            for minute in minutes:
                rows.reject(minute, ~(rows[minute] >= 0), "must be a number of invocations, 0 or more")
            total += rows.frame[minutes].to_numpy(np.float64).sum(axis=0)
            num += len(rows)
        if not num:
            raise WorkloadError(
                f"{path}: no row has function={self.function or 'any'}, trigger={self.trigger or 'any'}"
            )
        yield np.arange(len(minutes) + 1) * _MINUTE_S, total / _MINUTE_S


@dataclass(kw_only=True)
class PrometheusRequests(Counted):
    """A range export of Prometheus, for "my own service": what `/api/v1/query_range` returns, as JSON.

    Several series are added up. `kind=rate` takes a value as requests per second from its time to the next, as
    `rate(http_requests_total[1m])` gives it; `kind=counter` takes the differences of a counter, a fall being a reset.
    """

    kind: str = "rate"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.kind in ("rate", "counter"), "kind", self.kind, "must be rate or counter")

    def rates(self) -> Iterable[Block]:
        path = self.file()
        series = list(_series(path))
        times_s = np.unique(np.concatenate([times for times, _ in series]))
        if len(times_s) < 2:
            raise TraceError("needs two points in time or more", path=path)
        total = np.zeros(len(times_s) - 1)
        for times, values in series:
            if self.kind == "counter":
                step = np.diff(values)
                step = np.where(step < 0, values[1:], step)  # it began anew
                values = np.append(step / np.diff(times), 0.0)
            at = np.searchsorted(times, times_s[:-1], "right") - 1
            within = (at >= 0) & (times_s[:-1] < times[-1])
            total += np.where(within, values[np.maximum(at, 0)], 0.0)
        yield times_s - times_s[0], total


def _series(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(times, values) of each series of an export."""
    try:
        content: Any = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise TraceError(f"is no JSON: {error.msg}", path=path, line=error.lineno) from None
    if isinstance(content, dict) and content.get("status") == "error":
        raise TraceError(f"is the answer of a query that failed: {content.get('error')}", path=path)
    data = content.get("data", content) if isinstance(content, dict) else None
    if not isinstance(data, dict) or data.get("resultType") != "matrix" or not data.get("result"):
        rule = "must be a range export: {data: {resultType: matrix, result: [{values: [[time, value], …]}]}}"
        raise TraceError(rule, path=path)
    for number, each in enumerate(data["result"]):
        points = each.get("values") if isinstance(each, dict) else None
        try:
            table = np.array([(float(time_s), float(value)) for time_s, value in points or ()])
        except (TypeError, ValueError):
            raise TraceError("must be pairs [time, value]", path=path, column=f"data.result[{number}].values") from None
        where = f"data.result[{number}].values"
        if len(table) < 2:
            raise TraceError("needs two points or more", path=path, column=where)
        table = table[np.isfinite(table[:, 1])]  # NaN: no value then
        if (np.diff(table[:, 0]) <= 0).any():
            raise TraceError("must be in order of time", path=path, column=where)
        if (table[:, 1] < 0).any():
            raise TraceError("must be 0 or more", path=path, column=where, value=float(table[:, 1].min()))
        yield table[:, 0], table[:, 1]
