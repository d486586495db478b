"""Gavel's traces: ten tab-separated columns without a header, work stated in training steps."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workloads.errors import TraceError, WorkloadError
from workloads.readers.files import FileSource, near, read_text
from workloads.readers.rows import Rows, read_rows
from workloads.trace import Trace

FIELDS = (
    *("job_type", "command", "working_directory", "num_steps_arg", "needs_data_dir"),
    *("total_steps", "scale_factor", "priority_weight", "SLO", "arrival_time"),
)


@dataclass(kw_only=True)
class GavelReader(FileSource):
    """Jobs of `scale_factor` GPUs with `total_steps` to do; how long that takes the trace doesn't say.

    duration_s = total_steps / steps per second of (job_type, scale_factor) on `gpu_type` alone on its GPUs, from
    Gavel's `simulation_throughputs.json`, which gives a whole gang's rate. `SLO`, where more than 0, is a multiple
    of that duration: deadline_s = arrival_time + SLO · duration_s. priority_weight becomes `weight`. Older traces of
    that project have 7 columns (no weight, no SLO), some of Shockwave's 11; both are refused. Narayanan et al., OSDI
    '20.
    """

    throughputs: str = ""  # path to simulation_throughputs.json, plain or gzip; required
    gpu_type: str = "v100"  # v100 | p100 | k80, or one of them with _unconsolidated

    def read(self, rng: np.random.Generator) -> Trace:
        rows = read_rows(self.file(), names=FIELDS, separator="\t", text=FIELDS[:4], quoted=False)
        if not self.throughputs:
            raise WorkloadError(
                f"{rows.path}: Gavel's traces state work in steps, not seconds; set throughputs= to Gavel's "
                "simulation_throughputs.json (and gpu_type=) to turn one into the other"
            )
        rates_per_s = _rates(self.file(self.throughputs, "throughputs"), self.gpu_type)
        rows.parse_numbers("total_steps", "scale_factor", "priority_weight", "SLO", "arrival_time")
        rows.drop(rows["total_steps"] <= 0, "has no steps to do")
        kinds = zip(rows["job_type"], rows["scale_factor"], strict=True)
        rates = pd.Series([rates_per_s.get(kind, np.nan) for kind in kinds], rows.frame.index)
        self._refuse_unmeasured(rows, rates, rates_per_s)
        rows.frame = rows.frame.assign(rate=rates)
        rows.drop(rows["rate"] <= 0, f"throughput on {self.gpu_type} is 0: it doesn't fit")
        if len(rows) == 0:
            return rows.trace({}, {})

        duration_s = rows["total_steps"] / rows["rate"]
        due_s = rows["arrival_time"] + rows["SLO"] * duration_s
        rows.report.notes.append(f"duration_s is total_steps / the measured throughput on {self.gpu_type}")
        names = {
            "submit_s": "arrival_time",
            "num_gpus": "scale_factor",
            "weight": "priority_weight",
            "model": "job_type",
        }
        columns: dict[str, Any] = {name: rows[column] for name, column in names.items()}
        columns |= {"job_id": rows.frame.index, "duration_s": duration_s}
        columns["deadline_s"] = due_s.where(rows["SLO"] > 0, np.inf)
        return rows.trace(columns, names | {"duration_s": "total_steps", "deadline_s": "SLO"})

    def _refuse_unmeasured(self, rows: Rows, rates: pd.Series, rates_per_s: Mapping[tuple[str, float], float]) -> None:
        if not rates.isna().any():
            return
        first = rows.frame[rates.isna()].iloc[0]
        job_type, scale = first["job_type"], first["scale_factor"]
        sizes = sorted(size for name, size in rates_per_s if name == job_type)
        if sizes:
            rule = f"has throughputs on {self.gpu_type} for {', '.join(map(str, sizes))} GPUs, not for {scale:g}"
        else:
            rule = f"has no throughput on {self.gpu_type}{near(job_type, {name for name, _ in rates_per_s})}"
        rows.reject("job_type", rates.isna(), rule)


def _rates(path: Path, gpu_type: str) -> dict[tuple[str, float], float]:
    """Steps/s by (job type, GPUs) for jobs that don't share their GPUs; keys are Python tuples in JSON strings."""
    try:
        measured = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise TraceError(f"is not JSON ({error.msg})", path=path, line=error.lineno) from error
    if not isinstance(measured, dict) or gpu_type not in measured:
        raise WorkloadError(f"gpu_type={gpu_type!r}: {path} has {', '.join(measured)}{near(gpu_type, measured)}")
    rates: dict[tuple[str, float], float] = {}
    for key, rate in measured[gpu_type].items():
        try:
            job_type, scale = ast.literal_eval(key)
            rates[str(job_type), int(scale)] = float(rate["null"])
        except (ValueError, SyntaxError, KeyError, TypeError) as error:
            rule = 'must be a key like "(\'ResNet-18 (batch size 16)\', 1)" with a rate under "null"'
            raise TraceError(rule, path=path, column=gpu_type, value=key) from error
    return rates
