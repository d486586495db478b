"""Slurm accounting: the output of `sacct --allusers --allocations --parsable2 --format=…`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workloads.readers.files import FileSource
from workloads.readers.rows import Rows, missing, of_distinct, read_rows
from workloads.trace import Trace

FORMAT = "JobID,User,Account,Submit,Start,End,Elapsed,State,Timelimit,ReqTRES,AllocTRES"
_NO_LIMIT = ("unlimited", "partition_limit", "invalid")
_ENDED = (
    "COMPLETED",
    "FAILED",
    "TIMEOUT",
    "CANCELLED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "DEADLINE",
    "BOOT_FAIL",
)
_GIB = {"K": 2.0**-20, "M": 2.0**-10, "G": 1.0, "T": 2.0**10, "P": 2.0**20, "": 2.0**-30}


@dataclass(kw_only=True)
class SacctReader(FileSource):
    """One job a line, fields parted by |, named in the header; make the file with

        sacct --allusers --allocations --parsable2 --starttime=… --format=JobID,User,Account,Submit,Start,End,\
Elapsed,State,Timelimit,ReqTRES,AllocTRES

    Steps (123.batch) are skipped; an array's tasks (123_4) are jobs, the line for its tasks to come (123_[5-9]) never
    started. GPUs are `gres/gpu=N` of AllocTRES, of ReqTRES where that is empty, or the sum of `gres/gpu:type=N` where
    there is no total. Dropped and counted: no GPU, never started, still running, 0 s long. Elapsed and Timelimit are
    [days-]hours:minutes:seconds. Slurm's manual page sacct(1).
    """

    timezone: str = "UTC"  # of the cluster: times carry no offset
    tenant: str = "User"  # User | Account | Partition | QOS

    def read(self, rng: np.random.Generator) -> Trace:
        tenant = self.choice("tenant", "User", "Account", "Partition", "QOS")
        text = [*FORMAT.split(","), "Partition", "QOS", "JobName", "JobIDRaw"]
        rows = read_rows(self.file(), separator="|", text=text, quoted=False)
        hint = f"; make the file with sacct --parsable2 --format={FORMAT}"
        rows.need("JobID", "Submit", "Start", "Elapsed", "State", tenant, hint=hint)
        if "AllocTRES" not in rows.frame and "ReqTRES" not in rows.frame:
            rows.need("AllocTRES", hint=hint)

        rows.drop(rows["JobID"].str.contains(".", regex=False), "is a job's step")
        empty = pd.Series("", index=rows.frame.index)
        given = [rows[name].fillna("") for name in ("AllocTRES", "ReqTRES") if name in rows.frame]
        tres = given[0].where(given[0].str.contains("gres/gpu"), given[-1]) if given else empty
        rows.frame = rows.frame.assign(gpus=of_distinct(tres, _gpus), tres=tres)
        rows.drop(rows["gpus"] == 0, "asks for no GPU")
        rows.parse_times("Submit", "Start", zone=self.timezone)
        rows.drop(rows["Start"].isna(), "never started")
        rows.drop(~rows["State"].str.split().str[0].isin(_ENDED), "not ended (running, suspended or requeued)")
        rows.reject("Submit", rows["Submit"].isna(), "is missing")
        _parse_spans(rows, "Elapsed")
        rows.reject("Elapsed", rows["Elapsed"].isna(), "is missing")
        rows.drop(rows["Elapsed"] == 0, "ran for 0 s")
        rows.from_first("Submit", self.timezone)
        columns = {
            "job_id": rows["JobID"],
            "submit_s": rows["Submit"],
            "duration_s": rows["Elapsed"],
            "num_gpus": rows["gpus"],
            "tenant": rows[tenant],
            "cpus_per_gpu": of_distinct(rows["tres"], _cpus) / rows["gpus"],
            "memory_gib_per_gpu": of_distinct(rows["tres"], _memory_gib) / rows["gpus"],
        }
        if "Timelimit" in rows.frame:
            _parse_spans(rows, "Timelimit")
            columns["user_estimate_s"] = rows["Timelimit"].where(rows["Timelimit"] > 0)
        names = {"job_id": "JobID", "submit_s": "Submit", "duration_s": "Elapsed", "num_gpus": "AllocTRES"}
        return rows.trace(columns, names)


def _gpus(tres: pd.Series) -> pd.Series:
    """GPUs in strings such as billing=8,gres/gpu:a100=4,gres/gpu=4,mem=64G; 0 where there is none."""
    total = tres.str.extract(r"(?:^|,)gres/gpu=(\d+)")[0].astype(float)
    if total.isna().any():
        typed = tres[total.isna()].str.extractall(r"(?:^|,)gres/gpu:[^=,]+=(\d+)")[0].astype(float)
        total = total.fillna(typed.groupby(level=0).sum())
    return total.fillna(0)


def _cpus(tres: pd.Series) -> pd.Series:
    """CPUs in such strings; 0 where there is none."""
    return tres.str.extract(r"(?:^|,)cpu=(\d+)")[0].astype(float).fillna(0)


def _memory_gib(tres: pd.Series) -> pd.Series:
    """GiB in strings such as cpu=8,mem=62.50G; 0 where there is none."""
    parts = tres.str.extract(r"(?:^|,)mem=([\d.]+)([KMGTP]?)")
    return (parts[0].astype(float) * parts[1].astype(object).map(_GIB).astype(float)).fillna(0)


def _parse_spans(rows: Rows, column: str) -> None:
    """Turns [days-]hours:minutes:seconds (or minutes:seconds) into seconds; nan where there is no limit."""
    cells = rows[column]
    spans_s = of_distinct(cells, _seconds)
    bad = spans_s.isna() & ~missing(cells) & ~cells.astype(str).str.lower().isin(_NO_LIMIT)
    rows.reject(column, bad, "is not a time span such as 1-02:03:04 ([days-]hours:minutes:seconds)")
    rows.frame = rows.frame.assign(**{column: spans_s})


def _seconds(spans: pd.Series) -> pd.Series:
    parts = spans.str.extract(r"^\s*(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)\s*$").astype(float)
    return parts[0].fillna(0) * 86_400 + parts[1].fillna(0) * 3600 + parts[2] * 60 + parts[3]
