"""Step times of an LLM engine under a name: `workloads/serving/profiles/NAME.yaml`, or a file of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workloads.errors import WorkloadError
from workloads.options import build
from workloads.profile import HoldOut
from workloads.profile_file import read_named, write_yaml
from workloads.serving.llm_times import LlmTimes


@dataclass(frozen=True, kw_only=True)
class ServingProfile:
    """One model on one device, published or measured (`python -m real_backend calibrate serving=gpt`).

    Args:
        device: cpu, or a type of GPU, and how many.
        holdout: relative errors on rows that were not fitted, by kind of step: prefill, decode.
        num_rows: that were measured, likewise.
    """

    name: str
    device: str
    llm: LlmTimes
    provenance: Mapping[str, Any] = field(default_factory=dict)  # texts and numbers: source, machine, versions, date, …
    holdout: Mapping[str, HoldOut] = field(default_factory=dict)
    num_rows: Mapping[str, int] = field(default_factory=dict)
    path: str = field(default="", compare=False)  # for messages; not in the file


def load_serving_profile(name_or_path: str | Path) -> ServingProfile:
    """The profile of a name, or of a file.

    Raises:
        WorkloadError: no such profile, with the nearest; a file that can't be read, or breaks a rule, with the field.
    """
    content, where = read_named(name_or_path, "workloads.serving", "profiles")
    try:
        return build(ServingProfile, content, path=where)
    except WorkloadError as error:
        raise WorkloadError(f"{where}: {error}") from None


def write_serving_profile(profile: ServingProfile, path: str | Path) -> None:
    """Writes the file, whole or not at all."""
    write_yaml(profile, path)
