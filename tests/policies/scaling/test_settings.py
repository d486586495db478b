"""Options as a config file or a command line gives them: plain mappings and lists, numbers as keys."""

from __future__ import annotations

from typing import Any

import pytest

from policies.scaling.hpa_behavior import RatePolicy
from policies.scaling.keda import Trigger
from policies.scaling.kubernetes_hpa import MetricSpec
from policies.scaling.scheduled import Action
from simulator.config import make_policy
from workloads import WorkloadError


def made(name: str, **options: Any) -> Any:
    return make_policy("scaling", {"name": name, **options})


def test_nested_settings_become_what_they_are() -> None:
    policy = made("scheduled", actions=[{"at_s": 60, "units": 3}], policy={"name": "step", "upper": 0.9})
    assert policy.actions == [Action(60.0, units=3)]
    hpa = made(
        "kubernetes_hpa",
        metrics=[{"metric": "queue_length", "source": "External", "target_type": "Value", "target": 10}],
        behavior={"scale_down": {"policies": [{"type": "Pods", "value": 2, "period_s": 60}], "select": "Min"}},
    )
    assert hpa.metrics == [MetricSpec("queue_length", "External", "Value", 10.0)]
    assert hpa.behavior.scale_down.policies == [RatePolicy("Pods", 2, 60.0)]
    assert hpa.behavior.scale_down.window_s == 300.0
    assert made("keda", triggers=[{"threshold": 3}], behavior={}).triggers == [Trigger(threshold=3.0)]
    assert made("step", steps_out={"0": "10", 0.2: 50}).steps_out == {0.0: 10.0, 0.2: 50.0}
    assert made("target_tracking", also={"queue_length": 3}).also == {"queue_length": 3.0}
    assert made("cluster_autoscaler", expander=["priority", "price"], priorities={"a": 1}).priorities == {"a": 1.0}
    assert made("predictive", forecaster={"name": "last_value"}, per_unit="2").per_unit == 2.0
    assert made("oracle", times_s=[0, 60], values=[1, 2])._loads.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "kubernetes_hpa",
            {"behavior": {"scale_down": {"windows": 3}}},
            r"scaling.behavior.scale_down.windows: unknown",
        ),
        ("kubernetes_hpa", {"metrics": [{"target": "high"}]}, r"scaling.metrics\[0\].target=high: must be a number"),
        ("keda", {"triggers": [{"metrik": "queue_length"}]}, r"scaling.triggers\[0\].metrik: unknown option"),
        ("scheduled", {"actions": [{"units": 3}]}, r"scaling.actions\[0\].at_s: is needed"),
        ("step", {"steps_out": {"low": 1}}, "scaling.steps_out=low: must be a number"),
        ("ray_serve", {"upscale_delay_s": None}, "scaling.upscale_delay_s=None: must be a number"),
    ],
)
def test_what_is_wrong_is_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        made(name, **options)
