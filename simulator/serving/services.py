"""All services of a run, put together and recorded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from policies import JobsView, MetricsView, ServiceView
from simulator.clock import Clock
from simulator.errors import ConfigError
from simulator.pools import PoolSpec
from simulator.serving.buying import REPLICA_SECONDS
from simulator.serving.feed import Feed, RequestFeed
from simulator.serving.models import make_model
from simulator.serving.outcome import Counts
from simulator.serving.records import SAMPLES, heat_table, latency_table, minute_table, replica_table, request_table
from simulator.serving.replica import Replica
from simulator.serving.router import Route, RoutedFeed, Router
from simulator.serving.service import Service
from simulator.serving.spec import ServiceSpec
from simulator.serving.statistics import merged
from simulator.simulated_cluster import SimulatedCluster
from simulator.tables import PARQUET, RowWriter
from workloads import JobTable
from workloads.requests import RequestSource


@dataclass(frozen=True)
class ServicePlan:
    """A service and its requests, as a scenario has them; with a route, a site that has a share in them."""

    spec: ServiceSpec
    requests: RequestSource
    route: Route | None = None

    def __post_init__(self) -> None:
        if self.spec.has_tokens and not self.requests.has_tokens:
            raise ConfigError(
                f"service {self.spec.name!r}: service.model={self.spec.model} needs requests with tokens: set "
                "requests.prompt_tokens and requests.output_tokens, or read a trace that has them"
            )


def views_of(plans: Sequence[ServicePlan], pools: Sequence[PoolSpec] = ()) -> dict[str, ServiceView]:
    """What policies see of services before they begin; a replica's price where its pool is known."""
    return {
        plan.spec.name: ServiceView(
            name=plan.spec.name,
            gpus_per_unit=plan.spec.gpus_per_replica,
            min_units=plan.spec.fewest,
            max_units=plan.spec.most,
            usd_per_unit_h=_usd_per_gpu_h(plan.spec, pools) * plan.spec.gpus_per_replica,
            lead_s=plan.spec.startup.cold_s,
        )
        for plan in plans
    }


def _usd_per_gpu_h(spec: ServiceSpec, pools: Sequence[PoolSpec]) -> float:
    """0 where it isn't known, or nobody pays by the hour."""
    if spec.purchase.buy == REPLICA_SECONDS:
        return 3600.0 * (spec.purchase.usd_per_replica_s or 0.0)
    return sum(pool.usd_per_node_h / pool.gpus_per_node for pool in pools if pool.name == spec.pool)


def with_replicas(jobs: JobTable, plans: Sequence[ServicePlan]) -> JobTable:
    """The jobs, and behind them a row for the replicas of each service."""
    if not plans:
        return jobs
    return jobs.then(JobTable.from_specs([plan.spec.job_spec() for plan in plans]))


