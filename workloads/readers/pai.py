"""Alibaba PAI 2020 (cluster-trace-gpu-v2020): a folder of headerless tables with .header files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workloads.errors import TraceError
from workloads.readers.files import FileSource, read_text
from workloads.readers.rows import Rows, read_rows
from workloads.trace import Trace

_KEY = ["job_name", "task_name"]
_TEXT = [*_KEY, "inst_id", "user", "status", "gpu_type", "inst_name", "worker_name", "machine"]


@dataclass(kw_only=True)
class PaiReader(FileSource):
    """Jobs of several tasks (roles) of several instances; `path` is the folder of pai_*_table.csv[.gz] and .header.

    A job is submitted at its own start_time, and runs from the first start to the last end of its tasks with GPUs
    (`times=task`), or of those tasks' instances (`times=instance`, which reads pai_instance_table, 2 GB, and counts
    instances by their rows rather than by inst_num). plan_cpu and plan_gpu are percent of one *per instance*, plan_mem
    is GiB per instance; what tasks without GPUs ask for counts towards the job's CPUs and memory.

    Most jobs ask for parts of a GPU: `fractional` gives each instance whole GPUs (round_up), lets a job's instances
    share GPUs (pack: the job's sum, rounded up), or drops them. `gpu_utilisation_frac` is then the share asked for.
    Times are seconds from a hidden date. Weng et al., NSDI '22, and the release's README.
    """

    times: str = "task"  # task | instance
    fractional: str = "round_up"  # round_up | pack | drop
    status: str = "all"  # all: whatever ran | terminated: only jobs that succeeded

    def read(self, rng: np.random.Generator) -> Trace:
        self.choice("times", "task", "instance")
        self.choice("fractional", "round_up", "pack", "drop")
        self.choice("status", "all", "terminated")
        folder = self.folder()
        rows = _table(folder, "pai_job_table")
        rows.need("job_name", "user", "status", "start_time")
        rows.parse_numbers("start_time")
        tasks = self._tasks(folder)
        orphans = int((~tasks["job_name"].isin(rows["job_name"])).sum())
        if orphans:
            rows.report.notes.append(f"left out: {orphans:,} tasks whose job is not in pai_job_table")

        rows.frame = rows.frame.join(self._by_job(tasks), on="job_name")
        if self.status == "terminated":
            rows.drop(rows["status"] != "Terminated", "did not succeed (status=terminated)")
        rows.drop(rows["share"].isna(), "has no task in pai_task_table")
        rows.drop(rows["share"] == 0, "asks for no GPU")
        rows.drop(rows["start_time"].isna(), "has no submit time")
        rows.drop(rows["start_s"].isna() | rows["end_s"].isna(), "a task has no start or end (waiting or running)")
        rows.drop(rows["end_s"] <= rows["start_s"], "ran for 0 s or less")
        if self.fractional == "drop":
            rows.drop(rows["fractional"].astype(bool), "asks for part of a GPU (fractional=drop)")
        if len(rows) == 0:
            return rows.trace({}, {})

        num_gpus = np.ceil(rows["share"].round(6)) if self.fractional == "pack" else rows["whole"]
        rounded = int((num_gpus > rows["share"] + 1e-6).sum())
        if rounded:
            rows.report.notes.append(f"rounded up to whole GPUs (fractional={self.fractional}): {rounded:,} jobs")
        columns = {
            "job_id": rows["job_name"],
            "submit_s": rows["start_time"],
            "duration_s": rows["end_s"] - rows["start_s"],
            "num_gpus": num_gpus,
            "tenant": rows["user"],
            "cpus_per_gpu": rows["cpus"] / num_gpus,
            "memory_gib_per_gpu": rows["memory_gib"] / num_gpus,
            "gpu_utilisation_frac": (rows["share"] / num_gpus).clip(upper=1.0),
        }
        return rows.trace(columns, {"job_id": "job_name", "submit_s": "start_time", "tenant": "user"})

    def _tasks(self, folder: Path) -> pd.DataFrame:
        """One row a task, with the numbers its times and instances come from."""
        rows = _table(folder, "pai_task_table")
        wanted = ("inst_num", "start_time", "end_time", "plan_cpu", "plan_mem", "plan_gpu")
        rows.need(*_KEY, *wanted)
        rows.parse_numbers(*wanted)
        for column in ("plan_cpu", "plan_mem", "plan_gpu"):
            rows.reject(column, rows[column] < 0, "must be 0 or more")
        rows.reject("inst_num", rows["inst_num"] < 1, "must be 1 or more")
        tasks = rows.frame
        if self.times == "instance":
            instances = _table(folder, "pai_instance_table")
            instances.need(*_KEY, "start_time", "end_time")
            instances.parse_numbers("start_time", "end_time")
            by_task = instances.frame.groupby(_KEY).agg(
                inst_num=("start_time", "size"),
                start_time=("start_time", "min"),
                end_time=("end_time", "max"),
                ended=("end_time", "count"),
            )
            by_task.loc[by_task.pop("ended") < by_task["inst_num"], "end_time"] = np.nan
            tasks = tasks.drop(columns=["inst_num", "start_time", "end_time"]).join(by_task, on=_KEY)
        return tasks

    def _by_job(self, tasks: pd.DataFrame) -> pd.DataFrame:
        """Sums and spans by job; share and whole are GPUs, the one as asked for, the other rounded per instance."""
        count = tasks["inst_num"].fillna(0)
        share, on_gpus = tasks["plan_gpu"].fillna(0) / 100, tasks["plan_gpu"] > 0
        parts = pd.DataFrame(
            {
                "share": count * share,
                "whole": count * np.ceil(share.round(6)),
                "fractional": on_gpus & (share % 1 > 0),
                "cpus": count * tasks["plan_cpu"].fillna(0) / 100,
                "memory_gib": count * tasks["plan_mem"].fillna(0),
                "start_s": tasks["start_time"].where(on_gpus),
                "end_s": tasks["end_time"].where(on_gpus),
                "open": on_gpus & (tasks["start_time"].isna() | tasks["end_time"].isna()),
            }
        ).groupby(tasks["job_name"])
        sums = parts[["share", "whole", "cpus", "memory_gib"]].sum()
        unfinished = parts["open"].any()
        return sums.assign(
            fractional=parts["fractional"].any(),
            start_s=parts["start_s"].min().mask(unfinished),
            end_s=parts["end_s"].max().mask(unfinished),
        )


def _table(folder: Path, name: str) -> Rows:
    header = folder / f"{name}.header"
    found = [path for path in (folder / f"{name}.csv", folder / f"{name}.csv.gz") if path.exists()]
    if not found or not header.exists():
        packed = folder / f"{name}.tar.gz"
        missing = header if found else folder / f"{name}.csv"
        fix = f": unpack {packed.name} first" if packed.exists() and not found else ""
        raise TraceError(f"is missing{fix}", path=missing)
    columns = read_text(header).strip().split(",")
    return read_rows(found[0], names=columns, text=[column for column in _TEXT if column in columns])
