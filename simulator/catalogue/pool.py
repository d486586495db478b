"""From `instance` and `purchase` among a pool's settings to the fields of its `PoolSpec`."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from simulator.catalogue.catalogue import Catalogue, load_catalogue
from simulator.catalogue.offer import MAX_AGE_DAYS, ON_DEMAND, Offer, check_purchase, is_stale
from simulator.errors import ConfigError

if TYPE_CHECKING:
    from simulator.pools import PoolSpec

NOTICE_S = {"aws": 120.0, "gcp": 30.0, "azure": 30.0}  # 2 min, 30 s, at least 30 s (as of autumn 2026)
CHOICE = {"instance": "", "catalogue": ""}  # settings of a pool that no PoolSpec has
OF_INSTANCE = (  # fields that an instance settles
    *("gpus_per_node", "cpus_per_node", "memory_gib_per_node", "network_gib_per_s"),
    *("gpu_memory_gib", "gpu_type", "usd_per_node_h", "price_source"),
    *("billing_granularity_s", "billing_minimum_s", "gpu_idle_w", "gpu_peak_w"),
)


def pool_settings(settings: Mapping[str, Any], catalogue: Catalogue | None = None) -> Mapping[str, Any]:
    """The settings of a pool with its instance looked up: options of `PoolSpec` alone.

    | setting | means |
    |---|---|
    | `instance` | an offer, PROVIDER/REGION/INSTANCE_TYPE; empty: none, all is set by hand |
    | `purchase` | how it is bought: on_demand, spot, committed_1y, committed_3y; settles its price |
    | `catalogue` | a table of one's own, over the shipped one |
    | any other | goes before what the offer says; None: isn't set |

    Args:
        catalogue: in place of the one that the settings name.

    Raises:
        ConfigError: an offer or a price that isn't known; a price that is of other machines.
        TraceError: in a table of one's own.
    """
    chosen = {name: settings.get(name) or default for name, default in CHOICE.items()}
    by_hand = {name: value for name, value in settings.items() if name not in CHOICE and value is not None}
    purchase = str(by_hand.get("purchase") or ON_DEMAND)
    if not chosen["instance"]:
        if chosen["catalogue"]:
            raise ConfigError(f"cluster.catalogue={chosen['catalogue']}: is of an instance; set cluster.instance")
        return by_hand
    known = load_catalogue(chosen["catalogue"] or None) if catalogue is None else catalogue
    try:
        offer = known.get(str(chosen["instance"]))
        check_purchase(purchase)
        if "usd_per_node_h" in by_hand:
            own_price = {"price_source": "set by hand", **offer.billing_fields()}
            return {**offer.size_fields(), **own_price, **by_hand, **_notice(offer, by_hand)}
        found = offer.pool_fields(purchase)
    except ConfigError as error:
        raise ConfigError(f"cluster.{error}") from None
    given = by_hand.get("gpus_per_node", offer.gpus)
    if given != offer.gpus:
        raise ConfigError(
            f"cluster.gpus_per_node={given}: {offer.id} has {offer.gpus}, and its price is for all of them; "
            f"set cluster.usd_per_node_h too, or leave it out"
        )
    return {**found, **by_hand, **_notice(offer, by_hand)}


def _notice(offer: Offer, by_hand: Mapping[str, Any]) -> dict[str, Any]:
    """The notice that the offer's provider gives before it reclaims a spot machine, unless it is set by hand."""
    spot = by_hand.get("spot") or {}
    if (
        by_hand.get("purchase") != "spot"
        or offer.provider not in NOTICE_S
        or not isinstance(spot, Mapping)
        or spot.get("notice_s") is not None
    ):
        return {}
    return {"spot": {**spot, "notice_s": NOTICE_S[offer.provider]}}


def price_notes(pools: Iterable[PoolSpec], today: datetime.date) -> list[str]:
    """What to know of the prices of a run of that day: one line for each stale one."""
    notes = [price_note(f"pool {pool.name!r}", pool.price_source, today) for pool in pools if pool.usd_per_node_h]
    return [f"{note}; `python -m simulator.prices refresh` gets today's" for note in notes if note]


def price_note(of: str, price_source: str, today: datetime.date) -> str:
    """That a price is stale, where it is. Its day is the one that its `price_source` ends with."""
    day = re.search(r"\d{4}-\d{2}-\d{2}$", price_source)
    if day and is_stale(datetime.date.fromisoformat(day[0]), today):
        return f"the price of {of} is more than {MAX_AGE_DAYS} days old: {price_source}"
    return ""