class Services:
    """The services of a run.

    Args:
        num_jobs: rows of the trace; in the table allocations replicas are numbered from there on.
        streams: gives the random stream of a purpose.
        on_over: called when all have served all there was.
        on_tick: called at every sample.
        wants_pods: names of services whose policies look at replicas one by one.
    """

    def __init__(
        self,
        plans: Sequence[ServicePlan],
        num_jobs: int,
        clock: Clock,
        cluster: SimulatedCluster,
        jobs: JobsView,
        views: Mapping[str, ServiceView],
        metrics: MetricsView,
        streams: Callable[[str], np.random.Generator],
        delay_s: float,
        folder: Path | None,
        on_over: Callable[[], None],
        on_tick: Callable[[], None],
        wants_pods: Collection[str] = (),
    ) -> None:
        self._num_jobs, self._jobs, self._on_over, self._on_tick = num_jobs, jobs, on_over, on_tick
        self._folder = folder
        self._num_replicas = 0
        self._row = {plan.spec.name: num_jobs + index for index, plan in enumerate(plans)}
        self._spec = {plan.spec.name: plan.spec for plan in plans}
        self._index = {plan.spec.name: index for index, plan in enumerate(plans)}
        self._samples = RowWriter(SAMPLES, folder and folder / "service_metrics.parquet") if plans else None
        self._of: dict[str, Service] = {}
        self._routers: dict[str, Router] = {}
        self._sites: dict[str, dict[str, Service]] = {}  # by stream, then by site
        for plan in plans:
            spec = plan.spec
            rng = streams(f"service {spec.name}")
            startup_rng, model_rng = rng.spawn(2)
            feed = self._feed(plan, streams)
            self._of[spec.name] = service = Service(
                spec,
                feed,
                make_model(spec.model, spec.requests, model_rng, spec.service_times, spec.batch, spec.llm),
                views[spec.name],
                clock,
                cluster,
                metrics,
                startup_rng,
                self._new_replica,
                delay_s,
                self._one_is_over,
                self._record,
                spec.name in wants_pods,
            )
            if plan.route is not None and isinstance(feed, RoutedFeed):
                self._routers[plan.route.stream].join(service, feed)
                self._sites.setdefault(plan.route.stream, {})[plan.route.site] = service

    def _feed(self, plan: ServicePlan, streams: Callable[[str], np.random.Generator]) -> RequestFeed:
        """The requests of a service, or a site's share in them."""
        route = plan.route
        if route is None:
            return Feed(plan.requests, streams(f"requests {plan.spec.name}"))
        if route.stream not in self._routers:
            stream = Feed(plan.requests, streams(f"requests {route.stream}"))
            self._routers[route.stream] = Router(stream, route.options)
        return self._routers[route.stream].feed()

    def __bool__(self) -> bool:
        return bool(self._of)

    def scale(self, name: str, count: int) -> None:
        """Moves a service towards a number of replicas."""
        self._of[name].scale(count)

    def move_off(self, node: int) -> None:
        """A node drains."""
        for service in self._of.values():
            service.move_off(node)

    @property
    def are_over(self) -> bool:
        """True once every request that ever comes has been answered or given up."""
        return all(service.is_over for service in self._of.values())

    @property
    def are_streaming(self) -> bool:
        """Whether requests are still to come."""
        return any(service.is_streaming for service in self._of.values())

    @property
    def num_settled(self) -> int:
        """Requests whose fate is known."""
        return sum(service.num_settled for service in self._of.values())

    def in_flight(self) -> dict[str, int]:
        """Requests that have come and whose fate isn't known, by service."""
        return {name: service.counts.in_flight for name, service in self._of.items()}

    @property
    def num_holding(self) -> int:
        """Replicas that hold GPUs."""
        return sum(service.num_holding for service in self._of.values())

    def close(self, now_s: float) -> dict[str, pa.Table]:
        """Ends all services; the tables by name where no folder is given, else none."""
        if not self._samples:
            return {}
        services = list(self._of.values())
        for service in services:
            service.finish(now_s)
        names, statistics = list(self._of), [service.statistics for service in services]
        replicas = [(index, each) for index, service in enumerate(services) for each in service.log]
        replicas.sort(key=lambda row: row[1].record)
        tables = {
            "service_metrics": self._samples.close(),
            "replicas": replica_table(names, replicas, now_s),
            "latencies": latency_table(names, statistics),
            "latency_heat": heat_table(names, statistics),
            "slo_minutes": minute_table(names, statistics),
            "requests": request_table(names, [list(service.rows()) for service in services]),
        }
        kept = {}
        for name, table in tables.items():
            if table is None:
                continue
            if self._folder is None or name == "service_metrics":
                kept[name] = table
            else:
                pq.write_table(table, self._folder / f"{name}.parquet", **PARQUET)
        return kept

    def facts(self) -> dict[str, Any]:
        """What summary.json says of each that its tables don't."""
        return {name: service.summary() for name, service in self._of.items()}

    def routed(self) -> dict[str, Any]:
        """What summary.json says of each service that has sites: those, and their requests taken together."""
        told = {}
        for stream, sites in self._sites.items():
            counts = Counts.total([service.counts for service in sites.values()])
            together = merged([service.statistics for service in sites.values()])
            told[stream] = {
                "sites": {site: service.spec.name for site, service in sites.items()},
                **together.summary(counts),
            }
        return told

    def _new_replica(self, name: str, now_s: float, is_warm: bool, on_change: Callable[[Replica], None]) -> Replica:
        record = self._num_jobs + self._num_replicas
        self._num_replicas += 1
        spec = self._spec[name]
        return Replica(
            self._jobs, self._row[name], record, now_s, spec.gpus_per_replica, name, spec.pool, is_warm, on_change
        )

    def _one_is_over(self) -> None:
        if self.are_over:
            self._on_over()

    def _record(self, service: Service, row: tuple[float, ...]) -> None:
        assert self._samples is not None
        self._samples.numbers.extend((row[0], self._index[service.spec.name], *row[1:]))
        if self._samples.is_full:
            self._samples.flush()
        self._on_tick()
