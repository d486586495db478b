"""Microsoft ITP 2021, clusters 01 to 10: job_id, submission_time, duration, num_gpu."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workloads.readers.files import FileSource
from workloads.readers.rows import read_rows
from workloads.trace import Trace


@dataclass(kw_only=True)
class ItpReader(FileSource):
    """One cluster's jobs (69,351 over all ten, 2021-03-04 to 05-03), none shorter than 600 s nor larger than 64 GPUs.

    Submit times are seconds on a clock that all clusters share, so they stay as they are: a cluster's first job may
    come weeks in (`from_s` cuts that). The published files end without a line break, which costs no row here.
    """

    def read(self, rng: np.random.Generator) -> Trace:
        names = {"job_id": "job_id", "submit_s": "submission_time", "duration_s": "duration", "num_gpus": "num_gpu"}
        rows = read_rows(self.file(), text=["job_id"])
        rows.need(*names.values())
        rows.parse_numbers("submission_time", "duration", "num_gpu")
        rows.drop(rows["duration"] <= 0, "duration is 0 or less")
        trace = rows.trace({name: rows[column] for name, column in names.items()}, names)
        first_s = trace.jobs.submit_s[0]
        if first_s >= 86_400:
            trace.report.notes.append(
                f"the first job is submitted at {first_s:,.0f} s; from_s={first_s:.0f} starts there"
            )
        return trace
