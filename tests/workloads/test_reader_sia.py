"""Sia and Pollux."""

from __future__ import annotations

import io
import tarfile

import pandas as pd
import pytest

from workloads import TraceError, WorkloadError

HEAD = "name,time,application,num_replicas,batch_size\n"
LINE = "bert-0,10.5,bert,2,32\n"
FILES = {
    # 2 GPUs of one node, and 8 + 2 of two
    "bert/placements-rtx.csv": (
        "placement,local_bsz,step_time,sync_time\n2,8,1.0,0.25\n2,16,2.0,0.5\n28,4,3.0,1.0\n28,8,5.0,1.0\n"
    ),
    "bert/validation-32.csv": "progress,iteration,metric,grad_sqr,grad_var\n5,50,1,1,1\n10,100,1,1,1\n",
    "bert/validation-64.csv": "progress,iteration,metric,grad_sqr,grad_var\n10,70,1,1,1\n",
}


@pytest.fixture
def profiles(tmp_path):
    path = tmp_path / "profiles.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in FILES.items():
            info = tarfile.TarInfo(f"profiles/{name}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return str(path)


def test_measured_duration(load, write, profiles):
    trace = load("sia", path=write("w.csv", HEAD + LINE), profiles=profiles)
    job = trace.jobs.spec(0)
    assert (job.job_id, job.submit_s, job.num_gpus, job.model) == ("bert-0", 10.5, 2, "bert")
    assert job.duration_s == 100 * 2.0  # 16 samples a GPU
    assert trace.report.notes[0].startswith("duration_s is steps to the end times the step time measured on rtx")


@pytest.mark.parametrize(
    ("gpus", "batch", "duration_s"),
    [
        (2, 64, 70 * (2.0 + 1.5)),  # 32 samples a GPU are two passes of 16, one without sync
        (10, 64, 70 * 4.5),  # 6.4, so 7 samples a GPU at placement 28: 3/4 of the way from 4 to 8
        (10, 32, 100 * 3.0),
    ],
)
def test_passes_and_interpolation(load, write, profiles, gpus, batch, duration_s):
    path = write("w.csv", HEAD + f"b,0,bert,{gpus},{batch}\n")
    assert load("sia", path=path, profiles=profiles).jobs.duration_s.tolist() == pytest.approx([duration_s])


def test_stated_duration_and_category(load, write):
    text = HEAD[:-1] + ",category\n" + "bert-0,10.5,bert,2,32,small\nncf-1,3,ncf,1,32,small\n"
    trace = load("sia", path=write("w.csv", text), duration_s={"bert": 60, "ncf": 5.5})
    assert trace.jobs.duration_s.tolist() == [5.5, 60]
    assert trace.report.notes[0] == "duration_s is the stated one of each application, whatever the size and batch"


def test_one_source_of_durations(load, write, profiles):
    path = write("w.csv", HEAD + LINE)
    with pytest.raises(WorkloadError, match="carry no durations; set one of profiles="):
        load("sia", path=path)
    with pytest.raises(WorkloadError, match="carry no durations; set one of profiles="):
        load("sia", path=path, profiles=profiles, duration_s={"bert": 5})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x,0,bert,2,33", "has no measured duration: no run at batch size 33; there are 32, 64"),
        ("x,0,elmo,2,32", "'elmo': has no measured duration: no run at batch size 32; there are none"),
        ("x,0,bert,4,32", "no step times on rtx at placement 4$"),
        ("x,0,bert,10,64", None),
        ("x,0,bert,0,64", r"column 'num_replicas': 0\.0: must be a whole number, 1 or more"),
        ("x,0,bert,2,", "column 'batch_size': nan: must be a whole number, 1 or more"),
        ("x,soon,bert,2,32", "column 'time': 'soon': is not a number"),
        ("bert-0,0,bert,2,32", "column 'name': 'bert-0': is there twice"),
    ],
)
def test_bad_rows(load, write, profiles, row, message):
    path = write("w.csv", HEAD + LINE + row + "\n")
    if message is None:
        assert len(load("sia", path=path, profiles=profiles).jobs) == 2
        return
    with pytest.raises(TraceError, match=rf"w\.csv:3: .*{message}"):
        load("sia", path=path, profiles=profiles)


def test_what_was_not_measured_says_what_would_do(load, write, profiles):
    path = write("w.csv", HEAD + "x,0,bert,10,32\n")
    with pytest.raises(
        TraceError, match=r"no step times on rtx at placement 244; nodes had 8 GPUs: set gpus_per_node=8"
    ):
        load("sia", path=path, profiles=profiles, gpus_per_node=4)
    with pytest.raises(WorkloadError, match=r"gpu_type='rtxx': .* has placements of rtx; did you mean 'rtx'\?"):
        load("sia", path=path, profiles=profiles, gpu_type="rtxx")
    with pytest.raises(WorkloadError, match="gpus_per_node=0: must be 1 or more"):
        load("sia", path=path, profiles=profiles, gpus_per_node=0)
    with pytest.raises(TraceError, match="is not a whole tar file"):
        load("sia", path=path, profiles=write("p.tar.gz", "nothing"))
    with pytest.raises(
        TraceError, match=r"w\.csv:2: column 'application': 'bert': has no duration: duration_s names ncf"
    ):
        load("sia", path=path, duration_s={"ncf": 5})


def test_too_few_samples_a_gpu(load, write, profiles):
    path = write("w.csv", HEAD + "x,0,bert,2,32\n")
    assert len(load("sia", path=path, profiles=profiles).jobs) == 1
    path = write("w.csv", HEAD + "x,0,bert,10,32\n")
    assert load("sia", path=path, profiles=profiles).jobs.duration_s.tolist() == [300]


@pytest.mark.parametrize(("name", "rows"), [("newtrace-1", 960), ("philly-2", 160), ("saturn-3", 160)])
def test_the_real_lists(load, traces, name, rows):
    path, tar = traces / "sia" / "workloads" / f"{name}.csv", traces / "sia" / "profiles.tar.gz"
    raw, trace = pd.read_csv(path), load("sia", path=str(path), profiles=str(tar))
    assert len(trace.jobs) == len(raw) == rows
    assert trace.jobs.num_gpus.tolist() == raw["num_replicas"].tolist()
    assert trace.jobs.submit_s.tolist() == raw["time"].tolist()
    jobs = trace.jobs.frame()
    longest = jobs.groupby("model", observed=True)["duration_s"].max().sort_values().index.tolist()
    assert longest == ["cifar10", "bert", "deepspeech2", "yolov3", "imagenet"]
    assert jobs["duration_s"].max() < 12 * 3600  # the bound that the lists' makers set
