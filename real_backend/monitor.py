"""Monitoring of a live run: the simulator's, with what can be measured in place of what it assumes."""

from __future__ import annotations

from collections.abc import Mapping

from policies import ClusterView
from real_backend.cluster import LiveCluster
from real_backend.exporter import Exporter
from real_backend.fleet import AgentRecord, Fleet
from real_backend.pools import LivePools
from real_backend.wall_clock import WallClock
from simulator.monitor import Monitor, MonitorOptions
from simulator.pools import PoolSpec
from simulator.records import Recorder
from workloads import JobTable

_MEASURED = ("cpu_utilisation_frac", "memory_utilisation_frac", "network_utilisation_frac")


class LiveMonitor(Monitor):
    """Samples of the pool under the names that policies know.

    | metric | from |
    |---|---|
    | CPU, memory, network | the agents' telemetry, a mean over nodes |
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
    ) -> None:
        super().__init__(clock, cluster, table, pools, recorder, options)
        self._fleet, self._live_pools, self._exporter = fleet, live_pools, exporter
        self._gangs = cluster.gangs

    def _sample(self, view: ClusterView) -> dict[str, dict[str, float]]:
        samples = super()._sample(view)
        agents = [agent for agent in self._fleet.agents.values() if agent.telemetry]
        for pool, values in samples.items():
            capacity = view.nodes.capacity_gpus + view.nodes.closed_held_gpus
            stepping = sum(len(gang.seats) for gang in self._gangs if gang.is_stepping)
            values["gpu_utilisation_frac"] = stepping / capacity if capacity else 0.0
            for name in (*_MEASURED, "gpu_utilisation_frac"):
                measured = [agent.telemetry[name] for agent in agents if name in agent.telemetry]
                if measured:
                    values[name] = sum(measured) / len(measured)
            if self._exporter:
                self._exporter.set(pool, values)
        if self._exporter:
            self._export_nodes(agents)
        return samples

    def _export_nodes(self, agents: list[AgentRecord]) -> None:
        assert self._exporter is not None
        for agent in agents:
            self._exporter.node(agent.name, agent.telemetry)
