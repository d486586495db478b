"""Manifests written by hand, as policies and services; what is refused, and how that is told."""

from __future__ import annotations

import copy
import json
import math
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from policies.metrics_view import METRICS, SERVICE_METRICS
from simulator.errors import ConfigError
from simulator.manifests.deployment import read_deployment
from simulator.manifests.metrics import KNOWN, MetricNames
from simulator.manifests.scaling import read_policies
from workloads import WorkloadError
from workloads.manifests.documents import Document

HPA = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: chat, labels: {app: chat}}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}
  minReplicas: 2
  maxReplicas: 10
  metrics:
  - type: Pods
    pods:
      metric: {name: concurrency_per_replica, selector: {matchLabels: {model: opt}}}
      target: {type: AverageValue, averageValue: 2500m}
  - type: Resource
    resource: {name: nvidia.com/gpu, target: {type: Utilization, averageUtilization: 70}}
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 30
      selectPolicy: Min
      policies: [{type: Pods, value: 2, periodSeconds: 60}]
      tolerance: 50m
    scaleDown: {selectPolicy: Disabled}
status: {currentReplicas: 3}
"""
KEDA = """
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: worker, annotations: {scaledobject.keda.sh/transfer-hpa-ownership: "true"}}
spec:
  scaleTargetRef: {name: worker}
  pollingInterval: 15
  cooldownPeriod: 120
  minReplicaCount: 0
  maxReplicaCount: 20
  fallback: {failureThreshold: 2, replicas: 4}
  advanced:
    restoreToOriginalReplicaCount: true
    horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 60}}}
  triggers:
  - type: prometheus
    name: rate
    metadata:
      serverAddress: http://prometheus:9090
      query: sum(rate(http_requests_total[2m]))
      threshold: "100.5"
      activationThreshold: "5"
  - type: aws-sqs-queue
    metadata: {queueURL: jobs, awsRegion: eu-west-1}
    authenticationRef: {name: aws}
"""
NODE_POOL = """
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: gpus}
spec:
  template:
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: default}
      requirements: [{key: node.kubernetes.io/instance-type, operator: In, values: [p4d.24xlarge]}]
      taints: [{key: nvidia.com/gpu, effect: NoSchedule}]
      expireAfter: Never
  limits: {nodes: "12"}
  disruption:
    consolidationPolicy: WhenEmpty
    consolidateAfter: 5m
    budgets: [{nodes: 20%}, {nodes: 10%, reasons: [Empty, Underutilized]}]
"""
FLAGS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: cluster-autoscaler}
spec:
  template:
    spec:
      containers:
      - name: cluster-autoscaler
        command:
        - ./cluster-autoscaler
        - --v=4
        - --cloud-provider=aws
        - --nodes=1:10:gpus
        - --scan-interval=20s
        - --expander=priority,least-waste
        - --scale-down-unneeded-time=5m
        - --scale-down-gpu-utilization-threshold=0.3
        - --scale-down-utilization-threshold=0.5
        - --scale-down-enabled
"""
RAY = """
applications:
- name: app
  import_path: app:graph
  deployments:
  - name: llm
    num_replicas: auto
    ray_actor_options: {num_gpus: 1}
    autoscaling_config:
      {min_replicas: 0, target_ongoing_requests: 5, upscale_delay_s: 10, downscale_to_zero_delay_s: 900}
  - {name: router, num_replicas: 2}
"""
TRACKING = {
    "PolicyName": "hold",
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/e/variant/v",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    "PolicyType": "TargetTrackingScaling",
    "TargetTrackingScalingPolicyConfiguration": {
        "TargetValue": 120.0,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        "ScaleInCooldown": 600,
    },
}


def alarm(operator: str, threshold: float, **other: Any) -> dict[str, Any]:
    base = {"MetricName": "queue_length", "Statistic": "Average", "Period": 60, "TreatMissingData": "notBreaching"}
    return {**base, "EvaluationPeriods": 2, "Threshold": threshold, "ComparisonOperator": operator, **other}


def steps(*adjustments: dict[str, Any], **other: Any) -> dict[str, Any]:
    config = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": list(adjustments), "Cooldown": 60, **other}
    return {"PolicyName": "s", "PolicyType": "StepScaling", "StepScalingPolicyConfiguration": config}


