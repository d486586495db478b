"""Jobs as PyTorchJobs, kubeflow.org/v1 (as of autumn 2026); `workloads.readers.kubeflow` reads them."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from simulator.errors import ConfigError
from simulator.manifests.deployment import IMAGE
from simulator.manifests.written import Written
from workloads.job_spec import Elasticity, JobSpec
from workloads.manifests.pods import write_template
from workloads.readers.kubeflow import API_VERSION, PREFIX

_SAID = (
    *("job_id", "submit_s", "num_gpus", "duration_s", "min_gpus", "max_gpus", "elasticity", "model", "tenant"),
    *("priority", "weight", "deadline_s", "cpus_per_gpu", "memory_gib_per_gpu"),
)


def write_pytorch_job(job: JobSpec) -> Written:
    """Workers of one GPU each; what a manifest has no field for is in annotations, and else in a note.

    Raises:
        ConfigError: what no PyTorchJob can say.
    """
    if job.kind == Elasticity.MOLDABLE:
        raise ConfigError(f"{job.job_id}: elasticity=moldable: a PyTorchJob is rigid, or elastic while it runs")
    notes = [f"image: {IMAGE} stands for your own"]
    for option in (each for each in fields(JobSpec) if each.name not in _SAID):
        value = getattr(job, option.name)
        if value != option.default and not (isinstance(value, float) and math.isnan(value)):
            notes.append(f"{option.name}={value}: a PyTorchJob can't say it")
    namespace, _, name = job.job_id.rpartition("/")
    annotations = {"submit-s": repr(job.submit_s), "duration-s": repr(job.duration_s)}
    annotations |= {key: value for key, value in (("model", job.model), ("tenant", job.tenant)) if value}
    if job.priority:
        annotations["priority"] = str(job.priority)
    if job.weight != 1.0:
        annotations["weight"] = repr(job.weight)
    if job.deadline_s != math.inf:
        annotations["deadline-s"] = repr(job.deadline_s)
    metadata: dict[str, Any] = {"name": name, **({"namespace": namespace} if namespace else {})}
    metadata["annotations"] = {f"{PREFIX}{key}": value for key, value in annotations.items()}
    try:
        template = write_template(1, job.cpus_per_gpu, job.memory_gib_per_gpu, IMAGE)
    except ValueError as error:
        raise ConfigError(f"{job.job_id}: {error}") from None
    spec: dict[str, Any] = {}
    low, high = job.size_range
    if job.kind == Elasticity.MALLEABLE:
        spec["elasticPolicy"] = {"minReplicas": low, "maxReplicas": high}
    worker = {"replicas": job.num_gpus, "restartPolicy": "OnFailure", "template": template}
    spec["pytorchReplicaSpecs"] = {"Worker": worker}
    return Written({"apiVersion": API_VERSION, "kind": "PyTorchJob", "metadata": metadata, "spec": spec}, notes)
