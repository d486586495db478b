"""HorizontalPodAutoscaler, autoscaling/v2 (Kubernetes 1.35, as of autumn 2026) and `kubernetes_hpa`."""

from __future__ import annotations

from typing import Any

from policies.scaling.hpa_behavior import MAX_PERIOD_S, MAX_WINDOW_S, Behavior, ScalingRules
from policies.scaling.kubernetes_hpa import KubernetesHpa, MetricSpec
from simulator.manifests.metrics import MetricNames
from simulator.manifests.written import Written, unsaid, whole, without_none
from workloads.manifests import Fields
from workloads.manifests.quantities import format_quantity

KIND, API_VERSION, POLICY = "HorizontalPodAutoscaler", "autoscaling/v2", "kubernetes_hpa"
_SECTIONS = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}
_OUTSIDE = ("Object", "External")  # metrics that are known without any pod
_VALUES = {"Utilization": "averageUtilization", "AverageValue": "averageValue", "Value": "value"}
_CONTROLLER = "kube-controller-manager --horizontal-pod-autoscaler-"
_ELSEWHERE = {
    "tolerance": f"{_CONTROLLER}tolerance",
    "stabilization_s": f"{_CONTROLLER}downscale-stabilization",
    "cpu_initialization_s": f"{_CONTROLLER}cpu-initialization-period",
    "readiness_delay_s": f"{_CONTROLLER}initial-readiness-delay",
    "period_s": f"{_CONTROLLER}sync-period",
    "stale_s": "the metrics adapter",
}


def read_hpa(fields: Fields, names: MetricNames) -> dict[str, Any]:
    """The options of `kubernetes_hpa`."""
    with fields, fields.section("spec", needed=True) as spec:
        fields.ignore("kind", "metadata", "status")
        fields.text("apiVersion", among=(API_VERSION,))
        with spec.section("scaleTargetRef", needed=True) as target:
            target.ignore("apiVersion", "kind", "name")
        least, most = spec.whole("minReplicas", 1), spec.whole("maxReplicas", least=1)
        spec.ordered("minReplicas", "maxReplicas", least, most)
        options: dict[str, Any] = {"min_units": least, "max_units": most}
        if not spec.has("metrics"):
            metric, _ = names.of(spec, "metrics", "cpu", " (at 80%, where none are given)")
            spec.notes.append(f"{spec.path('metrics')}: {_stand_in('cpu at 80%', 'cpu', metric, 0.8)}")
            options["metrics"] = [
                {"metric": metric, "source": "Resource", "target_type": "Utilization", "target": 80.0}
            ]
        else:
            options["metrics"] = [_metric(each, names) for each in spec.items("metrics", needed=True)]
        if not least and not any(each["source"] in _OUTSIDE for each in options["metrics"]):
            raise spec.error("minReplicas", "must be 1 or more: 0 needs a metric of type Object or External")
        behavior = read_behavior(spec)
        return options if behavior is None else {**options, "behavior": behavior}


def _metric(fields: Fields, names: MetricNames) -> dict[str, Any]:
    with fields:
        kind = fields.text("type", among=_SECTIONS)
        with fields.section(_SECTIONS[kind], needed=True) as source:
            source.ignore("container", "describedObject")
            if "esource" in kind:
                name = source.text("name")
                metric, factor = names.of(source, "name", name)
            else:
                with source.section("metric", needed=True) as identifier:
                    identifier.note("the service's own metric is taken, all of it", "selector")
                    metric, factor = names.of(identifier, "name", identifier.text("name"))
            with source.section("target", needed=True) as target:
                outside = kind in _OUTSIDE
                of_pods = ("AverageValue",) if kind == "Pods" else ("Utilization", "AverageValue")
                target_type = target.text("type", among=("Value", "AverageValue") if outside else of_pods)
                key = _VALUES[target_type]
                if target_type == "Utilization":
                    value = float(target.whole(key, least=1))
                else:
                    value = float(target.quantity(key)) * factor
                    if not value:
                        raise target.error(key, "must be more than 0")
                if "esource" in kind and name in names.given:
                    shown = target.content[key]
                    per_unit, said = (value / 100, f"{shown}%") if target_type == "Utilization" else (value, shown)
                    target.notes.append(f"{target.path(key)}: {_stand_in(f'{name} at {said}', name, metric, per_unit)}")
    return {
        "metric": metric,
        "source": "Resource" if kind == "ContainerResource" else kind,
        "target_type": target_type,
        "target": value,
    }


