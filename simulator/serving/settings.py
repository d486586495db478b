"""From settings to the services of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from simulator.errors import ConfigError
from simulator.serving.services import ServicePlan
from simulator.serving.spec import ServiceSpec
from workloads.options import build, coerce
from workloads.requests import build_requests
from workloads.serving import LlmTimes, load_serving_profile

_OWN = ("requests", "scaling")  # of one of `services`, beside what `service` has
NONE = "none"


def has_services(requests: Mapping[str, Any], services: Mapping[str, Any]) -> bool:
    """Whether settings ask for any."""
    return bool(services) or requests.get("name", NONE) != NONE


def service_plans(
    requests: Mapping[str, Any], service: Mapping[str, Any], services: Mapping[str, Any]
) -> Iterator[tuple[ServicePlan, Mapping[str, Any] | None]]:
    """(plan, its own scaling if it has one) of each service.

    `requests` and `service` make one; `services` has more, by name: each with `requests`, and whatever differs from
    `service`.

    Raises:
        ConfigError, WorkloadError: a setting that can't be, by its name.
    """
    if requests.get("name", NONE) != NONE:
        yield _plan(requests, service, "service.", "requests."), None
    for name, own in services.items():
        prefix = f"services.{name}."
        if not isinstance(own, Mapping):
            raise ConfigError(f"services.{name}={own}: must be a mapping of options of a service")
        if not isinstance(own.get("requests"), Mapping):
            raise ConfigError(f"{prefix}requests: is needed, such as {{name: poisson, rate_per_s: 10}}")
        scaling = own.get("scaling")
        if not isinstance(scaling, Mapping | None):
            raise ConfigError(f"{prefix}scaling={scaling}: must be a mapping such as {{name: target_tracking}}")
        if own.get("name", name) != name:
            raise ConfigError(f"{prefix}name={own['name']}: its name is {name}")
        options = {key: value for key, value in own.items() if key not in _OWN}
        merged = {**_merged(service, options), "name": name}
        yield _plan(own["requests"], merged, prefix, f"{prefix}requests."), scaling


def _plan(requests: Mapping[str, Any], service: Mapping[str, Any], prefix: str, requests_prefix: str) -> ServicePlan:
    options = {key: value for key, value in service.items() if key != "profile"}
    own = coerce(options.pop("llm", {}) or {}, Mapping[str, Any], f"{prefix}llm")
    profile = str(service.get("profile") or "")
    base = asdict(load_serving_profile(profile).llm) if profile else {}
    times = build(LlmTimes, {**base, **own}, prefix=f"{prefix}llm.")
    spec = build(ServiceSpec, options, prefix=prefix, llm=times)
    return ServicePlan(spec, build_requests(requests, prefix=requests_prefix))


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `own` says instead; what is a mapping in both is merged in turn."""
    merged = dict(base)
    for key, value in own.items():
        had = merged.get(key)
        merged[key] = _merged(had, value) if isinstance(had, Mapping) and isinstance(value, Mapping) else value
    return merged
