"""A run's services, policies and jobs as manifests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from simulator.config import RunConfig, Setup, make_policy, read_config
from simulator.errors import ConfigError
from simulator.manifests import deployment
from simulator.manifests.choice import expanded
from simulator.manifests.kubeflow import write_pytorch_job
from simulator.manifests.scaling import WRITERS, write_policy
from simulator.manifests.written import Written
from simulator.plugins import import_plugins
from simulator.serving.settings import service_plans
from workloads.options import nearest

CONFIG = "config.yaml"
STATIC = "static"
_NOTHING = "scaling=static and no service: there is nothing to write"
_JOBS_AS = {"PyTorchJob": write_pytorch_job, "Deployment": deployment.write_job}


def exported(folder: Path, jobs: str = "", jobs_as: str = "PyTorchJob") -> tuple[str, list[str]]:
    """(manifests as one text, the notes in it).

    Args:
        jobs: which jobs too: all, or their ids with commas between; empty: none.

    Raises:
        ConfigError: no run's folder; a policy or an option that no manifest can say; a job that isn't there; nothing.
        PolicyError, WorkloadError: settings that can't be.
    """
    path = folder / CONFIG
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: is no run's settings")
    import_plugins(settings.get("plugins") or ())
    written = [*_written(read_config(expanded(settings))), *_jobs(settings, jobs, jobs_as)]
    if not written:
        raise ConfigError(f"{folder}: {_NOTHING}")
    return _joined(written), [note for each in written for note in each.notes]


def of_config(config: RunConfig) -> str:
    """The manifests of a run's services and scaling policies.

    Raises:
        ConfigError: as `exported`.
    """
    written = list(_written(config))
    if not written:
        raise ConfigError(f"export={config.export}: {_NOTHING}")
    return _joined(written)


def _joined(written: list[Written]) -> str:
    return "---\n".join(each.text() for each in written)


def _written(config: RunConfig) -> Iterator[Written]:
    plans = list(service_plans(config.requests, config.service, config.services))
    for plan, own in plans:
        yield deployment.write_deployment(plan.spec)
        yield from _policy(own or config.scaling, plan.spec.name, (plan.spec.fewest, plan.spec.most))
    of_nodes = config.node_scaling if plans else config.scaling
    pools = config.pools or {"default": {}}
    for name, own in pools.items():
        yield from _policy(own.get("scaling") or of_nodes, name, None)


def _policy(settings: Any, name: str, bounds: tuple[int, int] | None) -> Iterator[Written]:
    """Its manifest; of replicas that have bounds of their own, where it has none, with those."""
    registered_as = settings.get("name")
    if registered_as == STATIC:
        return
    if bounds and registered_as in WRITERS and settings.get("max_units") is None:
        settings = {**settings, "min_units": max(bounds[0], settings.get("min_units", 0)), "max_units": bounds[1]}
    policy = make_policy("scaling", settings)
    yield write_policy(policy, name, registered_as)


def _jobs(settings: dict[str, Any], jobs: str, jobs_as: str) -> Iterator[Written]:
    if jobs_as not in _JOBS_AS:
        raise ConfigError(f"jobs_as={jobs_as}: must be one of {', '.join(_JOBS_AS)}")
    if not jobs:
        return
    table = Setup(read_config(settings)).load().jobs
    specs = {spec.job_id: spec for spec in table}
    for job_id in specs if jobs == "all" else jobs.split(","):
        if job_id not in specs:
            raise ConfigError(f"jobs={job_id}: no such job{nearest(job_id, list(specs)[:20])}")
        yield _JOBS_AS[jobs_as](specs[job_id])
