"""The Deployment that stands in the file of the policy that scales it: a run takes nothing of it, and tells that."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from simulator.manifests import deployment
from simulator.manifests.choice import Chosen
from simulator.manifests.scaling import is_service
from simulator.serving.spec import ServiceSpec
from workloads.manifests import ManifestError, load_documents
from workloads.manifests.documents import Document

_SAID = {
    "gpus_per_replica": "{:g} GPUs a replica",
    "replicas": "{} replicas",
    "cpus_per_gpu": "{:g} CPUs a GPU",
    "memory_gib_per_gpu": "{:g} GiB a GPU",
    "drain_timeout_s": "{:g} s to drain",
    "name": "the name {}",
}


def deployment_beside(one: Chosen) -> Document | None:
    """The Deployment that a chosen policy scales; None: it isn't in the file."""
    for document in load_documents(one.choice.manifest):
        if is_service(document) and one.found.target == f"{document.kind} {document.name}":
            return document
    return None


def not_taken(one: Chosen, at: tuple[str, ...], options: Mapping[str, Any]) -> list[str]:
    """What the Deployment says and a service doesn't, how to set that, and what of it would have no effect.

    Args:
        at: where the settings of the service, or of its site, stand.
        options: of the service, with the bounds that hold.
    """
    document = deployment_beside(one)
    if document is None:
        return []
    try:
        says = deployment.read_deployment(document.fields())
    except ManifestError as error:
        return [f"{document.kind} {document.name} can't be a service here: {error}"]
    low, high = (options.get(option) for option in ("min_replicas", "max_replicas"))
    if isinstance(low, int) and isinstance(high, int):
        says["replicas"] = max(min(says["replicas"], high), low)
    if at[0] != "service":
        del says["name"]  # is that of `services`
    if "sites" in at:
        says = {option: value for option, value in says.items() if option not in ("name", "replicas")}
    has = {option: _held(options, option) for option in says}
    differing = [option for option in _SAID if option in says and says[option] != has[option]]
    told = [f"{document.place}: {note}" for note in document.notes]
    if not differing:
        return told
    asked = ", ".join(_SAID[option].format(says[option]) for option in differing)
    held = ", ".join(str(has[option]) for option in differing)
    words = " ".join(shlex.quote(f"{'.'.join((*at, option))}={says[option]}") for option in differing)
    label = f"{one.choice.manifest}: {document.kind} {document.name}"
    return [f"{label} asks for {asked}: the run's {'.'.join(at)} has {held}: set {words}", *told]


def _held(options: Mapping[str, Any], option: str) -> Any:
    value = options.get(option)
    return getattr(ServiceSpec, option) if value is None else value
