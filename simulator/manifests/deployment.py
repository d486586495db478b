"""Deployment, apps/v1 (Kubernetes 1.35, as of autumn 2026), and a service."""

from __future__ import annotations

import math
from typing import Any

from simulator.errors import ConfigError
from simulator.manifests.written import Written, whole
from simulator.serving.spec import ServiceSpec
from workloads.job_spec import JobSpec
from workloads.manifests import Fields, ManifestError
from workloads.manifests.pods import GRACE_S, read_template, shares, write_template

KIND, API_VERSION = "Deployment", "apps/v1"
IMAGE = "IMAGE"  # of what is written: fill it in


def read_deployment(fields: Fields) -> dict[str, Any]:
    """The options of a service: name, replicas, what a replica asks for, and how long it may drain.

    Raises:
        ManifestError: replicas without GPUs; see `Fields` and `read_template` too.
    """
    with fields, fields.section("spec", needed=True) as spec:
        fields.ignore("kind", "status")
        fields.text("apiVersion", among=(API_VERSION,))
        name = fields.section("metadata", needed=True).text("name")
        spec.ignore("selector", "revisionHistoryLimit", "progressDeadlineSeconds")
        spec.note("there are no roll-outs here", "strategy")
        spec.only("minReadySeconds", 0, "a replica that is ready is available")
        spec.only("paused", False, "there are no roll-outs here")
        replicas = spec.whole("replicas", 1)
        pod = read_template(spec.section("template", needed=True))
        if not pod.gpus:
            raise ManifestError(
                f"{spec.where('template')}: spec.template: asks for no GPU: a replica has one or more here"
            )
    return {
        "name": name,
        "replicas": replicas,
        "gpus_per_replica": pod.gpus,
        **shares(pod, pod.gpus),
        "drain_timeout_s": GRACE_S if pod.grace_s is None else pod.grace_s,
    }


def write_deployment(service: ServiceSpec) -> Written:
    """The Deployment of a service, with its requests and limits.

    Raises:
        ConfigError: what no Deployment can say.
    """
    own, notes = {}, [f"image: {IMAGE} stands for your own"]
    if service.drain_timeout_s == math.inf:
        notes.append("drain_timeout_s=inf: a pod has terminationGracePeriodSeconds, by default 30: fill it in")
    else:
        grace_s = whole("service", "drain_timeout_s", service.drain_timeout_s, "a Deployment")
        own["terminationGracePeriodSeconds"] = grace_s
    sizes = (service.gpus_per_replica, service.cpus_per_gpu, service.memory_gib_per_gpu)
    return _written(service.name, service.replicas, *sizes, own, notes)


def write_job(job: JobSpec) -> Written:
    """A job as a Deployment of workers with one GPU each, as many as it asks for.

    Raises:
        ConfigError: what no Deployment can say.
    """
    notes = [f"image: {IMAGE} stands for your own", "a Deployment runs for ever: delete it once the job is over"]
    low, high = job.size_range
    if low != high:
        notes.append(f"min_gpus={low}, max_gpus={high}: scale it between them")
    name = job.job_id.rpartition("/")[2]
    return _written(name, job.num_gpus, 1, job.cpus_per_gpu, job.memory_gib_per_gpu, {}, notes)


def _written(
    name: str, replicas: int, gpus: int, cpus_per_gpu: float, memory_gib_per_gpu: float, own: Any, notes: list[str]
) -> Written:
    try:
        template = write_template(gpus, cpus_per_gpu, memory_gib_per_gpu, IMAGE, **own)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
    labels = {"app": name}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": dict(labels)}, **template},
    }
    return Written({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}, notes)
