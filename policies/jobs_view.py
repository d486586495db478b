"""The active jobs, two faces over one state: live rows, and columns that are kept up to date once a policy asks.

A policy that looks at a few jobs reads rows; one that weighs all of them reads columns, arrays aligned by row, in
submit order. Nothing is built for a decision: a column group is filled when first asked for and patched at each
change from then on (tests/benchmarks/test_decisions.py prints what that is worth).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from typing import Any, Protocol

import numpy as np

from policies.errors import PolicyError
from policies.job import Job

_SEQ = attrgetter("seq")
_COMPACT = 64


class StaticColumns(Protocol):
    """What never changes of the jobs, by `Job.row`; `workloads.JobTable` is one."""

    @property
    def job_id(self) -> Any: ...
    @property
    def priority(self) -> Any: ...
    @property
    def weight(self) -> Any: ...
    @property
    def deadline_s(self) -> Any: ...
    @property
    def tenant(self) -> Any: ...
    @property
    def model(self) -> Any: ...
    @property
    def cpus_per_gpu(self) -> Any: ...
    @property
    def memory_gib_per_gpu(self) -> Any: ...


class Pending:
    """The jobs that hold no GPU, in submit order; iterate as far as needed.

    The head leaves by moving an offset: deleting from the front of a list of 100,000 would cost 20 us.
    """

    __slots__ = ("_head", "_items", "num", "num_gpus")

    def __init__(self) -> None:
        self._items: list[Job] = []
        self._head = 0
        self.num = 0  # how many wait: `len` without the call
        self.num_gpus = 0  # that they ask for in all

    def __len__(self) -> int:
        return self.num

    def __iter__(self) -> Iterator[Job]:
        return islice(self._items, self._head, None) if self._head else iter(self._items)

    @property
    def first(self) -> Job | None:
        """The one that was submitted first."""
        return self._items[self._head] if self.num else None

    def add(self, job: Job) -> None:
        items = self._items
        self.num += 1
        self.num_gpus += job.num_gpus
        if not items or items[-1].seq < job.seq:
            items.append(job)
        else:
            items.insert(bisect_left(items, job.seq, self._head, key=_SEQ), job)

    def remove(self, job: Job) -> None:
        items, head = self._items, self._head
        self.num -= 1
        self.num_gpus -= job.num_gpus
        if items[head] is not job:
            del items[bisect_left(items, job.seq, head, key=_SEQ)]
        elif not self.num or head == _COMPACT:
            del items[: head + 1]
            self._head = 0
        else:
            self._head = head + 1


class _Block:
    """Some columns in one array, so that a row goes in one move; shape (columns, capacity).

    The first `num_moving` columns are those that a change of GPUs changes.
    """

    __slots__ = ("_data", "_moving", "_moving_of", "_values_of", "_written", "names", "shown")

    def __init__(self, names: tuple[str, ...], num_moving: int, dtype: type, jobs: list[Job]) -> None:
        self.names = names
        self._values_of = attrgetter(*names)
        assert num_moving in (0, 1, 3)
        self._moving_of = attrgetter(*names[: num_moving or 1])
        self._show(np.zeros((len(names), max(1024, 2 * len(jobs))), dtype), num_moving)
        for row, job in enumerate(jobs):
            self.append(row, job)

    def _show(self, data: np.ndarray, num_moving: int) -> None:
        self._data: np.ndarray = data
        self._written = list(data)
        self._moving = self._written[:num_moving]
        shown = data.view()
        shown.flags.writeable = False
        self.shown = list(shown)  # the same memory, read-only

    def append(self, row: int, job: Job) -> None:
        data = self._data
        if row == data.shape[1]:
            self._show(np.hstack((data, np.zeros_like(data))), len(self._moving))
        self.put(row, job)

    def put(self, row: int, job: Job) -> None:
        for column, value in zip(self._written, self._values_of(job), strict=True):
            column[row] = value

    def update(self, row: int, job: Job) -> None:
        """`put` of the columns that move, written out: one or three."""
        columns = self._moving
        if len(columns) == 1:
            columns[0][row] = self._moving_of(job)
        else:
            columns[0][row], columns[1][row], columns[2][row] = self._moving_of(job)

    def drop(self, row: int, num_rows: int) -> None:
        self._data[:, row : num_rows - 1] = self._data[:, row + 1 : num_rows]


# Column groups: what is asked for together is kept together. The number says how many, from the left, a change of
# GPUs changes.
_GROUPS: tuple[tuple[tuple[str, ...], int, type], ...] = (
    (("gpus_held", "min_gpus", "max_gpus", "num_gpus"), 1, np.int64),
    (("left_at_anchor_s", "anchor_s", "rate"), 3, np.float64),
    (("since_s", "service_at_since_gpu_s", "executed_at_since_s"), 3, np.float64),
    (("seq", "row", "priority", "is_replica"), 0, np.int64),
    (("submit_s", "weight", "deadline_s"), 0, np.float64),
)
_COLUMN = {name: (group, i) for group, (names, _, _) in enumerate(_GROUPS) for i, name in enumerate(names)}


class JobsView:
    """All active jobs (pending and running). Shapes: every column is (J,), J active jobs, in submit order.

    Columns are views into live memory and read-only: copy what must outlast the decision.
    """

    def __init__(
        self,
        static: StaticColumns,
        has_estimates: bool = True,
        are_rigid: bool = False,
        weigh_alike: bool = False,
        may_pause: bool = True,
        may_overrun: bool = True,
        training_pool: str = "",
    ) -> None:
        self.static = static
        self.training_pool = training_pool  # whose nodes training jobs may be on; empty: any
        self.are_rigid = are_rigid  # all jobs, now and later: what runs holds what it asked for
        self.weigh_alike = weigh_alike  # all jobs, now and later
        self.may_pause = may_pause  # moves take time in which nothing gets done
        self.may_overrun = may_overrun  # a job may run for longer than estimated
        self.now_s = 0.0
        self._has_estimates = has_estimates
        self._jobs: dict[int, Job] = {}  # by seq, in submit order
        self._rows: list[Job] | None = None  # the same as a list, once columns are in use
        self._seqs: list[int] = []
        self._blocks: list[_Block | None] = [None] * len(_GROUPS)
        self._live: list[_Block] = []  # blocks in use
        self._departures: list[int] = []
        self._moving: list[_Block] = []  # of these, the ones that a change of GPUs changes
        self.has_columns = False  # that a change of GPUs changes: `update` has something to do

    # ---- rows
    @property
    def is_empty(self) -> bool:
        return not self._jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def __contains__(self, job: Job) -> bool:
        return self._jobs.get(job.seq) is job

    def __getitem__(self, row: int) -> Job:
        """The job of a row of the columns."""
        return self._listed()[row]

    def row(self, job: Job) -> int:
        """The row of a job in the columns."""
        self._listed()
        return bisect_left(self._seqs, job.seq)

    def departures(self) -> list[int]:
        """The row that each job had when it left, oldest first, since rows were first asked for."""
        self._listed()
        return self._departures

    # ---- columns
    @property
    def gpus_held(self) -> np.ndarray:
        return self._column("gpus_held")

    @property
    def num_gpus(self) -> np.ndarray:
        """GPUs asked for."""
        return self._column("num_gpus")

    @property
    def min_gpus(self) -> np.ndarray:
        return self._column("min_gpus")

    @property
    def max_gpus(self) -> np.ndarray:
        return self._column("max_gpus")

    @property
    def seq(self) -> np.ndarray:
        """Submit order over the whole run: what identifies a job from decision to decision; ascending."""
        return self._column("seq")

    @property
    def row_in_table(self) -> np.ndarray:
        """Row of each job in the table of static columns."""
        return self._column("row")

    @property
    def priority(self) -> np.ndarray:
        return self._column("priority")

    @property
    def is_replica(self) -> np.ndarray:
        """1 for a replica of a service, 0 for a training job."""
        return self._column("is_replica")

    @property
    def weight(self) -> np.ndarray:
        return self._column("weight")

    @property
    def submit_s(self) -> np.ndarray:
        return self._column("submit_s")

    @property
    def deadline_s(self) -> np.ndarray:
        return self._column("deadline_s")

    @property
    def last_change_s(self) -> np.ndarray:
        """When each job's GPUs last changed (its submit time if never)."""
        return self._column("since_s")

    @property
    def attained_service_gpu_s(self) -> np.ndarray:
        """GPU-seconds held so far."""
        held_s = self.now_s - self._column("since_s")
        return self._column("service_at_since_gpu_s") + self._column("gpus_held") * held_s

    @property
    def executed_s(self) -> np.ndarray:
        """Seconds for which each job has held GPUs so far."""
        held_s = self.now_s - self._column("since_s")
        return self._column("executed_at_since_s") + np.where(self._column("gpus_held") > 0, held_s, 0.0)

    @property
    def remaining_s(self) -> np.ndarray:
        """Estimated run time left on `num_gpus` GPUs, never below 0.

        Raises:
            PolicyError: the run gives no estimates (`estimates=none`).
        """
        self.require_estimates()
        ran_s = self.now_s - self._column("anchor_s")
        if self.may_pause:
            np.maximum(ran_s, 0.0, out=ran_s)  # a restart or rescale may still last
        ran_s *= self._column("rate")
        left_s = np.subtract(self._column("left_at_anchor_s"), ran_s, out=ran_s)
        return np.maximum(left_s, 0.0, out=left_s) if self.may_overrun else left_s

    def require_estimates(self) -> None:
        if not self._has_estimates:
            raise PolicyError(
                "this policy asks for remaining run times, but estimates=none: "
                "set estimates=user, noisy, history or oracle"
            )

    # ---- for the cluster that owns the jobs
    def add(self, job: Job) -> None:
        if self._rows is not None:
            row = len(self._rows)
            self._rows.append(job)
            self._seqs.append(job.seq)
            for block in self._live:
                block.append(row, job)
        self._jobs[job.seq] = job

    def drop(self, job: Job) -> None:
        del self._jobs[job.seq]
        if self._rows is not None:
            row = bisect_left(self._seqs, job.seq)
            for block in self._live:
                block.drop(row, len(self._rows))
            del self._rows[row], self._seqs[row]
            self._departures.append(row)

    def update(self, job: Job) -> None:
        """Mirrors a change of what the job holds, and of its bounds (a moldable job that starts or stops)."""
        if self._moving:
            row = bisect_left(self._seqs, job.seq)
            for block in self._moving:
                block.put(row, job)

    def update_gpus(self, job: Job) -> None:
        """The same where its bounds are as they were, at half the cost."""
        row = bisect_left(self._seqs, job.seq)
        for block in self._moving:
            block.update(row, job)

    def _listed(self) -> list[Job]:
        if self._rows is None:
            self._rows, self._seqs = list(self._jobs.values()), list(self._jobs)
        return self._rows

    def _column(self, name: str) -> np.ndarray:
        group, index = _COLUMN[name]
        block = self._blocks[group]
        if block is None:
            names, num_moving, dtype = _GROUPS[group]
            block = self._blocks[group] = _Block(names, num_moving, dtype, self._listed())
            self._live.append(block)
            if num_moving:
                self._moving.append(block)
                self.has_columns = True
        column: np.ndarray = block.shown[index][: len(self._jobs)]
        return column
