"""What a pod asks for, by its template: GPUs, CPUs, memory. What runs in it is none of our business.

Source: the Kubernetes API, PodTemplateSpec of core/v1, as of autumn 2026.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from workloads.manifests.fields import Fields
from workloads.manifests.quantities import GIB, format_bytes, format_quantity

GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu")
GRACE_S = 30.0  # the API's default of terminationGracePeriodSeconds
_WHAT_RUNS = (
    *("name", "image", "imagePullPolicy", "command", "args", "workingDir", "env", "envFrom", "ports"),
    *("volumeMounts", "volumeDevices", "securityContext", "stdin", "stdinOnce", "tty", "lifecycle"),
    *("terminationMessagePath", "terminationMessagePolicy"),
)
_AROUND_IT = (
    *("volumes", "serviceAccount", "serviceAccountName", "automountServiceAccountToken", "imagePullSecrets"),
    *("securityContext", "restartPolicy", "dnsPolicy", "dnsConfig", "hostNetwork", "hostIPC", "hostPID", "hostAliases"),
    *("hostname", "subdomain", "enableServiceLinks", "shareProcessNamespace", "setHostnameAsFQDN", "runtimeClassName"),
)
_PROBES = ("readinessProbe", "startupProbe", "livenessProbe")


@dataclass(frozen=True)
class Pod:
    """What one pod asks for."""

    gpus: int = 0
    cpus: Fraction = Fraction(0)
    memory_bytes: Fraction = Fraction(0)
    grace_s: float | None = None  # None: not said

    def __add__(self, other: Pod) -> Pod:
        return Pod(self.gpus + other.gpus, self.cpus + other.cpus, self.memory_bytes + other.memory_bytes, self.grace_s)

    def times(self, count: int) -> Pod:
        return Pod(self.gpus * count, self.cpus * count, self.memory_bytes * count, self.grace_s)


def read_template(template: Fields) -> Pod:
    """A PodTemplateSpec.

    Raises:
        ManifestError: what would change where or when the pod runs, and isn't simulated; see `Fields` too.
    """
    with template, template.section("spec", needed=True) as spec:
        template.ignore("metadata")
        spec.ignore(*_AROUND_IT)
        spec.note("there are no taints here", "tolerations")
        spec.note("what schedules is `allocation` and `placement`", "schedulerName")
        spec.refuse("nodeSelector", "say where it may run by service.pool or training_pool")
        spec.refuse("affinity", "say where it may run by service.pool or training_pool")
        grace_s = spec.whole("terminationGracePeriodSeconds", None)
        pod = Pod(grace_s=None if grace_s is None else float(grace_s))
        for container in spec.items("containers", needed=True):
            pod += _container(container)
    return pod


def _container(container: Fields) -> Pod:
    with container, container.section("resources") as resources:
        container.ignore(*_WHAT_RUNS)
        container.note("when a replica is ready is up to service.startup", *_PROBES)
        with resources.section("requests") as requests, resources.section("limits") as limits:
            asked = {key: _asked(key, requests, limits) for key in ("cpu", "memory", *GPU_RESOURCES)}
    gpus = sum(asked[name] for name in GPU_RESOURCES)
    return Pod(int(gpus), asked["cpu"], asked["memory"])


def _asked(key: str, requests: Fields, limits: Fields) -> Fraction:
    """The request; where there is none, the limit, as the API has it."""
    limit: Fraction | None = limits.quantity(key, None)
    request: Fraction | None = requests.quantity(key, None)
    if key in GPU_RESOURCES:
        for fields, value in ((requests, request), (limits, limit)):
            if value is not None and value.denominator != 1:
                raise fields.error(key, "must be a whole number of GPUs")
        if request is not None and request != limit:
            raise requests.error(key, f"must equal {limits.path(key)}: GPUs can't be overcommitted")
    elif limit is not None and request is not None:
        if limit < request:
            raise limits.error(key, f"must not be less than {requests.path(key)}")
        if limit > request:
            limits.notes.append(f"{limits.path(key)}: what counts here is the request")
    found = limit if request is None else request
    return Fraction(0) if found is None else found


def shares(pod: Pod, gpus: int) -> dict[str, float]:
    """Its CPUs and memory a GPU, as jobs and services have them."""
    return {"cpus_per_gpu": float(pod.cpus / gpus), "memory_gib_per_gpu": float(pod.memory_bytes / GIB / gpus)}


def write_template(
    gpus: int, cpus_per_gpu: float, memory_gib_per_gpu: float, image: str, **spec: Any
) -> dict[str, Any]:
    """A template of one container, its limits as its requests, so that nothing is overcommitted.

    Raises:
        ValueError: CPUs that are no whole number of thousandths, or memory that is none of bytes.
    """
    resources = {}
    if cpus_per_gpu:
        thousandths = round(Fraction(cpus_per_gpu) * gpus * 1000)
        if not _is_about(Fraction(thousandths, 1000) / gpus, cpus_per_gpu):
            raise ValueError(f"cpus_per_gpu={cpus_per_gpu}: {gpus} GPUs make no whole number of thousandths of a CPU")
        resources["cpu"] = format_quantity(Fraction(thousandths, 1000))
    if memory_gib_per_gpu:
        num_bytes = round(Fraction(memory_gib_per_gpu) * GIB * gpus)
        if not _is_about(Fraction(num_bytes, GIB) / gpus, memory_gib_per_gpu):
            raise ValueError(f"memory_gib_per_gpu={memory_gib_per_gpu}: {gpus} GPUs make no whole number of bytes")
        resources["memory"] = format_bytes(num_bytes)
    resources[GPU_RESOURCES[0]] = str(gpus)
    container = {"name": "main", "image": image, "resources": {"requests": resources, "limits": dict(resources)}}
    return {"spec": {**spec, "containers": [container]}}


def _is_about(exact: Fraction, value: float) -> bool:
    """Whether a value is this one, but for the rounding of a division."""
    return math.isclose(exact, value, rel_tol=1e-12)
