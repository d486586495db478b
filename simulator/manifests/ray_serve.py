"""Ray Serve's autoscaling config (as of autumn 2026) and `ray_serve`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.scaling.ray_serve import RayServe
from simulator.errors import ConfigError
from simulator.manifests.written import Written, unsaid, without_none
from workloads.manifests import Fields

KIND, POLICY = "autoscaling_config", "ray_serve"
KEYS = ("autoscaling_config", "applications", "deployments")  # one of them tells a Serve config
_NUMBERS = {
    "target_ongoing_requests": "target_ongoing_requests",
    "look_back_period_s": "look_back_s",
    "upscale_delay_s": "upscale_delay_s",
    "downscale_delay_s": "downscale_delay_s",
    "downscale_to_zero_delay_s": "downscale_to_zero_delay_s",
    "upscaling_factor": "upscaling_factor",
    "downscaling_factor": "downscaling_factor",
}
_RENAMED = {
    "smoothing_factor": "upscaling_factor and downscaling_factor",
    "upscale_smoothing_factor": "upscaling_factor",
    "downscale_smoothing_factor": "downscaling_factor",
    "target_num_ongoing_requests_per_replica": "target_ongoing_requests",
}
_OF_APPLICATION = ("name", "import_path", "route_prefix", "runtime_env", "args", "host", "port")
_OF_CONFIG = ("proxy_location", "http_options", "grpc_options", "logging_config", "host", "port")


def read_ray_serve(fields: Fields) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, options of `ray_serve`) of each deployment that has an autoscaling config."""
    with fields:
        if fields.has("applications"):
            fields.ignore(*_OF_CONFIG)
            for application in fields.items("applications", needed=True):
                with application:
                    application.ignore(*_OF_APPLICATION)
                    yield from _deployments(application)
        elif fields.has("deployments"):
            fields.ignore(*_OF_APPLICATION)
            yield from _deployments(fields)
        else:
            yield from _deployment(fields)


def _deployments(fields: Fields) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in fields.items("deployments"):
        with each:
            yield from _deployment(each)


def _deployment(fields: Fields) -> Iterator[tuple[str, dict[str, Any]]]:
    name = fields.text("name", "")
    fields.ignore("user_config", "logging_config", "health_check_period_s", "health_check_timeout_s")
    fields.note("say it by service.gpus_per_replica and its like", "ray_actor_options")
    fields.note("say it by the options of service.model", "max_ongoing_requests", "max_queued_requests")
    fields.note("say it by service.drain_timeout_s", "graceful_shutdown_timeout_s", "graceful_shutdown_wait_loop_s")
    if fields.has("num_replicas") and fields.take("num_replicas") != "auto" and fields.has(KIND):
        raise fields.error("num_replicas", f"must be auto, or absent, where there is an {KIND}")
    is_auto = fields.take("num_replicas", None) == "auto"
    if is_auto or fields.has(KIND):
        yield name, _config(fields.section(KIND), is_auto)
    fields.ignore(KIND)


def _config(config: Fields, is_auto: bool) -> dict[str, Any]:
    with config:
        for key, successor in _RENAMED.items():
            config.refuse(key, f"is deprecated: {successor}")
        config.note("is service.replicas", "initial_replicas")
        config.note("how often is measured is service.sample_s", "metrics_interval_s")
        config.only("aggregation_function", "mean", "requests are averaged")
        config.refuse("policy", "of one's own; write it as a policy here")
        options: dict[str, Any] = {option: config.number(key, None, least=0) for key, option in _NUMBERS.items()}
        options["min_units"] = config.whole("min_replicas", 1)
        options["max_units"] = config.whole("max_replicas", 100 if is_auto else 1, least=1)  # Ray's defaults
        config.ordered("min_replicas", "max_replicas", options["min_units"], options["max_units"])
        return without_none(options)


def write_ray_serve(policy: RayServe, name: str) -> Written:
    """A deployment with its autoscaling config.

    Raises:
        ConfigError: an option that no such config can say.
    """
    if policy.max_units is None:
        raise ConfigError(f"{POLICY}: max_units: is needed: without one Ray's is 1")
    said = (*_NUMBERS.values(), "min_units", "max_units")
    notes = unsaid(POLICY, policy, "an autoscaling_config", said, {"period_s": "Ray's own loop: 0.1 s"})
    config = {"min_replicas": policy.min_units, "max_replicas": policy.max_units}
    config |= without_none({key: getattr(policy, option) for key, option in _NUMBERS.items()})
    return Written({"deployments": [{"name": name, KIND: config}]}, notes)
