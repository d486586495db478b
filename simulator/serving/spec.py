"""What an inference service is: its requests, how they are served, its replicas and what is promised of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from simulator.errors import ConfigError
from simulator.serving.buying import TOKENS, Purchase
from simulator.serving.model import RequestOptions
from simulator.serving.models import MODELS
from simulator.serving.startup import Startup
from simulator.serving.statistics import Objective
from workloads import JobSpec
from workloads.options import nearest
from workloads.serving.batch_times import BatchTimes
from workloads.serving.llm_times import LlmTimes
from workloads.serving.service_times import ServiceTimes

WITH_TOKENS = ("llm", "llm_steps")


@dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    """One service.

    Args:
        model: queue | batch | llm | llm_steps; see `simulator.serving.models`.
        replicas: at the start, ready as soon as they have GPUs; with `scaling=static` that many throughout.
        min_replicas, max_replicas: what scaling keeps to; None: `replicas`.
        gpus_per_replica: a replica is a gang of so many GPUs.
        priority, weight, tenant: as of a training job; policies see replicas and jobs alike.
        pool: whose nodes its replicas may be on; empty: any.
        activation: with no replica at all, the first request that waits starts one; scaling leaves one while any waits.
        drain_timeout_s: a replica that drains for longer is killed.
        sample_s: how often its metrics are measured.
        network_s: round trip between its users and its replicas, part of every latency.
        keep_requests: whether requests.parquet gets a row a request; None: if there are 100,000 at most.
        purchase: how its replicas are paid for.
        service_times, batch, llm: what `model` says how to serve by.
    """

    name: str = "service"
    model: str = "queue"
    replicas: int = 1
    min_replicas: int | None = None
    max_replicas: int | None = None
    gpus_per_replica: int = 1
    cpus_per_gpu: float = 0.0
    memory_gib_per_gpu: float = 0.0
    priority: int = 0
    weight: float = 1.0
    tenant: str = ""
    pool: str = ""
    activation: bool = True
    drain_timeout_s: float = math.inf
    sample_s: float = 15.0
    network_s: float = 0.0
    keep_requests: bool | None = None
    balancer: str = "least_loaded"  # least_loaded | round_robin | power_of_two
    queue_limit: int | None = None  # requests that may wait; one more is rejected
    timeout_s: float = math.inf  # a request that has waited for so long gives up
    retries: int = 0
    retry_delay_s: float = 1.0  # doubled each time
    slo: Objective = field(default_factory=Objective)
    startup: Startup = field(default_factory=Startup)
    purchase: Purchase = field(default_factory=Purchase)
    service_times: ServiceTimes = field(default_factory=ServiceTimes)
    batch: BatchTimes = field(default_factory=BatchTimes)
    llm: LlmTimes = field(default_factory=LlmTimes)

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ConfigError(f"service.model={self.model}: unknown model{nearest(self.model, MODELS)}")
        rules = {
            "name": (bool(self.name), "must not be empty"),
            "replicas": (self.replicas >= 0, "must be 0 or more"),
            "min_replicas": (0 <= self.fewest <= self.replicas, f"must lie in 0..replicas={self.replicas}"),
            "max_replicas": (
                self.most >= max(1, self.replicas),
                f"must be 1 or more, and no less than replicas={self.replicas}",
            ),
            "gpus_per_replica": (self.gpus_per_replica >= 1, "must be 1 or more"),
            "cpus_per_gpu": (0 <= self.cpus_per_gpu < math.inf, "must be 0 or more"),
            "memory_gib_per_gpu": (0 <= self.memory_gib_per_gpu < math.inf, "must be 0 or more"),
            "weight": (0 < self.weight < math.inf, "must be more than 0"),
            "drain_timeout_s": (self.drain_timeout_s >= 0, "must be 0 or more (inf: wait for the requests)"),
            "sample_s": (0 < self.sample_s < math.inf, "must be more than 0"),
            "network_s": (0 <= self.network_s < math.inf, "must be 0 or more"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ConfigError(f"service.{name}={getattr(self, name)} (service {self.name!r}): {rule}")
        _ = self.requests  # checks them
        if self.slo.ttft_s < math.inf and not self.has_tokens:
            raise ConfigError(
                f"service.slo.ttft_s={self.slo.ttft_s:g} (service {self.name!r}): "
                f"model={self.model} has no first token; set slo.latency_s, or model=llm"
            )
        if self.purchase.buy == TOKENS and not self.has_tokens:
            raise ConfigError(
                f"service.buy={TOKENS} (service {self.name!r}): model={self.model} knows no tokens; set it to llm"
            )

    @property
    def fewest(self) -> int:
        return self.replicas if self.min_replicas is None else self.min_replicas

    @property
    def most(self) -> int:
        return self.replicas if self.max_replicas is None else self.max_replicas

    @property
    def requests(self) -> RequestOptions:
        """How requests find a replica."""
        return RequestOptions(
            balancer=self.balancer,
            queue_limit=self.queue_limit,
            timeout_s=self.timeout_s,
            retries=self.retries,
            retry_delay_s=self.retry_delay_s,
        )

    @property
    def has_tokens(self) -> bool:
        """Whether it takes requests with tokens, and streams its answers."""
        return self.model in WITH_TOKENS

    def job_spec(self) -> JobSpec:
        """What policies see of each of its replicas that never changes."""
        return JobSpec(
            job_id=self.name,
            submit_s=0.0,
            duration_s=1.0,  # of no meaning: a replica has no end of its own
            num_gpus=self.gpus_per_replica,
            priority=self.priority,
            weight=self.weight,
            tenant=self.tenant or self.name,
            cpus_per_gpu=self.cpus_per_gpu,
            memory_gib_per_gpu=self.memory_gib_per_gpu,
        )
