"""Microsoft ITP."""

from __future__ import annotations

import pandas as pd
import pytest

from workloads import TraceError

HEAD = "job_id,submission_time,duration,num_gpu\n"


def test_no_line_break_at_the_end_costs_no_row(load, write):
    trace = load("itp", path=write("c.csv", HEAD + "a,10,600,1\nb,20,700,64"))
    assert [job.job_id for job in trace.jobs] == ["a", "b"]
    assert trace.jobs.submit_s.tolist() == [10, 20]
    assert trace.report.notes == []


def test_a_late_first_job_is_noted(load, write):
    trace = load("itp", path=write("c.csv", HEAD + "a,1932025,600,1\n"))
    assert trace.report.notes == ["the first job is submitted at 1,932,025 s; from_s=1932025 starts there"]


def test_unsorted_rows_and_zero_durations(load, write):
    trace = load("itp", path=write("c.csv", HEAD + "a,10,0,1\nb,9,5,1\nc,8,5,1\n"))
    assert trace.report.dropped == {"duration is 0 or less": 1}
    assert [job.job_id for job in trace.jobs] == ["c", "b"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b,x,5,1", r"c\.csv:3: column 'submission_time': 'x': is not a number"),
        ("b,1,5,many", r"c\.csv:3: column 'num_gpu': 'many': is not a number"),
        ("b,1,5,-1", r"c\.csv:3: column 'num_gpu': -1\.0: must be a whole number, 1 or more"),
        ("a,1,5,1", r"c\.csv:3: column 'job_id': 'a': is there twice"),
        ("b,1,5", r"c\.csv:3: 'b,1,5': has 3 fields where 4 are due"),
    ],
)
def test_bad_rows(load, write, row, message):
    with pytest.raises(TraceError, match=message):
        load("itp", path=write("c.csv", HEAD + "a,1,5,1\n" + row))


def test_another_file(load, write):
    with pytest.raises(TraceError, match=r"column 'job_id': is missing \(the file has x, y\)"):
        load("itp", path=write("c.csv", "x,y\n1,2\n"))


@pytest.mark.parametrize(("cluster", "rows"), [("01", 1595), ("02", 5778), ("03", 3011), ("04", 15_802), ("05", 3629)])
def test_the_real_clusters(load, traces, cluster, rows):
    path = traces / "itp" / f"cluster{cluster}.csv.gz"
    raw, trace = pd.read_csv(path), load("itp", path=str(path))
    assert len(trace.jobs) == len(raw) == rows
    assert trace.jobs.gpu_s.sum() == (raw["duration"] * raw["num_gpu"]).sum()
    assert trace.jobs.submit_s.tolist() == raw["submission_time"].tolist()
    assert trace.jobs.spec(0).job_id == raw["job_id"][0]
    assert trace.jobs.duration_s.min() >= 600
    assert trace.jobs.num_gpus.max() <= 64
