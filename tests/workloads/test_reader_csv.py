"""The CSV of one's own: options, and an error for every value that can't be right."""

from __future__ import annotations

import re

import numpy as np
import pytest

from workloads import Elasticity, TraceError, WorkloadError

HEAD = "job_id,submit_s,num_gpus,duration_s\n"


def test_the_least_that_is_needed(load, write):
    trace = load("csv", path=write("t.csv", "submit_s,num_gpus,duration_s\n0,1,5\n2.5,4,60"))
    assert [job.job_id for job in trace.jobs] == ["0", "1"]
    assert trace.jobs.submit_s.tolist() == [0, 2.5]
    assert trace.jobs.num_gpus.tolist() == [1, 4]
    assert trace.jobs.duration_s.tolist() == [5, 60]
    assert (trace.report.rows_read, trace.report.rows_kept, trace.report.dropped) == (2, 2, {})


def test_columns_named_like_job_fields_are_picked_up(load, write):
    text = (
        "job_id,submit_s,num_gpus,duration_s,tenant,model,weight,deadline_s,min_gpus,max_gpus,elasticity,colour\n"
        "a,0,2,5,red,bert,2.5,100,1,4,moldable,x\n"
        "b,1,2,5,,bert,1,inf,2,2,0,y\n"
    )
    a, b = load("csv", path=write("t.csv", text)).jobs
    assert (a.tenant, a.model, a.weight, a.deadline_s) == ("red", "bert", 2.5, 100)
    assert (a.min_gpus, a.max_gpus, a.elasticity) == (1, 4, Elasticity.MOLDABLE)
    assert (b.tenant, b.deadline_s, b.elasticity) == ("", np.inf, Elasticity.RIGID)


def test_mapped_columns_units_and_separator(load, write):
    text = "start;gpus;length;who\n0;1;2;me\n30;1;0.5;you\n"
    columns = {"submit_s": "start", "num_gpus": "gpus", "duration_s": "length", "tenant": "who"}
    trace = load("csv", path=write("t.csv", text), columns=columns, separator=";", time_unit="min")
    assert trace.jobs.submit_s.tolist() == [0, 1800]
    assert trace.jobs.duration_s.tolist() == [120, 30]
    assert trace.jobs.spec(1).tenant == "you"


@pytest.mark.parametrize(("unit", "factor"), [("ms", 0.001), ("s", 1), ("min", 60), ("h", 3600)])
def test_units(load, write, unit, factor):
    jobs = load(
        "csv", path=write("t.csv", "submit_s,num_gpus,duration_s,user_estimate_s\n10,1,20,30\n"), time_unit=unit
    ).jobs
    assert (jobs.submit_s[0], jobs.duration_s[0], jobs.user_estimate_s[0]) == pytest.approx(
        (10 * factor, 20 * factor, 30 * factor)
    )


def test_iso_times_count_from_the_first(load, write):
    text = HEAD[:-1] + ",deadline_s\na,2024-03-01 10:00:00,1,5,2024-03-01 11:00:00\nb,2024-03-01T12:00:30+01:00,1,5,\n"
    with pytest.raises(TraceError, match=r"t\.csv:3: column 'deadline_s': .*must be a time"):
        load("csv", path=write("t.csv", text), submit_format="iso")
    text = text.replace("5,\n", "5,2024-03-01T11:05:00Z\n")
    trace = load("csv", path=write("t.csv", text), submit_format="iso")
    assert trace.jobs.submit_s.tolist() == [0, 3630]
    assert trace.jobs.deadline_s.tolist() == [3600, 3900]
    assert trace.report.notes == ["submit_s counts from 2024-03-01 10:00:00+00:00 (UTC)"]


def test_iso_times_of_a_zone_with_a_clock_change(load, write):
    text = HEAD + "a,2017-11-05 00:30:00,1,5\nb,2017-11-05 02:30:00,1,5\n"
    trace = load("csv", path=write("t.csv", text), submit_format="iso", timezone="America/Los_Angeles")
    assert trace.jobs.submit_s.tolist() == [0, 3 * 3600]


def test_unix_times_count_from_the_first(load, write):
    trace = load(
        "csv",
        path=write("t.csv", HEAD + "a,1700000000000,1,5\nb,1700000001500,1,5\n"),
        submit_format="unix",
        time_unit="ms",
    )
    assert trace.jobs.submit_s.tolist() == pytest.approx([0, 1.5])
    assert trace.report.notes[0].startswith("submit_s counts from 2023-11-14 22:13:20")


def test_ids_keep_their_leading_zeros(load, write):
    assert [job.job_id for job in load("csv", path=write("t.csv", HEAD + "007,0,1,5\n8,0,1,5\n")).jobs] == ["007", "8"]
    assert load("csv", path=write("t.csv", HEAD + "7,0,1,5\n8,0,1,5\n")).jobs.job_id.dtype == np.int64


def test_unsorted_is_an_error_or_sorted(load, write):
    path = write("t.csv", HEAD + "a,9,1,5\nb,3,1,5\nc,3,2,5\n")
    with pytest.raises(TraceError, match=r"t\.csv:3: column 'submit_s': 3\.0: is before the row above it"):
        load("csv", path=path)
    trace = load("csv", path=path, unsorted="sort")
    assert [job.job_id for job in trace.jobs] == ["b", "c", "a"]
    assert trace.report.notes == ["sorted by submit time: 1 rows came before the row above them"]


def test_byte_order_mark_crlf_blank_lines_and_quotes(load, write):
    text = '\ufeffjob_id, submit_s,num_gpus,duration_s\r\n"a,1",0,1,5\r\n\r\nb,1,1,nope\r\n'
    with pytest.raises(TraceError, match=r"t\.csv:4: column 'duration_s': 'nope': is not a number"):
        load("csv", path=write("t.csv", text))
    jobs = load("csv", path=write("t.csv", text.replace("nope", "7"))).jobs
    assert [job.job_id for job in jobs] == ["a,1", "b"]


