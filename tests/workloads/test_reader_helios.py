"""SenseTime Helios (and Acme)."""

from __future__ import annotations

import pytest

from workloads import TraceError

HEAD = "job_id,user,vc,gpu_num,cpu_num,node_num,state,submit_time,start_time,end_time,duration,queue\n"
DAY = "2020-06-09"


def row(job_id="1", gpus="4", submit=f"{DAY} 18:41:27", start=f"{DAY} 18:41:30", end=f"{DAY} 18:45:30", duration="240"):
    return f"{job_id},uVMrF,vchbv,{gpus},16,1,FAILED,{submit},{start},{end},{duration},0\n"


def test_a_job(load, write):
    trace = load("helios", path=write("log.csv", HEAD + row()))
    job = trace.jobs.spec(0)
    assert (job.job_id, job.submit_s, job.duration_s, job.num_gpus, job.cpus_per_gpu) == ("1", 0, 240, 4, 4)
    assert job.tenant == "vchbv"
    assert trace.report.notes == ["submit_time counts from 2020-06-09 18:41:27+08:00 (Asia/Shanghai)"]
    assert load("helios", path=write("log.csv", HEAD + row()), tenant="user").jobs.spec(0).tenant == "uVMrF"


def test_drops_are_counted_by_reason(load, write):
    rows = [
        row("1", gpus="0"),
        row("2", start="None", end="None"),
        row("3", end=""),
        row("4", end=f"{DAY} 18:41:30"),
        row("5", end=f"{DAY} 18:41:00"),
        row("6"),
        row("7", submit=f"{DAY} 18:00:00"),
    ]
    trace = load("helios", path=write("log.csv", HEAD + "".join(rows)))
    assert trace.report.dropped == {
        "asks for no GPU": 1,
        "never started": 1,
        "has no end: still running": 1,
        "ran for 0 s or less": 2,
    }
    assert [job.job_id for job in trace.jobs] == ["7", "6"]
    assert trace.jobs.submit_s.tolist() == [0, 41 * 60 + 27]


def test_nothing_left(load, write):
    with pytest.raises(TraceError, match=r"log\.csv: holds no jobs; 1 rows dropped: asks for no GPU"):
        load("helios", path=write("log.csv", HEAD + row(gpus="0")))


def test_a_duration_that_holds_the_queueing_is_noted(load, write):
    trace = load("helios", path=write("log.csv", HEAD + row(duration="9999")))
    assert trace.jobs.duration_s.tolist() == [240]
    assert "duration_s is end_time - start_time; 1 rows state another duration" in trace.report.notes


def test_acme_has_offsets_and_no_vc(load, write):
    head = "job_id,user,node_num,gpu_num,cpu_num,type,state,submit_time,start_time,end_time,duration,queue\n"
    times = "2023-05-17 11:00:58+00:00,2023-05-17 11:01:08+00:00,2023-05-17 11:02:08+00:00"
    path = write("trace.csv", f"{head}dlc1,u12,1.0,8,120,Other,COMPLETED,{times},70,10\n")
    with pytest.raises(TraceError, match=r"column 'vc': is missing .*; set tenant=user"):
        load("helios", path=path)
    job = load("helios", path=path, tenant="user").jobs.spec(0)
    assert (job.duration_s, job.num_gpus, job.tenant, job.cpus_per_gpu) == (60, 8, "u12", 15)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("2", gpus="four"), r"log\.csv:3: column 'gpu_num': 'four': is not a number"),
        (row("2", gpus="1.5"), r"log\.csv:3: column 'gpu_num': 1\.5: must be a whole number"),
        (row("2", gpus="-1"), r"log\.csv:3: column 'gpu_num': -1\.0: must be a whole number"),
        (row("2", submit="noon"), r"log\.csv:3: column 'submit_time': 'noon': is not a time"),
        (row("2", submit=""), r"log\.csv:3: column 'submit_time': .*is missing"),
        (row("2", end="2020-13-01 00:00:00"), r"log\.csv:3: column 'end_time': '2020-13-01 00:00:00': is not a time"),
        (row("1"), r"log\.csv:3: column 'job_id': '1': is there twice"),
    ],
)
def test_bad_rows(load, write, bad, message):
    with pytest.raises(TraceError, match=message):
        load("helios", path=write("log.csv", HEAD + row() + bad))
