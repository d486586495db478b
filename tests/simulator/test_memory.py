"""What runs leave behind in the process that runs them."""

from __future__ import annotations

import gc

from small_runs import jobs_of, run_jobs

from simulator.simulation import Simulation


def test_runs_that_are_over_are_let_go_of_by_themselves() -> None:
    """A run's parts point at each other; the garbage collector finds them without being told to."""
    jobs = jobs_of(*((float(i), 1, 50.0) for i in range(40)))
    for _ in range(200):
        run_jobs(jobs, "fifo")
    alive = sum(isinstance(each, Simulation) for each in gc.get_objects())
    assert alive < 100
    assert gc.get_freeze_count() == 0
