"""Alibaba PAI: tables without headers, joined."""

from __future__ import annotations

import pytest

from workloads import TraceError

HEADERS = {
    "pai_job_table": "job_name,inst_id,user,status,start_time,end_time",
    "pai_task_table": "job_name,task_name,inst_num,status,start_time,end_time,plan_cpu,plan_mem,plan_gpu,gpu_type",
    "pai_instance_table": ("job_name,task_name,inst_name,worker_name,inst_id,status,start_time,end_time,machine"),
}
JOB = "j1,i1,ann,Terminated,100.0,400.0\n"
TASK = "j1,worker,2.0,Terminated,150.0,390.0,600.0,29.296875,{gpu},MISC\n"
HALF = TASK.format(gpu="50.0")
PS = "j1,ps,1.0,Terminated,120.0,395.0,400.0,10,,\n"


@pytest.fixture
def folder(write, tmp_path):
    def make(jobs=JOB, tasks=HALF, instances=None, suffix=""):
        for name, text in zip(HEADERS, (jobs, tasks, instances), strict=True):
            if text is not None:
                write(f"{name}.header", HEADERS[name] + "\n")
                write(f"{name}.csv{suffix}", text)
        return str(tmp_path)

    return make


def test_tasks_of_half_gpus(load, folder):
    trace = load("pai", path=folder(tasks=HALF + PS))
    job = trace.jobs.spec(0)
    assert (job.job_id, job.submit_s, job.duration_s, job.tenant) == ("j1", 100, 240, "ann")
    assert (job.num_gpus, job.gpu_utilisation_frac) == (2, 0.5)  # a GPU to each of two instances
    assert (job.cpus_per_gpu, job.memory_gib_per_gpu) == ((12 + 4) / 2, pytest.approx((2 * 29.296875 + 10) / 2))
    assert trace.report.notes == ["rounded up to whole GPUs (fractional=round_up): 1 jobs"]


def test_packing_and_dropping_fractions(load, folder):
    job = load("pai", path=folder(), fractional="pack").jobs.spec(0)
    assert (job.num_gpus, job.gpu_utilisation_frac) == (1, 1)
    with pytest.raises(TraceError, match=r"holds no jobs; 1 rows dropped: asks for part of a GPU \(fractional=drop\)"):
        load("pai", path=folder(), fractional="drop")
    whole = load("pai", path=folder(tasks=TASK.format(gpu="100.0")), fractional="drop")
    assert (whole.jobs.num_gpus.tolist(), whole.report.notes) == ([2], [])


def test_gzip_tables(load, folder):
    assert len(load("pai", path=folder(suffix=".gz")).jobs) == 1


def test_drops_are_counted_by_reason(load, folder):
    jobs = JOB + "".join(
        f"{name},i,u,Running,{start},\n"
        for name, start in (("cpu", 1), ("none", 1), ("run", 1), ("zero", 1), ("late", ""))
    )
    tasks = TASK.format(gpu="100") + "".join(
        [
            "cpu,w,1,Terminated,5,9,100,1,,\n",
            "run,w,1,Running,5,,100,1,100,T4\n",
            "run,w2,1,Terminated,5,9,100,1,100,T4\n",
            "zero,w,1,Failed,5,5,100,1,100,T4\n",
            "late,w,1,Failed,5,9,100,1,100,T4\n",
            "ghost,w,1,Failed,5,9,100,1,100,T4\n",
        ]
    )
    trace = load("pai", path=folder(jobs, tasks))
    assert trace.report.dropped == {
        "has no task in pai_task_table": 1,
        "asks for no GPU": 1,
        "has no submit time": 1,
        "a task has no start or end (waiting or running)": 1,
        "ran for 0 s or less": 1,
    }
    assert trace.report.notes == ["left out: 1 tasks whose job is not in pai_job_table"]
    assert [job.job_id for job in trace.jobs] == ["j1"]


def test_only_what_succeeded(load, folder):
    jobs = JOB + "j2,i2,bob,Failed,90.0,400.0\n"
    tasks = TASK.format(gpu="100") + "j2,w,1,Failed,95,99,100,1,100,T4\n"
    assert [job.job_id for job in load("pai", path=folder(jobs, tasks)).jobs] == ["j2", "j1"]
    trace = load("pai", path=folder(jobs, tasks), status="terminated")
    assert trace.report.dropped == {"did not succeed (status=terminated)": 1}


def test_times_of_instances(load, folder):
    rows = [
        f"j1,worker,n{i},w{i},i1,Terminated,{start},{end},m{i}"
        for i, (start, end) in enumerate([(160, 300), (170, 380), (155, 200)])
    ]
    path = folder(tasks=TASK.format(gpu="100"), instances="\n".join(rows))
    job = load("pai", path=path, times="instance").jobs.spec(0)
    assert (job.duration_s, job.num_gpus) == (380 - 155, 3)
    path = folder(tasks=TASK.format(gpu="100"), instances="\n".join(rows) + "\nj1,worker,n9,w9,i1,Running,160,,m\n")
    with pytest.raises(TraceError, match="1 rows dropped: a task has no start or end"):
        load("pai", path=path, times="instance")


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        ("jobs", "j2,i2,u,Failed,soon,9\n", r"pai_job_table\.csv:2: column 'start_time': 'soon': is not a number"),
        ("jobs", "j2,i2,u,Failed,9\n", r"pai_job_table\.csv:2: .*: has 5 fields where 6 are due"),
        ("jobs", JOB, r"pai_job_table\.csv:2: column 'job_name': 'j1': is there twice"),
        ("tasks", "j1,x,1,F,5,9,1,1,all,T4\n", r"pai_task_table\.csv:2: column 'plan_gpu': 'all': is not a number"),
        ("tasks", "j1,x,1,F,5,9,1,1,-50,T4\n", r"pai_task_table\.csv:2: column 'plan_gpu': -50\.0: must be 0 or more"),
        ("tasks", "j1,x,0,F,5,9,1,1,50,T4\n", r"pai_task_table\.csv:2: column 'inst_num': 0\.0: must be 1 or more"),
    ],
)
def test_bad_rows(load, folder, table, row, message):
    first = {"jobs": JOB, "tasks": TASK.format(gpu="50")}[table]
    with pytest.raises(TraceError, match=message):
        load("pai", path=folder(**{table: first + row}))


def test_missing_tables(load, folder, write, tmp_path):
    with pytest.raises(TraceError, match=r"pai_job_table\.csv: is missing"):
        load("pai", path=str(tmp_path))
    write("pai_job_table.tar.gz", "")
    with pytest.raises(TraceError, match=r"pai_job_table\.csv: is missing: unpack pai_job_table\.tar\.gz first"):
        load("pai", path=str(tmp_path))
    write("pai_job_table.csv", JOB)
    with pytest.raises(TraceError, match=r"pai_job_table\.header: is missing"):
        load("pai", path=str(tmp_path))
    with pytest.raises(TraceError, match=r"pai_instance_table\.csv: is missing"):
        load("pai", path=folder(), times="instance")
