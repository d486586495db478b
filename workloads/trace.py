"""A workload as columns: a million jobs are some twenty arrays, not a million objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workloads.errors import TraceError, WorkloadError
from workloads.job_spec import Elasticity, JobSpec

_SIZE = ("must be a whole number, 1 or more, below 2^31", lambda x: ~((x >= 1) & (x < 2**31) & (x == np.floor(x))))
# The rule of each numeric column: (what it must be, the test that finds offenders).
_RULES = {
    "submit_s": ("must be a finite number of seconds, 0 or more", lambda x: ~(np.isfinite(x) & (x >= 0))),
    "duration_s": ("must be a finite number of seconds, more than 0", lambda x: ~(np.isfinite(x) & (x > 0))),
    "num_gpus": (
        "must be a whole number, 1 or more, below 2^31",
        lambda x: ~((x >= 1) & (x < 2**31) & (x == np.floor(x))),
    ),
    "min_gpus": (
        "must be a whole number, 1 or more, below 2^31",
        lambda x: ~((x >= 1) & (x < 2**31) & (x == np.floor(x))),
    ),
    "max_gpus": (
        "must be a whole number, 1 or more, below 2^31",
        lambda x: ~((x >= 1) & (x < 2**31) & (x == np.floor(x))),
    ),
    "elasticity": ("must be 0 (rigid), 1 (moldable) or 2 (malleable)", lambda x: ~np.isin(x, (0, 1, 2))),
    "priority": ("must be a whole number within 2^31", lambda x: ~((abs(x) < 2**31) & (x == np.floor(x)))),
    "weight": ("must be a finite number, more than 0", lambda x: ~(np.isfinite(x) & (x > 0))),
    "deadline_s": ("must be a time, 0 or more (inf: none)", lambda x: ~(x >= 0)),
    "cpus_per_gpu": ("must be a finite number, 0 or more", lambda x: ~(np.isfinite(x) & (x >= 0))),
    "memory_gib_per_gpu": ("must be a finite number, 0 or more", lambda x: ~(np.isfinite(x) & (x >= 0))),
    "gpu_memory_gib_per_gpu": ("must be a finite number, 0 or more", lambda x: ~(np.isfinite(x) & (x >= 0))),
    "network_gib_per_s_per_gpu": ("must be a finite number, 0 or more", lambda x: ~(np.isfinite(x) & (x >= 0))),
    "gpu_utilisation_frac": ("must lie in 0..1", lambda x: ~((x >= 0) & (x <= 1))),
    "checkpoint_interval_s": ("must be more than 0 s (inf: none)", lambda x: ~(x > 0)),
    "user_estimate_s": ("must be more than 0 s (nan: none)", lambda x: ~((x > 0) | np.isnan(x))),
    "batch_size": ("must be a finite number, 0 or more", lambda x: ~(np.isfinite(x) & (x >= 0))),
    "num_parameters": ("must be a finite number, 0 or more", lambda x: ~(np.isfinite(x) & (x >= 0))),
    "num_samples": ("must be a finite number, 0 or more", lambda x: ~(np.isfinite(x) & (x >= 0))),
}
_INTEGER = ("num_gpus", "min_gpus", "max_gpus", "elasticity", "priority")
_DEFAULTS: dict[str, float] = {
    "priority": 0,
    "weight": 1.0,
    "deadline_s": np.inf,
    "cpus_per_gpu": 0.0,
    "memory_gib_per_gpu": 0.0,
    "gpu_memory_gib_per_gpu": 0.0,
    "network_gib_per_s_per_gpu": 0.0,
    "gpu_utilisation_frac": 1.0,
    "checkpoint_interval_s": np.inf,
    "user_estimate_s": np.nan,
    "batch_size": 0.0,
    "num_parameters": 0.0,
    "num_samples": 0.0,
}
_REQUIRED = ("submit_s", "num_gpus", "duration_s")
COLUMNS = ("job_id", *_RULES, "model", "tenant")


@dataclass(frozen=True, slots=True)
class Labels:
    """A column of few distinct strings: `names[codes[j]]` is job j's."""

    codes: np.ndarray  # int32, shape (J,)
    names: tuple[str, ...]

    def __getitem__(self, row: int) -> str:
        return self.names[self.codes[row]]

    def take(self, rows: np.ndarray | slice) -> Labels:
        return Labels(self.codes[rows], self.names)

    @classmethod
    def of(cls, values: Any, num_rows: int) -> Labels:
        if values is None:
            return cls(np.zeros(num_rows, np.int32), ("",))
        codes, names = pd.factorize(pd.Series(values).fillna("").astype(str), sort=True)
        return cls(codes.astype(np.int32), tuple(names))


