"""What can be bought: a machine by the hour, and inference by the second, the request or the token."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulator.errors import ConfigError
from workloads.options import nearest

ON_DEMAND = "on_demand"
PURCHASES = (ON_DEMAND, "spot", "committed_1y", "committed_3y")
KINDS = {  # of managed offers: what such a row must say
    "replica_second": ("gpu_type", "usd_per_replica_s"),
    "request": ("model", "usd_per_1k_requests"),
    "token": ("model", "usd_per_m_input_tokens", "usd_per_m_output_tokens"),
}
MAX_AGE_DAYS = 180  # of a price; older ones are stale


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One instance type of one provider in one region; a row of instances.csv. None: not known.

    `gpu_type` is the family, with the memory where a GPU is sold with several: T4, A100-40GB. Of one GPU are
    `gpu_memory_gib` (as the vendor rounds it), `intra_node_gib_per_s` (to the others in the node, both ways summed)
    and the powers; all else is of the machine. `network_gib_per_s` is what it can send for ever, without bursts.
    """

    provider: str  # aws | azure | gcp | on_prem | …
    region: str
    instance_type: str
    gpu_type: str
    gpus: int
    gpu_memory_gib: float | None = None
    vcpus: float | None = None
    memory_gib: float | None = None
    intra_node_gib_per_s: float | None = None
    network_gib_per_s: float | None = None
    on_demand_usd_per_h: float | None = None
    spot_usd_per_h: float | None = None
    committed_1y_usd_per_h: float | None = None
    committed_3y_usd_per_h: float | None = None
    billing_granularity_s: float | None = None  # 0: to the instant
    billing_minimum_s: float | None = None
    gpu_idle_w: float | None = None
    gpu_peak_w: float | None = None
    source: str
    as_of: datetime.date  # of the on-demand price; where another is of another day, `source` says so

    @property
    def id(self) -> str:
        return f"{self.provider}/{self.region}/{self.instance_type}"

    @property
    def family(self) -> str:
        """The GPU without its memory: H100."""
        return self.gpu_type.partition("-")[0]

    @property
    def prices(self) -> dict[str, float]:
        """USD an hour by purchase, of those that are known."""
        known = {purchase: getattr(self, f"{purchase}_usd_per_h") for purchase in PURCHASES}
        return {purchase: usd for purchase, usd in known.items() if usd is not None}

    def usd_per_h(self, purchase: str = ON_DEMAND) -> float:
        """What the machine costs, bought so.

        Raises:
            ConfigError: an unknown purchase, or one of which no price is known.
        """
        check_purchase(purchase)
        if purchase not in self.prices:
            known = ", ".join(self.prices)
            raise ConfigError(f"purchase={purchase}: no such price of {self.id} is known; known: {known}")
        return self.prices[purchase]

    def usd_per_gpu_h(self, purchase: str = ON_DEMAND) -> float | None:
        """What a GPU of it costs an hour; None where the price isn't known."""
        usd = self.prices.get(purchase)
        return None if usd is None else usd / self.gpus

    def size_fields(self) -> dict[str, Any]:
        """The fields of a `PoolSpec` that say what the machine is; what is unknown (its CPUs, …) is left out."""
        fields = {
            "gpus_per_node": self.gpus,
            "cpus_per_node": self.vcpus,
            "memory_gib_per_node": self.memory_gib,
            "network_gib_per_s": self.network_gib_per_s,
            "gpu_memory_gib": self.gpu_memory_gib,
            "gpu_type": self.gpu_type,
            "gpu_idle_w": self.gpu_idle_w,
            "gpu_peak_w": self.gpu_peak_w,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def price_fields(self, purchase: str = ON_DEMAND) -> dict[str, Any]:
        """The fields of a `PoolSpec` that say what it costs, bought so.

        Raises:
            ConfigError: as `usd_per_h`.
        """
        source = f"{self.id} {purchase}, {self.as_of.isoformat()}"
        return {
            "usd_per_node_h": self.usd_per_h(purchase),
            "price_source": source,
            **self.billing_fields(),
        }

    def billing_fields(self) -> dict[str, Any]:
        """The fields of a `PoolSpec` that say by which rule its provider bills."""
        return {
            "billing_granularity_s": self.billing_granularity_s or 0.0,
            "billing_minimum_s": self.billing_minimum_s or 0.0,
        }

    def pool_fields(self, purchase: str = ON_DEMAND) -> dict[str, Any]:
        """All that it settles of a `PoolSpec`.

        Raises:
            ConfigError: as `usd_per_h`.
        """
        return {**self.size_fields(), **self.price_fields(purchase)}

    def broken_rules(self) -> Mapping[str, str]:
        """By column, what would be right where a value can't be."""
        rules = {
            **{name: (_is_word(getattr(self, name)), _WORD) for name in ("provider", "region", "instance_type")},
            "gpu_type": (_is_word(self.gpu_type), _WORD),
            "gpus": (self.gpus >= 1, "must be 1 or more"),
            **{name: _positive(getattr(self, name)) for name in _SIZES},
            **{f"{purchase}_usd_per_h": _positive(self.prices.get(purchase)) for purchase in PURCHASES},
            **{name: _not_negative(getattr(self, name)) for name in ("billing_granularity_s", "billing_minimum_s")},
            **{name: _not_negative(getattr(self, name)) for name in ("gpu_idle_w", "gpu_peak_w")},
            "source": (bool(self.source.strip()), "is needed: where the figures are from"),
        }
        broken = {name: rule for name, (holds, rule) in rules.items() if not holds}
        if not self.prices:
            broken.setdefault(f"{ON_DEMAND}_usd_per_h", "must be there, or another price")
        if self.gpu_idle_w is not None and self.gpu_peak_w is not None and self.gpu_idle_w > self.gpu_peak_w:
            broken.setdefault("gpu_idle_w", f"must be at most gpu_peak_w={self.gpu_peak_w:g}")
        return broken


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedOffer:
    """Inference that someone else runs; a row of managed.csv. None: not known, or not what is paid for.

    | kind | pays for |
    |---|---|
    | replica_second | each second of a replica on one GPU (`usd_per_replica_s`), from its start |
    | request | requests (`usd_per_1k_requests`) |
    | token | tokens in and out (`usd_per_m_input_tokens`, `usd_per_m_output_tokens`) |
    """

    offer: str  # its name
    provider: str
    kind: str
    gpu_type: str = ""
    model: str = ""
    usd_per_replica_s: float | None = None
    usd_per_1k_requests: float | None = None
    usd_per_m_input_tokens: float | None = None
    usd_per_m_output_tokens: float | None = None
    cold_start_s: float | None = None
    source: str
    as_of: datetime.date

    @property
    def id(self) -> str:
        return self.offer

    def broken_rules(self) -> Mapping[str, str]:
        """By column, what would be right where a value can't be."""
        if self.kind not in KINDS:
            return {"kind": f"is no kind of managed offer{nearest(self.kind, KINDS)}"}
        prices = sorted({name for names in KINDS.values() for name in names if name.startswith("usd")})
        rules = {
            "offer": (_is_word(self.offer), _WORD),
            "provider": (_is_word(self.provider), _WORD),
            **{name: _positive(getattr(self, name)) for name in prices},
            "cold_start_s": _not_negative(self.cold_start_s),
            "source": (bool(self.source.strip()), "is needed: where the figures are from"),
        }
        broken = {name: rule for name, (holds, rule) in rules.items() if not holds}
        for name in KINDS[self.kind]:
            if getattr(self, name) in (None, ""):
                broken.setdefault(name, f"is needed where kind is {self.kind}")
        for name in prices:
            if name not in KINDS[self.kind] and getattr(self, name) is not None:
                broken.setdefault(name, f"must be empty where kind is {self.kind}")
        return broken


def check_purchase(purchase: str) -> None:
    """
    Raises:
        ConfigError: a way of buying that there isn't, with the nearest.
    """
    if purchase not in PURCHASES:
        raise ConfigError(f"purchase={purchase}: unknown way of buying{nearest(str(purchase), PURCHASES)}")


def is_stale(as_of: datetime.date, today: datetime.date) -> bool:
    """True of a price that is more than `MAX_AGE_DAYS` old."""
    return (today - as_of).days > MAX_AGE_DAYS


_SIZES = ("gpu_memory_gib", "vcpus", "memory_gib", "intra_node_gib_per_s", "network_gib_per_s")
_WORD = "must be a word without spaces or slashes"


def _is_word(text: str) -> bool:
    return bool(text) and not any(char.isspace() or char == "/" for char in text)


def _positive(value: float | None) -> tuple[bool, str]:
    return value is None or 0 < value < math.inf, "must be a number above 0, or empty"


def _not_negative(value: float | None) -> tuple[bool, str]:
    return value is None or 0 <= value < math.inf, "must be a number, 0 or more, or empty"
