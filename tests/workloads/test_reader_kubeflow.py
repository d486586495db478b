"""Kubeflow's jobs."""

from __future__ import annotations

import copy

import pytest
import yaml

from workloads import Elasticity, WorkloadError

FIELD = {"TFJob": "tfReplicaSpecs", "PyTorchJob": "pytorchReplicaSpecs", "MPIJob": "mpiReplicaSpecs"}
FIELD["MXJob"] = "mxReplicaSpecs"


def replica(count, gpus=0, cpu="4", memory="16Gi"):
    resources = {"requests": {"cpu": cpu, "memory": memory}}
    if gpus:
        resources["limits"] = {"nvidia.com/gpu": gpus}
    containers = [{"name": "main", "image": "train:1", "command": ["python", "train.py"], "resources": resources}]
    return {"replicas": count, "restartPolicy": "OnFailure", "template": {"spec": {"containers": containers}}}


def job(kind, replicas, annotations=None, name="a", namespace=None, **spec):
    given = {"submit-s": "60", "duration-s": "3600", **(annotations or {})}
    metadata = {"name": name, "annotations": {f"elastic-gpu-simulator/{key}": value for key, value in given.items()}}
    if namespace:
        metadata["namespace"] = namespace
    body = {FIELD[kind]: replicas, **spec}
    return copy.deepcopy({"apiVersion": "kubeflow.org/v1", "kind": kind, "metadata": metadata, "spec": body})


@pytest.fixture
def read(load, write):
    return lambda *jobs: load("kubeflow", path=write("jobs.yaml", yaml.safe_dump_all(jobs)))


def test_a_tf_job_with_parameter_servers(read):
    specs = {"PS": replica(2, cpu="8", memory="32Gi"), "Worker": replica(4, gpus=2), "Chief": replica(1, gpus=2)}
    spec = read(job("TFJob", specs, {"model": "bert", "priority": "2"}, namespace="vision")).jobs.spec(0)
    assert (spec.job_id, spec.tenant, spec.model, spec.priority) == ("vision/a", "vision", "bert", 2)
    assert (spec.submit_s, spec.duration_s, spec.num_gpus, spec.elasticity) == (60, 3600, 10, Elasticity.RIGID)
    assert spec.cpus_per_gpu == pytest.approx((2 * 8 + 5 * 4) / 10)
    assert spec.memory_gib_per_gpu == pytest.approx((2 * 32 + 5 * 16) / 10)


def test_an_elastic_pytorch_job(read):
    elastic = {"minReplicas": 1, "maxReplicas": 8, "rdzvBackend": "c10d", "maxRestarts": 100}
    trace = read(job("PyTorchJob", {"Worker": replica(4, gpus=1)}, elasticPolicy=elastic))
    spec = trace.jobs.spec(0)
    assert (spec.num_gpus, spec.min_gpus, spec.max_gpus, spec.elasticity) == (4, 1, 8, Elasticity.MALLEABLE)
    assert trace.report.notes == ["spec.elasticPolicy.maxRestarts: workers don't crash here; nodes may"]


def test_workers_of_several_gpus_and_a_master(read):
    specs = {"Master": replica(1, gpus=2), "Worker": replica(3, gpus=2)}
    trace = read(job("PyTorchJob", specs, elasticPolicy={"minReplicas": 1, "maxReplicas": 5}))
    spec = trace.jobs.spec(0)
    assert (spec.num_gpus, spec.min_gpus, spec.max_gpus) == (8, 4, 12)
    assert "grows and shrinks by single GPUs here, not by workers of 2" in trace.report.notes[0]


def test_a_horovod_job(read):
    specs = {"Launcher": replica(1), "Worker": replica(4, gpus=4)}
    bounds = {"min-replicas": "2", "max-replicas": "6"}
    spec = read(job("MPIJob", specs, bounds, slotsPerWorker=4, runPolicy={"cleanPodPolicy": "Running"})).jobs.spec(0)
    assert (spec.num_gpus, spec.min_gpus, spec.max_gpus) == (16, 8, 24)


def test_an_mx_job(read):
    specs = {"Scheduler": replica(1), "Server": replica(2), "Worker": replica(2, gpus=1)}
    assert read(job("MXJob", specs, jobMode="MXTrain")).jobs.num_gpus.tolist() == [2]


