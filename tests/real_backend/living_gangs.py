"""Gangs of living processes for tests: each process trains in those gangs of a schedule that it is a member of."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from real_backend.task import Task

MOST_S = 120.0  # for a whole schedule; nothing here takes a twentieth of it on an idle machine


@dataclass(frozen=True)
class Gang:
    """Processes by number, in the order of their ranks, that train `steps` steps together.

    Args:
        source: see `Training.join`.
        restores: rank 0 loads the last checkpoint, and is the source.
    """

    members: tuple[int, ...]
    steps: int
    source: int | None = None
    restores: bool = False


@dataclass
class Told:
    """What a process has to say when it is through."""

    step: int = 0
    loss_parts: dict[int, float] = field(default_factory=dict)  # by step
    state: dict[str, np.ndarray] = field(default_factory=dict)  # after the last gang that it was in
    num_moments: list[int] = field(default_factory=list)  # parameters that its optimiser has a state of, by gang
    step_s: list[float] = field(default_factory=list)
    error: str = ""


def train(task: Task, schedule: Sequence[Gang], folder: Path) -> dict[int, Told]:
    """Runs a schedule; what each process tells. Every process is gone when this returns.

    Args:
        folder: an empty one; rank 0 saves a checkpoint at the end of each gang.
    """
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["real_backend.preload"])
    processes, ends = [], {}
    folder.mkdir(parents=True, exist_ok=True)
    deadline_s = time.monotonic() + MOST_S
    try:
        for number in sorted({member for gang in schedule for member in gang.members}):
            ours, theirs = multiprocessing.Pipe(duplex=False)
            process = context.Process(target=_live, args=(number, task, schedule, folder, theirs), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            ends[number] = ours
        told = {}
        for number, end in ends.items():
            assert end.poll(max(0.0, deadline_s - time.monotonic())), f"process {number} is stuck"
            told[number] = end.recv()
        return told
    finally:
        for process in processes:
            process.kill()
            process.join()


def losses(told: dict[int, Told]) -> list[float]:
    """The mean loss of each step, of all processes' parts."""
    steps = sorted({step for one in told.values() for step in one.loss_parts})
    assert steps == list(range(len(steps))), steps
    return [sum(one.loss_parts.get(step, 0.0) for one in told.values()) for step in steps]


def _live(me: int, task: Task, schedule: Sequence[Gang], folder: Path, end: Connection) -> None:
    import torch
    import torch.distributed as dist

    from real_backend import checkpoint
    from real_backend.training import Training

    told = Told()
    try:
        torch.set_num_threads(1)
        training = Training(task, torch.device("cpu"))
        for generation, gang in enumerate(schedule):
            if me not in gang.members:
                continue
            rank, size = gang.members.index(me), len(gang.members)
            store = dist.FileStore(str(folder / f"store{generation}"), size)
            dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=MOST_S))
            source = gang.source
            if gang.restores:
                source = 0
                while not (folder / f"done{generation - 1}").exists():  # other processes, who may still be at it
                    time.sleep(0.002)
                if rank == 0:
                    found = checkpoint.latest(folder / "checkpoints")
                    assert found
                    training.load_state_dict(checkpoint.load(training.state_dict(), found[1]))
            training.join(source)
            for _ in range(gang.steps):
                step, began_s = training.step, time.perf_counter()
                told.loss_parts[step] = training.train_step()
                told.step_s.append(time.perf_counter() - began_s)
            told.num_moments.append(len(training._optimizer.state))
            if rank == 0:
                checkpoint.save(training.state_dict(), folder / "checkpoints", training.step)
                (folder / f"done{generation}").touch()
            training.leave()
            dist.destroy_process_group()
        told.step = training.step
        told.state = {name: value.numpy().copy() for name, value in training.state_dict().items()}
    except Exception:
        told.error = traceback.format_exc()
    end.send(told)
