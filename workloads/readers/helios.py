"""SenseTime Helios 2020 (and Acme 2023, which has the same columns but for the VC): cluster_log.csv."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workloads.readers.files import FileSource
from workloads.readers.rows import read_rows
from workloads.trace import Trace

_TIMES = ("submit_time", "start_time", "end_time")


@dataclass(kw_only=True)
class HeliosReader(FileSource):
    """A cluster's Slurm log; more than half of its jobs ask for no GPU and are dropped (3.36 M, 1.58 M with GPUs).

    Times are local to China (UTC+8) and carry no offset. The run time is end − start: the file's own `duration` is the
    same in Helios, but holds the queueing as well in one of Acme's clusters; rows where they differ are counted in a
    note. Hu et al., SC '21, and the release's schema.
    """

    timezone: str = "Asia/Shanghai"  # of times that carry no offset
    tenant: str = "vc"  # vc | user

    def read(self, rng: np.random.Generator) -> Trace:
        tenant = self.choice("tenant", "vc", "user")
        rows = read_rows(self.file(), text=["job_id", "user", "vc", *_TIMES])
        rows.need("job_id", "gpu_num", *_TIMES)
        rows.need(tenant, hint="; set tenant=user" if tenant == "vc" else "")
        rows.parse_numbers(*(name for name in ("gpu_num", "cpu_num", "duration") if name in rows.frame))
        rows.drop(rows["gpu_num"] == 0, "asks for no GPU")
        rows.parse_times(*_TIMES, zone=self.timezone)
        rows.drop(rows["start_time"].isna(), "never started")
        rows.drop(rows["end_time"].isna(), "has no end: still running")
        rows.reject("submit_time", rows["submit_time"].isna(), "is missing")
        rows.drop(rows["end_time"] <= rows["start_time"], "ran for 0 s or less")
        if len(rows) == 0:
            return rows.trace({}, {})

        duration_s = rows["end_time"] - rows["start_time"]
        if "duration" in rows.frame:
            differ = int(((rows["duration"] - duration_s).abs() > 1).sum())
            if differ:
                rows.report.notes.append(f"duration_s is end_time - start_time; {differ:,} rows state another duration")
        rows.from_first("submit_time", self.timezone)
        columns = {
            "job_id": rows["job_id"],
            "submit_s": rows["submit_time"],
            "duration_s": duration_s,
            "num_gpus": rows["gpu_num"],
            "tenant": rows[tenant],
        }
        if "cpu_num" in rows.frame:
            columns["cpus_per_gpu"] = rows["cpu_num"] / rows["gpu_num"]
        names = {"submit_s": "submit_time", "duration_s": "end_time", "num_gpus": "gpu_num", "cpus_per_gpu": "cpu_num"}
        return rows.trace(columns, names)
