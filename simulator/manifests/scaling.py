"""Which kind of document is which policy, both ways."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies import PolicyError, registry
from simulator.errors import ConfigError
from simulator.manifests import aws, cluster_autoscaler, deployment, hpa, karpenter, keda, ray_serve
from simulator.manifests.metrics import MetricNames
from simulator.manifests.written import Written
from workloads.manifests import ManifestError, load_documents
from workloads.manifests.documents import Document
from workloads.options import nearest
from workloads.readers import kubeflow

_READERS = {
    hpa.KIND: (hpa.POLICY, hpa.read_hpa),
    keda.KIND: (keda.POLICY, keda.read_keda),
    karpenter.KIND: (karpenter.POLICY, karpenter.read_karpenter),
}
WRITERS: dict[str, Callable[[Any, str], Written]] = {
    hpa.POLICY: hpa.write_hpa,
    keda.POLICY: keda.write_keda,
    karpenter.POLICY: karpenter.write_karpenter,
    cluster_autoscaler.POLICY: cluster_autoscaler.write_flags,
    ray_serve.POLICY: ray_serve.write_ray_serve,
    aws.TRACKING: aws.write_tracking,
    aws.STEP: aws.write_step,
}
OF_NODES = (karpenter.KIND, cluster_autoscaler.KIND)  # the others scale replicas; AWS's either
_BESIDE = (  # what stands in such files too, and neither scales nor runs
    *("Service", "ConfigMap", "Secret", "Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole"),
    *("ClusterRoleBinding", "Ingress", "PersistentVolumeClaim", "PersistentVolume", "EC2NodeClass"),
    *("TriggerAuthentication", "ClusterTriggerAuthentication", "ServiceMonitor", "PodMonitor", "NetworkPolicy"),
)


@dataclass(frozen=True)
class Found:
    """A policy that a document describes."""

    place: str
    kind: str
    name: str
    policy: str
    options: Mapping[str, Any]
    notes: list[str]  # what is taken otherwise than it says, or has no effect here
    target: str = ""  # KIND NAME of what it scales, where it says that

    @property
    def target_name(self) -> str:
        return self.target.rpartition(" ")[2]


def read_policies(path: str | Path, names: MetricNames) -> list[Found]:
    """The scaling policies of a file, in order.

    Raises:
        ManifestError: a document of an unknown kind, or one that can't be read; see there.
        ConfigError: names of metrics that no document has.
    """
    documents = load_documents(path)
    services = [document.name for document in documents if is_service(document)]
    found = [each for document in documents for each in policies_of(document, names, services)]
    names.check_used(str(path))
    return found


def is_service(document: Document) -> bool:
    """Whether it is a Deployment, and not that of the cluster-autoscaler."""
    return document.kind == deployment.KIND and cluster_autoscaler.flags_of(document) is None


def policies_of(document: Document, names: MetricNames, services: Collection[str] = ()) -> Iterator[Found]:
    """The scaling policies of a document; of a Deployment, a job or what stands beside them none.

    Args:
        services: the names of the Deployments of its file; a target that should be one of them, and isn't, is noted.

    Raises:
        ManifestError: an unknown kind, or what can't be read.
    """
    for kind, name, policy, options in _read(document, names):
        try:
            registry.create("scaling", policy, **options)
        except PolicyError as error:
            raise ManifestError(f"{document.where()}: {error}") from None
        target = _target(document, kind, name)
        target_kind, _, target_name = target.rpartition(" ")
        if services and target_kind == deployment.KIND and target_name not in services:
            why = f"no such Deployment in the file{nearest(target_name, services)}"
            document.notes.append(f"spec.scaleTargetRef.name={target_name}: {why}")
        yield Found(document.place, kind, name, policy, options, document.notes, target)


def _target(document: Document, kind: str, name: str) -> str:
    if kind == ray_serve.KIND:
        return f"deployment {name}" if name else ""
    if kind not in (hpa.KIND, keda.KIND):
        return ""
    reference = document.content["spec"]["scaleTargetRef"]
    return f"{reference.get('kind') or deployment.KIND} {reference.get('name') or name}".strip()


def _read(document: Document, names: MetricNames) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """(kind, name, policy, options)."""
    kind, content = document.kind, document.content
    if kind in _READERS:
        policy, read = _READERS[kind]
        yield kind, document.name, policy, read(document.fields(), names)
    elif cluster_autoscaler.flags_of(document) is not None:
        options = cluster_autoscaler.read_cluster_autoscaler(document, names)
        yield cluster_autoscaler.KIND, document.name, cluster_autoscaler.POLICY, options
    elif kind:
        known = (*_READERS, deployment.KIND, *kubeflow.KINDS)
        if kind not in (*known, *_BESIDE):
            raise ManifestError(f"{document.where('kind')}: kind={kind}: unsupported kind{nearest(kind, known)}")
    elif isinstance(content, Mapping) and any(key in content for key in aws.KEYS):
        name, policy, options = aws.read_aws(document.fields(), names)
        yield aws.KIND, name, policy, options
    elif isinstance(content, Mapping) and any(key in content for key in ray_serve.KEYS):
        for name, options in ray_serve.read_ray_serve(document.fields()):
            yield ray_serve.KIND, name, ray_serve.POLICY, options
    else:
        raise ManifestError(
            f"{document.where()}: kind: is needed; or flags of the cluster-autoscaler, or a mapping with one of "
            f"{', '.join((*aws.KEYS, *ray_serve.KEYS))}"
        )


def write_policy(policy: Any, name: str, registered_as: str) -> Written:
    """The manifest of a policy, for a target of that name.

    Raises:
        ConfigError: a policy that no other system has, or an option that its manifest can't say.
    """
    if registered_as not in WRITERS:
        raise ConfigError(f"{registered_as}: no other system has this policy; manifests are of {', '.join(WRITERS)}")
    try:
        return WRITERS[registered_as](policy, name)
    except ConfigError:
        raise
    except ValueError as error:  # a number that no quantity or duration can say
        raise ConfigError(f"{registered_as}: {error}") from None
