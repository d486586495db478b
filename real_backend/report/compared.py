"""The jobs of a pair side by side: where each one's time went, live and simulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from real_backend.report.pairs import Pair
from simulator.errors import RunError
from simulator.metrics import summarise
from simulator.moves import Moves
from simulator.run import Run

_GIVEN = {"num_gpus": 0.0, "duration_s": 1e-6, "submit_s": 1.0}  # what is the same in both worlds, but for this much
PARTS = ("queueing", "suspended", "moving", "running")  # of a JCT; they add up to it


@dataclass(frozen=True)
class Times:
    """Where the time of finished jobs went; arrays of shape (..., J), live ones with an axis of repeats before.

    `queueing_s` from submission to the first start; `suspended_s` without GPUs after it; `moving_s` with GPUs, in the
    pauses of its moves as the table allocations has them; `running_s` the rest.
    """

    submit_s: np.ndarray
    finish_s: np.ndarray
    queueing_s: np.ndarray
    suspended_s: np.ndarray
    moving_s: np.ndarray
    running_s: np.ndarray
    held_gpu_s: np.ndarray

    @property
    def jct_s(self) -> np.ndarray:
        return self.finish_s - self.submit_s

    @property
    def makespan_s(self) -> np.ndarray:
        """First submission to last completion; shape (...); nan where there are no jobs."""
        if not self.submit_s.shape[-1]:
            return np.full(self.submit_s.shape[:-1], np.nan)
        return self.finish_s.max(axis=-1) - self.submit_s.min(axis=-1)

    def part_s(self, name: str) -> np.ndarray:
        """One of `PARTS`."""
        return getattr(self, f"{name}_s")

    @classmethod
    def of(cls, run: Run) -> Times:
        """Of all jobs of a run, in the order of its table; nan where a job has not finished."""
        jobs, moves = run.columns("jobs", "submit_s", "start_s", "finish_s", "held_gpu_s"), Moves.of(run)
        pause_s = run.columns("allocations", "pause_s")["pause_s"]
        submit_s, start_s, finish_s = jobs["submit_s"], jobs["start_s"], jobs["finish_s"]
        until_s = np.minimum(np.append(moves.time_s, np.inf)[moves.next_row], finish_s[moves.job])
        lasts_s = np.maximum(until_s - moves.time_s, 0.0)
        holds = moves.num_gpus > 0

        def per_job(values: np.ndarray) -> np.ndarray:
            return np.bincount(moves.job, values, len(submit_s))

        moving_s = per_job(np.where(holds, np.minimum(pause_s, lasts_s), 0.0))
        suspended_s = per_job(np.where(holds, 0.0, lasts_s))
        queueing_s = start_s - submit_s
        running_s = finish_s - submit_s - queueing_s - suspended_s - moving_s
        return cls(submit_s, finish_s, queueing_s, suspended_s, moving_s, running_s, jobs["held_gpu_s"])

    def take(self, rows: np.ndarray) -> Times:
        """Of some jobs."""
        return Times(*(getattr(self, name)[..., rows] for name in self.__dataclass_fields__))

    @classmethod
    def stack(cls, several: Sequence[Times]) -> Times:
        """Repeats on an axis of their own."""
        return cls(*(np.stack([getattr(each, name) for each in several]) for name in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Compared:
    """A pair with the jobs that finished in the simulation and in every live repeat.

    Args:
        job_ids: of those jobs, in submit order; shape (J,).
        live: shape (R, J) each.
        simulated: shape (J,) each.
        left_out: the other jobs, and how each ended.
        states_live: of all jobs, shape (R, all).
        differing: columns in which jobs of the same name differ between the worlds.
        summaries_live: the metrics of each live run.
    """

    pair: Pair
    job_ids: np.ndarray
    live: Times
    simulated: Times
    left_out: Sequence[Mapping[str, Any]]
    states_live: np.ndarray
    states_simulated: np.ndarray
    differing: Sequence[str]
    summaries_live: Sequence[Mapping[str, Any]]
    summary_simulated: Mapping[str, Any]

    @property
    def num_jobs(self) -> int:
        return len(self.states_simulated)

    @property
    def num_compared(self) -> int:
        return len(self.job_ids)

    @property
    def num_repeats(self) -> int:
        return len(self.pair.live)

    @classmethod
    def of(cls, pair: Pair) -> Compared:
        """Matches the jobs by their names.

        Raises:
            RunError: the runs are of different jobs.
        """
        names = [run.columns("jobs", "job_id")["job_id"].astype(str) for run in (pair.simulated, *pair.live)]
        rows = [_match(pair.policy, names[0], each) for each in names[1:]]
        simulated = Times.of(pair.simulated)
        live = Times.stack([Times.of(run).take(row) for run, row in zip(pair.live, rows, strict=True)])
        state = _states(pair.simulated)
        states = np.stack([_states(run)[row] for run, row in zip(pair.live, rows, strict=True)])
        in_all = (state == "finished") & (states == "finished").all(axis=0)
        kept = np.flatnonzero(in_all)
        left_out = [
            {"job": str(names[0][row]), "live": states[:, row].tolist(), "simulated": str(state[row])}
            for row in np.flatnonzero(~in_all)
        ]
        summaries = [run.summary or summarise(run) for run in (pair.simulated, *pair.live)]
        return cls(
            pair, names[0][kept], live.take(kept), simulated.take(kept), left_out, states, state,
            _differing(pair, rows), summaries[1:], summaries[0],
        )  # fmt: skip


def _differing(pair: Pair, rows: Sequence[np.ndarray]) -> list[str]:
    """Times of submission may differ a bit: live ones are kept by a real clock."""
    wanted = pair.simulated.columns("jobs", *_GIVEN)
    found = []
    for run, row in zip(pair.live, rows, strict=True):
        given = run.columns("jobs", *_GIVEN)
        found += [name for name, off in _GIVEN.items() if (np.abs(given[name][row] - wanted[name]) > off).any()]
    return list(dict.fromkeys(found))


def _states(run: Run) -> np.ndarray:
    return run.columns("jobs", "state")["state"].astype(str)


def _match(policy: str, wanted: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The row in `given` of each of `wanted`."""
    row_of = {name: row for row, name in enumerate(given.tolist())}
    only = sorted(set(wanted.tolist()) ^ set(row_of))
    if only or len(wanted) != len(given):
        what = (
            f"{', '.join(only[:3])}{', …' if len(only) > 3 else ''} in one of them only" if only else "repeated names"
        )
        raise RunError(f"{policy}: the live and the simulated run are of different jobs: {what}")
    return np.array([row_of[name] for name in wanted.tolist()], np.int64)
