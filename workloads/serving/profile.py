"""Step times of an LLM engine under a name: `workloads/serving/profiles/NAME.yaml`, or a file of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workloads.errors import WorkloadError
from workloads.options import build, nearest
from workloads.profile import HoldOut
from workloads.profile_file import read_named, write_yaml
from workloads.serving.fitting import DecodeRows, PrefillRows
from workloads.serving.llm_times import LlmTimes

KINDS = (PrefillRows.kind, DecodeRows.kind)
NEEDED = (*PrefillRows.names, *DecodeRows.names, "kv_tokens")  # of `llm`: what is measured has no default


@dataclass(frozen=True, kw_only=True)
class ServingProfile:
    """One model on one device, published or measured (`python -m real_backend calibrate serving=gpt`).

    Args:
        device: cpu, or a type of GPU, and how many.
        holdout: relative errors on rows that a fit was not given, by kind of step: prefill, decode.
        num_rows: that were measured, likewise.
    """

    name: str
    device: str
    provenance: Mapping[str, Any] = field(default_factory=dict)  # texts and numbers: source, machine, versions, date, …
    llm: LlmTimes
    holdout: Mapping[str, HoldOut] = field(default_factory=dict)
    num_rows: Mapping[str, int] = field(default_factory=dict)
    path: str = field(default="", compare=False)  # for messages; not in the file

    def __post_init__(self) -> None:
        for name in ("holdout", "num_rows"):
            for kind in getattr(self, name):
                if kind not in KINDS:
                    raise WorkloadError(f"{name}.{kind}: unknown kind of step{nearest(kind, KINDS)}")
        for kind, num in self.num_rows.items():
            if num < 1:
                raise WorkloadError(f"num_rows.{kind}={num}: must be 1 or more")


def load_serving_profile(name_or_path: str | Path) -> ServingProfile:
    """The profile of a name, or of a file.

    Raises:
        WorkloadError: no such profile, with the nearest; a file that can't be read, or breaks a rule, with the field.
    """
    content, where = read_named(name_or_path, "workloads.serving", "profiles")
    try:
        profile = build(ServingProfile, content, path=where)
        for name in NEEDED:
            if name not in content["llm"]:
                raise WorkloadError(f"llm.{name}: is needed")
    except WorkloadError as error:
        raise WorkloadError(f"{where}: {error}") from None
    return profile


def load_llm_times(name_or_path: str | Path, *, prefix: str = "llm.", **overrides: Any) -> LlmTimes:
    """The step times of a profile; what is given and isn't None stands in place of the profile's.

    Raises:
        WorkloadError: as `load_serving_profile`; `llm.NAME` (after `prefix`): an unknown field, with the nearest, or a
            wrong value.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    return build(LlmTimes, {**asdict(load_serving_profile(name_or_path).llm), **given}, prefix=prefix)


def write_serving_profile(profile: ServingProfile, path: str | Path) -> None:
    """Writes the file, whole or not at all; all of `llm`, also what is at its default."""
    content = asdict(profile)
    del content["path"]
    write_yaml(content, path)
