"""The serving models by name."""

from __future__ import annotations

import numpy as np

from simulator.errors import ConfigError
from simulator.serving.central_queue import CentralQueue
from simulator.serving.llm import Replica
from simulator.serving.llm_serving import LlmServing
from simulator.serving.llm_steps import SteppedReplica
from simulator.serving.model import RequestOptions, ServingModel
from simulator.serving.station import BatchRule, one_by_one
from simulator.serving.stations import Stations
from workloads.options import nearest
from workloads.serving.batch_times import BatchTimes
from workloads.serving.llm_times import LlmTimes
from workloads.serving.service_times import ServiceTimes

MODELS = ("queue", "batch", "llm", "llm_steps")


def make_model(
    name: str,
    requests: RequestOptions,
    rng: np.random.Generator,
    service_times: ServiceTimes | None = None,
    batch: BatchTimes | None = None,
    llm: LlmTimes | None = None,
) -> ServingModel:
    """A model without replicas.

    | name | a request | source | error |
    |---|---|---|---|
    | queue | takes a time of its own on one replica, alone | Kiefer and Wolfowitz 1955 | exact: G/G/c |
    | batch | is served in a batch of t(b) = t0 + t1·b | dynamic batching as in Triton | exact for that form |
    | llm | shares a continuously batching replica | steps as in DistServe, admission as in vLLM | that of llm_steps |
    | llm_steps | the same, step by step | as above | that of the step times |

    Raises:
        ConfigError: an unknown name.
    """
    if name == "queue":
        times = service_times or ServiceTimes()
        if requests.is_plain:
            return CentralQueue(times, requests, rng)
        return Stations(BatchRule(1, 0.0, one_by_one), times, requests, rng)
    if name == "batch":
        of = batch or BatchTimes()
        return Stations(BatchRule(of.max_batch, of.max_wait_s, lambda some: of.time_s(len(some))), None, requests, rng)
    if name in ("llm", "llm_steps"):
        return LlmServing(llm or LlmTimes(), Replica if name == "llm" else SteppedReplica, requests, rng)
    raise ConfigError(f"service.model={name}: unknown model{nearest(name, MODELS)}")
