"""Training that dawdles until what a test is about has happened, so that no machine is too fast or too slow for it.

A step that waits takes STEP_S; a job that is waited for in vain goes on all the same when its steps are done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from real_backend.training import Training
from real_backend.worker import Worker
from real_backend.worker import train as train_as_built_in

STEP_S = 0.5
FREE_STEPS = 20  # before a job waits for GO
GO = "go"  # a file in the run's folder; go-JOB is for one job
THIRDS = (1, 2, 1)  # workers in the first, the second, the last third of a job's steps


def size_at(done_frac: float, sizes: Sequence[int] = THIRDS) -> int:
    """How many workers a job is to have when so much of it is done."""
    return sizes[min(len(sizes) - 1, max(0, int(len(sizes) * done_frac + 1e-9)))]


def dawdle_by_thirds(worker: Worker, step: int) -> None:
    """Before a step: waits while the gang has another size than this third wants."""
    if worker.world_size != size_at(step / worker.num_steps):
        time.sleep(STEP_S)


def dawdle_until_go(worker: Worker, step: int) -> None:
    """Before a step: waits until somebody has said go."""
    folder = worker.folder.parents[1]
    if step >= FREE_STEPS and not (folder / GO).exists() and not (folder / f"{GO}-{worker.job_id}").exists():
        time.sleep(STEP_S)


def train_by_thirds(worker: Worker) -> None:
    """The built-in training function on a `Dawdling`."""
    worker.recall(lambda: Dawdling(worker, dawdle_by_thirds))
    train_as_built_in(worker)


def train_until_go(worker: Worker) -> None:
    """The built-in training function on a `Dawdling`."""
    worker.recall(lambda: Dawdling(worker, dawdle_until_go))
    train_as_built_in(worker)


class Dawdling(Training):
    """The built-in training, with time between its steps."""

    def __init__(self, worker: Worker, dawdle: Callable[[Worker, int], None]) -> None:
        super().__init__(worker.task, worker.device)
        self._worker, self._dawdle = worker, dawdle

    def train_step(self) -> float:
        self._dawdle(self._worker, self.step)
        return super().train_step()


def say_go(folder: Path, job_id: str = "") -> None:
    """Has a run's jobs that wait for it, or one of them, go on at full speed."""
    (folder / (f"{GO}-{job_id}" if job_id else GO)).touch()
