"""Alibaba openb."""

from __future__ import annotations

import pandas as pd
import pytest

from workloads import TraceError

HEAD = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"
LONG = "end,1000,1024,0,0,,LS,Running,0,1000,0\n"  # a pod without GPUs that outlasts the trace


def pod(name="a", gpus=1, milli=1000, phase="Succeeded", created="10", deleted="110", scheduled="30"):
    return f"{name},12000,16384,{gpus},{milli},,LS,{phase},{created},{deleted},{scheduled}\n"


def test_a_pod(load, write):
    job = load("openb", path=write("p.csv", HEAD + pod(gpus=2) + LONG)).jobs.spec(0)
    assert (job.job_id, job.submit_s, job.duration_s, job.num_gpus) == ("a", 10, 80, 2)
    assert (job.cpus_per_gpu, job.memory_gib_per_gpu, job.gpu_utilisation_frac) == (6, 8, 1)
    assert job.tenant == "LS"
    assert load("openb", path=write("p.csv", HEAD + pod()), tenant="none").jobs.spec(0).tenant == ""


def test_drops_are_counted_by_reason(load, write):
    pods = [
        pod("pending", phase="Pending", scheduled=""),
        pod("instant", deleted="30"),
        pod("censored", phase="Running", deleted="1000"),
        pod("killed", phase="Running"),
        pod("kept"),
    ]
    trace = load("openb", path=write("p.csv", HEAD + "".join(pods) + LONG))
    assert [job.job_id for job in trace.jobs] == ["killed", "kept"]
    assert trace.report.dropped == {
        "asks for no GPU": 1,
        "never scheduled (Pending)": 1,
        "still running at the trace's end (censored=drop)": 1,
        "ran for 0 s or less": 1,
    }


def test_censored_pods_can_be_kept(load, write):
    trace = load("openb", path=write("p.csv", HEAD + pod(phase="Running", deleted="1000") + LONG), censored="keep")
    assert trace.jobs.duration_s.tolist() == [970]
    assert "cut short by the trace's end: 1 pods (censored=keep)" in trace.report.notes


def test_fractional_pods(load, write):
    path = write("p.csv", HEAD + pod("half", milli=460) + pod("whole"))
    trace = load("openb", path=path)
    assert trace.jobs.num_gpus.tolist() == [1, 1]
    assert trace.jobs.gpu_utilisation_frac.tolist() == [0.46, 1]
    assert trace.report.notes == ["rounded up to a whole GPU: 1 pods that ask for part of one"]
    trace = load("openb", path=path, fractional="drop")
    assert [job.job_id for job in trace.jobs] == ["whole"]
    assert trace.report.dropped == {"asks for part of a GPU (fractional=drop)": 1}


def test_lists_without_times_are_refused_with_the_reason(load, write):
    text = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\na,12000,16384,1,1000,\n"
    with pytest.raises(TraceError, match=r"column 'creation_time': is missing: sampled lists .*openb_pod_list_default"):
        load("openb", path=write("openb_pod_list_multigpu20.csv", text))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (pod("b", milli=0), r"p\.csv:3: column 'gpu_milli': 0\.0: must lie in 1\.\.1000"),
        (pod("b", milli=2000), r"p\.csv:3: column 'gpu_milli': 2000\.0: must lie in 1\.\.1000"),
        (pod("b", gpus="two"), r"p\.csv:3: column 'num_gpu': 'two': is not a number"),
        (pod("b", created="-5"), r"p\.csv:3: column 'creation_time': -5\.0: must be a finite number of seconds"),
        (pod("b", deleted=""), r"p\.csv:3: column 'deletion_time': nan: must be a finite number of seconds"),
        (pod("a"), r"p\.csv:3: column 'name': 'a': is there twice"),
    ],
)
def test_bad_rows(load, write, bad, message):
    with pytest.raises(TraceError, match=message):
        load("openb", path=write("p.csv", HEAD + pod() + bad))


def test_the_real_list(load, traces):
    path = traces / "openb" / "openb_pod_list_default.csv.gz"
    raw, trace = pd.read_csv(path), load("openb", path=str(path))
    assert (trace.report.rows_read, trace.report.rows_kept) == (8152, 6171)
    assert trace.report.dropped == {
        "asks for no GPU": 1088,
        "never scheduled (Pending)": 861,
        "still running at the trace's end (censored=drop)": 32,
    }
    kept = raw[(raw["num_gpu"] > 0) & raw["scheduled_time"].notna()]
    kept = kept[(kept["pod_phase"] != "Running") | (kept["deletion_time"] < raw["deletion_time"].max())]
    assert trace.jobs.duration_s.sum() == (kept["deletion_time"] - kept["scheduled_time"]).sum()
    assert trace.jobs.num_gpus.sum() == kept["num_gpu"].sum()
    assert trace.jobs.spec(0).job_id == "openb-pod-0000"
    assert len(load("openb", path=str(path), censored="keep", fractional="drop").jobs) == 3630
    assert len(load("openb", path=str(traces / "openb" / "openb_pod_list_gpuspec33.csv.gz")).jobs) == 6171
