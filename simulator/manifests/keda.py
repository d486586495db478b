"""ScaledObject, keda.sh/v1alpha1 (KEDA 2.22, as of autumn 2026) and `keda`."""

from __future__ import annotations

import math
from typing import Any

from policies.scaling.keda import Keda
from simulator.manifests.hpa import read_behavior, write_behavior
from simulator.manifests.metrics import MetricNames
from simulator.manifests.written import Written, unsaid, whole, without_none
from workloads.manifests import Fields

KIND, API_VERSION, POLICY = "ScaledObject", "keda.sh/v1alpha1", "keda"
SERVER = "http://prometheus:9090"  # of the triggers that are written
# type -> (what the target is called, what activates it, the target's default)
_TRIGGERS = {
    "prometheus": ("threshold", "activationThreshold", None),
    "aws-sqs-queue": ("queueLength", "activationQueueLength", 5.0),
    "rabbitmq": ("value", "activationValue", 20.0),
    "kafka": ("lagThreshold", "activationLagThreshold", 10.0),
    "redis": ("listLength", "activationListLength", 5.0),
}
_WHERE = {  # what says where the number comes from
    "prometheus": (
        *("serverAddress", "query", "metricName", "namespace", "queryParameters", "customHeaders", "authModes"),
        *("unsafeSsl", "timeout", "ignoreNullValues"),
    ),
    "aws-sqs-queue": ("queueURL", "awsRegion", "awsEndpoint", "identityOwner", "queueURLFromEnv"),
    "rabbitmq": ("host", "hostFromEnv", "queueName", "protocol", "vhostName"),
    "kafka": ("bootstrapServers", "consumerGroup", "topic", "sasl", "tls", "version"),
    "redis": ("address", "addressFromEnv", "host", "port", "listName", "databaseIndex", "passwordFromEnv"),
}
_PAUSING = ("paused", "paused-replicas", "paused-scale-in", "paused-scale-out", "paused-scale-down")
_ELSEWHERE = {
    "tolerance": "kube-controller-manager --horizontal-pod-autoscaler-tolerance",
    "stabilization_s": "kube-controller-manager --horizontal-pod-autoscaler-downscale-stabilization",
    "period_s": "kube-controller-manager --horizontal-pod-autoscaler-sync-period",
    "stale_s": "the source of the metric",
}
_SECONDS = {
    "pollingInterval": "polling_s",
    "cooldownPeriod": "cooldown_s",
    "initialCooldownPeriod": "initial_cooldown_s",
}
_COUNTS = {"minReplicaCount": "min_units", "maxReplicaCount": "max_units", "idleReplicaCount": "idle_units"}


def read_keda(fields: Fields, names: MetricNames) -> dict[str, Any]:
    """The options of `keda`."""
    with fields, fields.section("spec", needed=True) as spec:
        fields.ignore("kind", "status")
        fields.text("apiVersion", among=(API_VERSION,))
        _refuse_pauses(fields.section("metadata"))
        with spec.section("scaleTargetRef", needed=True) as target:
            target.ignore("apiVersion", "kind", "name", "envSourceContainerName")
        options: dict[str, Any] = {option: spec.whole(key, None) for key, option in {**_SECONDS, **_COUNTS}.items()}
        least, most = options["min_units"] or Keda.min_units, options["max_units"]
        spec.ordered("minReplicaCount", "maxReplicaCount", least, Keda.max_units if most is None else most)
        if options["idle_units"] is not None and options["idle_units"] >= least:
            raise spec.error("idleReplicaCount", f"must be less than {spec.path('minReplicaCount')}={least}")
        options |= {option: float(options[option]) for option in _SECONDS.values() if options[option] is not None}
        with spec.section("fallback") as fallback:
            if spec.has("fallback"):
                fallback.only("behavior", "static", "the fallback is a number of replicas")
                options["fallback_units"] = fallback.whole("replicas")
                options["fallback_failures"] = fallback.whole("failureThreshold")
        with spec.section("advanced") as advanced:
            advanced.ignore("restoreToOriginalReplicaCount")  # once the ScaledObject is deleted
            with advanced.section("horizontalPodAutoscalerConfig") as hpa:
                hpa.ignore("name")
                options["behavior"] = read_behavior(hpa)
        options["triggers"] = [_trigger(each, names) for each in spec.items("triggers", needed=True)]
        return without_none(options)


def _refuse_pauses(metadata: Fields) -> None:
    annotations = metadata.section("annotations")
    for name in _PAUSING:
        annotations.refuse(f"autoscaling.keda.sh/{name}", "a paused one does nothing; scaling=static")


def _trigger(fields: Fields, names: MetricNames) -> dict[str, Any]:
    with fields:
        kind = fields.text("type", among=_TRIGGERS)
        fields.ignore("authenticationRef", "useCachedMetrics")
        name = fields.text("name", "")
        metric_type = fields.text("metricType", "AverageValue", among=("AverageValue", "Value"))
        target_key, activation_key, default = _TRIGGERS[kind]
        with fields.section("metadata", needed=True) as metadata:
            metadata.ignore(*_WHERE[kind])
            if kind == "rabbitmq":
                metadata.only("mode", "QueueLength", "a rate of messages isn't measured")
            key, called = "type", kind
            if kind == "prometheus":
                key = "metricName" if metadata.has("metricName") else "query"
                called = name or metadata.text(key)
            known = metadata if key in metadata.content else fields
            metric, factor = names.of(known, key, called)
            threshold = metadata.number_in_text(target_key, *([] if default is None else [default])) * factor
            if not 0 < threshold < math.inf:
                raise metadata.error(target_key, "must be more than 0")
            activation = metadata.number_in_text(activation_key, 0.0) * factor
    return {
        "metric": metric,
        "threshold": threshold,
        "activation_threshold": activation,
        "metric_type": metric_type,
    }


def write_keda(policy: Keda, name: str) -> Written:
    """The ScaledObject of a Deployment of that name; its triggers ask Prometheus.

    Raises:
        ConfigError: an option that no ScaledObject can say.
    """
    said = ("triggers", "fallback_units", "fallback_failures", "behavior", *_SECONDS.values(), *_COUNTS.values())
    notes = unsaid(POLICY, policy, "a ScaledObject", said, _ELSEWHERE)
    notes.append("each query is the name of the simulator's metric, and the server a guess: put your own there")
    spec: dict[str, Any] = {"scaleTargetRef": {"name": name}}
    for key, option in _SECONDS.items():
        spec[key] = whole(POLICY, option, getattr(policy, option), "a ScaledObject")
    for key, option in _COUNTS.items():
        spec[key] = getattr(policy, option)
    has_fallback = policy.fallback_units or policy.fallback_failures != Keda.fallback_failures
    if has_fallback:
        spec["fallback"] = {"failureThreshold": policy.fallback_failures, "replicas": policy.fallback_units}
    if policy.behavior is not None:
        spec["advanced"] = {"horizontalPodAutoscalerConfig": {"behavior": write_behavior(policy.behavior)}}
    spec["triggers"] = [
        {
            "type": "prometheus",
            "metricType": each.metric_type,
            "metadata": {
                "serverAddress": SERVER,
                "query": each.metric,
                "threshold": repr(each.threshold),
                "activationThreshold": repr(each.activation_threshold),
            },
        }
        for each in policy.triggers
    ]
    document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": without_none(spec)}
    return Written(document, notes)
