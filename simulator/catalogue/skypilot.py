"""SkyPilot's catalogue files (vms.csv of a provider) as offers.

A row there is an instance type in an availability zone: InstanceType, AcceleratorName, AcceleratorCount, vCPUs,
MemoryGiB, GpuInfo, Price, SpotPrice, Region, AvailabilityZone, in any order, others besides
(github.com/skypilot-org/skypilot-catalog, versions 5 to 9, read on 2026-11-24).
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from simulator.catalogue.naming import cheapest_by_id, gpu_type_of, instance_type_of, region_of
from simulator.catalogue.offer import Offer
from simulator.catalogue.rows import read_cells
from simulator.errors import ConfigError
from workloads.errors import TraceError

_NEEDED = ("InstanceType", "AcceleratorName", "AcceleratorCount", "Price", "Region")
_MIB = re.compile(r"SizeInMiB['\"]*\s*:\s*(\d+)")
_LEAST_MIB = 1024  # some providers' files say gigabytes there: such a number is left out


def read_skypilot(
    text: str, path: Path | str, *, provider: str, as_of: datetime.date
) -> tuple[list[Offer], dict[str, int]]:
    """(offers, number of rows left out by reason). A region's zones become one offer, at the cheapest zone's prices.

    Google's file lists machines and GPUs apart: a GPU of its own there is an offer named attachable-GPU, without the
    machine that it needs.

    Args:
        path: stands in messages and in the offers' source.
        as_of: the day of the file; nothing in it says so.

    Raises:
        TraceError: a column that is missing, or a cell that can't be.
        ConfigError: a file in which no row is an offer.
    """
    found: list[Offer] = []
    left: Counter[str] = Counter()
    for line, cells in read_cells(text, path):
        for column in _NEEDED:
            if column not in cells:
                raise TraceError(f"is missing (the file has {', '.join(cells)})", path=path, line=1, column=column)
        reason = _why_not(cells)
        if reason:
            left[reason] += 1
        else:
            found.append(_offer(cells, path, line, provider, as_of))
    offers = cheapest_by_id(found)
    if not offers:
        raise ConfigError(f"{path}: no row is an offer ({_told(left.items()) or 'it has no rows'})")
    return offers, dict(left)


def _told(left: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in left)


def _why_not(cells: Mapping[str, str]) -> str:
    if not cells["AcceleratorName"].strip():
        return "without an accelerator"
    if not (cells["Price"].strip() or cells.get("SpotPrice", "").strip()):
        return "without a price"
    if cells["AcceleratorName"].lower().startswith("tpu"):
        return "of TPUs"
    count = cells["AcceleratorCount"].strip()
    return "of a part of a GPU" if re.fullmatch(r"0?\.\d*[1-9]\d*", count) else ""


def _offer(cells: Mapping[str, str], path: Path | str, line: int, provider: str, as_of: datetime.date) -> Offer:
    def number(column: str) -> float | None:
        cell = cells.get(column, "").strip()
        try:
            value = float(cell) if cell else None
        except ValueError:
            raise TraceError("must be a number", path=path, line=line, column=column, value=cell) from None
        return value or None  # some files write 0 for a price that isn't known

    name, gpus = cells["AcceleratorName"].strip(), number("AcceleratorCount")
    if gpus is None or gpus != int(gpus):
        raise TraceError(
            "must be a whole number", path=path, line=line, column="AcceleratorCount", value=cells["AcceleratorCount"]
        )
    mib = _MIB.search(cells.get("GpuInfo", ""))
    gib = round(int(mib[1]) / 1024, 1) if mib and int(mib[1]) >= _LEAST_MIB else None
    fields: dict[str, Any] = {
        "provider": provider,
        "region": region_of(cells["Region"]),
        "instance_type": instance_type_of(provider, cells["InstanceType"]) or f"attachable-{name}",
        "gpu_type": gpu_type_of(name, gib),
        "gpus": int(gpus),
        "gpu_memory_gib": gib,
        "vcpus": number("vCPUs"),
        "memory_gib": number("MemoryGiB"),
        "on_demand_usd_per_h": number("Price"),
        "spot_usd_per_h": number("SpotPrice"),
        "source": f"SkyPilot's catalogue, {Path(path).name}, cheapest zone",
        "as_of": as_of,
    }
    offer = Offer(**fields)
    for column, rule in offer.broken_rules().items():
        raise TraceError(f"{column} {rule}", path=path, line=line, value=getattr(offer, column))
    return offer