OUT = steps(
    {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 1},
    {"MetricIntervalLowerBound": 10, "ScalingAdjustment": 3},
)
IN = steps({"MetricIntervalUpperBound": 0, "ScalingAdjustment": -1}, Cooldown=300)
STEP = {
    "ScalableTargets": [{"MinCapacity": 1, "MaxCapacity": 8}],
    "ScalingPolicies": [OUT, IN],
    "MetricAlarms": [alarm("GreaterThanOrEqualToThreshold", 20.0), alarm("LessThanOrEqualToThreshold", 2.0)],
}


@pytest.fixture
def read(tmp_path):
    def of(text, metrics=None, name="a.yaml"):
        path = tmp_path / name
        path.write_text(text if isinstance(text, str) else json.dumps(text))
        return read_policies(path, MetricNames(metrics or {}))

    return of


def test_an_hpa(read):
    (found,) = read(HPA)
    assert (found.kind, found.name, found.policy) == ("HorizontalPodAutoscaler", "chat", "kubernetes_hpa")
    assert found.options == {
        "min_units": 2,
        "max_units": 10,
        "metrics": [
            {"metric": "concurrency_per_replica", "source": "Pods", "target_type": "AverageValue", "target": 2.5},
            {"metric": "gpu_utilisation_frac", "source": "Resource", "target_type": "Utilization", "target": 70.0},
        ],
        "behavior": {
            "scale_up": {
                "window_s": 30.0,
                "select": "Min",
                "tolerance": 0.05,
                "policies": [{"type": "Pods", "value": 2, "period_s": 60.0}],
            },
            "scale_down": {"select": "Disabled"},
        },
    }
    assert found.notes == [
        "spec.metrics[0].pods.metric.selector: the service's own metric is taken, all of it",
    ]


def test_metrics_of_other_names_and_units(read):
    text = HPA.replace("concurrency_per_replica", "DCGM_FI_DEV_GPU_UTIL").replace("2500m", "80")
    (found,) = read(text)
    assert found.options["metrics"][0]["metric"] == "gpu_utilisation_frac"
    assert found.options["metrics"][0]["target"] == pytest.approx(0.8)
    (found,) = read(HPA.replace("concurrency_per_replica", "in_flight"), {"in_flight": "concurrency_per_replica"})
    assert found.options["metrics"][0]["metric"] == "concurrency_per_replica"


def test_what_stands_for_a_resource_is_noted(read):
    """60% of the CPUs that a pod asks for is 0.6 of whatever stands for them."""
    text = HPA.replace("nvidia.com/gpu, target: {type: Utilization, averageUtilization: 70}", "cpu, target: {}")
    at = "spec.metrics[1].resource.target"
    for target, said, value in (
        ("{type: Utilization, averageUtilization: 60}", "averageUtilization: cpu at 60%", "0.6"),
        ("{type: AverageValue, averageValue: 1500m}", "averageValue: cpu at 1500m", "1.5"),
    ):
        (found,) = read(text.replace("{}", target), {"cpu": "concurrency_per_replica"})
        assert found.notes[1:] == [
            f"{at}.{said} is taken as concurrency_per_replica at {value} a replica: replicas have no model of cpu"
        ]
    content = yaml.safe_load(HPA)
    del content["spec"]["metrics"]
    (found,) = read(content, {"cpu": "gpu_utilisation_frac"})
    assert found.notes == [
        "spec.metrics: cpu at 80% is taken as gpu_utilisation_frac at 0.8 a replica: replicas have no model of cpu"
    ]


@pytest.mark.parametrize("name", ["cpu", "vllm:waiting", "nvidia.com/gpu", "sum(rate(http[2m]))", "a, b={c}"])
def test_a_name_of_a_metric_is_said_as_the_command_line_takes_it(name):
    (word,) = shlex.split(MetricNames(option="scaling.metrics").said(name, "queue_length"))
    override = OverridesParser.create().parse_override(word)
    in_full = {override.key_or_group.rpartition(".")[2]: override.value()}
    assert in_full in ({name: "queue_length"}, {"metrics": {name: "queue_length"}})
    (word,) = shlex.split(MetricNames(option="metrics").said(name, "queue_length"))
    assert yaml.safe_load(word.removeprefix("metrics=")) == {name: "queue_length"}


