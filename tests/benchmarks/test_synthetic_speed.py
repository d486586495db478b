"""How long a synthetic workload takes to draw."""

from __future__ import annotations

import time

import numpy as np
import pytest

from workloads.synthetic import SyntheticSource


@pytest.mark.benchmark_suite
@pytest.mark.slow
def test_a_million_jobs_in_two_seconds() -> None:
    source = SyntheticSource(
        num_jobs=1_000_000, arrivals="diurnal", elastic_frac=0.3, deadline_frac=0.5, user_estimate_factor=5.0
    )
    started_s = time.perf_counter()
    source.load(np.random.default_rng(1))
    took_s = time.perf_counter() - started_s
    print(f"1,000,000 jobs drawn in {took_s:.2f} s")
    assert took_s < 2.0
