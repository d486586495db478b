"""A worker process: joins gang after gang, trains, and leaves each at a step boundary.

    agent --- start(spec) ---> worker: import, build        -> "ready"
          --- (in spec) ---->  form the group, take over    -> "joined"
                               first step                   -> "stepped"
                               steps                        -> "progress" (rank 0), "beat" (the others)
          --- next(gang) --->  leave at a step boundary; join the next gang, or save and exit

All ranks leave after the same step: rank 0 has it from its agent, and the others from rank 0 with the small
all-reduce that ends each step, which also makes the global loss of the parts.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist

from real_backend import checkpoint
from real_backend.channel import Channel, Closed, Message
from real_backend.task import Task
from real_backend.training import Training

T = TypeVar("T")
_REPORT_S = 0.25  # between two reports of progress
_GROUP_TIMEOUT = timedelta(seconds=120)
FAULTS = ("kill", "hang", "raise")


class Trainable(Protocol):
    """What can be moved from gang to gang; `real_backend.training.Training` is one."""

    step: int

    def join(self, source: int | None) -> None: ...
    def leave(self) -> None: ...
    def state_dict(self) -> dict[str, torch.Tensor]: ...
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None: ...


class Worker:
    """What a training function sees: who it is in the gang, and where one step ends and the next may begin.

    `rank`, `world_size`, `local_rank`, `generation` hold for the current gang; `task`, `num_steps`, `device` for the
    job.
    """

    def __init__(self, spec: Mapping[str, Any], channel: Channel) -> None:
        self.task = Task.from_dict(spec["task"])
        self.job_id: str = spec["job_id"]
        self.num_steps: int = spec["num_steps"]
        self.device = torch.device(spec["device"])
        self.folder = Path(spec["checkpoints"])
        self.rank = self.world_size = self.local_rank = 0
        self.generation = -1
        self._spec, self._channel = spec, channel
        self._backend: str = spec["backend"]
        self._interval_s: float = spec["checkpoint_interval_s"]
        self._faults: list[dict[str, Any]] = spec.get("faults", [])
        self._memory: Any = None
        self._inbox: SimpleQueue[Message] = SimpleQueue()
        self._next: Message | None = spec["gang"]  # what the gang after this one is, once known
        self._gang: Message = {}
        self._stages: dict[str, float] = {}
        self._control: Any = None
        self._durations_s: list[float] = []
        self._losses: list[float] = []
        self._reported_s = self._saved_s = self._stepped_s = self._joined_s = 0.0
        threading.Thread(target=self._listen, name="agent", daemon=True).start()

    # ---- for training functions
    def recall(self, make: Callable[[], T]) -> T:
        """What `make` made in this process's first gang: it outlives a rescale in place."""
        if self._memory is None:
            self._memory = make()
        return self._memory

    def restore(self, trainable: Trainable) -> None:
        """Brings a new gang's members to one state: a surviving worker's, else the last checkpoint's, else step 0."""
        began_s = time.perf_counter()
        source = self._gang.get("source")
        if source is None and not self._gang.get("is_first", False):
            source = 0
            found = checkpoint.latest(self.folder) if self.rank == 0 else None
            if found:
                trainable.load_state_dict(checkpoint.load(trainable.state_dict(), found[1]))
        trainable.join(source)
        self._tell("joined", restore_s=time.perf_counter() - began_s, step=trainable.step, **self._stages)
        self._saved_s = self._stepped_s = time.perf_counter()
        self._joined_s = 0.0

    def step_done(self, trainable: Trainable, loss_part: float) -> bool:
        """Ends a step on all ranks together. False: leave now, this gang is over.

        Args:
            loss_part: this rank's part of the mean loss over the global batch; the parts of all ranks add up to it.
        """
        step = trainable.step
        told = torch.tensor([loss_part, float(self.rank == 0 and self._is_told())], dtype=torch.float64)
        dist.all_reduce(told, group=self._control)
        now_s = time.perf_counter()
        duration_s, self._stepped_s = now_s - self._stepped_s, now_s
        loss, must_leave = told.tolist()
        if not self._joined_s:
            self._joined_s = now_s
            self._tell("stepped", step=step, first_step_s=duration_s)
        self._durations_s.append(duration_s)
        self._losses.append(loss)
        is_last = step >= self.num_steps
        if self._faults:
            self._fail(step)
        must_save = self.rank == 0 and now_s - self._saved_s >= self._interval_s
        if must_leave or is_last or must_save or now_s - self._reported_s >= _REPORT_S:
            self._report(step, now_s)
        if must_save and not is_last and not must_leave:
            self._save(trainable)
            self._stepped_s = time.perf_counter()
        if is_last:
            self._tell("finished", step=step)
            if self.rank == 0:
                self._save(trainable)
            self._next = {"action": "exit"}
            return False
        if must_leave:
            self._next = self._await_next()
            if self.rank == 0 and self._next.get("save"):
                self._save(trainable)
            return False
        return True

    # ---- for `main`
    def join(self) -> bool:
        """Forms the next gang's process group; False if there is none for this worker."""
        gang = self._next
        assert gang is not None
        if gang["action"] != "join":
            return False
        began_s = time.perf_counter()
        self._next, self._gang = None, gang
        self.generation, self.rank, self.world_size = gang["generation"], gang["rank"], gang["world_size"]
        self.local_rank = gang["local_rank"]
        store = dist.TCPStore(gang["store_host"], gang["store_port"], is_master=False, timeout=_GROUP_TIMEOUT)
        dist.init_process_group(
            self._backend,
            store=dist.PrefixStore(f"{self.job_id}/{self.generation}", store),
            rank=self.rank,
            world_size=self.world_size,
            timeout=_GROUP_TIMEOUT,
        )
        self._control = dist.group.WORLD if self._backend == "gloo" else dist.new_group(backend="gloo")
        self._stages = {"rendezvous_s": time.perf_counter() - began_s}
        return True

    def leave(self) -> None:
        """Ends the process group."""
        began_s = time.perf_counter()
        dist.destroy_process_group()
        self._control = None
        self._tell("left", teardown_s=time.perf_counter() - began_s)

    def _listen(self) -> None:
        """Takes messages; without an agent a worker has no business (its slots may be somebody else's by now)."""
        try:
            while message := self._channel.receive():
                self._inbox.put(message)
        except Closed:
            pass
        os._exit(75)

    def _is_told(self) -> bool:
        if self._next is None:
            try:
                self._next = self._inbox.get_nowait()
            except Empty:
                return False
        return True

    def _await_next(self) -> Message:
        return self._inbox.get() if self._next is None else self._next

    def _save(self, trainable: Trainable) -> None:
        began_s = time.perf_counter()
        checkpoint.save(trainable.state_dict(), self.folder, trainable.step)
        self._saved_s = time.perf_counter()
        self._tell("saved", step=trainable.step, save_s=self._saved_s - began_s)

    def _report(self, step: int, now_s: float) -> None:
        self._reported_s = now_s
        if self.rank:
            self._tell("beat", step=step)
        else:
            self._tell("progress", step=step, step_s=self._durations_s, losses=self._losses)
        self._durations_s, self._losses = [], []

    def _tell(self, kind: str, **fields: Any) -> None:
        try:
            self._channel.send(kind, generation=self.generation, rank=self.rank, **fields)
        except Closed:
            os._exit(75)

    def _fail(self, step: int) -> None:
        """Does what a test asked for: dies, hangs or raises at a rank and step, in the first gang only."""
        for fault in self._faults:
            if self.generation == fault.get("generation", 0) and (self.rank, step) == (fault["rank"], fault["step"]):
                if fault["how"] == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                elif fault["how"] == "hang":
                    time.sleep(86400.0)
                raise RuntimeError(f"a fault at rank {self.rank}, step {step}, as asked for")