def test_lines_are_right_past_a_line_break_in_quotes(load, write):
    text = 'job_id,submit_s,num_gpus,duration_s\n"a\nb",0,1,5\nc,1,0,5\n'
    with pytest.raises(TraceError, match=r"t\.csv:4: column 'num_gpus': 0: must be a whole number"):
        load("csv", path=write("t.csv", text))


@pytest.mark.parametrize(
    ("row", "column", "value", "rule"),
    [
        ("a,-1,1,5", "submit_s", "-1", "must be a finite number of seconds, 0 or more"),
        ("a,,1,5", "submit_s", "nan", "must be a finite number of seconds, 0 or more"),
        ("a,inf,1,5", "submit_s", "inf", "must be a finite number of seconds, 0 or more"),
        ("a,soon,1,5", "submit_s", "'soon'", "is not a number"),
        ("a,0,0,5", "num_gpus", "0", "must be a whole number, 1 or more, below 2^31"),
        ("a,0,-2,5", "num_gpus", "-2", "must be a whole number, 1 or more, below 2^31"),
        ("a,0,1.5,5", "num_gpus", "1.5", "must be a whole number, 1 or more, below 2^31"),
        ("a,0,,5", "num_gpus", "nan", "must be a whole number, 1 or more, below 2^31"),
        ("a,0,true,5", "num_gpus", "'true'", "is not a number"),
        ("a,0,1,0", "duration_s", "0", "must be a finite number of seconds, more than 0"),
        ("a,0,1,-3", "duration_s", "-3", "must be a finite number of seconds, more than 0"),
        ("a,0,1,NaN", "duration_s", "nan", "must be a finite number of seconds, more than 0"),
        ("a,0,1,12:30:00", "duration_s", "'12:30:00'", "is not a number"),
        ("ok,0,1,5", "job_id", "'ok'", "is there twice; ids must differ"),
    ],
)
def test_a_bad_value_is_named_by_line_column_value_and_rule(load, write, row, column, value, rule):
    path = write("t.csv", HEAD + "ok,0,1,5\n" + row + "\n")
    with pytest.raises(TraceError) as caught:
        load("csv", path=path)
    said = str(caught.value)
    assert said.startswith(f"{path}:3: column {column!r}: {value}")
    assert said.endswith(rule)


def test_a_missing_id(load, write):
    with pytest.raises(TraceError, match=r"t\.csv:3: column 'job_id': .*is missing"):
        load("csv", path=write("t.csv", HEAD + "ok,0,1,5\n,0,1,5\n"))


@pytest.mark.parametrize("row", ["b,1,1", "b,1,1,5,6", "b"])
def test_a_ragged_row_is_named_by_line(load, write, row):
    count = row.count(",") + 1
    fields = "field" if count == 1 else "fields"
    with pytest.raises(TraceError, match=rf"t\.csv:4: '{row}': has {count} {fields} where 4 are due"):
        load("csv", path=write("t.csv", HEAD + "a,0,1,5\n\n" + row + "\nc,2,1,5\n"))


def test_header_alone_and_two_columns_of_one_name(load, write):
    with pytest.raises(TraceError, match=r"t\.csv: holds no jobs: only a header line"):
        load("csv", path=write("t.csv", HEAD))
    with pytest.raises(TraceError, match=r"t\.csv:1: column 'num_gpus': is there twice in the header"):
        load("csv", path=write("t.csv", "submit_s,num_gpus,num_gpus,duration_s\n0,1,1,5\n"))


def test_a_required_column_that_is_not_there(load, write):
    with pytest.raises(TraceError, match=re.escape("'num_gpus': is not in the file; did you mean 'num_gpu'? (it has")):
        load("csv", path=write("t.csv", "submit_s,num_gpu,duration_s\n0,1,5\n"))
    with pytest.raises(TraceError, match=re.escape("if it has another name: columns.duration_s=THAT")):
        load("csv", path=write("t.csv", "submit_s,num_gpus,zzz\n0,1,5\n"))


def test_mistakes_in_the_mapping(load, write):
    path = write("t.csv", "submit_s,num_gpus,duration_s,Tenant_Name\n0,1,5,x\n")
    with pytest.raises(TraceError, match=r"column 'tenant_name': is not in the file; did you mean 'Tenant_Name'\?"):
        load("csv", path=path, columns={"tenant": "tenant_name"})
    with pytest.raises(WorkloadError, match=r"columns\.tennant: no such job field; did you mean 'tenant'\?"):
        load("csv", path=path, columns={"tennant": "Tenant_Name"})


def test_mistakes_in_the_options(load, write):
    path = write("t.csv", HEAD + "a,0,1,5\n")
    with pytest.raises(WorkloadError, match=r"separator='::': must be one character"):
        load("csv", path=path, separator="::")
    with pytest.raises(WorkloadError, match=r"timezone='Mars/Olympus': no such time zone"):
        load("csv", path=write("t.csv", HEAD + "a,2020-01-01,1,5\n"), submit_format="iso", timezone="Mars/Olympus")
    with pytest.raises(TraceError, match=r"t\.csv:2: column 'submit_s': 'yesterday': is not a time such as"):
        load("csv", path=write("t.csv", HEAD + "a,yesterday,1,5\n"), submit_format="iso")
    with pytest.raises(TraceError, match=r"t\.csv:2: column 'elasticity': 'rubber': is not a number"):
        load("csv", path=write("t.csv", HEAD[:-1] + ",elasticity\na,0,1,5,rubber\n"))
