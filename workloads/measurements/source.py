"""Where measured step times come from, and the names that the readers go by."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from workloads.errors import TraceError, WorkloadError
from workloads.fitting import StepRows
from workloads.options import nearest

# name -> module:class. A name is the last part of `source=NAME`.
SOURCES = {
    "sia": "workloads.measurements.sia:SiaMeasurements",
    "gavel": "workloads.measurements.gavel:GavelMeasurements",
}


def source_class(name: str) -> type[MeasurementSource]:
    """The class behind a name.

    Raises:
        WorkloadError: an unknown name, with the nearest known ones.
    """
    if name not in SOURCES:
        raise WorkloadError(f"source={name}: unknown source{nearest(name, SOURCES)}")
    module, _, attribute = SOURCES[name].partition(":")
    cls: type[MeasurementSource] = getattr(import_module(module), attribute)
    return cls


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """The steps of one application on one type of GPU."""

    application: str
    gpu_type: str
    rows: StepRows
    global_batch: int  # for the profile: samples a step, whatever the number of GPUs
    larger: StepRows | None = None  # not to be fitted: what the fit is asked for, as a test of how far it carries
    left_out: Mapping[str, int] = field(default_factory=dict)  # why: how many rows
    why_no_profile: str = ""  # set where they are no whole steps, or the like


@dataclass(kw_only=True)
class MeasurementSource(ABC):
    """A reader of measurements; its fields are options of the command line (`source.path=FILE`)."""

    path: Path

    @abstractmethod
    def read(self) -> list[Measurements]:
        """All that is there, in order of application and GPU type.

        Raises:
            TraceError: input that breaks a rule, with its file, line and column.
        """

    @abstractmethod
    def provenance(self, gpu_type: str) -> dict[str, Any]:
        """Whose measurements these are and on what machine, for the profile that is made of them."""


def number(record: Mapping[str, Any], column: str, where: Mapping[str, Any], *, whole: bool = False) -> float:
    """A number above 0 (whole: and a whole one) out of a row of text.

    Raises:
        TraceError: it is none.
    """
    text = record[column]
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value < math.inf or (whole and value != int(value)):
        rule = f"must be a {'whole ' if whole else ''}number, more than 0"
        raise TraceError(rule, column=column, value=text, **where)
    return value