def train(worker: Worker) -> None:
    """The training function that is used where a task names none; a model for your own."""
    training = worker.recall(lambda: Training(worker.task, worker.device))
    worker.restore(training)
    while training.step < worker.num_steps:
        loss_part = training.train_step()
        if not worker.step_done(training, loss_part):
            break
    training.leave()


def function_of(path: str) -> Callable[[Worker], None]:
    """The training function behind "package.module:function"; the built-in one for ""."""
    if not path:
        return train
    module, _, name = path.partition(":")
    function: Callable[[Worker], None] = getattr(importlib.import_module(module), name)
    return function


def main(connection: Connection, spec: Mapping[str, Any]) -> None:
    """The whole life of a worker process; returns when its last gang is over.

    Args:
        connection: to its agent.
        spec: what `gangs.Gang` sends; beside the job's fields `gang`, the first gang, and `sent_s`, when the agent
            started the process (Unix time).
    """
    spawned_s = time.time() - spec["sent_s"]
    die_with_parent()
    _log_to(spec["log"])
    channel = Channel(connection)
    began_s = time.perf_counter()
    try:
        if spec["device"].startswith("cuda"):
            torch.cuda.set_device(spec["device"])
        torch.set_num_threads(spec.get("num_threads", 1))
        worker = Worker(spec, channel)
        function = function_of(worker.task.train)
        if not worker.task.train:
            worker.recall(lambda: Training(worker.task, worker.device))
        channel.send(
            "ready",
            generation=spec["gang"]["generation"],
            rank=spec["gang"]["rank"],
            pid=os.getpid(),
            spawn_s=spawned_s,
            import_s=time.perf_counter() - began_s,
        )
        while worker.join():
            function(worker)
            worker.leave()
    except Closed:
        os._exit(75)
    except BaseException:
        text = traceback.format_exc()
        print(text, file=sys.stderr, flush=True)
        with contextlib.suppress(Closed):
            channel.send("raised", error=text.strip().splitlines()[-1][:500])
        os._exit(70)  # collectives may be stuck: don't wait for threads and groups
    sys.stdout.flush()
    sys.stderr.flush()


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent dies; on Linux, elsewhere the closed connection ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)


def _log_to(path: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
