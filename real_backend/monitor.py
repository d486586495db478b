"""Monitoring of a live run: the simulator's, with what can be measured in place of what it assumes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from policies import ClusterView
from real_backend.cluster import LiveCluster
from real_backend.errors import BackendError
from real_backend.exporter import Exporter
from real_backend.fleet import AgentRecord, Fleet
from real_backend.pools import LivePools
from real_backend.wall_clock import WallClock
from simulator.monitor import Monitor, MonitorOptions
from simulator.pools import PoolSpec
from simulator.records import Recorder
from workloads import JobTable

_OF_HOST = ("cpu_utilisation_frac", "memory_utilisation_frac")
_OF_GPUS = ("gpu_utilisation_frac", "gpu_memory_utilisation_frac")


class LiveMonitor(Monitor):
    """Samples of the pool under the names that policies know.

    | metric | from |
    |---|---|
    | CPU, memory | the agents' telemetry: what their workers use of their host, a mean over hosts |
    | GPU memory | NVML, a mean over all GPUs; without GPUs: assumed |
    | network | the agents' telemetry, where they know their bandwidth (`live.network_gib_per_s`); else assumed |
    | gpu_utilisation_frac | NVML, over all GPUs; without GPUs: seats whose gang makes steps, over all seats |
    | allocation, queue | the cluster itself, as in the simulator |
    """

    def __init__(
        self,
        clock: WallClock,
        cluster: LiveCluster,
        table: JobTable,
        pools: Mapping[str, PoolSpec],
        recorder: Recorder,
        options: MonitorOptions,
        fleet: Fleet,
        live_pools: LivePools,
        exporter: Exporter | None = None,
        has_bandwidth: bool = False,
    ) -> None:
        for name in ("perfect", "window_s"):
            if value := getattr(options, name):
                raise BackendError(f"monitor.{name}={value}: is of simulated time; a live run samples as it goes")
        super().__init__(clock, cluster, table, pools, recorder, options)
        self._ticks = int(clock.now // options.interval_s)  # a controller that was restarted doesn't catch up
        self._network = has_bandwidth
        self._exported: set[str] = set()
        self._fleet, self._live_pools, self._exporter = fleet, live_pools, exporter
        self._gangs = cluster.gangs

    def _sample(self, view: ClusterView) -> dict[str, dict[str, float]]:
        self._usage.recount(view.jobs)
        samples = super()._sample(view)
        agents = [agent for agent in self._fleet.agents.values() if agent.telemetry]
        for pool, values in samples.items():
            nodes = view.pools[pool]
            capacity = (nodes.num_ready + nodes.num_draining) * nodes.gpus_per_unit
            stepping = sum(len(gang.seats) for gang in self._gangs if gang.is_stepping)
            values["gpu_utilisation_frac"] = stepping / capacity if capacity else 0.0
            for name in _OF_HOST:
                if measured := _by_host(agents, name):
                    values[name] = sum(measured) / len(measured)
            for name in _OF_GPUS:
                if gpus := [agent.telemetry[name] for agent in agents if name in agent.telemetry]:
                    values[name] = sum(gpus) / len(gpus)
            if self._network:
                busy = [agent.telemetry["network_utilisation_frac"] for agent in agents]
                values["network_utilisation_frac"] = sum(busy) / len(busy) if busy else 0.0
            if self._exporter:
                self._exporter.set(pool, values)
        if self._exporter:
            self._export_nodes(agents)
        return samples

    def _export_nodes(self, agents: list[AgentRecord]) -> None:
        assert self._exporter is not None
        here = {agent.name for agent in agents}
        for name in self._exported - here:
            self._exporter.forget_node(name)
        self._exported = here
        for agent in agents:
            self._exporter.node(agent.name, agent.telemetry)


def _by_host(agents: Iterable[AgentRecord], name: str) -> list[float]:
    """A measure of workers, added up over the agents of a host."""
    hosts: dict[str, float] = {}
    for agent in agents:
        if name in agent.telemetry:
            hosts[agent.host] = hosts.get(agent.host, 0.0) + agent.telemetry[name]
    return list(hosts.values())
