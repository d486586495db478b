"""What a file of manifests means here."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from simulator.manifests import deployment
from simulator.manifests.cluster_autoscaler import flags_of
from simulator.manifests.metrics import MetricNames
from simulator.manifests.scaling import OF_NODES, Found, policies_of
from workloads.manifests import load_documents
from workloads.readers.kubeflow import KINDS, read_job


def shown(path: str, names: MetricNames) -> str:
    """Each document, what of it is taken otherwise or has no effect, and the command line that runs the file.

    Raises:
        ManifestError: a document that can't be read.
        ConfigError: names of metrics that no document has.
    """
    lines: list[str] = []
    services: list[dict[str, Any]] = []
    found: list[Found] = []
    num_jobs = 0
    for document in load_documents(path):
        policies = list(policies_of(document, names))
        found += policies
        for each in policies:
            lines += [
                f"{each.place}: {' '.join(filter(None, (each.kind, each.name)))}: scaling={each.policy}",
                *_indented(each.options),
            ]
        if document.kind == deployment.KIND and flags_of(document) is None:
            services.append(deployment.read_deployment(document.fields()))
            lines += [f"{document.place}: {document.kind} {document.name}: a service", *_indented(services[-1])]
        elif document.kind in KINDS:
            job, num_jobs = read_job(document), num_jobs + 1
            low, high = job.size_range
            sizes = f"{job.num_gpus} GPUs" if low == high else f"{job.num_gpus} GPUs, {low}..{high}"
            lines.append(f"{document.place}: {document.kind} {job.job_id}: a job of {sizes}, {job.duration_s:g} s")
        elif not policies:
            lines.append(f"{document.place}: {document.kind} {document.name}: has no part in it")
        lines += [f"  note: {note}" for note in document.notes]
    names.check_used(path)
    return "\n".join([*lines, "", _command(path, services, found, num_jobs, names)])


def _indented(options: Mapping[str, Any]) -> list[str]:
    text = yaml.safe_dump(dict(options), sort_keys=False, width=116)
    return [f"  {line}" for line in text.splitlines()]


def _command(path: str, services: list[dict[str, Any]], found: list[Found], num_jobs: int, names: MetricNames) -> str:
    """The command line; of several services it has the first."""
    words = ["python -m simulator"]
    if num_jobs:
        words += ["workload=kubeflow", f"workload.path={path}"]
    replicas, nodes = ([each for each in found if (each.kind in OF_NODES) == is_node] for is_node in (False, True))
    if services:
        service = _bounded(services[0], replicas[0].options if replicas else {})
        words += [f"service.{option}={value}" for option, value in service.items()]
        words.append("requests=CHOICE")
    for group, policies in (("scaling", replicas), ("node_scaling" if services else "scaling", nodes)):
        if policies:
            words += [f"{group}=kubernetes", f"{group}.manifest={path}"]
            if len(found) > 1:
                words.append(f"{group}.object={policies[0].kind}/{policies[0].name}")
            words += [f"{group}.metrics.{theirs}={ours}" for theirs, ours in names.given.items()]
    several = max(len(services), len(replicas), len(nodes)) > 1
    more = " (the first of each; others by `services` and `pools`)" if several else ""
    return f"run it{more}:\n  " + " ".join([words[0], *map(shlex.quote, words[1:])])


def _bounded(service: Mapping[str, Any], policy: Mapping[str, Any]) -> dict[str, Any]:
    """The service with the bounds of its policy, which sets the replicas to within them at once."""
    if policy.get("max_units") is None:
        return dict(service)
    low, high = policy.get("min_units", 0), policy["max_units"]
    return {
        **service,
        "replicas": min(max(service["replicas"], low), high),
        "min_replicas": low,
        "max_replicas": high,
    }