def _stand_in(asked: str, name: str, metric: str, value: float) -> str:
    """A note on a metric of ours that stands for what a pod uses of a resource."""
    return f"{asked} is taken as {metric} at {value:g} a replica: replicas have no model of {name}"


def read_behavior(fields: Fields) -> dict[str, Any] | None:
    """The section `behavior`; None where there is none."""
    if not fields.has("behavior"):
        fields.ignore("behavior")
        return None
    found = {}
    with fields.section("behavior") as behavior:
        for key, name in (("scaleUp", "scale_up"), ("scaleDown", "scale_down")):
            with behavior.section(key) as rules:
                given: dict[str, Any] = {
                    "window_s": rules.whole("stabilizationWindowSeconds", None, most=MAX_WINDOW_S),
                    "select": rules.text("selectPolicy", None, among=("Max", "Min", "Disabled")),
                    "tolerance": None if not rules.has("tolerance") else float(rules.quantity("tolerance")),
                }
                rules.ignore("tolerance")
                if rules.has("policies"):
                    given["policies"] = [_rate(each) for each in rules.items("policies", needed=True)]
                rules.ignore("policies")
                if given["window_s"] is not None:
                    given["window_s"] = float(given["window_s"])
            if without_none(given):
                found[name] = without_none(given)
    return found


def _rate(fields: Fields) -> dict[str, Any]:
    with fields:
        return {
            "type": fields.text("type", among=("Pods", "Percent")),
            "value": fields.whole("value", least=1),
            "period_s": float(fields.whole("periodSeconds", least=1, most=MAX_PERIOD_S)),
        }


def write_hpa(policy: KubernetesHpa, name: str) -> Written:
    """The HPA of a Deployment of that name.

    Raises:
        ConfigError: an option that no HPA can say.
    """
    notes = unsaid(POLICY, policy, "an HPA", ("metrics", "behavior", "min_units", "max_units"), _ELSEWHERE)
    if policy.max_units is None:
        notes.append("maxReplicas is needed, and the policy has no max_units of its own: fill it in")
    if any(spec.source == "Resource" and not spec.is_cpu for spec in policy.metrics):
        notes.append("metrics-server measures cpu and memory only: as a Resource, GPUs need a metrics API of your own")
    spec = without_none(
        {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": policy.min_units,
            "maxReplicas": policy.max_units,
            "metrics": [_write_metric(each, name) for each in policy.metrics],
            "behavior": None if policy.behavior is None else write_behavior(policy.behavior),
        }
    )
    return Written({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}, notes)


def _write_metric(spec: MetricSpec, name: str) -> dict[str, Any]:
    if spec.target_type == "Utilization":
        value: Any = whole(POLICY, "metrics.target", spec.target, "a Utilization")
    else:
        value = format_quantity(spec.target)
    target = {"type": spec.target_type, _VALUES[spec.target_type]: value}
    if spec.source == "Resource":
        called = "nvidia.com/gpu" if spec.metric == "gpu_utilisation_frac" else spec.metric
        return {"type": "Resource", "resource": {"name": called, "target": target}}
    source: dict[str, Any] = {"metric": {"name": spec.metric}, "target": target}
    if spec.source == "Object":
        source["describedObject"] = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {"type": spec.source, _SECTIONS[spec.source]: source}


def write_behavior(behavior: Behavior) -> dict[str, Any]:
    """Both directions, whole."""
    return {"scaleUp": _write_rules(behavior.scale_up), "scaleDown": _write_rules(behavior.scale_down)}


def _write_rules(rules: ScalingRules) -> dict[str, Any]:
    what = "an HPA's behavior"
    return without_none(
        {
            "stabilizationWindowSeconds": whole(POLICY, "behavior.window_s", rules.window_s or 0.0, what),
            "selectPolicy": rules.select,
            "policies": [
                {
                    "type": each.type,
                    "value": each.value,
                    "periodSeconds": whole(POLICY, "behavior.policies.period_s", each.period_s, what),
                }
                for each in rules.policies or ()
            ],
            "tolerance": None if rules.tolerance is None else format_quantity(rules.tolerance),
        }
    )
