"""`scaling=kubernetes scaling.manifest=FILE`: a choice that stands for the policy which a manifest describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from policies import registry
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


@dataclass(frozen=True)
class Chosen:
    """A choice and the policy that it stands for."""

    choice: Choice
    found: Found
    is_alone: bool  # the file describes no other

    @property
    def settings(self) -> dict[str, Any]:
        """Of the policy."""
        return {"name": self.found.policy, **self.found.options, **self.choice.options}

    @property
    def bounds(self) -> tuple[int, int] | None:
        """The least and most units, its kind's defaults where the manifest says none; None: there is no upper one."""
        policy = registry.get("scaling", self.found.policy)
        low, high = (self.settings.get(option, getattr(policy, option, 0)) for option in ("min_units", "max_units"))
        return (low, high) if isinstance(low, int) and isinstance(high, int) else None

    @property
    def label(self) -> str:
        """Where it is from."""
        return " ".join(filter(None, (f"{self.choice.manifest}:", self.found.kind, self.found.name)))


def chosen(settings: Mapping[str, Any], prefix: str = "scaling") -> Chosen | None:
    """What such a choice has come to; None of other settings.

    Raises:
        ConfigError, WorkloadError: options that can't be; a manifest that can't be read, or describes no policy, or
            several and none was chosen.
    """
    if settings.get("name") != NAME:
        return None
    choice = build(Choice, {key: value for key, value in settings.items() if key != "name"}, prefix=f"{prefix}.")
    found = read_policies(choice.manifest, MetricNames(choice.metrics, f"{prefix}.metrics"))
    return Chosen(choice, _one(found, choice, prefix), len(found) == 1)


def resolved(settings: Mapping[str, Any], prefix: str = "scaling") -> Mapping[str, Any]:
    """The settings of the policy that a choice stands for; others as they are.

    Raises:
        ConfigError, WorkloadError: see `chosen`.
    """
    found = chosen(settings, prefix)
    return found.settings if found else settings


def _one(found: list[Found], choice: Choice, prefix: str) -> Found:
    fitting = [each for each in found if choice.object in ("", each.name, f"{each.kind}/{each.name}")]
    if len(fitting) == 1:
        return fitting[0]
    has = ", ".join(f"{each.kind}/{each.name}" for each in found) or "none"
    if choice.object:
        raise ConfigError(f"{prefix}.object={choice.object}: {choice.manifest}: {len(fitting)} of its policies: {has}")
    rule = "describes no scaling policy" if not found else f"describes several, choose by {prefix}.object: {has}"
    raise ConfigError(f"{prefix}.manifest={choice.manifest}: {rule}")


def expanded(settings: Mapping[str, Any], choices: dict[str, Chosen] | None = None, prefix: str = "") -> dict[str, Any]:
    """Settings of a run with every such choice resolved.

    Args:
        choices: takes what each has come to, by where it stands, such as pools.NAME.scaling.
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        at = f"{prefix}{key}"
        if not isinstance(value, Mapping):
            found[key] = value
        elif key in _GROUPS:
            one = chosen(value, at)
            found[key] = one.settings if one else dict(value)
            if one and choices is not None:
                choices[at] = one
        else:
            found[key] = expanded(value, choices, f"{at}.")
    return found
