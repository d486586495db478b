"""Slurm's sacct."""

from __future__ import annotations

import numpy as np
import pytest

from workloads import TraceError

HEAD = "JobID|User|Account|Submit|Start|End|Elapsed|State|Timelimit|ReqTRES|AllocTRES\n"
TRES = "billing=16,cpu=16,gres/gpu=4,mem=64G,node=1"


def row(
    job="123", submit="2024-05-01T10:00:00", start="2024-05-01T10:05:00", elapsed="01:00:30", state="COMPLETED", **other
):
    end, limit = other.get("end", "2024-05-01T11:05:30"), other.get("limit", "1-00:00:00")
    tres = f"{other.get('req', TRES)}|{other.get('tres', TRES)}"
    return f"{job}|ann|lab|{submit}|{start}|{end}|{elapsed}|{state}|{limit}|{tres}\n"


def test_a_job(load, write):
    trace = load("sacct", path=write("a.txt", HEAD + row()))
    job = trace.jobs.spec(0)
    assert (job.job_id, job.submit_s, job.duration_s, job.num_gpus) == ("123", 0, 3630, 4)
    assert (job.cpus_per_gpu, job.memory_gib_per_gpu, job.user_estimate_s, job.tenant) == (4, 16, 86_400, "ann")
    assert trace.report.notes == ["Submit counts from 2024-05-01 10:00:00+00:00 (UTC)"]
    assert load("sacct", path=write("a.txt", HEAD + row()), tenant="Account").jobs.spec(0).tenant == "lab"


@pytest.mark.parametrize(
    ("tres", "gpus"),
    [
        ("cpu=8,gres/gpu=2,mem=500M,node=1", 2),
        ("cpu=8,gres/gpu:a100=4,mem=1T,node=1", 4),
        ("cpu=8,gres/gpu:a100=3,gres/gpu:h100=2,mem=1G,node=2", 5),
        ("cpu=8,gres/gpu:a100=4,gres/gpu=4,mem=62.50G,node=1", 4),
        ("gres/gpu=1,gres/gpumem=40G,gres/gpuutil=90", 1),
    ],
)
def test_gpus_in_tres(load, write, tres, gpus):
    assert load("sacct", path=write("a.txt", HEAD + row(tres=tres))).jobs.num_gpus.tolist() == [gpus]


def test_what_was_asked_for_stands_in_for_what_was_given(load, write):
    assert load("sacct", path=write("a.txt", HEAD + row(tres="", req="cpu=1,gres/gpu=2"))).jobs.num_gpus.tolist() == [2]


def test_steps_arrays_and_drops(load, write):
    rows = [
        row("123"),
        row("123.batch"),
        row("123.extern"),
        row("123.0"),
        row("124_7"),
        row("124_[8-9%2]", start="Unknown", end="Unknown", elapsed="00:00:00", state="PENDING"),
        row("125+1"),
        row("126", tres="cpu=4,mem=8G,node=1", req="cpu=4"),
        row("127", end="Unknown", state="RUNNING"),
        row("128", start="None", end="2024-05-01T10:02:00", elapsed="00:00:00", state="CANCELLED by 1000"),
        row("129", elapsed="00:00:00", state="FAILED"),
        row("130", state="CANCELLED by 1000"),
    ]
    trace = load("sacct", path=write("a.txt", HEAD + "".join(rows)))
    assert [job.job_id for job in trace.jobs] == ["123", "124_7", "125+1", "130"]
    assert trace.report.dropped == {
        "is a job's step": 3,
        "asks for no GPU": 1,
        "never started": 2,
        "not ended (running, suspended or requeued)": 1,
        "ran for 0 s": 1,
    }


@pytest.mark.parametrize(
    ("span", "seconds"),
    [("1-02:03:04", 93_784), ("02:03:04", 7384), ("03:04", 184), ("00:00:01.500", 1.5), ("100:00:00", 360_000)],
)
def test_spans(load, write, span, seconds):
    assert load("sacct", path=write("a.txt", HEAD + row(elapsed=span))).jobs.duration_s.tolist() == [seconds]


@pytest.mark.parametrize("limit", ["UNLIMITED", "Partition_Limit", ""])
def test_no_time_limit(load, write, limit):
    assert np.isnan(load("sacct", path=write("a.txt", HEAD + row(limit=limit))).jobs.user_estimate_s[0])


def test_parsable_with_its_bar_at_the_end_and_quotes_in_names(load, write):
    text = (HEAD[:-1] + "|JobName|\n") + (row()[:-1] + '|say "hi|\n')
    assert len(load("sacct", path=write("a.txt", text)).jobs) == 1


def test_local_times(load, write):
    text = HEAD + row("1", submit="2024-03-10T01:30:00") + row("2", submit="2024-03-10T03:30:00")
    path = write("a.txt", text)
    assert load("sacct", path=path, timezone="America/New_York").jobs.submit_s.tolist() == [0, 3600]
    assert load("sacct", path=path).jobs.submit_s.tolist() == [0, 7200]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("2", elapsed="long"), r"a\.txt:3: column 'Elapsed': 'long': is not a time span such as 1-02:03:04"),
        (row("2", elapsed=""), r"a\.txt:3: column 'Elapsed': .*is missing"),
        (row("2", limit="forever"), r"a\.txt:3: column 'Timelimit': 'forever': is not a time span"),
        (row("2", submit="May 1"), r"a\.txt:3: column 'Submit': 'May 1': is not a time"),
        (row("2", submit="Unknown"), r"a\.txt:3: column 'Submit': .*is missing"),
        (row("123"), r"a\.txt:3: column 'JobID': '123': is there twice"),
        ("2|x\n", r"a\.txt:3: '2\|x': has 2 fields where 11 are due"),
    ],
)
def test_bad_rows(load, write, bad, message):
    with pytest.raises(TraceError, match=message):
        load("sacct", path=write("a.txt", HEAD + row() + bad))


def test_a_column_that_is_not_there_names_the_command(load, write):
    with pytest.raises(TraceError, match=r"column 'Elapsed': is missing .*sacct --parsable2 --format=JobID,User"):
        load("sacct", path=write("a.txt", "JobID|Submit|Start\n1|2|3\n"))
    text = "JobID|User|Submit|Start|Elapsed|State\n1|a|2024-05-01T10:00:00|2024-05-01T10:00:00|01:00|COMPLETED\n"
    with pytest.raises(TraceError, match=r"column 'AllocTRES': is missing"):
        load("sacct", path=write("a.txt", text))
