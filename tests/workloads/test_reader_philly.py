"""Philly, as the published JSON and as the derived CSV."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from workloads import TraceError, WorkloadError

HEAD = "timestamp,duration,num_gpus,gpu_time,cluster\n"


def attempt(start, end, *gpus_by_host):
    detail = [{"ip": f"m{i}", "gpus": [f"gpu{g}" for g in range(count)]} for i, count in enumerate(gpus_by_host)]
    return {"start_time": start, "end_time": end, "detail": detail}


def job(jobid, submitted, *attempts, vc="vc1"):
    one = {"status": "Pass", "vc": vc, "jobid": jobid, "attempts": list(attempts), "submitted_time": submitted}
    return one | {"user": "u"}


def test_csv_is_sorted_and_counts_from_the_first(load, write):
    text = HEAD + "2017-10-09 07:01:55,66.0,1,66.0,a\n2017-10-09 06:13:03,2951.0,8,1.0,b\n\n"
    trace = load("philly", path=write("p.csv", text))
    assert trace.jobs.submit_s.tolist() == [0, 48 * 60 + 52]
    assert trace.jobs.job_id.tolist() == [1, 0]
    assert trace.jobs.num_gpus.tolist() == [8, 1]
    assert trace.jobs.spec(0).tenant == "b"
    assert trace.report.notes == [
        "timestamp counts from 2017-10-09 06:13:03-07:00 (America/Los_Angeles)",
        "sorted by submit time: 1 rows came before the row above them",
    ]


def test_csv_clocks_go_back_once(load, write):
    rows = [f"2017-11-05 {clock},5,1,5,a" for clock in ("00:30:00", "01:30:00", "02:30:00")]
    path = write("p.csv", HEAD + "\n".join(rows))
    assert load("philly", path=path).jobs.submit_s.tolist() == [0, 3600, 3 * 3600]
    assert load("philly", path=path, timezone="UTC").jobs.submit_s.tolist() == [0, 3600, 2 * 3600]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("lately,5,1,5,a", r"p\.csv:3: column 'timestamp': 'lately': is not a time such as 2017-10-09 07:01:55"),
        (",5,1,5,a", r"p\.csv:3: column 'timestamp': .*is missing"),
        ("2017-10-09 07:01:55,long,1,5,a", r"p\.csv:3: column 'duration': 'long': is not a number"),
        ("2017-10-09 07:01:55,5,0,5,a", r"p\.csv:3: column 'num_gpus': 0\.0: must be a whole number, 1 or more"),
        ("2017-10-09 07:01:55,5,1,5", r"p\.csv:3: .*: has 4 fields where 5 are due"),
    ],
)
def test_csv_bad_rows(load, write, row, message):
    with pytest.raises(TraceError, match=message):
        load("philly", path=write("p.csv", HEAD + "2017-10-09 07:01:55,5,1,5,a\n" + row + "\n"))


def test_csv_drops_what_ran_for_no_time(load, write):
    text = HEAD + "2017-10-09 07:01:55,0,1,0,a\n2017-10-09 07:01:56,5,1,5,a\n2017-10-09 07:01:57,-5,1,5,a\n"
    trace = load("philly", path=write("p.csv", text))
    assert trace.report.dropped == {"duration is 0 or less": 2}
    assert trace.jobs.job_id.tolist() == [1]
    with pytest.raises(TraceError, match="holds no jobs; 1 rows dropped: duration is 0 or less"):
        load("philly", path=write("p.csv", HEAD + "2017-10-09 07:01:55,0,1,0,a\n"))


def test_csv_without_its_columns(load, write):
    with pytest.raises(TraceError, match=r"column 'duration': is missing \(the file has timestamp, x\)"):
        load("philly", path=write("p.csv", "timestamp,x\n2017-10-09 07:01:55,5\n"))


LOG = [
    job(
        "app_1",
        "2017-10-07 01:11:39",
        attempt("2017-10-07 01:12:09", "2017-10-07 01:13:23", 8),
        attempt("2017-10-07 01:13:30", "2017-10-09 06:53:12", 8, 4),
        vc="ee9e8c",
    ),
    job("none", "2017-10-07 02:00:00"),
    job("running", "2017-10-07 02:00:00", attempt("2017-10-07 02:00:00", "None", 1)),
    job("running2", "2017-10-07 02:00:00", attempt("2017-10-07 02:00:00", None, 1)),
    job("untimed", "2017-10-07 02:00:00", attempt("None", "2017-10-07 02:00:00", 1)),
    job("bare", "2017-10-07 02:00:00", attempt("2017-10-07 02:00:00", "2017-10-07 03:00:00")),
    job("instant", "2017-10-07 02:00:00", attempt("2017-10-07 02:00:00", "2017-10-07 02:00:00", 1)),
    job("unsubmitted", "None", attempt("2017-10-07 02:00:00", "2017-10-07 03:00:00", 1)),
    job(
        "early",
        "2017-10-07 01:00:00",
        attempt("None", "2017-10-07 02:00:00", 1),
        attempt("2017-10-07 02:00:00", "2017-10-07 02:00:10", 2),
    ),
]


@pytest.mark.parametrize("name", ["cluster_job_log", "log.json", "log.json.gz"])
def test_json_drops_are_counted_by_reason(load, write, name):
    trace = load("philly", path=write(name, json.dumps(LOG, indent=1)))
    assert trace.report.rows_read == 9
    assert trace.report.dropped == {
        "has no attempt": 1,
        "still running when the log was taken (its last attempt has no end)": 2,
        "has no submit time": 1,
        "no attempt has both times": 1,
        "no attempt names its GPUs": 1,
        "ran for 0 s or less": 1,
    }
    early, first = trace.jobs
    assert (early.job_id, early.submit_s, early.num_gpus, early.duration_s) == ("early", 0, 2, 10)
    assert (first.job_id, first.submit_s, first.num_gpus) == ("app_1", 11 * 60 + 39, 12)
    assert first.duration_s == 74 + 2 * 86_400 + 5 * 3600 + 39 * 60 + 42
    assert first.tenant == "ee9e8c"
    notes = "\n".join(trace.report.notes)
    assert "num_gpus is the last attempt's: 1 jobs held another number before" in notes
    assert "left out of the run time: 4 attempts without times" in notes
    assert "duration_s is the sum over a job's attempts" in notes


def test_json_last_attempt_alone(load, write):
    trace = load("philly", path=write("log.json", json.dumps(LOG)), retries="last")
    assert trace.jobs.duration_s.tolist() == [10, 2 * 86_400 + 5 * 3600 + 39 * 60 + 42]
    with pytest.raises(WorkloadError, match=r"retries='lst': must be one of sum, last; did you mean 'last'\?"):
        load("philly", path=write("log.json", "[]"), retries="lst")


def test_json_attempts_across_the_clock_change(load, write):
    log = [
        job("over", "2017-11-05 00:00:00", attempt("2017-11-05 00:30:00", "2017-11-05 02:30:00", 1)),
        job("into", "2017-11-05 00:00:00", attempt("2017-11-05 01:50:00", "2017-11-05 01:10:00", 1)),
        job("within", "2017-11-05 00:00:00", attempt("2017-11-05 01:10:00", "2017-11-05 01:50:00", 1)),
    ]
    jobs = load("philly", path=write("log.json", json.dumps(log))).jobs
    assert jobs.duration_s.tolist() == [3 * 3600, 20 * 60, 40 * 60]


def test_json_bad_values_are_named_by_line(load, write):
    bad = [LOG[0], job("garbled", "2017-10-07 02:00:00", attempt("2017-10-07 02:00:00", "at dawn", 1))]
    text = json.dumps(bad, indent=1)
    line = text[: text.index("garbled")].count("\n") + 1
    with pytest.raises(TraceError, match=rf"log:{line}: column 'attempts\.end_time': 'at dawn': is not a time"):
        load("philly", path=write("log", text))
    with pytest.raises(TraceError, match=r"column 'submitted_time': 'then': is not a time"):
        load("philly", path=write("log", json.dumps([job("x", "then", *LOG[0]["attempts"])])))


def test_json_of_another_shape(load, write):
    with pytest.raises(TraceError, match=r"log:1: is not JSON \(.*\): is the file whole\?"):
        load("philly", path=write("log", '[{"jobid": "x", '))
    with pytest.raises(TraceError, match="must be a list of jobs, as in cluster_job_log"):
        load("philly", path=write("log", '{"jobs": []}'))
    with pytest.raises(TraceError, match="log: holds no jobs"):
        load("philly", path=write("log", "[]"))
    with pytest.raises(TraceError, match="column 'vc': is missing in job 1 of 1"):
        load("philly", path=write("log", '[{"jobid": "x"}]'))
    with pytest.raises(TraceError, match="column 'attempts': must be a list of attempts in job 1 of 1"):
        load("philly", path=write("log", '[{"jobid": "x", "vc": "v", "submitted_time": "", "attempts": "none"}]'))


def test_the_real_csv(load, traces):
    path = traces / "philly" / "philly.csv.gz"
    trace = load("philly", path=str(path))
    raw = pd.read_csv(path)
    assert len(trace.jobs) == len(raw) == 82_247
    assert trace.report.dropped == {}
    assert trace.jobs.gpu_s.sum() == pytest.approx(raw["gpu_time"].sum())
    assert (np.diff(trace.jobs.submit_s) >= 0).all()
    first = trace.jobs.spec(0)
    assert (first.submit_s, first.num_gpus, first.duration_s, first.tenant) == (0, 8, 2_240_194, "7f04ca")
    clocks = pd.to_datetime(raw["timestamp"])
    assert trace.jobs.submit_s[-1] == (clocks.max() - clocks.min()).total_seconds() + 3600  # clocks went back once
    assert dict(zip(trace.jobs.tenant.names, np.bincount(trace.jobs.tenant.codes), strict=True)) == (
        raw["cluster"].value_counts().to_dict()
    )
