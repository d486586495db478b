"""One trace as many: days of it drawn anew, so that runs over seeds say how much of a result was luck of demand."""

from __future__ import annotations

import math

import numpy as np

from workloads.errors import WorkloadError
from workloads.trace import JobTable

DAY_S = 86_400.0


def resample_days(jobs: JobTable, num_days: int, block_days: int, rng: np.random.Generator) -> JobTable:
    """As many days of jobs, put together from stretches of `block_days` consecutive days, drawn with replacement.

    A stretch begins on any day of the trace that leaves it whole; its jobs keep their time of day, how long they run
    and what they ask for. What lasts for less than a stretch is kept (the hours of a day; with stretches of 7 the
    days of a week), what lasts longer, and what ran when a stretch began, is lost. The moving-block bootstrap of
    Künsch, Annals of Statistics 17 (1989).

    A job's id gets the number of its stretch behind it, since a day may be drawn more than once.

    Raises:
        WorkloadError: fewer days than 1, or more in a stretch than the trace has; no job in the days drawn.
    """
    first_day = math.floor(jobs.submit_s[0] / DAY_S)
    days = math.floor(jobs.submit_s[-1] / DAY_S) + 1 - first_day
    if num_days < 1:
        raise WorkloadError(f"resample_days={num_days}: must be 1 or more")
    if not 1 <= block_days <= days:
        raise WorkloadError(f"resample_block_days={block_days}: must lie in 1..{days}, the days of the trace")
    begins = first_day + rng.integers(0, days - block_days + 1, math.ceil(num_days / block_days))
    rows, shifts, numbers = [], [], []
    for number, begin in enumerate(begins.tolist()):
        at = number * block_days  # the day on which it will be
        end = begin + min(block_days, num_days - at)
        low, high = jobs.submit_s.searchsorted([begin * DAY_S, end * DAY_S])
        rows.append(np.arange(low, high))
        shifts.append(np.full(high - low, (at - begin) * DAY_S))
        numbers.append(np.full(high - low, number))
    row, shift_s, number_J = (np.concatenate(parts) for parts in (rows, shifts, numbers))  # J jobs
    if not row.size:
        raise WorkloadError(
            f"resample_days={num_days}: no job is submitted on the days drawn; draw more, or longer ones"
        )
    taken = jobs.take(row)
    ids = [f"{job_id}.{number}" for job_id, number in zip(taken.job_id, number_J, strict=True)]
    return taken.with_columns(
        job_id=np.array(ids, object),
        submit_s=np.maximum(taken.submit_s + shift_s, 0.0),
        deadline_s=taken.deadline_s + shift_s,
    )
