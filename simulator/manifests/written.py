"""What writers have in common: documents with comments, and options that no manifest can say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import yaml

from policies import registry
from simulator.errors import ConfigError


@dataclass
class Written:
    """A document, and what a reader of it should know: comments, for which JSON has no place."""

    content: Any
    notes: list[str] = field(default_factory=list)
    is_json: bool = False

    def text(self) -> str:
        if self.is_json:
            return f"{json.dumps(self.content, indent=2)}\n"
        comments = "".join(f"# {note}\n" for note in self.notes)
        return comments + yaml.safe_dump(self.content, sort_keys=False, width=120, allow_unicode=True)


def unsaid(name: str, policy: Any, what: str, said: Sequence[str], elsewhere: Mapping[str, str]) -> list[str]:
    """Notes on the options that are set elsewhere than in a manifest, `elsewhere` saying where.

    Args:
        what: the kind of manifest, for messages.
        said: the options that it does say.

    Raises:
        ConfigError: another option that isn't at its default.
    """
    default = registry.get("scaling", name)()
    notes = []
    for option in (each.name for each in fields(policy) if each.init and each.name not in said):
        value = getattr(policy, option)
        if value == getattr(default, option):
            continue
        if option not in elsewhere:
            raise ConfigError(f"{name}: {option}={value}: {what} can't say it")
        notes.append(f"{option}={value}: is set by {elsewhere[option]}")
    return notes


def whole(name: str, option: str, value: float, what: str) -> int:
    """A whole number, which is all that a manifest takes there."""
    if value != int(value):
        raise ConfigError(f"{name}: {option}={value}: {what} takes whole numbers only")
    return int(value)


def without_none(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not None}
