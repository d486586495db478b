"""The tables that a run with services leaves behind, beside those of `simulator.records`.

| table | a row is |
|---|---|
| replicas | a replica's life; `job` is its number in the table allocations |
| service_metrics | one sample of monitoring of one service, by its place in the configuration |
| latencies | a bin of a histogram: how many requests took about `seconds` (within 1%) |
| latency_heat | a coarse bin (17% wide) of latency or time to first token, of the requests of one minute |
| slo_minutes | a minute: how many of its requests were answered or failed, and how many answered in time |
| requests | a request that was answered; of services whose requests were kept |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from policies import SERVICE_METRICS
from simulator.serving.heat import HEAT_S, heat_middles_s
from simulator.serving.histogram import middles_s
from simulator.serving.outcome import Served
from simulator.serving.replica import Replica
from simulator.serving.statistics import ServiceStatistics

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
    """Latency by minute of arrival, and time to first token where there are tokens."""
    maps = [(index, "latency", of.heat.counts) for index, of in enumerate(statistics)]
    maps += [(index, "ttft", of.ttft_heat.counts) for index, of in enumerate(statistics) if of.has_tokens]
    cells = [counts.nonzero() for _, _, counts in maps]
    sizes = [len(rows) for rows, _ in cells]
    return pa.table(
        {
            "service": _names(names, np.repeat([index for index, _, _ in maps], sizes)),
            "metric": pa.array(np.repeat([metric for _, metric, _ in maps], sizes)).cast(pa.string()),
            "from_s": HEAT_S * np.concatenate([rows for rows, _ in cells]),
            "seconds": heat_middles_s()[np.concatenate([columns for _, columns in cells])],
            "num_requests": np.concatenate(
                [counts[at].astype(np.int64) for (_, _, counts), at in zip(maps, cells, strict=True)]
            ),
        }
    )


def minute_table(names: Sequence[str], statistics: Sequence[ServiceStatistics]) -> pa.Table:
    """Minutes in which requests came that were answered, or in which some were booked as failed."""
    parts = []
    for index, of in enumerate(statistics):
        settled, in_time = of.by_minute()
        rows = settled.nonzero()[0]
        parts.append((np.full(len(rows), index), HEAT_S * rows, settled[rows], in_time[rows]))
    service, from_s, num_settled, num_in_time = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return pa.table(
        {
            "service": _names(names, service),
            "from_s": from_s,
            "num_settled": num_settled.astype(np.int64),
            "num_in_time": num_in_time.astype(np.int64),
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
