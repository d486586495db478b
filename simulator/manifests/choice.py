"""`scaling=kubernetes scaling.manifest=FILE`: a choice that stands for the policy which a manifest describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.errors import ConfigError
from simulator.manifests.metrics import MetricNames
from simulator.manifests.scaling import Found, read_policies
from workloads.options import build

NAME = "kubernetes"
_GROUPS = ("scaling", "node_scaling")


@dataclass(kw_only=True)
class Choice:
    """The options beside `name`."""

    manifest: str  # the file
    object: str = ""  # NAME or KIND/NAME, where the file describes several policies
    metrics: Mapping[str, str] = field(default_factory=dict)  # what the manifest calls a metric -> ours
    options: Mapping[str, Any] = field(default_factory=dict)  # of the policy, instead of or beside the manifest's


def resolved(settings: Mapping[str, Any], prefix: str = "scaling") -> Mapping[str, Any]:
    """The settings of the policy that a choice stands for; others as they are.

    Raises:
        ConfigError, WorkloadError: options that can't be; a manifest that can't be read, or describes no policy, or
            several and none was chosen.
    """
    if settings.get("name") != NAME:
        return settings
    choice = build(Choice, {key: value for key, value in settings.items() if key != "name"}, prefix=f"{prefix}.")
    found = read_policies(choice.manifest, MetricNames(choice.metrics, f"{prefix}.metrics"))
    one = _chosen(found, choice, prefix)
    return {"name": one.policy, **one.options, **choice.options}


def _chosen(found: list[Found], choice: Choice, prefix: str) -> Found:
    fitting = [each for each in found if choice.object in ("", each.name, f"{each.kind}/{each.name}")]
    if len(fitting) == 1:
        return fitting[0]
    has = ", ".join(f"{each.kind}/{each.name}" for each in found) or "none"
    if choice.object:
        raise ConfigError(f"{prefix}.object={choice.object}: {choice.manifest}: {len(fitting)} of its policies: {has}")
    rule = "describes no scaling policy" if not found else f"describes several, choose by {prefix}.object: {has}"
    raise ConfigError(f"{prefix}.manifest={choice.manifest}: {rule}")


def expanded(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings of a run with every such choice resolved, so that they say all by themselves."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        at = f"{prefix}{key}"
        if not isinstance(value, Mapping):
            found[key] = value
        elif key in _GROUPS:
            found[key] = dict(resolved(value, at))
        else:
            found[key] = expanded(value, f"{at}.")
    return found
