"""Kubeflow's training jobs: TFJob, PyTorchJob, MPIJob and MXJob manifests.

Source: kubeflow.org/v1, Training Operator 1.9 (MXJob: 1.8, the last that has it), as of autumn 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.errors import WorkloadError
from workloads.job_spec import JobSpec
from workloads.manifests.documents import Document, load_documents
from workloads.manifests.fields import Fields, ManifestError
from workloads.manifests.pods import Pod, read_template, shares
from workloads.readers.files import FileSource
from workloads.trace import JobTable, ReadReport, Trace

PREFIX = "elastic-gpu-simulator/"  # of the annotations that are ours
API_VERSION = "kubeflow.org/v1"
_ELASTIC = "Worker"  # the replicas whose number may change
SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Kind:
    """What is special about one kind of job."""

    replica_specs: str  # the field that has them
    types: tuple[str, ...]  # of replicas


KINDS = {
    "TFJob": Kind("tfReplicaSpecs", ("Chief", "Master", "Worker", "PS", "Evaluator")),
    "PyTorchJob": Kind("pytorchReplicaSpecs", ("Master", "Worker")),
    "MPIJob": Kind("mpiReplicaSpecs", ("Launcher", "Worker")),
    "MXJob": Kind("mxReplicaSpecs", ("Scheduler", "Server", "Worker")),
}


@dataclass(kw_only=True)
class KubeflowReader(FileSource):
    """A manifest a job, in a file or in the files (YAML, JSON) of a folder; a job that is read twice is an error.

    A job asks for the GPUs of all its replicas; the CPUs and memory of all of them, those of parameter servers too, are
    spread over its GPUs. A PyTorchJob's `elasticPolicy`, or on others the annotations `min-replicas` and
    `max-replicas` (of Horovod's elastic workers), say between which numbers of workers it may be. When it is submitted
    and how long it runs is in annotations, each with the prefix `elastic-gpu-simulator/`, each a number in quotes:

    | annotation | is |
    |---|---|
    | submit-s, duration-s | needed; the duration is that on the replicas asked for |
    | model, tenant | default: none, and the namespace |
    | priority, weight, deadline-s | as of `JobSpec` |
    """

    def read(self, rng: np.random.Generator) -> Trace:
        path = self._existing(self.path, "path")
        files = [path]
        if path.is_dir():
            files = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES)
            if not files:
                raise WorkloadError(f"{path}: no manifest in it: no file ends in {', '.join(SUFFIXES)}")
        report = ReadReport(str(path))
        specs: dict[str, JobSpec] = {}
        for document in (each for file in files for each in load_documents(file)):
            spec = read_job(document)
            if spec.job_id in specs:
                raise ManifestError(
                    f"{document.where()}: metadata.name={spec.job_id}: there is a job of that name before"
                )
            specs[spec.job_id] = spec
            report.notes += document.notes
        report.rows_read = len(specs)
        return Trace(JobTable.from_specs(specs.values()), report)


def read_job(document: Document) -> JobSpec:
    """The job of a document.

    Raises:
        ManifestError: another kind; what `Fields` refuses; a job without GPUs, or with bounds that leave nothing.
    """
    with document.fields() as fields:
        name = fields.text("kind", among=KINDS)
        fields.text("apiVersion", among=(API_VERSION,))
        fields.ignore("status")
        kind = KINDS[name]
        with fields.section("metadata", needed=True) as metadata:
            job_id, options = _metadata(metadata)
        own: dict[str, int] = {key: options.pop(key) for key in ("min_replicas", "max_replicas") if key in options}
        with fields.section("spec", needed=True) as spec:
            bounds = _special(name, spec)
            replicas = _replicas(spec.section(kind.replica_specs, needed=True), kind)
            _run_policy(spec.section("runPolicy"), sum(count for count, _ in replicas.values()))
            if name == "MPIJob":
                _slots(spec, replicas)
            options |= _sizes(spec, replicas, {**bounds, **own})
    return JobSpec(job_id=job_id, **options)


def _metadata(metadata: Fields) -> tuple[str, dict[str, Any]]:
    """(name, what our annotations say)."""
    metadata.ignore(
        "labels", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "finalizers"
    )
    name, namespace = metadata.text("name"), metadata.text("namespace", "")
    given = metadata.section("annotations")
    given.ignore(*(key for key in given.content if not str(key).startswith(PREFIX)))
    options: dict[str, Any] = {"tenant": namespace}
    with given:
        for key, option in (("submit-s", "submit_s"), ("duration-s", "duration_s")):
            options[option] = given.number_in_text(f"{PREFIX}{key}")
            if options[option] < 0 or (option == "duration_s" and not options[option]):
                raise given.error(
                    f"{PREFIX}{key}", "must be 0 or more" if option == "submit_s" else "must be more than 0"
                )
        for key in ("model", "tenant"):
            value = given.text(f"{PREFIX}{key}", None)
            options |= {} if value is None else {key: value}
        for key, option in (("weight", "weight"), ("deadline-s", "deadline_s")):
            value = given.number_in_text(f"{PREFIX}{key}", None)
            if value is not None and (value < 0 or (option == "weight" and not value)):
                raise given.error(
                    f"{PREFIX}{key}", "must be more than 0" if option == "weight" else "must be 0 or more"
                )
            options |= {} if value is None else {option: value}
        for key, option in (
            ("priority", "priority"),
            ("min-replicas", "min_replicas"),
            ("max-replicas", "max_replicas"),
        ):
            value = given.number_in_text(f"{PREFIX}{key}", None)
            if value is not None and value != int(value):
                raise given.error(f"{PREFIX}{key}", "must be a whole number in quotes")
            options |= {} if value is None else {option: int(value)}
    return (f"{namespace}/{name}" if namespace else name), options


def _special(kind: str, spec: Fields) -> dict[str, int]:
    """Reads what only one kind has; gives the bounds of a PyTorchJob's workers, where it is elastic."""
    if kind == "PyTorchJob":
        spec.ignore("nprocPerNode")
        with spec.section("elasticPolicy") as elastic:
            elastic.ignore("rdzvBackend", "rdzvPort", "rdzvHost", "rdzvId", "rdzvConf", "standalone", "nProcPerNode")
            elastic.note("workers don't crash here; nodes may", "maxRestarts")
            elastic.refuse("metrics", "the number of workers is up to `allocation`")
            given = {"min_replicas": elastic.whole("minReplicas", None, least=1)}
            given["max_replicas"] = elastic.whole("maxReplicas", None, least=1)
            if None not in given.values():
                elastic.ordered("minReplicas", "maxReplicas", given["min_replicas"], given["max_replicas"])
        return {key: value for key, value in given.items() if value is not None}
    if kind == "TFJob":
        spec.ignore("successPolicy")
        spec.note(f"the bounds are the annotations {PREFIX}min-replicas and max-replicas", "enableDynamicWorker")
    if kind == "MPIJob":
        spec.ignore("cleanPodPolicy", "mainContainer")
    if kind == "MXJob":
        spec.text("jobMode", "MXTrain", among=("MXTrain",))
    return {}


def _replicas(specs: Fields, kind: Kind) -> dict[str, tuple[int, Pod]]:
    """type -> (count, what each of them asks for), of the types that are there."""
    found = {}
    with specs:
        for name in kind.types:
            if not specs.has(name):
                specs.ignore(name)
                continue
            with specs.section(name) as replica:
                replica.ignore("restartPolicy")
                count = replica.whole("replicas", 1)
                found[name] = count, read_template(replica.section("template", needed=True))
    return found


def _run_policy(policy: Fields, num_replicas: int) -> None:
    with policy, policy.section("schedulingPolicy") as scheduling:
        policy.ignore("cleanPodPolicy", "ttlSecondsAfterFinished", "managedBy")
        policy.note("jobs don't fail here; nodes may", "backoffLimit")
        policy.only("suspend", False, "a job is submitted when its annotation says")
        policy.refuse("activeDeadlineSeconds", "no job is ended for running long")
        scheduling.ignore("minResources")
        scheduling.note("there is one queue, and tenants", "queue")
        scheduling.only("minAvailable", num_replicas, "a job starts as a gang of all its replicas")
        scheduling.refuse("priorityClass", f"what it is worth is elsewhere: say {PREFIX}priority")
        scheduling.refuse("scheduleTimeoutSeconds", "a job waits for as long as it takes")


def _slots(spec: Fields, replicas: Mapping[str, tuple[int, Pod]]) -> None:
    slots, gpus = spec.whole("slotsPerWorker", None, least=1), replicas[_ELASTIC][1].gpus if _ELASTIC in replicas else 0
    if slots is not None and gpus and slots != gpus:
        raise spec.error("slotsPerWorker", f"must be the {gpus} GPUs of a worker: one process each")


def _sizes(spec: Fields, replicas: Mapping[str, tuple[int, Pod]], bounds: Mapping[str, int]) -> dict[str, Any]:
    """GPUs, and the shares of CPUs and memory; of an elastic job its least and most GPUs."""
    total = Pod()
    for count, pod in replicas.values():
        total += pod.times(count)
    if not total.gpus:
        raise ManifestError(
            f"{spec.where()}: {spec.at}: asks for no GPU, such as nvidia.com/gpu: 1 in resources.limits"
        )
    sizes: dict[str, Any] = {"num_gpus": total.gpus, **shares(total, total.gpus)}
    if not bounds:
        return sizes
    count, pod = replicas.get(_ELASTIC, (0, Pod()))
    least, most = bounds.get("min_replicas", count), bounds.get("max_replicas", count)
    if not pod.gpus:
        raise ManifestError(f"{spec.where()}: {spec.at}: is elastic, and its workers ask for no GPU")
    if not 1 <= least <= count <= most:
        raise ManifestError(
            f"{spec.where()}: {spec.at}: minReplicas={least}, maxReplicas={most}: "
            f"must have the {count} workers between them"
        )
    if pod.gpus > 1:
        spec.notes.append(f"{spec.place}: grows and shrinks by single GPUs here, not by workers of {pod.gpus}")
    others = total.gpus - count * pod.gpus
    return {**sizes, "min_gpus": others + least * pod.gpus, "max_gpus": others + most * pod.gpus}
