"""What the live controller costs by itself, and how long a plan takes to become steps.

Jobs and agents of the first are fake: what is measured is the view, the policy, the plan, the books, the journal and
the messages, as JSON, that would go to agents. The second runs real processes and prints the stages of their moves.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from policies import registry
from tests.benchmarks.measure import cpu_s, slowness
from tests.real_backend.fake_agents import FakeChannel
from tests.real_backend.fake_cluster import FakeLive
from workloads import JobSpec, JobTable

pytestmark = pytest.mark.benchmark_suite
NUM_ACTIVE = 1000
NUM_MORE = 500


class CountingChannel(FakeChannel):
    """Makes the JSON that a real one would send."""

    def send(self, kind: str, **fields: Any) -> None:
        json.dumps({"kind": kind, **fields})
        super().send(kind, **fields)


@pytest.mark.parametrize("policy", ["fifo", "srtf", "fair_share"])
def test_decisions_a_second_with_1000_jobs(policy: str, tmp_path: Path) -> None:
    """Each arrival and each end of a job is one decision; 1,000 jobs are active all along."""
    specs = [
        JobSpec(job_id=f"j{i}", submit_s=0.0, num_gpus=1, duration_s=100.0, model="mlp", min_gpus=1, max_gpus=2)
        for i in range(NUM_ACTIVE + NUM_MORE)
    ]
    live = FakeLive(tmp_path, JobTable.from_specs(specs), registry.create("allocation", policy), num_nodes=250)
    for agent in live.fleet.agents.values():
        agent.channel = CountingChannel(live.world, agent.name)
    live.submit(*range(NUM_ACTIVE))
    before = live.cluster.num_decisions

    def churn() -> None:
        for row in range(NUM_MORE):
            live.world.finish(live.cluster.gangs, f"j{row}")
            live.settle()
            live.submit(NUM_ACTIVE + row)

    used_s = cpu_s(churn)
    made = live.cluster.num_decisions - before
    slow = slowness()
    print(
        f"\nlive controller, {policy}, {NUM_ACTIVE:,} active jobs: {made / used_s:,.0f} decisions a CPU-second "
        f"({1e3 * used_s / made:.2f} ms each, {len(live.world.sent):,} messages; machine {slow:.1f}× slower than quiet)"
    )
    assert made >= NUM_MORE
    assert used_s / made / slow < 0.02


@pytest.mark.parametrize("method", ["in_place", "restart"])
def test_from_apply_to_the_first_step(method: str, tmp_path: Path) -> None:
    """The stages of moves of a small model on this machine: 1 → 2 → 1 workers and a start."""
    pytest.importorskip("torch")
    from tests.real_backend.live_runs import SMALL, Thirds, jobs_of, run_live

    slow = replace(SMALL, pace_base_s=0.01)
    jobs = jobs_of(*[{"submit_s": 0.5 * i, "min_gpus": 1, "max_gpus": 2} for i in range(3)])
    _, live = run_live(tmp_path, jobs, [300] * 3, Thirds(), method=method, task=slow, pool={"gpus_per_node": 6})
    moves = [move for move in live.cluster.moves if move.stepped_s == move.stepped_s]
    for kind in sorted({move.kind for move in moves}):
        mine = [move for move in moves if move.kind == kind]
        names = sorted({name for move in mine for name in move.stages})
        means = {name.removesuffix("_s"): mean(move.stages.get(name, 0.0) for move in mine) for name in names}
        stages = ", ".join(f"{name} {mean_s:.3f}" for name, mean_s in means.items())
        total_s = mean(move.stepped_s - move.asked_s for move in mine)
        print(f"\n{method}, {kind} ({len(mine)}): apply → first step {total_s:.3f} s; by stage: {stages}")
    assert moves
