"""The Standard Workload Format."""

from __future__ import annotations

import numpy as np
import pytest

from workloads import TraceError, WorkloadError

HEAD = "; Version: 2.2\n; MaxProcs: 128\n;\n"


def line(number=1, submit=0, run=60, allocated=8, requested=8, estimate=3600, status=1, user=3, group=7):
    first = f"{number} {submit} 10 {run} {allocated} -1 -1 {requested} {estimate}"
    return f"  {first} -1 {status} {user} {group} -1 1 -1 -1 -1\n"


def test_a_job(load, write):
    trace = load("swf", path=write("log.swf", HEAD + line()))
    job = trace.jobs.spec(0)
    assert (job.job_id, job.submit_s, job.duration_s, job.num_gpus) == ("1", 0, 60, 8)
    assert (job.user_estimate_s, job.tenant) == (3600, "3")
    assert trace.report.notes == []
    assert load("swf", path=write("log.swf", line()), tenant="group_id").jobs.spec(0).tenant == "7"


def test_processors_become_gpus(load, write):
    path = write("log.swf", line(1, allocated=8) + line(2, allocated=9) + line(3, allocated=-1, requested=16))
    trace = load("swf", path=path, procs_per_gpu=8)
    assert trace.jobs.num_gpus.tolist() == [1, 2, 2]
    assert trace.report.notes == ["rounded up to whole GPUs (8 processors each): 1 jobs"]
    path = write("log.swf", line(1, allocated=8, requested=4) + line(2, allocated=8, requested=-1))
    assert load("swf", path=path, processors="requested").jobs.num_gpus.tolist() == [4, 8]
    with pytest.raises(WorkloadError, match=r"procs_per_gpu=0: must be more than 0"):
        load("swf", path=path, procs_per_gpu=0)


def test_minus_one_means_not_known(load, write):
    lines = [
        line(1, run=-1),
        line(2, allocated=-1, requested=-1),
        line(3, run=0),
        line(4, status=2),
        line(5, estimate=-1, user=-1),
    ]
    trace = load("swf", path=write("log.swf", HEAD + "".join(lines)))
    assert trace.report.dropped == {
        "tells of a part of a job (status 2, 3 or 4)": 1,
        "run time not known (-1)": 1,
        "ran for 0 s": 1,
        "processor count not known (-1) or 0": 1,
    }
    job = trace.jobs.spec(0)
    assert (job.job_id, job.tenant) == ("5", "")
    assert np.isnan(job.user_estimate_s)


def test_unsorted_is_sorted_and_noted(load, write):
    trace = load("swf", path=write("log.swf", line(1, submit=9) + line(2, submit=3)))
    assert [job.job_id for job in trace.jobs] == ["2", "1"]
    assert trace.report.notes == ["sorted by submit time: 1 rows came before the row above them"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("2 0 10\n", r"log\.swf:6: '2 0 10': has 3 fields where 18 are due"),
        (line(2).strip() + " 5\n", r"log\.swf:6: .*: has 19 fields where 18 are due"),
        (line(2, run="long"), r"log\.swf:6: column 'run_time': 'long': is not a number"),
        (line(2, run=-7), r"log\.swf:6: column 'run_time': -7\.0: must be a finite number of seconds, more than 0"),
        (line(2, submit=-1), r"log\.swf:6: column 'submit_time': -1\.0: must be a finite number of seconds, 0 or more"),
        (line(1), r"log\.swf:6: column 'job_number': 1: is there twice"),
        (line(2, user="bob"), r"log\.swf:6: column 'user_id': 'bob': is not a number"),
    ],
)
def test_bad_lines_count_the_comments(load, write, bad, message):
    with pytest.raises(TraceError, match=message):
        load("swf", path=write("log.swf", HEAD + line(1) + "\n" + bad))


def test_comments_alone(load, write):
    with pytest.raises(TraceError, match=r"log\.swf: holds no jobs: comments and blank lines only"):
        load("swf", path=write("log.swf", HEAD))