@dataclass(frozen=True)
class JobTable:
    """Jobs in submit order, one array a field of `JobSpec`; shape (J,) each.

    Built by `from_columns` (or `from_specs`), which checks every value; ties in `submit_s` keep the file's order.
    """

    job_id: np.ndarray  # of str, or of int where the source has numbers
    submit_s: np.ndarray
    duration_s: np.ndarray
    num_gpus: np.ndarray
    min_gpus: np.ndarray
    max_gpus: np.ndarray
    elasticity: np.ndarray
    priority: np.ndarray
    weight: np.ndarray
    deadline_s: np.ndarray
    cpus_per_gpu: np.ndarray
    memory_gib_per_gpu: np.ndarray
    gpu_memory_gib_per_gpu: np.ndarray
    network_gib_per_s_per_gpu: np.ndarray
    gpu_utilisation_frac: np.ndarray
    checkpoint_interval_s: np.ndarray
    user_estimate_s: np.ndarray
    batch_size: np.ndarray
    num_parameters: np.ndarray
    num_samples: np.ndarray
    model: Labels
    tenant: Labels

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Any],
        *,
        source: str | Path | None = None,
        lines: np.ndarray | None = None,
        names: Mapping[str, str] | None = None,
        unsorted: str = "error",
    ) -> JobTable:
        """Checks and completes columns.

        Args:
            columns: arrays by field name; `submit_s`, `num_gpus` and `duration_s` are needed, the rest have defaults.
            source: the file they come from, for messages.
            lines: the 1-based line of each row in that file; shape (J,).
            names: what the file calls a field, for messages.
            unsorted: `error`, or `sort` (stable, by `submit_s`).

        Raises:
            TraceError: the first row that breaks a rule, with line, column and value.
            WorkloadError: no rows at all.
        """
        names = names or {}
        unknown = set(columns) - set(COLUMNS)
        if unknown:
            raise WorkloadError(f"unknown job field {sorted(unknown)[0]!r}; known: {', '.join(COLUMNS)}")
        for name in _REQUIRED:
            if name not in columns:
                raise TraceError("is missing", path=source, column=names.get(name, name))
        num_rows = len(columns["submit_s"])
        if num_rows == 0:
            raise WorkloadError(f"{source or 'the workload'}: holds no jobs")
        for name, values in columns.items():
            if values is not None and len(values) != num_rows:
                raise TraceError(f"has {len(values)} values, submit_s has {num_rows}", path=source, column=name)

        def reject(column: str, bad: np.ndarray, rule: str, values: np.ndarray) -> None:
            if bad.any():
                row = int(bad.argmax())
                line = None if lines is None else int(lines[row])
                at = f" (job {row + 1} of {num_rows})" if line is None else ""
                value = values[row].item() if hasattr(values[row], "item") else values[row]
                raise TraceError(rule + at, path=source, line=line, column=names.get(column, column), value=value)

        data: dict[str, Any] = {}
        for name, (rule, offends) in _RULES.items():
            given = columns.get(name)
            if given is None:
                continue
            values = pd.to_numeric(pd.Series(given), errors="coerce").to_numpy(np.float64)
            garbled = np.isnan(values) & pd.Series(given).notna().to_numpy()
            reject(name, garbled, "is not a number", np.asarray(given, object))
            reject(name, offends(values), rule, np.asarray(given))
            data[name] = values.astype(np.int64) if name in _INTEGER else values
        for name in ("min_gpus", "max_gpus"):
            data.setdefault(name, data["num_gpus"])
        if "elasticity" not in data:
            data["elasticity"] = np.where(
                data["min_gpus"] == data["max_gpus"], int(Elasticity.RIGID), int(Elasticity.MALLEABLE)
            )
        for name, value in _DEFAULTS.items():
            data.setdefault(name, np.full(num_rows, value, np.int64 if name in _INTEGER else np.float64))
        low, high, asked = data["min_gpus"], data["max_gpus"], data["num_gpus"]
        reject("min_gpus", low > asked, "must not be more than num_gpus", low)
        reject("max_gpus", high < asked, "must not be less than num_gpus", high)
        rigid = (data["elasticity"] == Elasticity.RIGID) & (low != high)
        reject("elasticity", rigid, "a rigid job has min_gpus = max_gpus", data["elasticity"])

        data["job_id"] = cls._ids(columns.get("job_id"), num_rows, reject)
        table = cls(
            **data,
            model=Labels.of(columns.get("model"), num_rows),
            tenant=Labels.of(columns.get("tenant"), num_rows),
        )
        back = np.zeros(num_rows, bool)
        back[1:] = np.diff(data["submit_s"]) < 0
        if unsorted != "sort":
            reject(
                "submit_s", back, "is before the row above it: sort the file, or set unsorted=sort", data["submit_s"]
            )
        return table.take(data["submit_s"].argsort(kind="stable")) if back.any() else table

    @classmethod
    def none(cls) -> JobTable:
        """No jobs at all."""
        return cls.from_specs([JobSpec(job_id="", submit_s=0.0, num_gpus=1, duration_s=1.0)]).take(slice(0))

    def then(self, other: JobTable) -> JobTable:
        """These jobs, and the rows of another table behind them; not sorted anew."""
        columns: dict[str, Any] = {}
        for name in COLUMNS:
            mine, others = getattr(self, name), getattr(other, name)
            if isinstance(mine, Labels):
                texts = [np.asarray(each.names, object)[each.codes] for each in (mine, others)]
                columns[name] = Labels.of(np.concatenate(texts), len(self) + len(other))
            else:
                columns[name] = np.concatenate((mine, others))
        return JobTable(**columns)

    @staticmethod
    def _ids(given: Any, num_rows: int, reject: Any) -> np.ndarray:
        if given is None:
            return np.arange(num_rows)
        series = pd.Series(given)
        reject("job_id", series.isna().to_numpy(), "is missing", series.to_numpy(object))
        ids = series.to_numpy() if pd.api.types.is_integer_dtype(series) else series.astype(str).to_numpy(object)
        reject("job_id", series.duplicated().to_numpy(), "is there twice; ids must differ", ids)
        return ids

    @classmethod
    def from_specs(cls, specs: Iterable[JobSpec], *, unsorted: str = "sort") -> JobTable:
        """A table of `specs`; by default sorted by submit time."""
        rows = list(specs)
        plain = [name for name in COLUMNS if name not in ("min_gpus", "max_gpus", "elasticity")]
        columns: dict[str, Any] = {name: [getattr(spec, name) for spec in rows] for name in plain}
        columns["min_gpus"] = [spec.size_range[0] for spec in rows]
        columns["max_gpus"] = [spec.size_range[1] for spec in rows]
        columns["elasticity"] = [int(spec.kind) for spec in rows]
        return cls.from_columns(columns, unsorted=unsorted)

    def __len__(self) -> int:
        return len(self.submit_s)

    def spec(self, row: int) -> JobSpec:
        """Row `row` as a value."""
        values = {name: getattr(self, name)[row] for name in COLUMNS}
        values = {name: value.item() if hasattr(value, "item") else value for name, value in values.items()}
        values["job_id"] = str(values["job_id"])
        values["elasticity"] = Elasticity(values["elasticity"])
        return JobSpec(**values)

    def __iter__(self) -> Iterator[JobSpec]:
        return (self.spec(row) for row in range(len(self)))

    def take(self, rows: np.ndarray | slice) -> JobTable:
        """The rows chosen by an index, a mask or a slice, in that order."""
        cut = {name: getattr(self, name) for name in COLUMNS}
        taken: dict[str, Any] = {n: c.take(rows) if isinstance(c, Labels) else c[rows] for n, c in cut.items()}
        return JobTable(**taken)

    def with_columns(self, **columns: np.ndarray) -> JobTable:
        """A copy with some columns replaced, checked anew."""
        mine = {name: getattr(self, name) for name in COLUMNS if name not in ("model", "tenant")} | columns
        if "model" not in columns and "tenant" not in columns:
            return replace(self.from_columns(mine), model=self.model, tenant=self.tenant)
        for name in ("model", "tenant"):
            labels: Labels = getattr(self, name)
            mine.setdefault(name, np.asarray(labels.names, object)[labels.codes])
        return self.from_columns(mine)

    @cached_property
    def gpu_s(self) -> np.ndarray:
        """GPU-seconds that each job takes at the size it asks for; shape (J,)."""
        return self.duration_s * self.num_gpus

    def frame(self) -> pd.DataFrame:
        """The table as a pandas frame, labels spelt out."""
        columns = {name: getattr(self, name) for name in COLUMNS}
        for name in ("model", "tenant"):
            labels = columns[name]
            columns[name] = pd.Categorical.from_codes(labels.codes, categories=pd.Index(labels.names))
        return pd.DataFrame(columns)


@dataclass
class ReadReport:
    """What a source did on the way: rows read, dropped and why, and whatever else a user should know."""

    source: str
    rows_read: int = 0
    rows_kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)  # reason -> rows
    notes: list[str] = field(default_factory=list)

    def drop(self, reason: str, count: int) -> None:
        """Counts `count` dropped rows; none is no entry."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + int(count)

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.rows_kept:,} of {self.rows_read:,} rows kept"]
        lines += [f"  dropped {count:,}: {reason}" for reason, count in self.dropped.items()]
        return "\n".join(lines + [f"  {note}" for note in self.notes])


@dataclass(frozen=True)
class Trace:
    """Jobs, and the account of how they were had."""

    jobs: JobTable
    report: ReadReport
