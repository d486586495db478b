"""An endpoint for Prometheus: what pools and nodes were last measured at, as gauges.

    elastic_gpu_queue_length{pool="a100"} 3.0
    elastic_gpu_node_network_gib_per_s{node="node-0"} 0.8

Metrics are those that policies see (`policies.METRICS`), measures those of `telemetry.MEASURES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from policies import METRICS
from real_backend.errors import BackendError
from real_backend.telemetry import MEASURES


class Exporter:
    """Serves http://HOST:PORT/metrics from a thread of its own, until it is closed.

    Args:
        port: 0: any that is free; `port` says which.
        host: where it listens. There is no authentication: with anything but 127.0.0.1 all who reach it can read.

    Raises:
        BackendError: prometheus-client isn't installed, or the port can't be had.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError:
            raise BackendError(
                "the Prometheus endpoint needs prometheus-client: pip install -c constraints.txt -e '.[torch]'"
            ) from None
        # Replaced, never changed: the server's thread reads them at any time.
        self._pools: Mapping[str, Mapping[str, float]] = {}
        self._nodes: Mapping[str, Mapping[str, float]] = {}
        registry = CollectorRegistry()
        collector: Any = self
        registry.register(collector)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except (OSError, OverflowError) as error:
            raise BackendError(f"the Prometheus endpoint can't listen at {host}:{port}: {error}") from None
        self.port: int = self._server.server_port

    def set(self, pool: str, values: Mapping[str, float]) -> None:
        """Shows these metrics of a pool from now on; those that are missing no longer."""
        self._pools = {**self._pools, pool: dict(values)}

    def node(self, name: str, values: Mapping[str, float]) -> None:
        """Shows these measures of a node from now on; those that are missing no longer."""
        self._nodes = {**self._nodes, name: dict(values)}

    def forget_node(self, name: str) -> None:
        """Shows nothing of a node any more; one that isn't known is fine."""
        self._nodes = {node: values for node, values in self._nodes.items() if node != name}

    def close(self) -> None:
        """Ends the server; a second time does nothing."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def collect(self) -> Iterator[Any]:
        """The gauges of a scrape; for prometheus-client."""
        yield from _gauges("elastic_gpu_", "pool", self._pools, METRICS)
        yield from _gauges("elastic_gpu_node_", "node", self._nodes, MEASURES)


def _gauges(
    prefix: str, label: str, values_by_owner: Mapping[str, Mapping[str, float]], meanings: Mapping[str, str]
) -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily

    present = {name for values in values_by_owner.values() for name in values}
    for name in sorted(present):
        gauge = GaugeMetricFamily(prefix + name, meanings.get(name, name), labels=[label])
        for owner, values in values_by_owner.items():
            if name in values:
                gauge.add_metric([owner], values[name])
        yield gauge
