"""Other catalogues' offers in this one's words: names, regions, and machines that they know less of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from simulator.catalogue.catalogue import Catalogue
from simulator.catalogue.offer import PURCHASES, Offer

_FACTS = (  # of a machine, which prices leave as they are
    *("gpu_memory_gib", "vcpus", "memory_gib", "intra_node_gib_per_s", "network_gib_per_s"),
    *("billing_granularity_s", "billing_minimum_s", "gpu_idle_w", "gpu_peak_w"),
)
_SIZES_GIB = {"V100": (16, 32), "A100": (40, 80), "H100": (80, 94)}  # GPUs that are sold with several memories


def gpu_type_of(name: str, memory_gib: float | None) -> str:
    """`Offer.gpu_type` of a GPU: A100 with 80 GiB is A100-80GB, T4 is T4.

    The memory given counts for more than one in the name. Without either, the name stays as it came.
    """
    words = name.strip().replace(" ", "-")
    match = re.match(r"(?:Tesla-)?(V100|A100|H100)(?![0-9])", words)
    if match is None:
        return words
    family = match[1]
    given = re.search(r"(\d+)GB", words)
    memory = memory_gib if memory_gib is not None else float(given[1]) if given else None
    if memory is None:
        return words
    nearest = min(_SIZES_GIB[family], key=lambda size: abs(size - memory))
    return f"{family}-{nearest}GB"


def instance_type_of(provider: str, name: str) -> str:
    """`Offer.instance_type`: Azure's sizes without Standard_, and no spaces or slashes."""
    bare = name.removeprefix("Standard_") if provider == "azure" else name
    return bare.strip().replace(" ", "-").replace("/", "-")


def region_of(name: str) -> str:
    """`Offer.region`: as it is, without spaces or slashes."""
    return name.strip().replace(", ", ",").replace(" ", "-").replace("/", "-") or "any"


def with_facts(offers: Iterable[Offer], catalogue: Catalogue) -> list[Offer]:
    """The offers, and of machines that the catalogue has too what it knows of them; not its prices."""
    known = {offer.instance_type: offer for offer in catalogue}
    filled = []
    for offer in offers:
        other = known.get(offer.instance_type)
        facts: dict[str, Any] = {}
        if other is not None and (other.provider, other.gpus) == (offer.provider, offer.gpus):
            facts = {name: getattr(other, name) for name in _FACTS if getattr(offer, name) is None}
        if other is not None and any(value is not None for value in facts.values()):
            facts["source"] = f"{offer.source}; what it leaves out: as of {other.id}"
        filled.append(replace(offer, **facts))
    return filled


def cheapest_by_id(offers: Iterable[Offer]) -> list[Offer]:
    """One offer an id, in the order in which ids first come, with the lowest of each price."""
    by_id: dict[str, Offer] = {}
    for offer in offers:
        other = by_id.get(offer.id, offer)
        lowest: dict[str, Any] = {
            f"{purchase}_usd_per_h": min(each.prices[purchase] for each in (other, offer) if purchase in each.prices)
            for purchase in PURCHASES
            if purchase in other.prices or purchase in offer.prices
        }
        by_id[offer.id] = replace(other, **lowest)
    return list(by_id.values())
