"""What loops cost: 60 days with monitoring every 60 s and an autoscaler every 10 or 15 s, against the run without them.

Three runs of the same jobs, in turn:

- `alone`: no loops, a cluster that stays as it is;
- `scripted`: the same changes of nodes as the loop makes, at the same times, by somebody who need not look;
- `looped`: the loop and its monitoring.

What a loop does has its price, whoever does it: nodes that come and go, jobs that wait meanwhile. So what looking costs
is looped / scripted; looped / alone is printed beside it, and so is what ticking costs (`skip_quiet=False`).
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from policies import ClusterView, Target, registry
from policies.loops import Loop
from policies.quiet import Quiet, just_before
from simulator.monitor import MonitorOptions
from simulator.pools import PoolSpec
from simulator.scenario import Scenario
from simulator.simulation import simulate, stream
from tests.benchmarks.baselines import poisson_jobs
from tests.benchmarks.measure import in_turn, ratio
from workloads import JobTable, source_class

pytestmark = pytest.mark.benchmark_suite
TRACES = Path(os.environ.get("TRACES_DIR", Path(__file__).parents[2].parent / "shared" / "traces"))
DAYS_S = 60 * 86400.0
ALLOCATIONS = ("fifo", "fair_share")
LOOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "threshold 10 s": ("threshold", {"period_s": 10.0}),
    "target_tracking 10 s": ("target_tracking", {"period_s": 10.0}),
    "kubernetes_hpa 15 s": ("kubernetes_hpa", {}),
    "cluster_autoscaler 10 s": ("cluster_autoscaler", {}),
}
# Where looking costs at most half of the rest: (trace, policy, allocation). Elsewhere it is more: fifo takes 0.2 s for
# the 60 days of itp or synthetic, and a loop that acts a thousand times costs as much; under fifo cluster_autoscaler
# packs some thousand queued jobs whenever one has come or gone while a node is little used.
HELD = {
    *(("philly", name, each) for name in ("threshold", "target_tracking", "kubernetes_hpa") for each in ALLOCATIONS),
    ("philly", "cluster_autoscaler", "fair_share"),
    ("itp", "threshold", "fair_share"),
}


def _philly() -> JobTable:
    path = TRACES / "philly" / "philly.csv.gz"
    return source_class("philly")(path=str(path), to_s=DAYS_S).load(stream(0, "workload")).jobs


def _itp() -> JobTable:
    path = TRACES / "itp" / "cluster04.csv.gz"
    return source_class("itp")(path=str(path)).load(stream(0, "workload")).jobs


def _synthetic() -> JobTable:
    """20,000 jobs in 60 days, on 25 GPUs in the mean."""
    return poisson_jobs(20_000, 25, 1.0, seed=1)


# trace -> (its jobs, nodes of 8 GPUs)
JOBS: dict[str, tuple[Callable[[], JobTable], int]] = {
    "philly": (_philly, 60),
    "itp": (_itp, 100),
    "synthetic": (_synthetic, 5),
}


class Scripted:
    """Makes changes that are known, at times that are known."""

    def __init__(self, changes: list[tuple[float, int]], period_s: float) -> None:
        self._times_s, self._counts = [time_s for time_s, _ in changes], [count for _, count in changes]
        self.period_s = period_s

    def desired(self, target: Target, view: ClusterView) -> int:
        last = bisect_right(self._times_s, view.now_s) - 1
        is_now = last >= 0 and self._times_s[last] == view.now_s
        return self._counts[last] if is_now else target.num_units

    def quiet(self, target: Target, view: ClusterView) -> Quiet:
        later = self._times_s[bisect_right(self._times_s, view.now_s) :]
        return Quiet(just_before(later[0])) if later else Quiet()


def changes_of(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """(when, nodes wanted) of each change that the loop of a scenario makes."""
    changes, ask = [], Loop.ask

    def spied(self: Loop, view: ClusterView) -> int | None:
        count = ask(self, view)
        if count is not None:
            changes.append((view.now_s, count))
        return count

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "ask", spied)
        simulate(scenario)
    return changes


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("trace", JOBS)
def test_loops(trace: str, loop: str, allocation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if trace != "synthetic" and not (TRACES / trace).exists():
        pytest.skip(f"{TRACES / trace} is not there (set TRACES_DIR)")
    load, num_nodes = JOBS[trace]
    jobs, (name, options) = load(), LOOPS[loop]

    def scenario(policy: Any, **more: Any) -> Scenario:
        bounds = {"min_nodes": num_nodes // 2, "max_nodes": num_nodes + num_nodes // 4}
        return Scenario(
            jobs=jobs,
            pools=[PoolSpec(num_nodes=num_nodes, gpus_per_node=8, **bounds)],
            allocation=registry.create("allocation", allocation),
            placement=registry.create("placement", "consolidate", strict=False),
            scaling={"default": policy} if policy else {},
            **more,
        )

    def looped() -> Any:
        return registry.create("scaling", name, **options)

    changes = changes_of(scenario(looped()), monkeypatch)
    scripted = Scripted(changes, looped().period_s)
    alone_s, scripted_s, looped_s = in_turn(
        3,
        lambda: simulate(scenario(None), tmp_path),
        lambda: simulate(scenario(scripted, monitor=MonitorOptions(interval_s=1e9)), tmp_path),
        lambda: simulate(scenario(looped()), tmp_path),
    )
    (ticking_s,) = in_turn(1, lambda: simulate(scenario(looped(), skip_quiet=False), tmp_path))
    over = ratio(looped_s, scripted_s)
    print(
        f"\n{trace}, {allocation}, {len(jobs):,} jobs in 60 days, {loop}: {median(looped_s):.2f} s CPU with loops"
        f"\n  {over:.2f}x the same {len(changes):,} changes of nodes by script ({median(scripted_s):.2f} s)"
        f"\n  {ratio(looped_s, alone_s):.2f}x the run without loops or changes ({median(alone_s):.2f} s)"
        f"\n  {ticking_s[0] / median(looped_s):.1f}x as long if each tick is an event ({ticking_s[0]:.1f} s)"
    )
    if (trace, name, allocation) in HELD:
        assert over <= 1.5
