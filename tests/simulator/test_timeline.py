"""Step functions by hand, and against sums over jobs on random schedules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import registry
from simulator.metrics import summarise
from simulator.moves import Moves, Stays
from simulator.pools import PoolSpec
from simulator.run import Run
from simulator.scenario import Scenario
from simulator.simulation import simulate
from simulator.timeline import Steps, Timeline
from workloads import JobTable


def test_steps_by_hand() -> None:
    steps = Steps.of(np.array([0.0, 30.0, 10.0, 10.0]), np.array([2, -2, 3, -1]))
    np.testing.assert_array_equal(steps.time_s, [0, 10, 30])
    np.testing.assert_array_equal(steps.value, [2, 4, 2])
    assert steps.integral(5.0, 20.0) == 5 * 2 + 10 * 4
    assert steps.integral(-5.0, 40.0) == 20 + 80 + 20  # 0 before, the last value for ever
    np.testing.assert_array_equal(steps.at(np.array([-1.0, 0.0, 9.9, 10.0, 99.0])), [0, 2, 2, 4, 2])
    np.testing.assert_array_equal(steps.means(np.array([0.0, 20.0, 40.0])), [3, 3])
    assert steps.max(10.0) == 2  # what begins at 10 s doesn't last before it
    assert steps.max(11.0) == 4


def test_nothing_ever_happened() -> None:
    steps = Steps.of(np.array([]), np.array([]))
    assert steps.integral(0.0, 9.0) == steps.max(9.0) == 0


def test_a_change_and_back_at_one_instant_is_no_step() -> None:
    steps = Steps.of(np.array([5.0, 5.0]), np.array([7, -7]))
    assert steps.max(10.0) == 0


jobs_strategy = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 6), st.integers(1, 30)), min_size=1, max_size=12
).map(sorted)


def make_run(jobs: list[tuple[int, int, int]], allocation: str, placement: str, horizon_s: float) -> Run:
    submit_s, num_gpus, duration_s = map(np.array, zip(*jobs, strict=True))
    low = np.maximum(1, num_gpus // 2)
    columns = {"submit_s": submit_s, "num_gpus": num_gpus, "duration_s": duration_s, "min_gpus": low}
    scenario = Scenario(
        jobs=JobTable.from_columns({**columns, "max_gpus": num_gpus + 1}),
        allocation=registry.create("allocation", allocation),
        placement=registry.create("placement", placement),
        pools=[PoolSpec(num_nodes=2, gpus_per_node=4, usd_per_node_h=3600.0)],
        horizon_s=horizon_s,
    )
    return simulate(scenario)


@settings(max_examples=15, deadline=None)
@given(
    jobs=jobs_strategy,
    allocation=st.sampled_from(["fifo", "srtf", "las", "fair_share"]),
    placement=st.sampled_from(["pooled", "consolidate", "spread"]),
    horizon_s=st.sampled_from([25.0, np.inf]),
)
def test_integrals_agree_with_the_jobs(
    jobs: list[tuple[int, int, int]], allocation: str, placement: str, horizon_s: float
) -> None:
    run = make_run(jobs, allocation, placement, horizon_s)
    timeline, table = Timeline.of(run), run.jobs
    end_s = timeline.end_s
    held_gpu_s = table.held_gpu_s.sum()
    assert timeline.held.integral(0, end_s) == pytest.approx(held_gpu_s)
    assert timeline.ready.integral(0, end_s) == pytest.approx(8 * end_s)
    edges_s = timeline.edges_s(num_buckets=7)
    np.testing.assert_allclose(timeline.held.means(edges_s).sum() * np.diff(edges_s)[0], held_gpu_s)
    assert (timeline.held.value <= timeline.ready.at(timeline.held.time_s) + (timeline.held.time_s >= end_s) * 8).all()
    present = table[table.state.isin(["finished", "running", "pending"])]
    in_system_s = (present.finish_s.fillna(end_s) - present.submit_s).sum()
    assert timeline.active.integral(0, end_s) == pytest.approx(in_system_s)
    assert timeline.queue.value.min() >= 0

    summary = summarise(run)
    assert summary["num_submitted"] == sum(
        summary[f"num_{state}"] for state in ("finished", "failed", "rejected", "unfinished")
    )
    parts = sum(summary[f"cost_{part}_usd"] for part in ("busy", "idle", "startup"))
    assert summary["cost_usd"] == pytest.approx(parts) == pytest.approx(2 * end_s)
    assert summary["cost_busy_usd"] == pytest.approx(held_gpu_s / 4)
    if summary["fragmentation_frac"] is not None:
        assert 0 <= summary["fragmentation_frac"] <= 1 + 1e-12


def test_stays_are_the_held_gpus_by_node() -> None:
    run = make_run([(0, 6, 10), (2, 2, 10), (3, 3, 10)], "fifo", "consolidate", np.inf)
    moves, stays = Moves.of(run), Stays.of(run)
    until_s = np.append(moves.time_s, run.facts["end_s"])[moves.next_row[stays.row]]
    held = stays.num_gpus * (until_s - moves.time_s[stays.row])
    assert np.bincount(stays.node, held).sum() == pytest.approx(run.jobs.held_gpu_s.sum())