def test_a_scaled_object(read):
    (found,) = read(KEDA, {"rate": "request_rate_per_s"})
    assert found.policy == "keda"
    assert found.options == {
        "polling_s": 15.0,
        "cooldown_s": 120.0,
        "min_units": 0,
        "max_units": 20,
        "fallback_units": 4,
        "fallback_failures": 2,
        "behavior": {"scale_down": {"window_s": 60.0}},
        "triggers": [
            {
                "metric": "request_rate_per_s",
                "threshold": 100.5,
                "activation_threshold": 5.0,
                "metric_type": "AverageValue",
            },
            {"metric": "queue_length", "threshold": 5.0, "activation_threshold": 0.0, "metric_type": "AverageValue"},
        ],
    }


def test_a_node_pool(read):
    (found,) = read(NODE_POOL)
    assert found.options == {
        "max_units": 12,
        "consolidation": "WhenEmpty",
        "consolidate_after_s": 300.0,
        "budget_frac": 0.1,
    }
    assert [note.partition(":")[0] for note in found.notes] == [
        "spec.template.spec.requirements",
        "spec.template.spec.taints",
    ]
    assert read(NODE_POOL.replace("5m", "Never"))[0].options["consolidate_after_s"] == math.inf


@pytest.mark.parametrize("expiry", ["", "expireAfter: 720h", "expireAfter: 720h0m0s"])
def test_the_expiry_that_a_node_pool_has_by_default_is_noted(read, expiry):
    (found,) = read(NODE_POOL.replace("expireAfter: Never", expiry))
    assert found.notes[-1] == (
        "spec.template.spec.expireAfter: by default nodes expire after 720h, which isn't simulated"
    )


FLAG_OPTIONS = {
    "min_units": 1,
    "max_units": 10,
    "period_s": 20.0,
    "expander": ["priority", "least-waste"],
    "unneeded_s": 300.0,
    "utilization_threshold": 0.3,
    "scale_down": True,
}


def test_flags_of_a_deployment(read):
    (found,) = read(FLAGS)
    assert (found.kind, found.name, found.options) == ("cluster-autoscaler", "cluster-autoscaler", FLAG_OPTIONS)
    assert found.notes == [
        "--scale-down-utilization-threshold: is that of nodes without GPUs; here all have some",
    ]


def test_flags_as_a_text(read):
    flags = [each.strip("- \n") for each in FLAGS.splitlines() if each.strip().startswith("- --")]
    for text in ("\n".join(f"--{flag}" for flag in flags), yaml.safe_dump([f"--{flag}" for flag in flags])):
        assert read(text)[0].options == FLAG_OPTIONS


def test_a_serve_config(read):
    (found,) = read(RAY)
    assert (found.name, found.policy) == ("llm", "ray_serve")
    assert found.options == {
        "target_ongoing_requests": 5.0,
        "upscale_delay_s": 10.0,
        "downscale_to_zero_delay_s": 900.0,
        "min_units": 0,
        "max_units": 100,
    }
    assert read("autoscaling_config: {max_replicas: 3}")[0].options == {"min_units": 1, "max_units": 3}


def test_target_tracking(read):
    (found,) = read(TRACKING, name="a.json")
    assert (found.name, found.policy) == ("hold", "target_tracking")
    assert found.options == {
        "metric": "request_rate_per_replica_per_s",
        "target": pytest.approx(2.0),
        "also": {},
        "cooldown_out_s": 300.0,
        "cooldown_in_s": 600.0,
        "disable_scale_in": False,
    }


def test_step_scaling(read):
    (found,) = read(STEP, name="a.json")
    assert found.policy == "step"
    assert found.options == {
        "metric": "queue_length",
        "point_s": 60.0,
        "upper": 20.0,
        "lower": 2.0,
        "points_out": 2,
        "points_in": 2,
        "adjustment": "change",
        "min_change": 1,
        "steps_out": {0.0: 1.0, 10.0: 3.0},
        "steps_in": {0.0: -1.0},
        "cooldown_out_s": 60.0,
        "cooldown_in_s": 300.0,
        "min_units": 1,
        "max_units": 8,
    }


