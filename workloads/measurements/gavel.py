"""Gavel's measured throughputs: simulation_throughputs.json, also gzipped."""

from __future__ import annotations

import ast
import gzip
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.errors import TraceError, WorkloadError
from workloads.fitting import StepRows
from workloads.measurements.source import Measurements, MeasurementSource

_ON_GPUS = 4  # a profile's global batch: the middle batch of so many GPUs
_SPREAD = "_unconsolidated"
_ALONE = "null"  # beside its co-located partners
_JOB = re.compile(r"(?P<application>.+?)(?: \(batch size (?P<batch>\d+)\))?")


@dataclass(kw_only=True)
class GavelMeasurements(MeasurementSource):
    """{GPU type: {"('ResNet-18 (batch size 16)', 2)": {"null": steps a second, a partner: [own, partner's], …}}}.

    The number beside the job type is its GPUs. A batch size is a GPU's and a throughput counts every GPU's steps (five
    samples could not be split over eight GPUs, and ResNet-18 is eight times as fast there): a step takes GPUs /
    throughput seconds. The file doesn't say nodes: taken as one, and as one a GPU for a type that ends in
    `_unconsolidated` (on one GPU that repeats the other). A throughput of 0 is a setting that could not run (memory):
    left out, as are pairs of jobs. Narayanan et al., OSDI 2020.
    """

    def read(self) -> list[Measurements]:
        settings: dict[tuple[str, str], list[tuple[int, int, int, float]]] = {}  # GPUs, nodes, batch, seconds a step
        num_failed: dict[tuple[str, str], int] = {}
        for name, by_job in self._content().items():
            gpu_type = name.removesuffix(_SPREAD)
            for key, throughputs in self._mapping(by_job, name).items():
                field = f"{name}.{key}"
                application, batch, num_gpus = self._job(key, field)
                throughput = self._throughput(self._mapping(throughputs, field), f"{field}.{_ALONE}")
                rows = settings.setdefault((application, gpu_type), [])
                if throughput == 0:
                    num_failed[application, gpu_type] = num_failed.get((application, gpu_type), 0) + 1
                    continue
                row = (num_gpus, num_gpus if name.endswith(_SPREAD) else 1, batch, num_gpus / throughput)
                if row not in rows:  # one GPU, in both
                    rows.append(row)
        found = [
            _measurements(application, gpu_type, sorted(rows), num_failed.get((application, gpu_type), 0))
            for (application, gpu_type), rows in sorted(settings.items())
            if rows
        ]
        if not found:
            raise TraceError("holds no throughput above 0", path=self.path)
        return found

    def provenance(self, gpu_type: str) -> dict[str, Any]:
        return {
            "source": "Gavel, simulation_throughputs.json; Narayanan et al., OSDI 2020; "
            "github.com/stanford-futuredata/gavel",
            "machine": "not said; nodes taken as one, and as one a GPU where unconsolidated",
            "notes": f"global_batch: the middle batch a GPU, on {_ON_GPUS} GPUs",
        }

    def _content(self) -> Mapping[str, Any]:
        try:
            data = self.path.read_bytes()
            content = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
        except json.JSONDecodeError as error:
            raise TraceError(f"is no JSON: {error.msg}", path=self.path, line=error.lineno) from None
        except (FileNotFoundError, IsADirectoryError):
            raise WorkloadError(f"source.path={self.path}: no such file") from None
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise TraceError(f"can't be read: {error}", path=self.path) from None
        return self._mapping(content, "(all)")

    def _mapping(self, value: Any, field: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise TraceError("must be a mapping", path=self.path, column=field, value=value)
        return value

    def _job(self, key: str, field: str) -> tuple[str, int, int]:
        """Application, batch a GPU (1 where none is said) and GPUs."""
        try:
            job_type, num_gpus = ast.literal_eval(key)
        except (ValueError, SyntaxError, TypeError):
            job_type, num_gpus = None, None
        match = _JOB.fullmatch(job_type) if isinstance(job_type, str) else None
        if match is None or type(num_gpus) is not int or num_gpus < 1 or match["batch"] == "0":
            rule = "must read ('NAME (batch size NUMBER)', GPUs)"
            raise TraceError(rule, path=self.path, column=field, value=key)
        return match["application"], int(match["batch"] or 1), num_gpus

    def _throughput(self, throughputs: Mapping[str, Any], field: str) -> float:
        value = throughputs.get(_ALONE)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise TraceError("must be steps a second, 0 or more", path=self.path, column=field, value=value)
        return float(value)


def _measurements(
    application: str, gpu_type: str, rows: list[tuple[int, int, int, float]], num_failed: int
) -> Measurements:
    num_gpus, num_nodes, batch, step_s = np.array(rows).T
    batches = np.unique(batch)
    return Measurements(
        application=application,
        gpu_type=gpu_type,
        rows=StepRows(num_gpus, num_nodes, batch, step_s),
        global_batch=_ON_GPUS * int(batches[len(batches) // 2]),
        left_out={"throughput 0": num_failed} if num_failed else {},
    )
