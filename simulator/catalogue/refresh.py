"""Today's prices from gpuhunt, which gathers them from the providers; an optional extra, and it needs the network."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from simulator.catalogue.naming import cheapest_by_id, gpu_type_of, instance_type_of, region_of
from simulator.catalogue.offer import Offer
from simulator.errors import ConfigError

_VENDORS = ("nvidia", "amd")
_ZONED = ("gcp",)  # providers whose locations are zones: us-central1-a


def fetch_offers(
    *, providers: Sequence[str] = ("aws", "azure", "gcp"), gpu: str | None = None, today: datetime.date
) -> list[Offer]:
    """What gpuhunt's published catalogues say of GPUs by NVIDIA and AMD.

    Args:
        gpu: a family, such as H100.

    Raises:
        ConfigError: gpuhunt isn't installed, or has nothing, or fails.
    """
    try:
        gpuhunt: Any = import_module("gpuhunt")
    except ImportError:
        raise ConfigError("this needs gpuhunt: pip install -e '.[prices]'") from None
    wanted = {"provider": list(providers), "min_gpu_count": 1} | ({"gpu_name": gpu} if gpu else {})
    try:
        items = gpuhunt.Catalog(balance_resources=False).query(**wanted)
    except Exception as error:  # of the network, or of its own
        told = f"{error}: {error.__cause__}" if error.__cause__ else f"{error}"
        raise ConfigError(f"gpuhunt: {type(error).__name__}: {' '.join(told.split())}") from error
    offers = offers_of(items, today)
    if not offers:
        told = f" of {gpu}" if gpu else ""
        raise ConfigError(f"gpuhunt: no offer{told} by {', '.join(providers)}")
    return offers


def offers_of(items: Iterable[Any], today: datetime.date) -> list[Offer]:
    """gpuhunt's items as offers: on-demand and spot rows of an instance, in all zones of its region, are one."""
    return cheapest_by_id(
        Offer(
            provider=item.provider,
            region=_region(item),
            instance_type=instance_type_of(item.provider, item.instance_name),
            gpu_type=gpu_type_of(re.sub(r"NVL$", "-NVL", item.gpu_name), item.gpu_memory),
            gpus=item.gpu_count,
            gpu_memory_gib=item.gpu_memory or None,
            vcpus=item.cpu or None,
            memory_gib=item.memory or None,
            on_demand_usd_per_h=None if item.spot else item.price,
            spot_usd_per_h=item.price if item.spot else None,
            source="gpuhunt, cheapest zone",
            as_of=today,
        )
        for item in items
        if item.gpu_count >= 1 and item.gpu_name and item.price > 0 and _vendor(item) in _VENDORS
    )


def _vendor(item: Any) -> str:
    return str(getattr(item.gpu_vendor, "value", item.gpu_vendor)).lower()


def _region(item: Any) -> str:
    location = region_of(str(item.location))
    return re.sub(r"-[a-z]$", "", location) if item.provider in _ZONED else location
