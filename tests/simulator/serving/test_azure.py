"""`llm` against `llm_steps` on the requests of Azure's 2023 traces, at half, heavy and near full load."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from simulator.serving.model import RequestOptions
from simulator.serving.models import make_model
from simulator.serving.outcome import Served
from workloads.requests import Requests, build_requests
from workloads.serving.llm_times import LlmTimes

TRACES = Path(os.environ.get("TRACES_DIR", Path(__file__).parents[3].parent / "shared" / "traces")) / "azure_llm_2023"
NUM = 2000  # requests of each


def serve(name: str, requests: Requests, times: LlmTimes) -> Served:
    model = make_model(name, RequestOptions(), np.random.default_rng(0), llm=times)
    model.add(0, 0.0)
    done = model.advance(requests, 1e9)
    assert len(done) == len(requests)
    return done


@pytest.mark.slow
@pytest.mark.skipif(not TRACES.is_dir(), reason=f"{TRACES} is not there (set TRACES_DIR)")
@pytest.mark.parametrize("chunk_tokens", [0, 512])
@pytest.mark.parametrize("trace", ["conv", "code"])
def test_many_steps_at_once_on_azures_requests(trace: str, chunk_tokens: int) -> None:
    """Mean end-to-end time within 4%, and the 99th percentile of TTFT within 10%; measured: equal to 1e-6."""
    times = LlmTimes(chunk_tokens=chunk_tokens)
    options = {"name": "azure_llm", "path": str(TRACES / f"{trace}.csv.gz"), "limit": NUM}
    requests = Requests.concat(list(build_requests(options).chunks(np.random.default_rng(0))))
    at_once = serve("llm", requests.at(np.zeros(NUM)), times)
    capacity_per_s = NUM / at_once.finish_s.max()
    for load in (0.5, 0.8, 0.95):
        scaled = requests.at(requests.arrival_s * (NUM / requests.arrival_s[-1]) / (load * capacity_per_s))
        fast, slow = serve("llm", scaled, times), serve("llm_steps", scaled, times)
        end_to_end_s = [float((each.finish_s - each.arrival_s).mean()) for each in (fast, slow)]
        ttft_s = [float(np.quantile(each.first_s - each.arrival_s, 0.99)) for each in (fast, slow)]
        print(f"\n{trace}, chunks of {chunk_tokens}, load {load}: mean {end_to_end_s}, p99 TTFT {ttft_s}")
        assert end_to_end_s[0] == pytest.approx(end_to_end_s[1], rel=1e-6)
        assert ttft_s[0] == pytest.approx(ttft_s[1], rel=1e-6)
