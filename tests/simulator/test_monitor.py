"""What monitoring measures, of whom and when: by hand."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import jobs_of, run_jobs

from policies import METRICS, ClusterView, MetricsView, PolicyError, Target, registry
from simulator.errors import ConfigError
from simulator.monitor import MonitorOptions
from simulator.pools import PoolSpec
from simulator.readings import Reading
from simulator.window import Window


@dataclass
class Watches:
    """Keeps what it sees of a metric, and changes nothing."""

    metric: str = "gpu_allocation_frac"
    window_s: float = 0.0
    period_s: float = 10.0
    pool: str = "default"
    seen: ClassVar[list[tuple[float, Any]]] = []

    def desired(self, target: Target, view: ClusterView) -> int:
        if self.window_s:
            value = view.metrics.mean(target.name, self.metric, view.now_s - self.window_s)
        else:
            value = view.metrics.latest(target.name, self.metric)
        self.seen.append((view.now_s, value))
        return target.num_units


def watched(jobs: Any, watch: Watches, **options: Any) -> list[tuple[float, Any]]:
    watch.seen.clear()
    run_jobs(jobs, scaling={"default": watch}, **options)
    return list(watch.seen)


def metrics(run: Any, name: str, pool: int = 0) -> list[tuple[float, float]]:
    rows = run.metrics[run.metrics["pool"] == pool]
    return list(zip(rows["time_s"].tolist(), rows[name].tolist(), strict=True))


# ---- when
def test_sampled_and_late() -> None:
    """8 GPUs: 4 are held from 0 on, all from 5 to 15."""
    jobs = jobs_of((0, 4, 40), (5, 4, 10))
    options = MonitorOptions(interval_s=10.0, delay_s=3.0)
    assert watched(jobs, Watches(), monitor=options) == [(0, None), (10, 0.0), (20, 1.0), (30, 0.5)]


def test_a_window_is_a_time_weighted_mean() -> None:
    """At 10 all were held for 5 of 10 s, and half before; at 20 likewise; the first sample is of no time at all."""
    jobs = jobs_of((0, 4, 40), (5, 4, 10))
    run = run_jobs(jobs, scaling={"default": Watches()}, monitor=MonitorOptions(interval_s=10.0, window_s=10.0))
    assert metrics(run, "gpu_allocation_frac") == [(0, 0.0), (10, 0.75), (20, 0.75), (30, 0.5)]


def test_the_age_of_the_queue_grows_within_a_window() -> None:
    """b waits from 5 to 20: at 10 it has waited 0 for half of the window and 2.5 s on average for the rest."""
    run = run_jobs(
        jobs_of((0, 8, 20), (5, 8, 10)), scaling={"default": Watches()},
        monitor=MonitorOptions(interval_s=10.0, window_s=10.0),
    )  # fmt: skip
    assert metrics(run, "queue_age_s") == [(0, 0.0), (10, 1.25), (20, 10.0)]
    assert metrics(run, "queue_length") == [(0, 1.0), (10, 0.5), (20, 1.0)]


steps = st.lists(
    st.tuples(st.floats(0.1, 20.0), st.floats(0.0, 1.0), st.booleans(), st.booleans()), min_size=1, max_size=20
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(steps, st.floats(1.0, 60.0))
def test_a_window_is_the_integral_over_the_window(
    given_steps: list[tuple[float, float, bool, bool]], width: float
) -> None:
    """Against the sum over everything there has been, however often it is told."""
    window, now_s, all_s = Window(width), 0.0, []
    for lasts_s, value, waits, again in given_steps:
        values = tuple(0.0 if name == "queue_age_s" else value for name in METRICS)
        reading = Reading((values,), now_s if waits else math.nan)
        window.add(now_s, reading)
        all_s.append((now_s, now_s + lasts_s, value, now_s if waits else None))
        if again:
            window.add(now_s + 0.5 * lasts_s, reading)
        now_s += lasts_s
        begin_s = max(0.0, now_s - width)
        mean = age = 0.0
        for from_s, to_s, held, head_s in all_s:
            low, high = max(from_s, begin_s), min(to_s, now_s)
            if high > low:
                mean += held * (high - low)
                age += 0.0 if head_s is None else (high - low) * (0.5 * (low + high) - head_s)
        (found,) = window.mean(now_s)
        by_name = dict(zip(METRICS, found, strict=True))
        assert by_name["gpu_allocation_frac"] == pytest.approx(mean / (now_s - begin_s), abs=1e-9)
        assert by_name["queue_age_s"] == pytest.approx(age / (now_s - begin_s), abs=1e-9)


# ---- perfect
def test_perfect_is_the_present_state() -> None:
    jobs = jobs_of((0, 4, 40), (5, 4, 10))
    perfect = MonitorOptions(perfect=True)
    assert watched(jobs, Watches(), monitor=perfect) == [(0, 0.0), (10, 1.0), (20, 0.5), (30, 0.5)]
    waits = watched(jobs_of((0, 8, 20), (5, 8, 10)), Watches("queue_age_s"), monitor=perfect)
    assert waits == [(0, 0.0), (10, 5.0), (20, 15.0)]


def test_windows_of_a_perfect_monitor_weigh_by_time() -> None:
    """From 0 on half, from 5 to 15 all."""
    jobs = jobs_of((0, 4, 40), (5, 4, 10))
    seen = watched(jobs, Watches(window_s=10.0), monitor=MonitorOptions(perfect=True))
    assert seen == [(0, 0.0), (10, 0.75), (20, 0.75), (30, 0.5)]


def test_a_perfect_monitor_records_each_change() -> None:
    run = run_jobs(
        jobs_of((0, 4, 40), (5, 4, 10)), scaling={"default": Watches(period_s=1000.0)},
        monitor=MonitorOptions(perfect=True),
    )  # fmt: skip
    held = [(time_s, value) for time_s, value in metrics(run, "gpu_allocation_frac")]
    assert held[0] == (0.0, 0.0)
    assert list(dict.fromkeys(held)) == [(0.0, 0.0), (0.0, 0.5), (5.0, 0.5), (5.0, 1.0), (15.0, 0.5)]


def test_what_stood_for_no_time_leaves_no_trace() -> None:
    view = MetricsView()
    view.is_whole = True
    for time_s, value in ((0.0, 1.0), (10.0, 9.0), (10.0, 3.0), (30.0, 0.0)):
        view.add("a", time_s, {"x": value})
    assert view.mean("a", "x", 0.0) == pytest.approx((10 * 1 + 20 * 3) / 30)
    assert view.mean("a", "x", 20.0) == 3.0
    assert view.points("a", "x", 30.0, 10.0, 5) == [3.0, 3.0, 1.0, 1.0, None]
    assert view.extremes("a", "x", 10.0) == (0.0, 3.0)
    assert view.mean("a", "x", 30.0) == 0.0
    assert view.mean("b", "x", 30.0) is None


# ---- of whom
def two_pools(**more: Any) -> list[PoolSpec]:
    return [
        PoolSpec(name="small", num_nodes=1, gpus_per_node=2, cpus_per_node=8, **more),
        PoolSpec(name="large", num_nodes=1, gpus_per_node=8, cpus_per_node=64, gpu_memory_gib=80, network_gib_per_s=4),
    ]


def test_pools_have_figures_of_their_own_where_jobs_have_nodes() -> None:
    """a fills the small pool, b half of the large one."""
    uses = {"cpus_per_gpu": 4.0, "gpu_utilisation_frac": 0.5}
    other = {"cpus_per_gpu": 8.0, "gpu_memory_gib_per_gpu": 20.0, "network_gib_per_s_per_gpu": 0.25}
    run = run_jobs(
        jobs_of((1, 2, 50, uses), (1, 4, 50, other)), "fifo", "consolidate", pools=two_pools(),
        scaling={"large": Watches()}, monitor=MonitorOptions(interval_s=20.0),
    )  # fmt: skip
    last = {pool: run.metrics[run.metrics["pool"] == pool].iloc[-1] for pool in (0, 1)}
    names = [name for name in METRICS if name.endswith("_frac")]
    assert [last[0][name] for name in names] == [0.5, 1.0, 0.0, 1.0, 0.0, 0.0]
    assert [last[1][name] for name in names] == [0.5, 0.5, 0.125, 0.5, 0.0, 0.25]


def test_without_nodes_pools_share_what_is_held() -> None:
    uses = {"cpus_per_gpu": 4.0, "gpu_utilisation_frac": 0.5}
    run = run_jobs(
        jobs_of((1, 5, 50, uses)), "fifo", "pooled", pools=two_pools(), scaling={"large": Watches()},
        monitor=MonitorOptions(interval_s=20.0),
    )  # fmt: skip
    for pool in (0, 1):
        last = run.metrics[run.metrics["pool"] == pool].iloc[-1]
        assert (last["gpu_allocation_frac"], last["gpu_utilisation_frac"]) == (0.5, 0.25)
        assert last["cpu_utilisation_frac"] == pytest.approx(20 / 72)


def test_nodes_and_jobs_one_by_one() -> None:
    uses = {"cpus_per_gpu": 4.0, "gpu_utilisation_frac": 0.5}
    run = run_jobs(
        jobs_of((1, 2, 50, uses), (1, 4, 50), (5, 8, 10)), "fifo", "consolidate", pools=two_pools(),
        monitor=MonitorOptions(interval_s=20.0, nodes=True, jobs=True),
    )  # fmt: skip
    nodes = run.table("node_metrics").to_pandas()
    at = nodes[nodes["time_s"] == 20.0].set_index("node")
    assert at["gpu_allocation_frac"].tolist() == [1.0, 0.5]
    assert at["gpu_utilisation_frac"].tolist() == [0.5, 0.5]
    assert at["cpu_utilisation_frac"].tolist() == [1.0, 0.0]
    jobs = run.table("job_metrics").to_pandas()
    at = jobs[jobs["time_s"] == 40.0].set_index("job")
    assert at["gpus_held"].tolist() == [2, 4, 0]
    assert at["gpu_utilisation_frac"].tolist() == [0.5, 1.0, 0.0]
    assert at["cpus"].tolist() == [8.0, 0.0, 0.0]
    assert at["wait_s"].tolist() == [0.0, 0.0, 35.0]
    assert "node_metrics" not in run_jobs(jobs_of((0, 1, 5)))._tables


def test_nothing_is_left_of_what_is_gone() -> None:
    """Shares that add up to nothing in floating point: after the jobs the sums are 0 and not 1e-17."""
    rows = [(float(i), 1, 7.0, {"gpu_utilisation_frac": 0.1 * (1 + i % 7)}) for i in range(50)]
    run = run_jobs(
        jobs_of(*rows, (200.0, 1, 100.0, {"gpu_utilisation_frac": 0.3})), gpus=8, scaling={"default": Watches()},
        monitor=MonitorOptions(interval_s=1.0),
    )  # fmt: skip
    busy = dict(metrics(run, "gpu_utilisation_frac"))
    assert busy[100.0] == 0.0
    assert busy[250.0] == 0.3 / 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_s": -1.0}, r"monitor.window_s=-1.0: must be a number of seconds, 0 or more"),
        ({"perfect": True, "window_s": 5.0}, r"monitor.window_s=5.0: a perfect monitor has none"),
        ({"perfect": True, "delay_s": 5.0}, r"monitor.delay_s=5.0: a perfect monitor has none"),
    ],
)
def test_options_that_can_not_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MonitorOptions(**options)


@pytest.mark.parametrize("delay_s", [0.0, 100.0])
def test_sampling_alone_does_not_go_on_for_ever(delay_s: float) -> None:
    """b never gets what it asks for, and nobody scales: the run ends with a, sampled or not."""
    jobs, pool = jobs_of((0, 8, 100.0), (5, 12, 100.0)), PoolSpec(num_nodes=1, max_nodes=2)
    options = MonitorOptions(interval_s=10.0, delay_s=delay_s, nodes=True)
    ends_s = [run_jobs(jobs, pools=[pool], monitor=each).facts["end_s"] for each in (MonitorOptions(), options)]
    assert ends_s[0] == 100.0
    assert 100.0 <= ends_s[1] <= 110.0 + delay_s


# ---- policies that look back less far than samples are late
@pytest.mark.parametrize(
    ("name", "options", "delay_s", "told"),
    [
        ("queue_depth", {}, 0.0, None),
        (
            "queue_depth",
            {},
            30.0,
            "of the last 60 s, and they come 30 s late .* it often sees none, and changes nothing; give it 90 s",
        ),
        ("queue_depth", {}, 60.0, "it never sees any, and changes nothing; give it 120 s or more"),
        ("queue_depth", {"window_s": 120.0}, 60.0, None),
        ("target_tracking", {}, 180.0, None),
        ("target_tracking", {}, 300.0, "of the last 240 s, .* never sees any"),
        ("threshold", {}, 300.0, None),
    ],
)
def test_a_policy_that_is_blind_is_noted(name: str, options: dict[str, Any], delay_s: float, told: str | None) -> None:
    pool = PoolSpec(num_nodes=1, min_nodes=1, max_nodes=4, gpus_per_node=8)
    scaling = {"default": registry.create("scaling", name, **options)}
    jobs = jobs_of(*((0.0, 8, 1000.0) for _ in range(8)))
    run = run_jobs(jobs, pools=[pool], scaling=scaling, monitor=MonitorOptions(delay_s=delay_s))
    blind = [note for note in run.facts["notes"] if "goes by samples" in note]
    assert len(blind) == (told is not None)
    if told is not None:
        assert re.search(told, blind[0])
        assert len(run.nodes) == 1


def test_a_metric_of_services_is_none_of_a_pool() -> None:
    scaling = {"default": registry.create("scaling", "threshold", metric="ttft_p99_s")}
    with pytest.raises(PolicyError, match="'ttft_p99_s' is not measured of 'default': it is one of inference services"):
        run_jobs(jobs_of((0.0, 1, 100.0)), scaling=scaling)
