"""The audit finds every kind of false entry about services."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from simulator.checks import check
from simulator.errors import SimulationError
from simulator.run import Run
from tests.simulator.serving.small_services import plan, serve
from tests.simulator.small_runs import jobs_of


@pytest.fixture(scope="module")
def run() -> Run:
    """Replicas 0 (there throughout), 1 (killed at 1 s), 2 (in its place, from 10 s on) and 3 (drains), beside a job."""
    jobs = jobs_of((1.0, 3, 9.0, {"priority": 1}))
    arrivals_s = [0.0, 0.5, 20.0, 21.0, 70.0]
    return serve(
        plan(arrivals_s, replicas=2, max_replicas=3), [(30.0, 3), (60.0, 2)], jobs=jobs, allocation="priority",
        pool={"gpus_per_node": 4},
    )  # fmt: skip


def put(row: int, value: Any) -> Callable[[list[Any]], None]:
    return lambda values: values.__setitem__(row, value)


def add(row: int, value: Any) -> Callable[[list[Any]], None]:
    return lambda values: values.__setitem__(row, values[row] + value)


def with_entry(run: Run, table: str, column: str, edit: Callable[[list[Any]], None]) -> Run:
    """The same run with one entry of one table changed."""
    names = ("jobs", "allocations", "nodes", "decisions", "metrics", "service_metrics", "replicas", "latencies",
             "latency_heat", "slo_minutes", "requests")  # fmt: skip
    tables = {name: run.table(name) for name in names}
    old = tables[table]
    values = old[column].to_pylist()
    edit(values)
    index = old.schema.get_field_index(column)
    tables[table] = old.set_column(index, column, pa.array(values).cast(old.schema.field(column).type))
    return Run(run.facts, tables)


def test_the_books_as_they_are(run: Run) -> None:
    check(with_entry(run, "replicas", "num_gpus", add(0, 0)))
    ends = run.table("replicas")["end"].to_pylist()
    assert ends == ["running", "killed", "running", "drained"]


@pytest.mark.parametrize(
    ("table", "column", "edit", "message"),
    [
        ("replicas", "ready_s", put(2, 9.0), "are not requested <= allocated <= ready <= drained <= end (1): rows 2"),
        ("replicas", "drain_s", put(3, 30.0), "are not requested <= allocated <= ready <= drained <= end (1): rows 3"),
        ("replicas", "allocated_s", put(0, math.nan), "replicas that were ready without GPUs (1): rows 0"),
        ("replicas", "ready_s", put(3, math.nan), "replicas that drained and were never ready (1): rows 3"),
        ("replicas", "end_s", put(0, 60.0), "replicas that end before the run and are running (1): rows 0"),
        ("replicas", "job", add(2, 5), "replicas are not numbered one after the other"),
        ("replicas", "held_gpu_s", add(1, 0.01), "replicas whose GPU-seconds the allocations don't make (1): rows 1"),
        ("replicas", "num_gpus", put(1, 2), "replicas of another size"),
        ("replicas", "end_s", add(1, 0.5), "hold GPUs before they have them or after they are gone (1): rows 1"),
        ("latencies", "num_requests", add(0, 1), "service chat: 4 requests served, 5 of latency in latencies"),
        ("latency_heat", "num_requests", add(0, -1), "service chat: 4 requests served, 3 of latency in latency_heat"),
        ("slo_minutes", "num_settled", add(0, 1), "service chat: 5 requests settled, 6 in slo_minutes"),
        ("requests", "number", put(1, 1), "service chat: requests served twice"),
        ("requests", "first_s", put(0, 0.25), "service chat: requests answered before they came"),
        ("requests", "finish_s", add(1, -3.0), "service chat: requests answered before they came"),
    ],
)
def test_a_false_entry_is_found(
    run: Run, table: str, column: str, edit: Callable[[list[Any]], None], message: str
) -> None:
    with pytest.raises(SimulationError) as error:
        check(with_entry(run, table, column, edit))
    assert message in str(error.value)


@pytest.mark.parametrize("fate", ["served", "rejected", "timed_out", "lost", "in_flight"])
def test_a_request_too_many_is_found(run: Run, fate: str) -> None:
    facts = copy.deepcopy(dict(run.facts))
    facts["services"]["chat"][f"num_{fate}"] += 1
    false = with_entry(run, "replicas", "num_gpus", add(0, 0))
    false.facts = facts
    with pytest.raises(SimulationError, match="service chat: 5 requests, but 6 accounted for"):
        check(false)
