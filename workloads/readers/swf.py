"""The Standard Workload Format of the Parallel Workloads Archive: 18 numbers a line, `;` starts a comment."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workloads.errors import TraceError, WorkloadError
from workloads.readers.files import FileSource, read_text
from workloads.readers.rows import Rows
from workloads.trace import Trace

FIELDS = (
    *("job_number", "submit_time", "wait_time", "run_time", "allocated_processors", "average_cpu_time", "used_memory"),
    *("requested_processors", "requested_time", "requested_memory", "status", "user_id", "group_id", "executable"),
    *("queue", "partition", "preceding_job", "think_time"),
)
_PARTIAL = (2, 3, 4)  # status of a line that tells of one part of a job that was checkpointed or swapped out


@dataclass(kw_only=True)
class SwfReader(FileSource):
    """HPC jobs, `procs_per_gpu` processors to a GPU (rounded up, and counted where that changes anything).

    −1 means "not known": without a run time or a processor count a job is dropped and counted, without a requested
    time it has no `user_estimate_s`. A line with status 2 to 4 tells of a part of a job that has a line of its own,
    and is dropped too. Chapin et al., JSSPP '99; format 2.2 at the Parallel Workloads Archive.
    """

    procs_per_gpu: float = 1.0
    processors: str = "allocated"  # allocated | requested; the other one where that is -1
    tenant: str = "user_id"  # user_id | group_id | queue | partition

    def read(self, rng: np.random.Generator) -> Trace:
        first = self.choice("processors", "allocated", "requested")
        tenant = self.choice("tenant", "user_id", "group_id", "queue", "partition")
        if not 0 < self.procs_per_gpu < float("inf"):
            raise WorkloadError(f"procs_per_gpu={self.procs_per_gpu}: must be more than 0")
        rows = self._rows()
        rows.parse_numbers(*FIELDS)
        other = "requested" if first == "allocated" else "allocated"
        count = rows[f"{first}_processors"].where(rows[f"{first}_processors"] > 0, rows[f"{other}_processors"])
        rows.frame = rows.frame.assign(processors=count)

        rows.drop(rows["status"].isin(_PARTIAL), "tells of a part of a job (status 2, 3 or 4)")
        rows.drop(rows["run_time"] == -1, "run time not known (-1)")
        rows.drop(rows["run_time"] == 0, "ran for 0 s")
        rows.drop(rows["processors"] <= 0, "processor count not known (-1) or 0")
        exact = rows["processors"] / self.procs_per_gpu
        num_gpus = np.ceil(exact.round(9))
        rounded = int((num_gpus != exact).sum())
        if rounded:
            rows.report.notes.append(
                f"rounded up to whole GPUs ({self.procs_per_gpu:g} processors each): {rounded:,} jobs"
            )
        columns = {
            "job_id": rows["job_number"].astype(np.int64),
            "submit_s": rows["submit_time"],
            "duration_s": rows["run_time"],
            "num_gpus": num_gpus,
            "user_estimate_s": rows["requested_time"].where(rows["requested_time"] > 0),
            "tenant": rows[tenant].astype(np.int64).map("{:d}".format).replace("-1", ""),
        }
        names = {"job_id": "job_number", "submit_s": "submit_time", "duration_s": "run_time", "num_gpus": "processors"}
        return rows.trace(columns, names)

    def _rows(self) -> Rows:
        path = self.file()
        numbered = enumerate(read_text(path).splitlines(), 1)
        kept = [(number, line) for number, line in numbered if line.strip() and not line.lstrip().startswith(";")]
        if not kept:
            raise TraceError("holds no jobs: comments and blank lines only", path=path)
        for number, line in kept:
            if len(line.split()) != len(FIELDS):
                rule = f"has {len(line.split())} fields where {len(FIELDS)} are due"
                raise TraceError(rule, path=path, line=number, value=line.strip()[:120])
        text = io.StringIO("\n".join(line for _, line in kept))
        frame = pd.read_csv(text, sep=r"\s+", header=None, names=FIELDS, keep_default_na=False, low_memory=False)
        rows = Rows(path, frame, np.array([number for number, _ in kept]))
        rows.parse_numbers("job_number", "user_id", "group_id", "queue", "partition")
        return rows
