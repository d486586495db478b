"""What a file of manifests means here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from simulator.manifests import deployment
from simulator.manifests.command import REQUESTS, command
from simulator.manifests.metrics import MetricNames
from simulator.manifests.scaling import OF_NODES, Found, is_service, policies_of
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
    documents = load_documents(path)
    in_file = [document.name for document in documents if is_service(document)]
    for document in documents:
        policies = list(policies_of(document, names, in_file))
        found += policies
        for each in policies:
            lines += [
                f"{each.place}: {' '.join(filter(None, (each.kind, each.name)))}: scaling={each.policy}",
                *_indented(each.options),
            ]
        if is_service(document):
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
    line = command(path, found, services, num_jobs, names.given, is_alone=len(found) == 1)
    num_of_nodes = sum(each.kind in OF_NODES for each in found)
    several = max(len(services), num_of_nodes, len(found) - num_of_nodes) > 1
    said = ["the first of each; others by `services` and `pools`"] if several else []
    said += [f"requests={REQUESTS} stands for your own load"] if "requests=" in line else []
    more = f" ({'; '.join(said)})" if said else ""
    return "\n".join([*lines, "", f"run it{more}:", f"  {line}"])


def _indented(options: Mapping[str, Any]) -> list[str]:
    text = yaml.safe_dump(dict(options), sort_keys=False, width=116)
    return [f"  {line}" for line in text.splitlines()]
