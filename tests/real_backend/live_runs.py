"""Live runs of a few small jobs, with real processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from policies import registry
from real_backend import checkpoint
from real_backend.exporter import Exporter
from real_backend.options import LiveOptions
from real_backend.run import LiveRun
from real_backend.runtime import Runtime, names_of
from real_backend.task import Task
from real_backend.training import Training
from simulator import PoolSpec, Run, Scenario
from simulator.monitor import MonitorOptions
from tests.real_backend.dawdling import size_at
from workloads import JobSpec, JobTable

SMALL = Task(model="mlp", model_options={"width": 32, "depth": 1}, num_samples=1000, global_batch=48, lr=0.02)

BY_THIRDS = replace(SMALL, train="tests.real_backend.dawdling:train_by_thirds")
UNTIL_GO = replace(SMALL, train="tests.real_backend.dawdling:train_until_go")


class Thirds:
    """Gives every job a size by how many of its steps have been done: the first third, the second, the last."""

    def allocate(self, view: Any, draft: Any) -> None:
        for job in view.jobs:
            draft.give(job, size_at(1.0 - job.left_s / 100.0))  # not remaining_s, which is ahead of the last report
        draft.wake_at(view.now_s + 0.1)


def jobs_of(*specs: Mapping[str, Any]) -> JobTable:
    """Jobs a, b, …; each of 100 s, whatever that is in steps."""
    common = {"submit_s": 0.0, "num_gpus": 1, "duration_s": 100.0, "model": "mlp"}
    named = zip("abcdef", specs, strict=False)
    return JobTable.from_specs([JobSpec(job_id=name, **{**common, **spec}) for name, spec in named])


def run_live(
    folder: Path,
    jobs: JobTable,
    num_steps: Sequence[int],
    allocation: Any,
    *,
    method: str = "in_place",
    task: Task = SMALL,
    pool: Mapping[str, Any] | None = None,
    scaling: Any = None,
    before: Callable[[Runtime], None] = lambda runtime: None,
    meanwhile: Callable[[LiveRun, Runtime], None] = lambda live, runtime: None,
    exporter: Exporter | None = None,
    explain: bool = False,
    **options: Any,
) -> tuple[Run, LiveRun]:
    """Runs jobs to their end on agents of this host.

    Args:
        before: called before nodes are waited for.
        meanwhile: called before the run begins, to have something happen in it (see `in_turn`).
    """
    spec = PoolSpec(**{"num_nodes": 1, "gpus_per_node": 2, **(pool or {})})
    live_options = LiveOptions(**{"keep_checkpoints": True, "away_s": 0.5, **options})
    runtime = Runtime(folder, live_options, "cpu", method, spec.gpus_per_node)
    try:
        before(runtime)
        runtime.bring_up(names_of(spec.num_nodes))
        scenario = Scenario(
            jobs=jobs,
            allocation=allocation,
            placement=registry.create("placement", "consolidate", strict=False),
            pools=[spec],
            scaling={"default": scaling} if scaling else {},
            monitor=MonitorOptions(interval_s=0.5),
            starve_after_s=30.0,
            horizon_s=240.0,
            explain=explain,
        )
        live = LiveRun(scenario, list(num_steps), {"mlp": task}, runtime, exporter=exporter)
        meanwhile(live, runtime)
        return live.run(), live
    finally:
        runtime.close()


def in_turn(runtime: Runtime, *turns: tuple[Callable[[], bool], Callable[[], None]]) -> None:
    """Does one thing after the other in a run, each as soon as something holds."""
    if not turns:
        return
    (holds, act), *rest = turns

    def look() -> None:
        if holds():
            act()
            in_turn(runtime, *rest)
        else:
            runtime.clock.call_after(0.05, look)

    runtime.clock.call_after(0.0, look)


def weights_after(folder: Path, job_id: str, task: Task = SMALL) -> dict[str, torch.Tensor]:
    """The state in a job's last checkpoint."""
    found = checkpoint.latest(folder / "checkpoints" / job_id)
    assert found is not None
    template = Training(task, torch.device("cpu"))
    state = template.state_dict()
    return checkpoint.load(state, found[1])


def uninterrupted(num_steps: int, task: Task = SMALL) -> dict[str, torch.Tensor]:
    """The state after so many steps of one worker that nobody disturbs."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        training = Training(task, torch.device("cpu"))
        training.join(None)
        for _ in range(num_steps):
            training.train_step()
        training.leave()
        return {name: value.clone() for name, value in training.state_dict().items()}
    finally:
        dist.destroy_process_group()


def largest_difference(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    """Between the weights of two states, relative to the largest weight."""
    names = [name for name in a if name.startswith("model.")]
    assert names
    most = max(float(a[name].abs().max()) for name in names)
    return max(float((a[name] - b[name]).abs().max()) for name in names) / most