def test_jobs_of_a_folder_in_order_of_submission(load, tmp_path):
    for name, submit in (("a", "20"), ("b", "10")):
        text = yaml.safe_dump(job("PyTorchJob", {"Worker": replica(1, gpus=1)}, {"submit-s": submit}, name=name))
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "notes.txt").write_text("no manifest")
    trace = load("kubeflow", path=str(tmp_path))
    assert list(trace.jobs.job_id) == ["b", "a"]
    assert trace.report.rows_read == trace.report.rows_kept == 2


WORKER = {"Worker": replica(2, gpus=2)}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (job("TFJob", {"Worker": replica(2)}), "spec: asks for no GPU, such as nvidia.com/gpu: 1"),
        (
            job("TFJob", WORKER, {"submit-s": None}),
            r"metadata\.annotations\[elastic-gpu-simulator/submit-s\]: is needed",
        ),
        (job("TFJob", WORKER, {"duration-s": 60}), r"duration-s\]=60: must be a text, in quotes"),
        (job("TFJob", WORKER, {"duration-s": "0"}), r"duration-s\]=0: must be more than 0"),
        (job("TFJob", WORKER, {"submit-s": "-1"}), r"submit-s\]=-1: must be 0 or more"),
        (job("TFJob", WORKER, {"weight": "0"}), r"weight\]=0: must be more than 0"),
        (job("TFJob", WORKER, {"deadline-s": "-5"}), r"deadline-s\]=-5: must be 0 or more"),
        (job("TFJob", WORKER, {"gpus": "1"}), r"elastic-gpu-simulator/gpus\]: unsupported field"),
        (job("TFJob", WORKER, {"priority": "1.5"}), r"priority\]=1.5: must be a whole number in quotes"),
        (job("TFJob", {**WORKER, "Server": replica(1)}), r"spec\.tfReplicaSpecs\.Server: unsupported field"),
        (job("TFJob", WORKER, foo=1), r"spec\.foo: unsupported field"),
        (
            job("TFJob", WORKER, runPolicy={"activeDeadlineSeconds": 9}),
            "activeDeadlineSeconds=9: unsupported field: no",
        ),
        (
            job("TFJob", WORKER, runPolicy={"suspend": True}),
            r"runPolicy\.suspend=true: unsupported value: must be false",
        ),
        (
            job("TFJob", WORKER, runPolicy={"schedulingPolicy": {"minAvailable": 1}}),
            "minAvailable=1: unsupported value: must be 2: a job starts as a gang",
        ),
        (job("PyTorchJob", WORKER, elasticPolicy={"minReplicas": 3}), "must have the 2 workers between them"),
        (
            job("PyTorchJob", WORKER, elasticPolicy={"minReplicas": 3, "maxReplicas": 2}),
            r"spec\.elasticPolicy\.minReplicas=3: must not be more than spec\.elasticPolicy\.maxReplicas=2",
        ),
        (job("PyTorchJob", WORKER, elasticPolicy={"metrics": [{}]}), "metrics=.*: unsupported field: the number of"),
        (job("MPIJob", WORKER, slotsPerWorker=1), r"spec\.slotsPerWorker=1: must be the 2 GPUs of a worker"),
        (job("MXJob", WORKER, jobMode="MXTune"), "jobMode=MXTune: must be one of MXTrain"),
        ({**job("TFJob", WORKER), "kind": "Job"}, "kind=Job: must be one of TFJob, PyTorchJob, MPIJob, MXJob"),
        ({**job("TFJob", WORKER), "apiVersion": "batch/v1"}, "apiVersion=batch/v1: must be one of kubeflow.org/v1"),
    ],
)
def test_jobs_that_are_refused(read, bad, message):
    with pytest.raises(WorkloadError, match=rf"jobs\.yaml:\d+: document 2: .*{message}"):
        read(job("TFJob", WORKER, name="first"), bad)


def test_the_same_job_twice(read):
    with pytest.raises(WorkloadError, match=r"document 2: metadata\.name=a: there is a job of that name before"):
        read(job("TFJob", WORKER), job("TFJob", WORKER))


def test_an_empty_folder(load, tmp_path):
    with pytest.raises(WorkloadError, match=r"no manifest in it: no file ends in \.yaml, \.yml, \.json"):
        load("kubeflow", path=str(tmp_path))
