"""How the replicas of a service are paid for: by the node, by the second, by the request or by the token.

| buy | is | pays for |
|---|---|---|
| nodes | IaaS | the nodes of its pool; of the service's cost, the GPUs that its replicas hold |
| replica_seconds | PaaS | GPU-seconds of replicas, start-up and draining included |
| requests | SaaS | requests served |
| tokens | SaaS | tokens of requests served, in and out |

Who doesn't buy nodes has none to pay for: such a service has a pool without a price, as large as the provider's would
be. Requests that fail cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from simulator.catalogue import ManagedOffer
from simulator.errors import ConfigError
from workloads.options import nearest

NODES, REPLICA_SECONDS, TOKENS = "nodes", "replica_seconds", "tokens"
_PRICES = {  # what each way of buying needs
    NODES: (),
    REPLICA_SECONDS: ("usd_per_replica_s",),
    "requests": ("usd_per_1k_requests",),
    TOKENS: ("usd_per_m_input_tokens", "usd_per_m_output_tokens"),
}
_WAY_OF = {"replica_second": REPLICA_SECONDS, "request": "requests", "token": TOKENS}  # by kind of managed offer


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """A way of buying with its prices, or with an offer that has them (managed.csv: `python -m simulator.prices`).

    Args:
        usd_per_replica_s: of a replica on one GPU; one on several pays it for each.
        price_source: where the prices are from, and of which day.
    """

    buy: str = NODES
    offer: str = ""
    usd_per_replica_s: float | None = None
    usd_per_1k_requests: float | None = None
    usd_per_m_input_tokens: float | None = None
    usd_per_m_output_tokens: float | None = None
    price_source: str = ""

    def __post_init__(self) -> None:
        if self.buy not in _PRICES:
            raise ConfigError(f"service.buy={self.buy}: unknown way of buying{nearest(str(self.buy), _PRICES)}")
        if self.offer and self.buy == NODES:
            raise ConfigError(f"service.offer={self.offer}: is not of nodes; set service.buy too")
        for name in {name for names in _PRICES.values() for name in names}:
            usd, is_needed = getattr(self, name), name in _PRICES[self.buy] and not self.offer
            if is_needed and usd is None:
                raise ConfigError(f"service.{name}: is needed with service.buy={self.buy}; set it, or service.offer")
            if usd is not None and not is_needed:
                other = f"service.offer={self.offer}, which has its own" if self.offer else f"service.buy={self.buy}"
                raise ConfigError(f"service.{name}={usd:g}: is not used with {other}")
            if usd is not None and not 0 < usd < math.inf:
                raise ConfigError(f"service.{name}={usd:g}: must be a number above 0")
        if self.buy != NODES and not self.offer and not self.price_source.strip():
            raise ConfigError("service.price_source: is needed: where the price is from, and of which day")

    def with_offer(self, offers: Mapping[str, ManagedOffer]) -> Purchase:
        """With the prices of its offer, if it names one.

        Raises:
            ConfigError: no such offer, with the nearest; one that is sold in another way.
        """
        if not self.offer:
            return self
        if self.offer not in offers:
            raise ConfigError(f"service.offer={self.offer}: no such offer{nearest(self.offer, offers)}")
        offer = offers[self.offer]
        if _WAY_OF[offer.kind] != self.buy:
            raise ConfigError(f"service.buy={self.buy}: {self.offer} is bought by {_WAY_OF[offer.kind]}")
        prices = {name: getattr(offer, name) for name in _PRICES[self.buy]}
        return replace(self, offer="", **prices, price_source=f"{offer.id}, {offer.as_of.isoformat()}")

    def usd(self, gpu_s: float, num_served: int, input_tokens: int, output_tokens: int) -> float:
        """What that much costs, of a service that doesn't buy nodes."""
        amounts = {
            "usd_per_replica_s": gpu_s,
            "usd_per_1k_requests": num_served / 1e3,
            "usd_per_m_input_tokens": input_tokens / 1e6,
            "usd_per_m_output_tokens": output_tokens / 1e6,
        }
        return float(sum(getattr(self, name) * amounts[name] for name in _PRICES[self.buy]))
