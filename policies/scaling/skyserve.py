"""SkyServe: replicas by request rate, on spot with on-demand machines to fall back on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from policies.errors import PolicyError
from policies.metrics_view import KEEP_S
from policies.reasons import Reasons
from policies.registry import nearest, register
from policies.scaling.load import ceil
from policies.scaling.options import bounded, require, require_bounds, require_metric
from policies.view import ClusterView, Target

ROLES = ("all", "spot", "on_demand")


def mixed(total: int, base_on_demand: int, ready_spot: int, falls_back: bool = True) -> tuple[int, int]:
    """(spot, on-demand) replicas: so many on demand always, the rest on spot, and with `falls_back` as many more on
    demand as spot ones are not ready; never more than the total on demand."""
    base = min(base_on_demand, total)
    spot = total - base
    on_demand = base + (max(0, spot - ready_spot) if falls_back else 0)
    return spot, min(on_demand, total)


@register("scaling", "skyserve")
@dataclass
class SkyServe:
    """SkyServe's request-rate autoscaler with its spot fallback (SkyPilot, as of autumn 2026).

    One unit for `qps_per_unit`, by the mean rate of `window_s`. A change takes effect once decisions in a row, one
    every `period_s`, have called for that direction for `upscale_delay_s` or `downscale_delay_s`; from none it does at
    once.

    `role` says what the target's units are: `all` of them; or of a service that runs on two pools the `spot` or the
    `on_demand` part, each pool with a policy of its own. `service` is then whose rate counts (None: the target's own),
    and `spot_pool` the pool whose ready nodes those on demand stand in for: `base_on_demand` are always there, and with
    `falls_back` as many more as spot nodes are missing.

    It promises no quiet (`policies.quiet`): it counts how often it was asked, and may read what is another target's.
    """

    metric: str = "request_rate_per_s"
    qps_per_unit: float = 1.0
    window_s: float = 60.0
    upscale_delay_s: float = 300.0
    downscale_delay_s: float = 1200.0
    role: str = "all"
    service: str | None = None
    spot_pool: str | None = None
    base_on_demand: int = 0
    falls_back: bool = True
    min_units: int = 1  # in all
    max_units: int | None = None
    period_s: float = 20.0
    _total: int | None = field(default=None, init=False, repr=False, compare=False)  # units in all, as decided last
    _more: int = field(default=0, init=False, repr=False, compare=False)  # decisions in a row that wanted more
    _fewer: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_metric("skyserve", self.metric)
        if self.role not in ROLES:
            raise PolicyError(f"skyserve: role={self.role!r}: must be one of {', '.join(ROLES)}")
        needs_pool = self.role == "on_demand" and self.spot_pool is None
        rules = {
            "qps_per_unit": (self.qps_per_unit, self.qps_per_unit > 0, "must be more than 0"),
            "window_s": (self.window_s, 0 < self.window_s <= KEEP_S, f"must lie in 0..{KEEP_S:g}, not 0"),
            "upscale_delay_s": (self.upscale_delay_s, self.upscale_delay_s >= 0, "must be 0 or more"),
            "downscale_delay_s": (self.downscale_delay_s, self.downscale_delay_s >= 0, "must be 0 or more"),
            "spot_pool": (self.spot_pool, not needs_pool, "is needed with role=on_demand"),
            "base_on_demand": (self.base_on_demand, self.base_on_demand >= 0, "must be 0 or more"),
            "period_s": (self.period_s, self.period_s > 0, "must be more than 0"),
        }
        require("skyserve", rules)
        require_bounds("skyserve", self.min_units, self.max_units)

    @property
    def sees_back_s(self) -> float:
        return self.window_s

    def desired(self, target: Target, view: ClusterView) -> int:
        why, measured = view.explain, self.service or target.name
        rate = view.metrics.mean(measured, self.metric, view.now_s - self.window_s)
        if why:
            why.measured(view, measured, self.metric, rate, window_s=self.window_s, holds=rate is None)
        if self._total is None:
            self._total = target.num_units if self.role == "all" else self.min_units
        if rate is not None:
            most = math.inf if self.max_units is None else self.max_units
            wanted = int(min(max(ceil(rate / self.qps_per_unit), self.min_units), most))
            if why:
                why.say("ratio", ratio=rate / self.qps_per_unit, target=self.qps_per_unit)
                why.say("recommendation", count=wanted, by="the rate, between min_units and max_units")
            self._settle(wanted, why)
        if self.role == "all":
            return bounded(self._total, target, self.min_units, self.max_units, why)
        ready_spot = target.num_ready if self.role == "spot" else self._ready_spot(view)
        spot, on_demand = mixed(self._total, self.base_on_demand, ready_spot, self.falls_back)
        mine = spot if self.role == "spot" else on_demand
        if why:
            text = (
                f"of {self._total} in all {spot} are to be spot, of which {ready_spot} are ready, {on_demand} on demand"
            )
            why.say("note", text=text)
        return bounded(mine, target, why=why)

    def _settle(self, wanted: int, why: Reasons | None) -> None:
        """Counts the decisions in a row, and takes what they call for once there are enough."""
        total = self._total or 0
        self._more = self._more + 1 if wanted > total else 0
        self._fewer = self._fewer + 1 if wanted < total else 0
        more, fewer = (int(delay_s / self.period_s) for delay_s in (self.upscale_delay_s, self.downscale_delay_s))
        is_enough = (
            (not total and wanted) or (self._more and self._more >= more) or (self._fewer and self._fewer >= fewer)
        )
        if why and wanted != total:
            facts = {"direction": "out", "have": self._more, "need": more}
            if self._fewer:
                facts = {"direction": "in", "have": self._fewer, "need": fewer}
            why.say("delay", **facts, unit="decisions in a row", holds=not is_enough)
        if is_enough:
            self._total, self._more, self._fewer = wanted, 0, 0

    def _ready_spot(self, view: ClusterView) -> int:
        assert self.spot_pool is not None
        if self.spot_pool not in view.pools:
            raise PolicyError(f"skyserve: unknown spot_pool {self.spot_pool!r}: {nearest(self.spot_pool, view.pools)}")
        return view.pools[self.spot_pool].num_ready
