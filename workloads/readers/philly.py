"""Microsoft Philly 2017: the published job log (JSON) and the CSV derived from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workloads.errors import TraceError
from workloads.readers.files import FileSource, read_bytes, read_text
from workloads.readers.rows import Rows, missing, read_rows, unix_seconds
from workloads.trace import Trace

_JOB_KEYS = ("jobid", "vc", "submitted_time", "attempts")


@dataclass(kw_only=True)
class PhillyReader(FileSource):
    """Philly's jobs (117,325; 2017-08-07 to 12-22), tenant = virtual cluster; times count from the first submission.

    `cluster_job_log` is JSON: a list of jobs with their attempts. A job's size is known only from the GPUs that an
    attempt held. Dropped and counted: jobs without attempts, jobs whose last attempt has no end (still running when
    the log was taken), attempts without times. The derived CSV (82,247 rows: timestamp, duration, num_gpus, gpu_time,
    cluster) isn't sorted. Which of the two a file is shows in its first character. Jeon et al., ATC '19, and README.

    Times are local to the US Pacific coast without an offset; on 2017-11-05 the hour from 1:00 is there twice. It is
    taken as the first, but for an attempt that would then end before it starts.
    """

    retries: str = "sum"  # sum: of all attempts' run times | last: the last attempt's alone (JSON)
    timezone: str = "America/Los_Angeles"

    def read(self, rng: np.random.Generator) -> Trace:
        self.choice("retries", "sum", "last")
        path = self.file()
        return self._from_json(path) if read_bytes(path).lstrip()[:1] in (b"[", b"{") else self._from_csv(path)

    def _from_csv(self, path: Path) -> Trace:
        rows = read_rows(path, text=["timestamp", "cluster"])
        rows.need("timestamp", "duration", "num_gpus", "cluster")
        rows.parse_numbers("duration", "num_gpus")
        rows.parse_times("timestamp", zone=self.timezone)
        rows.reject("timestamp", rows["timestamp"].isna(), "is missing")
        rows.drop(rows["duration"] <= 0, "duration is 0 or less")
        rows.from_first("timestamp", self.timezone)
        names = {"submit_s": "timestamp", "duration_s": "duration", "num_gpus": "num_gpus", "tenant": "cluster"}
        columns = {name: rows[column] for name, column in names.items()}
        return rows.trace(columns | {"job_id": rows.frame.index}, names)

    def _from_json(self, path: Path) -> Trace:
        text = read_text(path)
        jobs = _jobs(path, text)
        frame = pd.DataFrame({key: [job[key] for job in jobs] for key in ("jobid", "vc", "submitted_time")})
        rows = Rows(path, frame, _lines(text, frame["jobid"]))
        attempts = self._attempts(rows, jobs)

        last = attempts.drop_duplicates("job", keep="last")
        counted = attempts if self.retries == "sum" else last
        whole = counted[counted["end_time"].notna() & counted["start_time"].notna()]
        sized = whole[whole["gpus"] > 0].groupby("job")["gpus"]
        rows.frame = frame.assign(
            attempts=attempts.groupby("job").size().reindex(frame.index, fill_value=0),
            still_running=last.set_index("job")["end_time"].isna().reindex(frame.index, fill_value=False),
            duration_s=(whole["end_time"] - whole["start_time"]).groupby(whole["job"]).sum().reindex(frame.index),
            gpus=sized.last().reindex(frame.index, fill_value=0),
        )
        resized = int((sized.nunique() > 1).sum())
        if resized:
            rows.report.notes.append(f"num_gpus is the last attempt's: {resized:,} jobs held another number before")
        if len(counted) - len(whole):
            rows.report.notes.append(f"left out of the run time: {len(counted) - len(whole):,} attempts without times")
        rows.parse_times("submitted_time", zone=self.timezone)
        rows.drop(rows["attempts"] == 0, "has no attempt")
        rows.drop(rows["still_running"], "still running when the log was taken (its last attempt has no end)")
        rows.drop(rows["submitted_time"].isna(), "has no submit time")
        rows.drop(rows["duration_s"].isna(), "no attempt has both times")
        rows.drop(rows["gpus"] == 0, "no attempt names its GPUs")
        rows.drop(rows["duration_s"] <= 0, "ran for 0 s or less")
        rows.from_first("submitted_time", self.timezone)
        rows.report.notes.append(
            f"duration_s is the {'sum over' if self.retries == 'sum' else 'last of'} a job's attempts"
        )
        names = {"job_id": "jobid", "submit_s": "submitted_time", "tenant": "vc"}
        names |= {"duration_s": "duration_s", "num_gpus": "gpus"}
        return rows.trace({name: rows[column] for name, column in names.items()}, names)

    def _attempts(self, rows: Rows, jobs: list[dict[str, Any]]) -> pd.DataFrame:
        """One row an attempt: job (row), start_time, end_time (Unix s; nan where there is none), gpus."""
        flat = [
            (
                row,
                one.get("start_time"),
                one.get("end_time"),
                _gpus(one),
            )
            for row, job in enumerate(jobs)
            for one in job["attempts"]
        ]
        attempts = pd.DataFrame(flat, columns=["job", "start_time", "end_time", "gpus"])
        for column in ("start_time", "end_time"):
            said = attempts[column].astype(object)
            times = unix_seconds(said, self.timezone)
            garbled = times.isna() & ~missing(said)
            if garbled.any():
                at = int(garbled.to_numpy().argmax())
                line = int(rows.lines[int(attempts["job"].iloc[at])])
                rule = "is not a time such as 2017-10-09 07:01:55"
                raise TraceError(rule, path=rows.path, line=line, column=f"attempts.{column}", value=said.iloc[at])
            if column == "end_time":
                early = times < attempts["start_time"]
                times[early] = unix_seconds(said[early], self.timezone, second_pass=True)
            attempts[column] = times
        return attempts


def _jobs(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        jobs = json.loads(text)
    except json.JSONDecodeError as error:
        raise TraceError(f"is not JSON ({error.msg}): is the file whole?", path=path, line=error.lineno) from error
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise TraceError("must be a list of jobs, as in cluster_job_log", path=path)
    if not jobs:
        raise TraceError("holds no jobs", path=path)
    for number, job in enumerate(jobs, 1):
        for key in _JOB_KEYS:
            if key not in job:
                raise TraceError(f"is missing in job {number} of {len(jobs)}", path=path, column=key)
        if not all(isinstance(one, dict) for one in job["attempts"]):
            raise TraceError(f"must be a list of attempts in job {number} of {len(jobs)}", path=path, column="attempts")
    return jobs


def _gpus(attempt: dict[str, Any]) -> int:
    """GPUs that an attempt held, over all its hosts."""
    return sum(len(host.get("gpus") or ()) for host in attempt.get("detail") or ())


def _lines(text: str, ids: pd.Series) -> np.ndarray:
    """The line on which each job's id stands; jobs are in the text's order."""
    lines, at, line = [], 0, 1
    for job_id in ids:
        found = text.find(json.dumps(job_id), at)
        if found >= 0:
            line += text.count("\n", at, found)
            at = found
        lines.append(line)
    return np.array(lines, np.int64)
