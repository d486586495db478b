"""The tables that a run with services leaves behind, beside those of `simulator.records`.

| table | a row is |
|---|---|
| replicas | a replica's life; `job` is its number in the table allocations |
| service_metrics | one sample of monitoring of one service, by its place in the configuration |
| latencies | a bin of a histogram: how many requests took about `seconds` (within 1%) |
| latency_heat | the same in coarse bins, by time of arrival |
| requests | a request that was answered; of services whose requests were kept |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from policies import SERVICE_METRICS
from simulator.serving.histogram import middles_s
from simulator.serving.outcome import Served
from simulator.serving.replica import Replica
from simulator.serving.statistics import HEAT_BINS, ServiceStatistics, heat_middles_s

_COUNTS = ("num_ready", "num_starting", "num_pending", "num_draining")
SAMPLES = pa.schema(
    [
        ("time_s", pa.float64()),
        ("service", pa.int32()),
        *((name, pa.int32()) for name in _COUNTS),
        *((name, pa.float64()) for name in SERVICE_METRICS),
    ]
)
REPLICA_ENDS = ("drained", "cancelled", "killed", "timed_out", "running")


def replica_table(names: Sequence[str], replicas: Sequence[tuple[int, Replica]], end_s: float) -> pa.Table:
    """A row a replica, in the order in which they were asked for."""
    of = [each for _, each in replicas]
    ends = np.array([REPLICA_ENDS.index(each.end) for each in of], np.int8)
    return pa.table(
        {
            "job": pa.array([each.record for each in of], pa.int64()),
            "service": _names(names, [index for index, _ in replicas]),
            "num_gpus": pa.array([each.num_gpus for each in of], pa.int32()),
            "requested_s": pa.array([each.requested_s for each in of], pa.float64()),
            "allocated_s": pa.array([each.allocated_s for each in of], pa.float64()),
            "ready_s": pa.array([each.ready_s for each in of], pa.float64()),
            "drain_s": pa.array([each.drain_s for each in of], pa.float64()),
            "end_s": pa.array([each.end_s if each.end_s == each.end_s else end_s for each in of], pa.float64()),
            "end": pa.DictionaryArray.from_arrays(ends, list(REPLICA_ENDS)),
            "held_gpu_s": pa.array([each.service_at_since_gpu_s for each in of], pa.float64()),
        }
    )


def latency_table(names: Sequence[str], statistics: Sequence[ServiceStatistics]) -> pa.Table:
    """Histograms of latency, and where there are tokens of time to first token and time per output token."""
    rows: list[tuple[int, str, np.ndarray]] = []
    for index, of in enumerate(statistics):
        rows.append((index, "latency", of.latency.counts))
        if of.has_tokens:
            rows += [(index, "ttft", of.ttft.counts), (index, "time_per_output_token", of.per_token.counts)]
    bins = [counts.nonzero()[0] for _, _, counts in rows]
    sizes = [len(each) for each in bins]
    return pa.table(
        {
            "service": _names(names, np.repeat([index for index, _, _ in rows], sizes)),
            "metric": pa.array(np.repeat([metric for _, metric, _ in rows], sizes)).cast(pa.string()),
            "seconds": middles_s()[np.concatenate(bins)],
            "num_requests": np.concatenate([counts[at] for at, (_, _, counts) in zip(bins, rows, strict=True)]),
        }
    )


def heat_table(names: Sequence[str], statistics: Sequence[ServiceStatistics]) -> pa.Table:
    """Latency by time of arrival."""
    service, begin, column, count = [], [], [], []
    for index, of in enumerate(statistics):
        rows, columns = of.heat.nonzero()
        service.append(np.full(len(rows), index))
        begin.append(rows * of.heat_s)
        column.append(columns)
        count.append(of.heat[rows, columns])
    seconds = heat_middles_s()
    assert len(seconds) == HEAT_BINS
    return pa.table(
        {
            "service": _names(names, np.concatenate(service)),
            "from_s": np.concatenate(begin).astype(np.float64),
            "seconds": seconds[np.concatenate(column)],
            "num_requests": np.concatenate(count).astype(np.int64),
        }
    )


def request_table(names: Sequence[str], rows: Sequence[Sequence[Served]]) -> pa.Table:
    """A row a request, by service, in order of arrival."""
    parts: list[dict[str, Any]] = []
    for index, of in enumerate(rows):
        served = Served.concat([Served(), *of])
        order = served.number.argsort(kind="stable")
        parts.append(
            {
                "service": np.full(len(served), index),
                **{name: getattr(served, name)[order] for name in Served.__slots__},
            }
        )
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    columns["service"] = _names(names, columns["service"])
    return pa.table(columns)


def _names(names: Sequence[str], indices: Any) -> pa.Array:
    return pa.DictionaryArray.from_arrays(np.asarray(indices, np.int32), list(names))
