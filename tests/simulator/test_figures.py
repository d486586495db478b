"""Figures: files, the same bytes again, and the odd runs that must not break them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies import registry
from simulator.figures import draw_run
from simulator.figures.gantt import _bands, _lanes, draw_gantt
from simulator.figures.labels import Look, _roomiest
from simulator.figures.measures import measure_of
from simulator.figures.service_history import ServiceHistory, quantile_s
from simulator.figures.services import _spans, busiest, file_names
from simulator.figures.style import MAX_POINTS, curve
from simulator.moves import Moves, Stays
from simulator.pareto import front
from simulator.pools import PoolSpec
from simulator.run import Run
from simulator.scenario import Scenario
from simulator.serving.heat import HeatMap
from simulator.serving.services import ServicePlan
from simulator.serving.spec import ServiceSpec
from simulator.serving.statistics import Objective
from simulator.simulation import simulate
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


def serving_run(
    num_jobs: int = 0,
    gpus_per_node: int = 4,
    requests: Mapping[str, Any] | None = None,
    services: Mapping[str, Mapping[str, Any]] | None = None,
    horizon_s: float = np.inf,
    **service: Any,
) -> Run:
    """Ten minutes of a service on two GPUs at first, beside some jobs if wanted.

    Args:
        services: options of requests by name, where it is to be more than one service.
    """
    rng = np.random.default_rng(1)
    columns = {"submit_s": np.sort(rng.uniform(0, 500, num_jobs)), "num_gpus": rng.integers(1, 3, num_jobs)}
    duration_s = rng.uniform(5, 90, num_jobs)
    options = {"replicas": 2, "service_times": ServiceTimes(mean_s=0.5), **service}
    stream = {"name": "poisson", "rate_per_s": 3.0, "duration_s": 600.0, **(requests or {})}
    scenario = Scenario(
        jobs=JobTable.from_columns({**columns, "duration_s": duration_s}) if num_jobs else JobTable.none(),
        allocation=registry.create("allocation", "fifo"),
        placement=registry.create("placement", "consolidate"),
        pools=[PoolSpec(num_nodes=1, gpus_per_node=gpus_per_node, usd_per_node_h=36.0)],
        services=[
            ServicePlan(ServiceSpec(name=name, **options), build_requests({**stream, **own}))
            for name, own in (services or {"chat": {}}).items()
        ],
        horizon_s=horizon_s,
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
    paths = draw_run(run, tmp_path)
    assert names(paths) == {"over_time", "gantt", "service-chat", "heat-chat", "latency-chat", "cost_split"}
    said = texts(tmp_path / "gantt.svg")
    assert said.count("chat") == 2
    assert "Replicas (pale: starting) on GPUs, a lane each" in said
    num = run.facts["services"]["chat"]["num_requests"]
    assert f"{num:,} of {num:,} requests served" in said
    over_time = texts(tmp_path / "over_time.svg")
    assert "held by services" in over_time
    assert "jobs" not in said + over_time
    assert {"chat", "idle", "What the bill is for"} <= set(texts(tmp_path / "cost_split.svg").split("\n"))


def test_figures_of_services_are_the_same_bytes_again(tmp_path: Path) -> None:
    paths = draw_run(serving_run(num_jobs=5), tmp_path / "a")
    assert "latency" in names(paths)  # of jobs
    for path in draw_run(serving_run(num_jobs=5), tmp_path / "b"):
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes(), path.name
    said = texts(tmp_path / "a" / "over_time.svg")
    assert {"held by services", "held by jobs", "ready", "jobs waiting"} <= set(said.split("\n"))
    assert "training" in texts(tmp_path / "a" / "cost_split.svg")


def test_figures_of_a_service_say_what_they_show(tmp_path: Path) -> None:
    slo = Objective(latency_s=1.5, target_frac=0.95)
    draw_run(serving_run(slo=slo, replicas=3, queue_limit=1), tmp_path)
    said = texts(tmp_path / "service-chat.svg")
    assert {"p50", "p99", "objective (1.5 s)", "minute in violation", "ready", "wanted"} <= set(said.split("\n"))
    assert "(wanted: 95%)" in said
    assert "TTFT" not in said
    assert "objective (1.5 s)" in texts(tmp_path / "heat-chat.svg")
    distribution = texts(tmp_path / "latency-chat.svg")
    assert "latency (p50 " in distribution
    assert "time (dashed: objective)" in distribution


def test_a_service_with_tokens_has_panels_of_first_tokens(tmp_path: Path) -> None:
    tokens = {"median": 100, "sigma": 0.5, "min": 1, "max": 400}
    run = serving_run(model="llm", requests={"prompt_tokens": tokens, "output_tokens": tokens})
    draw_run(run, tmp_path)
    for name in ("service-chat", "heat-chat"):
        said = texts(tmp_path / f"{name}.svg")
        assert "Time to first token" in said
        assert "Latency" in said
    assert "time per output token (p50" in texts(tmp_path / "latency-chat.svg")


def test_services_to_which_little_happens(tmp_path: Path) -> None:
    """Nothing came; or all was rejected: no latency to draw, nor an empty panel of it."""
    quiet = serving_run(requests={"rate_per_s": 1e-9})
    assert names(draw_run(quiet, tmp_path / "quiet")) == {"over_time", "service-chat"}
    closed = serving_run(replicas=0, max_replicas=1, activation=False, queue_limit=0, horizon_s=600.0)
    assert closed.facts["services"]["chat"]["num_rejected"] > 0
    assert names(draw_run(closed, tmp_path / "closed")) == {"over_time", "service-chat", "cost_split"}
    assert "Latency" not in texts(tmp_path / "closed" / "service-chat.svg")


def test_only_the_busiest_services_are_drawn() -> None:
    services = {f"s{k}": {"num_requests": k % 5} for k in range(8)}
    assert busiest(services) == ["s1", "s2", "s3", "s4", "s6", "s7"]


def test_two_services_in_one_run(tmp_path: Path) -> None:
    paths = draw_run(serving_run(replicas=1, services={"chat/a": {}, "chat b": {"rate_per_s": 1.0}}), tmp_path)
    assert {"service-chat_a", "heat-chat_a", "latency-chat_b", "service-chat_b"} <= names(paths)
    said = texts(tmp_path / "service-chat_b.svg")
    assert "chat b · seed 0" in said
    cost = texts(tmp_path / "cost_split.svg")
    assert "chat/a" in cost
    assert "chat b" in cost


def test_file_names_differ() -> None:
    assert file_names(["a/b", "a b", "chat", "ü.1"]) == ["a_b", "a_b-1", "chat", "ü.1"]


def test_history_of_a_service_adds_up() -> None:
    run = serving_run(num_jobs=5, replicas=1, max_replicas=3)
    of = run.facts["services"]["chat"]
    history = ServiceHistory.of(run, "chat", 0, of["slo"])
    edges_s = history.edges_s()
    assert history.heat_in("latency", edges_s).sum() == of["num_served"]
    lasts_s = np.diff(np.minimum(edges_s, history.until_s))
    assert history.load_per_s(edges_s) @ lasts_s == pytest.approx(of["num_requests"], abs=3)
    ready = run.table("replicas").to_pandas()
    assert history.ready.integral(0.0, run.facts["end_s"]) == pytest.approx((ready["end_s"] - ready["ready_s"]).sum())
    assert len(history.violated_s) == of["slo_minutes_in_violation"]


def test_quantiles_of_a_heat_map_are_within_a_bin() -> None:
    latency_s = np.exp(np.random.default_rng(0).standard_normal(4000))
    heat = HeatMap()
    heat.add(np.zeros(4000), latency_s)
    for share in (0.01, 0.5, 0.99):
        exact_s = np.quantile(latency_s, share, method="inverted_cdf")
        assert quantile_s(heat.counts, share)[0] == pytest.approx(exact_s, rel=0.09)
    empty = np.zeros((2, heat.counts.shape[1]), np.int64)
    assert np.isnan(quantile_s(empty, 0.5)).all()


def test_minutes_in_a_row_are_one_stretch() -> None:
    assert _spans(np.array([0.0, 60.0, 180.0, 240.0, 600.0]), 60.0) == [(0.0, 120.0), (180.0, 120.0), (600.0, 60.0)]
    assert _spans(np.zeros(0), 60.0) == []


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
    np.testing.assert_array_equal(front(x, y), [1, 3, 0])  # (1, 5), (2, 2), (3, 1); (4, 1) costs more for nothing


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


@pytest.mark.parametrize(
    ("metric", "values", "label", "factor"),
    [
        ("jct_mean_s", [7200.0, 9000.0], "mean JCT (h)", 1 / 3600),
        ("jct_mean_s", [60.0, 5400.0, 30 * 86400.0], "mean JCT (h)", 1 / 3600),  # the middle one's
        ("services.chat.ttft_p99_s", [0.1, 0.2], "TTFT p99 (ms)", 1000.0),
        ("cost_usd", [1.0], "cost (USD)", 1.0),
        ("gpu_utilisation_frac", [0.5], "GPU utilisation (%)", 100.0),
        ("num_preemptions", [3.0], "num preemptions", 1.0),
    ],
)
def test_what_an_axis_says(metric: str, values: list[float], label: str, factor: float) -> None:
    measure = measure_of(metric, values)
    assert (measure.label, measure.factor) == (label, pytest.approx(factor))


def test_a_name_that_several_points_have_stands_where_there_is_room() -> None:
    xy = np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0], [2.0, 0.0]])
    looks = [Look(colour, "o", "-", name, "") for colour, name in (("b", "a"), ("r", "b"), ("b", "a"), ("b", "c"))]
    assert _roomiest(xy, looks) == [1, 2, 3]
