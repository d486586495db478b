"""The command line that runs a manifest."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import yaml

from simulator.manifests import deployment
from simulator.manifests.beside import deployment_beside
from simulator.manifests.choice import Chosen
from simulator.manifests.metrics import MetricNames
from simulator.manifests.scaling import OF_NODES, Found
from workloads.manifests import ManifestError

REQUESTS = "web_days"  # stands for the load of a service, which no manifest says


def command(
    path: str,
    found: Sequence[Found],
    services: Sequence[Mapping[str, Any]] = (),
    num_jobs: int = 0,
    metrics: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    is_alone: bool = False,
) -> str:
    """It runs as it stands; of several services and policies it has the first.

    Args:
        services: options of the Deployments of the file.
        num_jobs: of training, in the file.
        metrics, options: of the choice, see there.
        is_alone: the file describes one policy, so that none needs to be chosen.
    """
    replicas, nodes = ([each for each in found if (each.kind in OF_NODES) == is_node] for is_node in (False, True))
    service = _service(replicas, services)
    words = []
    if num_jobs:
        words += ["workload=kubeflow", f"workload.path={path}"]
    elif service:
        words.append("workload=none")
    if service:
        words.append(f"requests={REQUESTS}")
        words += [f"service.{option}={value}" for option, value in service.items()]
    said = [shlex.quote(word) for word in words]
    for group, policies in (("scaling", replicas), ("node_scaling" if service else "scaling", nodes)):
        if policies:
            words = [f"{group}=kubernetes", f"{group}.manifest={path}"]
            if not is_alone:
                words.append(f"{group}.object={policies[0].kind}/{policies[0].name}")
            words += [f"{group}.options.{option}={_flat(value)}" for option, value in (options or {}).items()]
            names = MetricNames(metrics or {}, f"{group}.metrics")
            said += [*map(shlex.quote, words), *(names.said(*pair) for pair in names.given.items())]
    return " ".join(["python -m simulator", *said])


def command_of(one: Chosen) -> str:
    """The same of a policy of replicas that was chosen, with the Deployment that it scales if that is in its file."""
    path, choice = one.choice.manifest, one.choice
    services, document = [], deployment_beside(one)
    if document is not None:
        with suppress(ManifestError):  # a run doesn't need it; `show` tells what is wrong
            services.append(deployment.read_deployment(document.fields()))
    found = replace(one.found, options={**one.found.options, **choice.options})
    return command(path, [found], services, 0, choice.metrics, choice.options, is_alone=one.is_alone)


def _service(replicas: Sequence[Found], services: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The one that the first policy scales, with its bounds; without a policy the first of them; empty: there is none.

    A policy sets the replicas to within its bounds at once.
    """
    if not replicas:
        return dict(services[0]) if services else {}
    policy, name = replicas[0].options, replicas[0].target_name
    same = [each for each in services if name in ("", each["name"])]
    service = dict(same[0]) if same else {"name": name or "service"}
    if policy.get("max_units") is None:
        return service
    low, high = policy.get("min_units", 0), policy["max_units"]
    count = min(max(service.get("replicas", 1), low), high)
    return {**service, "replicas": count, "min_replicas": low, "max_replicas": high}


def _flat(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n...\n").strip()
