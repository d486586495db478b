"""Figures: files, the same bytes again, and the odd runs that must not break them."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies import registry
from simulator.figures import draw_run
from simulator.figures.comparison import pareto
from simulator.figures.gantt import _bands, _lanes, draw_gantt
from simulator.figures.style import MAX_POINTS, curve
from simulator.moves import Moves, Stays
from simulator.pools import PoolSpec
from simulator.run import Run
from simulator.serving.services import ServicePlan
from simulator.serving.spec import ServiceSpec
from simulator.simulation import Scenario, simulate
from workloads import JobTable
from workloads.requests import build_requests
from workloads.serving.service_times import ServiceTimes


def small_run(placement: str = "consolidate", horizon_s: float = np.inf, num_nodes: int = 2) -> Run:
    rng = np.random.default_rng(1)
    columns = {"submit_s": np.sort(rng.uniform(0, 500, 30)), "num_gpus": rng.integers(1, 5, 30)}
    scenario = Scenario(
        jobs=JobTable.from_columns({**columns, "duration_s": rng.uniform(5, 90, 30)}),
        allocation=registry.create("allocation", "srtf"),
        placement=registry.create("placement", placement),
        pools=[PoolSpec(num_nodes=num_nodes, gpus_per_node=4, usd_per_node_h=36.0)],
        horizon_s=horizon_s,
    )
    return simulate(scenario)


def serving_run(num_jobs: int = 0, gpus_per_node: int = 4, **service: Any) -> Run:
    """Ten minutes of a service on two GPUs at first, beside some jobs if wanted."""
    rng = np.random.default_rng(1)
    columns = {"submit_s": np.sort(rng.uniform(0, 500, num_jobs)), "num_gpus": rng.integers(1, 3, num_jobs)}
    duration_s = rng.uniform(5, 90, num_jobs)
    options = {"name": "chat", "replicas": 2, "service_times": ServiceTimes(mean_s=0.5), **service}
    requests = build_requests({"name": "poisson", "rate_per_s": 3.0, "duration_s": 600.0})
    scenario = Scenario(
        jobs=JobTable.from_columns({**columns, "duration_s": duration_s}) if num_jobs else JobTable.none(),
        allocation=registry.create("allocation", "fifo"),
        placement=registry.create("placement", "consolidate"),
        pools=[PoolSpec(num_nodes=1, gpus_per_node=gpus_per_node, usd_per_node_h=36.0)],
        services=[ServicePlan(ServiceSpec(**options), requests)],
    )
    return simulate(scenario)


def texts(path: Path) -> str:
    """What an SVG says: matplotlib leaves each text as a comment beside its outlines."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", path.read_text()))


def names(paths: list[Path]) -> set[str]:
    return {path.stem for path in paths}


def test_a_run_and_the_same_bytes_again(tmp_path: Path) -> None:
    paths = draw_run(small_run(), tmp_path / "a")
    assert names(paths) == {"over_time", "latency", "gantt"}
    assert {path.suffix for path in paths} == {".png", ".svg"}
    for path in draw_run(small_run(), tmp_path / "b"):
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes(), path.name


def test_runs_with_little_in_them(tmp_path: Path) -> None:
    assert names(draw_run(small_run(horizon_s=1e-3), tmp_path)) == {"over_time"}  # nothing came
    assert draw_gantt(small_run("pooled"), "", "", tmp_path) == []  # jobs aren't on nodes
    assert draw_gantt(small_run(num_nodes=17), "", "", tmp_path) == []  # too many GPUs to see


def test_a_run_of_a_service_alone(tmp_path: Path) -> None:
    run = serving_run()
    draw_run(run, tmp_path)
    said = texts(tmp_path / "gantt.svg")
    assert said.count("chat") == 2
    assert "Replicas on GPUs, a lane each" in said
    num = run.facts["services"]["chat"]["num_requests"]
    assert f"{num:,} of {num:,} requests served" in said
    assert "jobs" not in said


def test_lanes_never_hold_two_jobs() -> None:
    run = small_run()
    moves, stays = Moves.of(run), Stays.of(run)
    until_s = np.append(moves.time_s, run.facts["end_s"])[moves.next_row]
    lanes = _lanes(moves, stays, until_s, {0: 4, 1: 4})
    seen: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for k, taken in enumerate(lanes):
        assert len(taken) == stays.num_gpus[k]
        for lane in taken:
            row = stays.row[k]
            seen.setdefault((int(stays.node[k]), lane), []).append((moves.time_s[row], until_s[row]))
    for spans in seen.values():
        spans.sort()
        assert all(left[1] <= right[0] for left, right in pairwise(spans))
    assert _bands([0, 1, 3]) == [(0, 2), (3, 1)]


def test_pareto_by_hand() -> None:
    x, y = np.array([3.0, 1.0, 2.0, 2.0, 4.0]), np.array([1.0, 5.0, 3.0, 2.0, 1.0])
    np.testing.assert_array_equal(pareto(x, y), [1, 3, 0])  # (1, 5), (2, 2), (3, 1); (4, 1) costs more for nothing


def test_curve_by_hand_and_of_many() -> None:
    x, y = curve(np.array([0.0, 0.0, 4.0, 8.0]), 1.0)
    np.testing.assert_array_equal(x, [1, 1, 1, 4, 8])
    np.testing.assert_array_equal(y, [50, 50, 50, 75, 100])
    x, y = curve(np.arange(1.0, 1e5), 1.0)
    assert len(x) <= MAX_POINTS + 1
    assert (x[-1], y[-1]) == (99999.0, 100.0)


@pytest.mark.slow
def test_importing_the_simulator_imports_no_matplotlib() -> None:
    code = (
        "import sys, simulator.compare, simulator.figures, simulator.summary, simulator.environment; "
        "print([m for m in ('matplotlib', 'seaborn', 'scipy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
