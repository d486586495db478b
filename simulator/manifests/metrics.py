"""What other systems call the metrics that we measure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from policies.metrics_view import METRICS, SERVICE_METRICS
from simulator.errors import ConfigError
from workloads.manifests import Fields, ManifestError
from workloads.options import nearest

SHOWN = "metrics"  # the option of `python -m simulator.manifests show`; others are settings of a run
_PLAIN = re.compile(r"[A-Za-z_]\w*")
_SPECIAL, _ESCAPED = re.compile(r"[\\()\[\]{}:=,]"), r"\\\g<0>"  # in a name, as Hydra takes it

# theirs -> (ours, what one of theirs is in ours)
KNOWN: dict[str, tuple[str, float]] = {
    **{name: (name, 1.0) for name in (*METRICS, *SERVICE_METRICS)},
    "nvidia.com/gpu": ("gpu_utilisation_frac", 1.0),  # of a Resource: a Utilization is in percent anyway
    "DCGM_FI_DEV_GPU_UTIL": ("gpu_utilisation_frac", 0.01),  # NVIDIA's DCGM exporter: 0 … 100
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": ("gpu_utilisation_frac", 1.0),  # the same: 0 … 1
    "vllm:num_requests_waiting": ("queue_length", 1.0),
    "vllm_num_requests_waiting": ("queue_length", 1.0),  # as adapters spell it
    "SageMakerVariantInvocationsPerInstance": ("request_rate_per_replica_per_s", 1 / 60),  # a minute
    "SageMakerInferenceComponentInvocationsPerCopy": ("request_rate_per_replica_per_s", 1 / 60),
    "SageMakerVariantConcurrentRequestsPerModelHighResolution": ("concurrency_per_replica", 1.0),
    "ALBRequestCountPerTarget": ("request_rate_per_replica_per_s", 1 / 60),
    "ApproximateNumberOfMessagesVisible": ("queue_length", 1.0),
    **dict.fromkeys(("aws-sqs-queue", "rabbitmq", "kafka", "redis"), ("queue_length", 1.0)),  # KEDA's triggers
}


@dataclass
class MetricNames:
    """`KNOWN`, and what a user adds: `given` has theirs -> ours, of the same unit.

    Raises:
        ConfigError: a metric that we don't measure.
    """

    given: Mapping[str, str] = field(default_factory=dict)
    option: str = "scaling.metrics"  # for messages
    _used: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        ours = {**METRICS, **SERVICE_METRICS}
        for theirs, metric in self.given.items():
            if metric not in ours:
                raise ConfigError(f"{self.option}.{theirs}={metric}: is no metric here{nearest(metric, ours)}")

    def of(self, fields: Fields, key: str, name: str, why: str = "") -> tuple[str, float]:
        """(our metric, what one of theirs is in it) of the name that stands in a field, or that it stands for.

        Raises:
            ManifestError: a metric that we don't measure, with what to do.
        """
        if name in self.given:
            self._used.add(name)
            return self.given[name], 1.0
        if name not in KNOWN:
            raise ManifestError(
                f"{fields.where(key)}: {fields.path(key)}: {name!r}{why} is not measured here; say what stands for it: "
                f"{self.said(name, 'METRIC')}, one of {', '.join(SERVICE_METRICS)}; of nodes {', '.join(METRICS)}"
            )
        return KNOWN[name]

    def said(self, theirs: str, ours: str) -> str:
        """The word of a command line that gives a name, as a shell takes it."""
        if self.option == SHOWN:  # YAML
            return shlex.quote(f"{SHOWN}={{{theirs if _PLAIN.fullmatch(theirs) else json.dumps(theirs)}: {ours}}}")
        if _PLAIN.fullmatch(theirs):
            return f"{self.option}.{theirs}={ours}"
        return shlex.quote(f"{self.option}={{{_SPECIAL.sub(_ESCAPED, theirs)}: {ours}}}")

    def check_used(self, place: str) -> None:
        """Refuses names that were given and came nowhere."""
        for name in self.given:
            if name not in self._used:
                raise ConfigError(f"{self.option}.{name}={self.given[name]}: {place}: there is no metric of that name")