def changed(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a path such as spec.metrics.0.type."""
    copied = inside = copy.deepcopy(content)
    *folders, last = path.split("/")
    for each in folders:
        inside = inside[int(each) if isinstance(inside, list) else each]
    inside[int(last) if isinstance(inside, list) else last] = value
    return copied


def hpa(path, value):
    return changed(yaml.safe_load(HPA), path, value)


def keda(path, value):
    text = KEDA.replace("name: rate", "name: request_rate_per_s")
    return changed(yaml.safe_load(text), path, value)


def pool(path, value):
    return changed(yaml.safe_load(NODE_POOL), path, value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (hpa("spec/behavior/scaleUp/foo", 1), r"spec\.behavior\.scaleUp\.foo: unsupported field"),
        (hpa("spec/foo", 1), r"spec\.foo: unsupported field"),
        (hpa("foo", 1), r"foo: unsupported field"),
        (hpa("apiVersion", "autoscaling/v1"), "apiVersion=autoscaling/v1: must be one of autoscaling/v2"),
        (hpa("spec/maxReplicas", "10"), r"spec\.maxReplicas=10: must be a whole number, 1 or more"),
        (hpa("spec/maxReplicas", 1), r"spec\.minReplicas=2: must not be more than spec\.maxReplicas=1$"),
        (hpa("spec/minReplicas", 0), r"spec\.minReplicas=0: must be 1 or more: 0 needs a metric of type Object or Ext"),
        (hpa("spec/metrics/0/type", "Node"), r"spec\.metrics\[0\]\.type=Node: must be one of Resource"),
        (
            hpa("spec/metrics/0/pods/metric/name", "http_requests"),
            r"metric\.name: 'http_requests' is not measured here; say what stands for it: "
            r"scaling\.metrics\.http_requests=METRIC, one of request_rate_per_s",
        ),
        (
            hpa("spec/behavior/scaleUp/policy", []),
            r"scaleUp\.policy: unsupported field; did you mean policies( or \w+)*\? "
            r"Known: policies, selectPolicy, stabilizationWindowSeconds, tolerance$",
        ),
        (hpa("spec/metrics/1/resource/name", "cpu"), r"spec\.metrics\[1\]\.resource\.name: 'cpu' is not measured here"),
        (hpa("spec/metrics", None), r"spec\.metrics: 'cpu' \(at 80%, where none are given\) is not"),
        (hpa("spec/metrics/0/pods/target/type", "Value"), r"target\.type=Value: must be one of AverageValue"),
        (hpa("spec/metrics/0/pods/target/averageValue", "0"), r"averageValue=0: must be more than 0"),
        (hpa("spec/metrics/0/pods/target/averageValue", "2x"), r"averageValue=2x: 2x is no quantity"),
        (
            hpa("spec/behavior/scaleUp/policies/0/periodSeconds", 1801),
            r"periodSeconds=1801: must be a whole .* in 1\.\.",
        ),
        (hpa("spec/behavior/scaleUp/selectPolicy", "max"), "selectPolicy=max: must be one of Max, Min, Disabled"),
        (
            keda("spec/advanced/scalingModifiers", {"formula": "a"}),
            r"spec\.advanced\.scalingModifiers: unsupported field",
        ),
        (
            keda("spec/fallback/behavior", "currentReplicas"),
            "behavior=currentReplicas: unsupported value: must be static",
        ),
        (
            keda("spec/minReplicaCount", 101),
            r"minReplicaCount=101: must not be more than spec\.maxReplicaCount=20",
        ),
        (keda("spec/triggers/0/type", "cron"), r"spec\.triggers\[0\]\.type=cron: must be one of prometheus"),
        (keda("spec/triggers/0/metadata/threshold", 5), r"metadata\.threshold=5: must be a text, in quotes"),
        (keda("spec/triggers/0/metadata/threshold", "0"), r"metadata\.threshold=0: must be more than 0"),
        (keda("spec/triggers/0/metadata/threshhold", "5"), r"threshhold: unsupported field; did you mean threshold"),
        (keda("spec/triggers", []), r"spec\.triggers=\[\]: must be a list, and not empty"),
        (keda("spec/idleReplicaCount", 0), r"spec\.idleReplicaCount=0: must be less than spec\.minReplicaCount=0"),
        (
            keda("metadata/annotations", {"autoscaling.keda.sh/paused": "true"}),
            r"metadata\.annotations\[autoscaling\.keda\.sh/paused\]=true: unsupported field: a paused one does nothing",
        ),
        (pool("spec/limits/cpu", "1000"), r"spec\.limits\.cpu=1000: unsupported field: what a node has"),
        (pool("spec/replicas", 3), r"spec\.replicas=3: unsupported field: of a fixed number of nodes"),
        (
            pool("spec/template/spec/expireAfter", "24h"),
            "expireAfter=24h: unsupported value: must be Never, or 720h, the default: nodes don't expire here",
        ),
        (pool("spec/template/spec/expireAfter", "never"), "expireAfter=never: never is no duration"),
        (pool("spec/disruption/consolidateAfter", "5"), r"disruption\.consolidateAfter=5: 5 is no duration"),
        (
            pool("spec/disruption/budgets/0/nodes", "5"),
            r"budgets\[0\]\.nodes=5: unsupported value: must be a percentage",
        ),
        (
            pool("spec/disruption/budgets/0/schedule", "@daily"),
            r"budgets\[0\]\.schedule=@daily: unsupported field: a budget",
        ),
        (pool("spec/disruption/budgets/1/reasons", ["Empty"]), r"budgets\[1\]\.reasons=.*: a budget holds for both"),
        (pool("spec/disruption/consolidateWhen", "WhenEmpty"), r"spec\.disruption\.consolidateWhen: unsupported field"),
        ({"kind": "ReplicaSet"}, "kind=ReplicaSet: unsupported kind"),
        ({"a": 1}, "kind: is needed; or flags of the cluster-autoscaler"),
        (["--foo=1"], "--foo: unsupported field"),
        (["--scan-interval=10"], "--scan-interval=10: 10 is no duration"),
        (["--new-pod-scale-up-delay=5s"], "--new-pod-scale-up-delay=5s: unsupported value: must be 0s"),
        (["--expander=cheapest"], "--expander=cheapest: must be of "),
        (["--nodes=10:1:a"], "--nodes=10:1:a: must read MIN:MAX:NAME"),
        (["--v=1", "--v=2"], "--v: is there twice"),
        (["--scale-down-enabled=yes"], "--scale-down-enabled=yes: must be one of true, false"),
        ({"autoscaling_config": {"smoothing_factor": 0.5}}, "smoothing_factor=0.5: unsupported field: is deprecated"),
        ({"autoscaling_config": {"policy": {}}, "num_replicas": 2}, "num_replicas=2: must be auto, or absent"),
        (
            {"autoscaling_config": {"min_replicas": 3}},
            "min_replicas=3: must not be more than autoscaling_config.max_replicas=1, the default",
        ),
        (
            {"autoscaling_config": {"max_replica": 3}},
            "autoscaling_config.max_replica: unsupported field; did you mean max_",
        ),
        (changed(TRACKING, "Foo", 1), "Foo: unsupported field"),
        (
            changed(TRACKING, "TargetTrackingScalingPolicyConfiguration/PredefinedMetricSpecification", None),
            "must have a PredefinedMetricSpecification or a CustomizedMetricSpecification",
        ),
        (
            changed(TRACKING, "TargetTrackingScalingPolicyConfiguration/TargetValue", -1),
            r"target_tracking: target=-0\.01.*: must be more than 0",
        ),
        (
            changed(STEP, "ScalableTargets/0/MinCapacity", 9),
            r"ScalableTargets\[0\]\.MinCapacity=9: must not be more than ScalableTargets\[0\]\.MaxCapacity=8",
        ),
        (changed(STEP, "MetricAlarms", []), "step scaling takes two ScalingPolicies, out and in, and two MetricAlarms"),
        (changed(STEP, "ScalingPolicies/1", OUT), "StepAdjustments=.*: is the second one for out"),
        (changed(STEP, "MetricAlarms/1/Period", 30), r"MetricAlarms\[1\]\.Period=30: must be the same in both alarms"),
        (changed(STEP, "MetricAlarms/0/DatapointsToAlarm", 1), "DatapointsToAlarm=1: unsupported value: must be 2"),
        (
            changed(
                STEP, "ScalingPolicies/0/StepScalingPolicyConfiguration/StepAdjustments/1/MetricIntervalLowerBound", 11
            ),
            "must leave no gap, not overlap",
        ),
    ],
)
def test_what_is_refused(read, content, message):
    with pytest.raises(WorkloadError, match=rf"^.*a\.yaml(:1)?: document 1: (.*)?{message}"):
        read(content)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  minReplicas: 2",
            "  minReplicas: 11",
            "7: document 1: spec.minReplicas=11: must not be more than spec.maxRepl",
        ),
        (
            "  maxReplicas: 10",
            "  maxReplica: 10",
            "8: document 1: spec.maxReplicas: is needed; there is spec.maxReplica, m",
        ),
        (
            "  minReplicas:",
            "  minReplica:",
            "7: document 1: spec.minReplica: unsupported field; did you mean minReplicas",
        ),
        ("  minReplicas: 2", "  maxReplicas: 2", "8:3: 'maxReplicas' is there twice"),
        (
            "      selectPolicy: Min",
            "      selectPolicy: Mean",
            "19: document 1: spec.behavior.scaleUp.selectPolicy=Mean",
        ),
        ("  maxReplicas: 10\n", "", "6: document 1: spec.maxReplicas: is needed"),
        ("name: concurrency_per_replica", "name: inFlight", "12: document 1: spec.metrics[0].pods.metric.name: 'inF"),
        ("kind: HorizontalPodAutoscaler", "kind: HPA", "3: document 1: kind=HPA: unsupported kind"),
    ],
)
def test_messages_have_lines(read, old, new, message):
    with pytest.raises(WorkloadError, match=rf"a\.yaml:{re.escape(message)}"):
        read(HPA.replace(old, new))


def test_lines_of_later_documents_and_of_lists(read):
    bad = HPA.replace("minReplicas: 2", "minReplicas: x")
    with pytest.raises(WorkloadError, match=r"a\.yaml:31: document 2: spec\.minReplicas=x"):
        read(f"{HPA.strip()}\n---\n\n{bad}")
    listed = "kind: List\nitems:\n-" + bad.replace("\n", "\n  ")[2:]
    with pytest.raises(WorkloadError, match=r"a\.yaml:8: document 1: items\[0\]: spec\.minReplicas=x"):
        read(listed)


def test_json_has_no_lines(read):
    with pytest.raises(WorkloadError, match=r"a\.json: document 1: Foo: unsupported field"):
        read(changed(TRACKING, "Foo", 1), name="a.json")


def test_the_docs_have_every_name_of_a_metric_that_is_known():
    told = (Path(__file__).parents[3] / "docs/manifests.md").read_text(encoding="utf-8")
    for name, (ours, _) in KNOWN.items():
        if name not in (*METRICS, *SERVICE_METRICS):
            (line,) = [each for each in told.splitlines() if each.startswith("|") and f"`{name}`" in each]
            assert line.endswith(f"| `{ours}` |")


def test_names_of_metrics_that_lead_nowhere(read):
    with pytest.raises(ConfigError, match=r"scaling\.metrics\.a=latency: is no metric here; .*Known"):
        MetricNames({"a": "latency"})
    with pytest.raises(
        ConfigError, match=r"scaling\.metrics\.typo=queue_length: .*a\.yaml: there is no metric of that"
    ):
        read(HPA, {"typo": "queue_length"})


def deployment(resources, **spec):
    pod = {"containers": [{"name": "a", "image": "b", "resources": resources}], **spec.pop("pod", {})}
    content = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "chat"}}
    content["spec"] = {"selector": {}, "template": {"metadata": {}, "spec": pod}, **spec}
    return Document("a.yaml: document 1", content).fields()


def test_a_deployment():
    resources = {"requests": {"cpu": "8", "memory": "64Gi"}, "limits": {"nvidia.com/gpu": 2}}
    assert read_deployment(deployment(resources, replicas=3)) == {
        "name": "chat",
        "replicas": 3,
        "gpus_per_replica": 2,
        "cpus_per_gpu": 4.0,
        "memory_gib_per_gpu": 32.0,
        "drain_timeout_s": 30.0,
    }
    own = {"terminationGracePeriodSeconds": 120}
    assert read_deployment(deployment(resources, pod=own))["drain_timeout_s"] == 120.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (deployment({}), "spec.template: asks for no GPU"),
        (deployment({}, paused=True), "spec.paused=true: unsupported value: must be false"),
        (
            deployment({"limits": {"nvidia.com/gpu": 1}}, replica=1),
            "spec.replica: unsupported field; did you mean replicas",
        ),
    ],
)
def test_deployments_that_are_refused(fields, message):
    with pytest.raises(WorkloadError, match=message):
        read_deployment(fields)
