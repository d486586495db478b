"""Policies of AWS Application Auto Scaling (as of autumn 2026) and `target_tracking`, `step`.

As JSON: what `put-scaling-policy --cli-input-json` takes, or what the `describe-` commands tell, in one object of
`ScalableTargets` (its bounds), `ScalingPolicies` and, for step scaling, `MetricAlarms`: one for out, one for in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from policies.scaling.step import Step
from policies.scaling.target_tracking import TargetTracking
from simulator.errors import ConfigError
from simulator.manifests.metrics import MetricNames
from simulator.manifests.written import Written, unsaid, whole, without_none
from workloads.manifests import Fields, ManifestError

KIND = "ScalingPolicy"
TRACKING, STEP = "target_tracking", "step"
KEYS = ("PolicyType", "ScalingPolicies")  # one of them tells such a document
NAMESPACE = "ElasticGpuSimulator"  # of the metrics that are written
_ABOUT = (
    *("PolicyName", "PolicyARN", "ServiceNamespace", "ResourceId", "ScalableDimension", "CreationTime", "Alarms"),
    *("RoleARN", "SuspendedState", "ScalableTargetARN"),
)
_ABOUT_ALARM = (
    *("AlarmName", "AlarmArn", "AlarmDescription", "AlarmActions", "OKActions", "InsufficientDataActions"),
    *("Namespace", "Dimensions", "Unit", "ActionsEnabled", "AlarmConfigurationUpdatedTimestamp"),
    *("StateValue", "StateReason", "StateReasonData", "StateUpdatedTimestamp", "StateTransitionedTimestamp"),
)
_TYPES = ("TargetTrackingScaling", "StepScaling")
_ADJUSTMENTS = {"ChangeInCapacity": "change", "PercentChangeInCapacity": "percent", "ExactCapacity": "exact"}
_OUT, _IN = "GreaterThanOrEqualToThreshold", "LessThanOrEqualToThreshold"
_COOLDOWN_S = 300.0  # where none is said
_WAYS = {"out": ("upper", _OUT), "in": ("lower", _IN)}


def read_aws(fields: Fields, names: MetricNames) -> tuple[str, str, dict[str, Any]]:
    """(name, policy, its options)."""
    bounds: dict[str, Any] = {}
    with fields:
        if not fields.has("ScalingPolicies"):
            return _policies([fields], [], names)
        policies, targets = fields.items("ScalingPolicies", needed=True), fields.items("ScalableTargets")
        if len(targets) > 1:
            where = f"{fields.where('ScalableTargets')}: {fields.path('ScalableTargets')}"
            raise ManifestError(f"{where}: must have one, not {len(targets)}")
        for target in targets:
            with target:
                target.ignore(*_ABOUT)
                least, most = target.whole("MinCapacity"), target.whole("MaxCapacity")
                target.ordered("MinCapacity", "MaxCapacity", least, most)
                bounds = {"min_units": least, "max_units": most}
        name, policy, options = _policies(policies, fields.items("MetricAlarms"), names)
        for each in policies:
            each.close()
        return name, policy, {**options, **bounds}


def _policies(
    policies: Sequence[Fields], alarms: Sequence[Fields], names: MetricNames
) -> tuple[str, str, dict[str, Any]]:
    for each in policies:
        each.ignore(*_ABOUT)
    kinds = {each.text("PolicyType", among=_TYPES) for each in policies}
    first = policies[0]
    name = str(first.content.get("PolicyName") or "")
    if kinds == {_TYPES[0]}:
        if len(policies) > 1:
            raise policies[1].error("PolicyType", "there is one before; say further metrics by options.also")
        if alarms:
            raise ManifestError(f"{first.where()}: MetricAlarms: target tracking makes its own")
        return name, TRACKING, _tracking(first.section(f"{_TYPES[0]}PolicyConfiguration", needed=True), names)
    if len(policies) != 2 or kinds != {_TYPES[1]} or len(alarms) != 2:
        raise ManifestError(
            f"{first.where()}: step scaling takes two ScalingPolicies, out and in, and two MetricAlarms; "
            f"there are {len(policies)} and {len(alarms)}"
        )
    return name, STEP, _steps(policies, alarms, names)


def _tracking(config: Fields, names: MetricNames) -> dict[str, Any]:
    with config:
        target = config.number("TargetValue")
        key = "PredefinedMetricSpecification"
        if config.has(key) == config.has("CustomizedMetricSpecification"):
            raise ManifestError(f"{config.where()}: {config.at}: must have a {key} or a CustomizedMetricSpecification")
        if config.has(key):
            with config.section(key) as metric:
                metric.ignore("ResourceLabel")
                name, factor = names.of(metric, "PredefinedMetricType", metric.text("PredefinedMetricType"))
        else:
            with config.section("CustomizedMetricSpecification") as metric:
                metric.ignore("Namespace", "Dimensions", "Unit")
                metric.only("Statistic", "Average", "points are means")
                metric.refuse("Metrics", "there is no metric math here")
                name, factor = names.of(metric, "MetricName", metric.text("MetricName"))
        config.ignore(key, "CustomizedMetricSpecification")
        return {
            "metric": name,
            "target": target * factor,
            "also": {},
            "cooldown_out_s": config.number("ScaleOutCooldown", _COOLDOWN_S, least=0),
            "cooldown_in_s": config.number("ScaleInCooldown", _COOLDOWN_S, least=0),
            "disable_scale_in": config.flag("DisableScaleIn", False),
        }


def _steps(policies: Sequence[Fields], alarms: Sequence[Fields], names: MetricNames) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for alarm in alarms:
        with alarm:
            options |= _alarm(alarm, names, options)
    if len({key for key in options if key in ("upper", "lower")}) < 2:
        raise ManifestError(f"{alarms[0].where()}: MetricAlarms: must be one {_OUT} and one {_IN}")
    for policy in policies:
        with policy.section("StepScalingPolicyConfiguration", needed=True) as config:
            kind = _ADJUSTMENTS[config.text("AdjustmentType", among=_ADJUSTMENTS)]
            if options.setdefault("adjustment", kind) != kind:
                raise config.error("AdjustmentType", "must be the same for out and in")
            config.only("MetricAggregationType", "Average", "points are means")
            least = config.whole("MinAdjustmentMagnitude", 1, least=1)
            if options.setdefault("min_change", least) != least:
                raise config.error("MinAdjustmentMagnitude", "must be the same for out and in")
            way, steps = _adjustments(config)
            if f"steps_{way}" in options:
                raise config.error("StepAdjustments", f"is the second one for {way}; one must be out, one in")
            options[f"steps_{way}"] = steps
            options[f"cooldown_{way}_s"] = config.number("Cooldown", _COOLDOWN_S, least=0)
    return options


def _alarm(alarm: Fields, names: MetricNames, before: Mapping[str, Any]) -> dict[str, Any]:
    alarm.ignore(*_ABOUT_ALARM)
    metric, factor = names.of(alarm, "MetricName", alarm.text("MetricName"))
    operator = alarm.text("ComparisonOperator", among=(_OUT, _IN))
    way = "out" if operator == _OUT else "in"
    points = alarm.whole("EvaluationPeriods", least=1)
    alarm.only("DatapointsToAlarm", points, "all points must be over the threshold")
    alarm.only("Statistic", "Average", "points are means")
    alarm.only("TreatMissingData", "notBreaching", "a missing point turns an alarm off")
    found = {
        "metric": metric,
        "point_s": float(alarm.whole("Period", least=1)),
        _WAYS[way][0]: alarm.number("Threshold") * factor,
        f"points_{way}": points,
    }
    for key, theirs in (("metric", "MetricName"), ("point_s", "Period")):
        if before.get(key, found[key]) != found[key]:
            raise alarm.error(theirs, "must be the same in both alarms")
    if factor != 1.0:
        raise alarm.error("MetricName", "unsupported: steps are counted in our unit; map it to a metric of that unit")
    return found


def _adjustments(config: Fields) -> tuple[str, dict[float, float]]:
    """(out or in, where each step begins -> its adjustment), without gaps."""
    found: list[tuple[float | None, float | None, float]] = []
    for each in config.items("StepAdjustments", needed=True):
        with each:
            low, high = each.number("MetricIntervalLowerBound", None), each.number("MetricIntervalUpperBound", None)
            found.append((low, high, float(each.whole("ScalingAdjustment", least=-(10**9)))))
    is_out = all(low is not None and low >= 0 for low, _, _ in found)
    if not is_out and not all(high is not None and high <= 0 for _, high, _ in found):
        raise config.error("StepAdjustments", "must all lie above the threshold, or all below")
    steps = {float((low if is_out else high) or 0.0): (high if is_out else low, value) for low, high, value in found}
    begins = sorted(steps, reverse=not is_out)
    ends = [steps[begin][0] for begin in begins]
    if len(steps) != len(found) or ends != [*begins[1:], None]:
        raise config.error("StepAdjustments", "must leave no gap, not overlap, and the last must have no end")
    return ("out" if is_out else "in"), {begin: steps[begin][1] for begin in begins}


def write_tracking(policy: TargetTracking, name: str) -> Written:
    """A policy of target tracking.

    Raises:
        ConfigError: an option that AWS has no say for.
    """
    said = ("metric", "target", "also", "cooldown_out_s", "cooldown_in_s", "disable_scale_in", "min_units", "max_units")
    if policy.also:
        raise ConfigError(f"{TRACKING}: also={policy.also}: a policy of Application Auto Scaling can't say it")
    notes = [] if policy.also == {} else ["also: of nodes what waits is tracked too, which AWS does not do"]
    notes += unsaid(TRACKING, policy, "a policy of Application Auto Scaling", said, {"period_s": "AWS: a minute"})
    config = {
        "TargetValue": policy.target,
        "CustomizedMetricSpecification": {
            "MetricName": policy.metric,
            "Namespace": NAMESPACE,
            "Statistic": "Average",
        },
        "ScaleOutCooldown": whole(TRACKING, "cooldown_out_s", policy.cooldown_out_s, "AWS"),
        "ScaleInCooldown": whole(TRACKING, "cooldown_in_s", policy.cooldown_in_s, "AWS"),
        "DisableScaleIn": policy.disable_scale_in,
    }
    one = {"PolicyName": name, "PolicyType": _TYPES[0], f"{_TYPES[0]}PolicyConfiguration": config}
    return _document(policy, [one], [], notes)


def write_step(policy: Step, name: str) -> Written:
    """Two policies and their alarms.

    Raises:
        ConfigError: an option that AWS has no say for.
    """
    said = [option for option in Step.__dataclass_fields__ if option not in ("late_s", "period_s")]
    notes = unsaid(STEP, policy, "a policy of Application Auto Scaling", said, {"period_s": "AWS: a minute"})
    if policy.adjustment != "percent" and policy.min_change != 1:
        raise ConfigError(f"{STEP}: min_change={policy.min_change}: AWS has it of percentages only")
    kind = next(theirs for theirs, ours in _ADJUSTMENTS.items() if ours == policy.adjustment)
    policies, alarms = [], []
    for way, (bound, operator) in _WAYS.items():
        config = {
            "AdjustmentType": kind,
            "StepAdjustments": _write_adjustments(getattr(policy, f"steps_{way}"), way == "out"),
            "MinAdjustmentMagnitude": policy.min_change if policy.adjustment == "percent" else None,
            "Cooldown": whole(STEP, f"cooldown_{way}_s", getattr(policy, f"cooldown_{way}_s"), "AWS"),
            "MetricAggregationType": "Average",
        }
        policies.append(
            {
                "PolicyName": f"{name}-{way}",
                "PolicyType": _TYPES[1],
                f"{_TYPES[1]}PolicyConfiguration": without_none(config),
            }
        )
        alarms.append(
            {
                "AlarmName": f"{name}-{way}",
                "MetricName": policy.metric,
                "Namespace": NAMESPACE,
                "Statistic": "Average",
                "Period": whole(STEP, "point_s", policy.point_s, "AWS"),
                "EvaluationPeriods": getattr(policy, f"points_{way}"),
                "Threshold": getattr(policy, bound),
                "ComparisonOperator": operator,
                "TreatMissingData": "notBreaching",
            }
        )
    return _document(policy, policies, alarms, notes)


def _write_adjustments(steps: Mapping[float, float], is_out: bool) -> list[dict[str, Any]]:
    begins = sorted(steps, reverse=not is_out)
    if not begins or begins[0]:
        raise ConfigError(f"{STEP}: steps_{'out' if is_out else 'in'}={dict(steps)}: AWS needs a step that begins at 0")
    written = []
    for begin, end in zip(begins, [*begins[1:], None], strict=True):
        keys = ("MetricIntervalLowerBound", "MetricIntervalUpperBound")
        low, high = keys if is_out else keys[::-1]
        adjustment = whole(STEP, "steps", steps[begin], "AWS")
        written.append(without_none({low: begin, high: end, "ScalingAdjustment": adjustment}))
    return written


def _document(policy: Any, policies: list[Any], alarms: list[Any], notes: list[str]) -> Written:
    content: dict[str, Any] = {}
    if policy.max_units is not None:
        content["ScalableTargets"] = [{"MinCapacity": policy.min_units, "MaxCapacity": policy.max_units}]
    elif policy.min_units:
        raise ConfigError(f"min_units={policy.min_units}: AWS has no MinCapacity without a MaxCapacity: set max_units")
    content["ScalingPolicies"] = policies
    if alarms:
        content["MetricAlarms"] = alarms
    return Written(content, notes, is_json=True)
