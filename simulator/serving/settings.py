"""From settings to the services of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from simulator.catalogue import load_managed
from simulator.errors import ConfigError
from simulator.serving.buying import NODES, REPLICA_SECONDS, Purchase
from simulator.serving.models import MODELS
from simulator.serving.router import Route, RoutingOptions
from simulator.serving.services import ServicePlan
from simulator.serving.spec import WITH_TOKENS, ServiceSpec
from workloads import WorkloadError
from workloads.options import build, coerce
from workloads.requests import build_requests
from workloads.serving import LlmTimes, load_llm_times

_OWN = ("requests", "scaling")  # of one of `services`, beside what `service` has
_ROUTING = tuple(option.name for option in fields(RoutingOptions))
_PURCHASE = tuple(option.name for option in fields(Purchase))
_NOT_IN_SPEC = ("profile", "sites", *_ROUTING, *_PURCHASE)
_NOT_OF_SITES = ("name", "requests", "model", "slo", "sites", *_ROUTING)  # is the same for all sites of a service
NONE = "none"


def has_services(requests: Mapping[str, Any], services: Mapping[str, Any]) -> bool:
    """Whether settings ask for any."""
    return bool(services) or requests.get("name", NONE) != NONE


def service_plans(
    requests: Mapping[str, Any], service: Mapping[str, Any], services: Mapping[str, Any]
) -> Iterator[tuple[ServicePlan, Mapping[str, Any] | None]]:
    """(plan, its own scaling if it has one) of each service.

    `requests` and `service` make one; `services` has more, by name: each with `requests`, and whatever differs from
    `service`. One with `sites` makes a plan for each of them: what differs from the service there.

    Raises:
        ConfigError, WorkloadError: a setting that can't be, by its name.
    """
    if requests.get("name", NONE) != NONE:
        yield from _plans(requests, service, "service.", "requests.", None)
    for name, own in services.items():
        prefix = f"services.{name}."
        if not isinstance(own, Mapping):
            raise ConfigError(f"services.{name}={own}: must be a mapping of options of a service")
        if not isinstance(own.get("requests"), Mapping):
            raise ConfigError(f"{prefix}requests: is needed, such as {{name: poisson, rate_per_s: 10}}")
        scaling = _own_scaling(own, prefix)
        if own.get("name", name) != name:
            raise ConfigError(f"{prefix}name={own['name']}: its name is {name}")
        options = {key: value for key, value in own.items() if key not in _OWN}
        merged = {**_merged(service, options), "name": name}
        yield from _plans(own["requests"], merged, prefix, f"{prefix}requests.", scaling)


def _plans(
    requests: Mapping[str, Any],
    service: Mapping[str, Any],
    prefix: str,
    requests_prefix: str,
    scaling: Mapping[str, Any] | None,
) -> Iterator[tuple[ServicePlan, Mapping[str, Any] | None]]:
    """One for the service, or one for each of its sites."""
    source = build_requests(requests, prefix=requests_prefix)
    routing = build(RoutingOptions, {key: service[key] for key in _ROUTING if key in service}, prefix=prefix)
    sites = service.get("sites") or {}
    if not isinstance(sites, Mapping):
        raise ConfigError(
            f"{prefix}sites={sites}: must be a mapping such as {{near: {{pool: edge, network_s: 0.005}}}}"
        )
    if not sites:
        yield ServicePlan(_spec(service, prefix), source), scaling
    name = str(service.get("name", ServiceSpec.name))
    for site, own in sites.items():
        _check_site(own, f"{prefix}sites.{site}")
        of_site = f"{prefix}sites.{site}."
        options = {key: value for key, value in own.items() if key != "scaling"}
        spec = _spec({**_merged(service, options), "name": f"{name}@{site}"}, of_site)
        if routing.routing == "cost" and spec.purchase.buy not in (NODES, REPLICA_SECONDS):
            raise ConfigError(
                f"{of_site}buy={spec.purchase.buy}: routing=cost compares prices of replicas, it has none"
            )
        yield ServicePlan(spec, source, Route(name, site, routing)), _own_scaling(own, of_site) or scaling


def _own_scaling(own: Mapping[str, Any], prefix: str) -> Mapping[str, Any] | None:
    scaling = own.get("scaling")
    if not isinstance(scaling, Mapping | None):
        raise ConfigError(f"{prefix}scaling={scaling}: must be a mapping such as {{name: target_tracking}}")
    return scaling


def _check_site(own: Any, option: str) -> None:
    if not isinstance(own, Mapping):
        raise ConfigError(f"{option}={own}: must be a mapping of options of a service")
    for name in _NOT_OF_SITES:
        if name in own:
            raise ConfigError(f"{option}.{name}: is the same for all sites; set it for the service")
    if not own.get("pool"):
        raise ConfigError(f"{option}.pool: is needed: whose nodes its replicas are on")


def _spec(service: Mapping[str, Any], prefix: str) -> ServiceSpec:
    options = {key: value for key, value in service.items() if key not in _NOT_IN_SPEC}
    own = coerce(options.pop("llm", {}) or {}, Mapping[str, Any], f"{prefix}llm")
    profile = str(service.get("profile") or "")
    named = f"{prefix}llm."
    try:
        times = load_llm_times(profile, prefix=named, **own) if profile else build(LlmTimes, own, prefix=named)
    except WorkloadError as error:
        raise WorkloadError(f"{prefix}{error}" if str(error).startswith("profile=") else str(error)) from None
    model = service.get("model", ServiceSpec.model)
    if profile and model in MODELS and model not in WITH_TOKENS:
        raise ConfigError(f"{prefix}profile={profile}: has step times of an LLM; set {prefix}model=llm, not {model}")
    purchase = build(Purchase, {key: service[key] for key in _PURCHASE if key in service}, prefix=prefix)
    bought = purchase.with_offer(load_managed()) if purchase.offer else purchase
    return build(ServiceSpec, options, prefix=prefix, llm=times, purchase=bought)


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `own` says instead; what is a mapping in both is merged in turn."""
    merged = dict(base)
    for key, value in own.items():
        had = merged.get(key)
        merged[key] = _merged(had, value) if isinstance(had, Mapping) and isinstance(value, Mapping) else value
    return merged
