"""Job tables: what is checked, what is filled in, and that rows stay together."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from workloads import Elasticity, JobSpec, JobTable, ReadReport, TraceError, WorkloadError
from workloads.trace import COLUMNS, Labels

GOOD: dict[str, Any] = {"submit_s": [0.0, 1.0, 1.0], "num_gpus": [1, 2, 4], "duration_s": [10.0, 20.0, 30.0]}


def table(**columns: Any) -> JobTable:
    return JobTable.from_columns(GOOD | columns)


def test_defaults() -> None:
    jobs = table()
    plain = JobSpec("1", 1.0, 2, 20.0, min_gpus=2, max_gpus=2, elasticity=Elasticity.RIGID)
    assert replace(jobs.spec(1), user_estimate_s=1.0) == replace(plain, user_estimate_s=1.0)  # nan equals nothing
    np.testing.assert_array_equal(jobs.job_id, [0, 1, 2])
    np.testing.assert_array_equal(jobs.min_gpus, [1, 2, 4])
    np.testing.assert_array_equal(jobs.elasticity, [0, 0, 0])
    assert np.isinf(jobs.deadline_s).all()
    assert np.isinf(jobs.checkpoint_interval_s).all()
    assert np.isnan(jobs.user_estimate_s).all()
    for name in ("batch_size", "num_parameters", "num_samples"):
        assert not getattr(jobs, name).any()
    assert jobs.model.names == ("",)
    np.testing.assert_array_equal(jobs.gpu_s, [10.0, 40.0, 120.0])


def test_a_range_of_sizes_makes_a_job_malleable_unless_told() -> None:
    np.testing.assert_array_equal(table(max_gpus=[1, 4, 4]).elasticity, [0, 2, 0])
    np.testing.assert_array_equal(table(max_gpus=[1, 4, 4], elasticity=[0, 1, 0]).elasticity, [0, 1, 0])


BAD = [  # the second of three jobs is the offender
    ("submit_s", [0.0, -1.0, 1.0], "-1.0", "must be a finite number of seconds, 0 or more"),
    ("submit_s", [0.0, math.inf, 1.0], "inf", "must be a finite number of seconds, 0 or more"),
    ("duration_s", [10.0, 0.0, 30.0], "0.0", "must be a finite number of seconds, more than 0"),
    ("duration_s", [10.0, math.nan, 30.0], "nan", "must be a finite number of seconds, more than 0"),
    ("duration_s", ["10", "soon", "30"], "'soon'", "is not a number"),
    ("num_gpus", [1, 0, 4], "0", "must be a whole number, 1 or more, below 2^31"),
    ("num_gpus", [1.0, 2.5, 4.0], "2.5", "must be a whole number, 1 or more, below 2^31"),
    ("min_gpus", [1, 0, 1], "0", "must be a whole number, 1 or more, below 2^31"),
    ("min_gpus", [1, 3, 4], "3", "must not be more than num_gpus"),
    ("max_gpus", [1, 1, 4], "1", "must not be less than num_gpus"),
    ("max_gpus", [1, 2.5, 4], "2.5", "must be a whole number, 1 or more, below 2^31"),
    ("elasticity", [0, 3, 0], "3", r"must be 0 (rigid), 1 (moldable) or 2 (malleable)"),
    ("priority", [0, 0.5, 0], "0.5", "must be a whole number within 2^31"),
    ("weight", [1.0, 0.0, 1.0], "0.0", "must be a finite number, more than 0"),
    ("deadline_s", [1.0, math.nan, 1.0], "nan", "must be a time, 0 or more (inf: none)"),
    ("cpus_per_gpu", [1.0, -1.0, 1.0], "-1.0", "must be a finite number, 0 or more"),
    ("memory_gib_per_gpu", [1.0, math.inf, 1.0], "inf", "must be a finite number, 0 or more"),
    ("network_gib_per_s_per_gpu", [1.0, -2.0, 1.0], "-2.0", "must be a finite number, 0 or more"),
    ("gpu_utilisation_frac", [1.0, 1.5, 1.0], "1.5", "must lie in 0..1"),
    ("checkpoint_interval_s", [1.0, 0.0, 1.0], "0.0", "must be more than 0 s (inf: none)"),
    ("user_estimate_s", [1.0, 0.0, 1.0], "0.0", "must be more than 0 s (nan: none)"),
    ("batch_size", [1.0, -1.0, 1.0], "-1.0", "must be a finite number, 0 or more"),
    ("num_parameters", [1e9, math.inf, 1e9], "inf", "must be a finite number, 0 or more"),
    ("num_samples", [1.0, math.nan, 1.0], "nan", "must be a finite number, 0 or more"),
    ("job_id", ["a", "a", "c"], "'a'", "is there twice; ids must differ"),
    ("job_id", ["a", None, "c"], "nan", "is missing"),
]


@pytest.mark.parametrize(("column", "values", "shown", "rule"), BAD)
def test_a_bad_value_is_named_with_column_row_and_rule(column: str, values: list[Any], shown: str, rule: str) -> None:
    with pytest.raises(TraceError) as caught:
        table(**{column: values})
    assert str(caught.value) == f"column {column!r}: {shown}: {rule} (job 2 of 3)"


def test_a_bad_value_of_a_file_is_named_with_path_line_and_the_files_own_column() -> None:
    columns = GOOD | {"duration_s": [10.0, -5.0, 30.0]}
    with pytest.raises(TraceError) as caught:
        JobTable.from_columns(columns, source="jobs.csv", lines=np.array([2, 3, 5]), names={"duration_s": "runtime"})
    assert str(caught.value) == ("jobs.csv:3: column 'runtime': -5.0: must be a finite number of seconds, more than 0")
    assert caught.value.line == 3


def test_a_rigid_job_has_one_size() -> None:
    with pytest.raises(TraceError, match="column 'elasticity': 0: a rigid job has min_gpus = max_gpus"):
        table(max_gpus=[1, 4, 4], elasticity=[0, 0, 0])


def test_a_missing_column_an_unknown_one_and_no_jobs() -> None:
    with pytest.raises(TraceError, match="column 'duration_s': is missing"):
        JobTable.from_columns({"submit_s": [0.0], "num_gpus": [1]})
    with pytest.raises(WorkloadError, match="unknown job field 'gpus'; known: job_id, submit_s"):
        table(gpus=[1, 2, 3])
    with pytest.raises(WorkloadError, match=r"jobs\.csv: holds no jobs"):
        JobTable.from_columns({"submit_s": [], "num_gpus": [], "duration_s": []}, source="jobs.csv")


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(WorkloadError, match="column 'weight': has 2 values, submit_s has 3"):
        table(weight=[1.0, 2.0])
    with pytest.raises(WorkloadError, match="column 'tenant': has 1 values, submit_s has 3"):
        table(tenant=["a"])


def test_unsorted_is_an_error_or_a_stable_sort() -> None:
    columns = GOOD | {"submit_s": [5.0, 1.0, 1.0], "job_id": ["late", "first", "second"], "model": ["x", "y", "z"]}
    with pytest.raises(TraceError, match=r"1\.0: is before the row above it: sort the file, or set unsorted=sort"):
        JobTable.from_columns(columns)
    jobs = JobTable.from_columns(columns, unsorted="sort")
    assert list(jobs.job_id) == ["first", "second", "late"]
    assert [jobs.model[row] for row in range(3)] == ["y", "z", "x"]
    np.testing.assert_array_equal(jobs.num_gpus, [2, 4, 1])


def test_specs_make_a_round_trip() -> None:
    specs = [
        JobSpec(
            "a", 0.0, 2, 5.0, min_gpus=1, max_gpus=4, model="bert", tenant="t", user_estimate_s=9.0, deadline_s=99.0
        ),
        JobSpec("b", 1.0, 1, 7.0, priority=3, weight=2.0, user_estimate_s=1.0, batch_size=64, num_parameters=1e8),
    ]
    jobs = JobTable.from_specs(reversed(specs))
    assert len(jobs) == 2
    first, second = jobs
    assert (first.job_id, first.kind, first.size_range) == ("a", Elasticity.MALLEABLE, (1, 4))
    assert (first.model, first.tenant, first.deadline_s) == ("bert", "t", 99.0)
    assert (second.min_gpus, second.max_gpus, second.kind) == (1, 1, Elasticity.RIGID)
    assert list(JobTable.from_specs(jobs)) == [first, second]


def test_take_keeps_rows_together() -> None:
    jobs = table(model=["x", "y", "z"], weight=[1.0, 2.0, 3.0])
    for rows in (np.array([2, 0]), np.array([True, False, True]), slice(1, None)):
        for name in COLUMNS:
            column, taken = getattr(jobs, name), getattr(jobs.take(rows), name)
            if isinstance(column, Labels):
                assert [taken[i] for i in range(2)] == [column[i] for i in np.arange(3)[rows]]
            else:
                np.testing.assert_array_equal(taken, column[rows])


def test_with_columns_replaces_and_checks_anew() -> None:
    jobs = table(model=["x", "y", "x"], tenant=["t", "u", "t"])
    changed = jobs.with_columns(weight=np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(changed.weight, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(jobs.weight, [1.0, 1.0, 1.0])
    assert changed.model is jobs.model
    with pytest.raises(TraceError, match=r"column 'weight': 0\.0: must be"):
        jobs.with_columns(weight=np.zeros(3))
    renamed = jobs.with_columns(model=np.array(["p", "q", "p"], object))
    assert [renamed.model[row] for row in range(3)] == ["p", "q", "p"]
    assert [renamed.tenant[row] for row in range(3)] == ["t", "u", "t"]


def test_labels() -> None:
    labels = Labels.of(["b", None, "a", "b"], 4)
    assert labels.names == ("", "a", "b")
    assert [labels[row] for row in range(4)] == ["b", "", "a", "b"]
    assert labels.take(slice(2, 4)).names == labels.names
    assert Labels.of(None, 2)[1] == ""
    assert Labels.of([7, 8], 2).names == ("7", "8")


def test_frame_spells_labels_out() -> None:
    frame = table(model=["x", "y", "x"]).frame()
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame["model"]) == ["x", "y", "x"]


def test_report_counts_and_reads_well() -> None:
    report = ReadReport("jobs.csv", rows_read=1200, rows_kept=1190)
    report.drop("no GPU", 8)
    report.drop("no GPU", 2)
    report.drop("never", 0)
    report.notes.append("and so on")
    assert report.dropped == {"no GPU": 10}
    assert str(report) == "jobs.csv: 1,190 of 1,200 rows kept\n  dropped 10: no GPU\n  and so on"
