"""What scaling policies say of their decisions, against chains made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from play import Sample, cluster_of, every

from policies import PoolView, Reasons, registry
from policies.fake_cluster import FakeCluster, FakeJob
from policies.scaling.joint import jointly

Chain = dict[str, Any]


def asked(
    policy: Any, samples: Sequence[Sample], ask_s: Sequence[float], *, units: int = 4, **more: Any
) -> list[Chain]:
    """What is said at each time, if what is wanted is there at once."""
    cluster, target = cluster_of(units, **more)
    view = cluster.view()
    view.explain = why = Reasons()
    chains, coming = [], sorted(samples, key=lambda sample: sample[0])
    for now_s in ask_s:
        while coming and coming[0][0] <= now_s:
            time_s, values = coming.pop(0)
            cluster.measure(time_s, target.name, **values)
        cluster.now_s = now_s
        why.open(target)
        wanted = policy.desired(target, cluster.view())
        why.close(target, wanted, wanted)
        chains += json.loads(why.take())
        target.num_ready = wanted
    return chains


def steps(chain: Chain, name: str) -> list[dict[str, Any]]:
    """The steps of a name, without it."""
    return [
        {key: value for key, value in step.items() if key != "step"} for step in chain["steps"] if step["step"] == name
    ]


def step(chain: Chain, name: str) -> dict[str, Any]:
    (only,) = steps(chain, name)
    return only


def names(chain: Chain) -> list[str]:
    return [step["step"] for step in chain["steps"]]


def scaler(name: str, **options: Any) -> Any:
    return registry.create("scaling", name, **options)


# ---- kubernetes_hpa: metric, ratio, tolerance, recommendation, stabilisation, rate limit, bound
BUSY = {"source": "Resource", "target_type": "Utilization", "target": 80.0}


def hpa(**options: Any) -> Any:
    return scaler("kubernetes_hpa", **{"metrics": [BUSY], **options})


def test_hpa_the_tolerance_holds() -> None:
    """84% of a target of 80% is 1.05 times it."""
    (chain,) = asked(hpa(), every(15.0, "gpu_utilisation_frac", 0.84), [10.0])
    assert names(chain) == [
        *("metric", "ratio", "tolerance", "recommendation", "stabilisation", "rate_limit", "bound"),
    ]  # fmt: skip
    assert step(chain, "metric") == {"metric": "gpu_utilisation_frac", "value": 0.84, "age_s": 10.0}
    assert step(chain, "ratio") == {"ratio": 1.05, "target": 80, "unit": "%", "ready": 4}
    assert step(chain, "tolerance") == {"low": 0.9, "high": 1.1, "holds": True}
    assert step(chain, "recommendation") == {"count": 4, "by": "gpu_utilisation_frac"}
    assert (chain["wanted"], chain["count"]) == (4, 4)


def test_hpa_stabilisation_holds() -> None:
    """At 15 s the load of a half asks for 3 of 4; what there was at 0 s still counts."""
    chain = asked(hpa(), every(15.0, "gpu_utilisation_frac", 0.8, 0.4), [0.0, 15.0])[-1]
    assert step(chain, "ratio")["ratio"] == 0.5
    assert "holds" not in step(chain, "tolerance")
    assert step(chain, "recommendation")["count"] == 2
    assert step(chain, "stabilisation") == {"wanted": 2, "count": 4, "window_s": 300.0, "holds": True}
    assert chain["count"] == 4


def test_hpa_the_rate_limit_cuts() -> None:
    """Twice the target asks for 8 of 4; 10% in a minute are 5."""
    up = {"policies": [{"type": "Percent", "value": 10, "period_s": 60.0}]}
    policy = hpa(behavior={"scale_up": up})
    (chain,) = asked(policy, every(15.0, "gpu_utilisation_frac", 1.6), [0.0])
    assert step(chain, "recommendation")["count"] == 8
    assert step(chain, "stabilisation") == {"wanted": 8, "count": 8, "window_s": 0.0}
    assert step(chain, "rate_limit") == {"wanted": 8, "at_most": 5, "count": 5, "holds": True}
    assert step(chain, "bound") == {"wanted": 5, "least": 1, "most": 20, "count": 5}


def test_hpa_without_behavior_at_most_doubles() -> None:
    (chain,) = asked(hpa(), every(15.0, "gpu_utilisation_frac", 4.0), [0.0])
    assert step(chain, "rate_limit") == {"wanted": 20, "at_most": 8, "count": 8, "holds": True}


def test_hpa_the_bound_cuts() -> None:
    (chain,) = asked(hpa(max_units=6), every(15.0, "gpu_utilisation_frac", 1.6), [0.0])
    assert step(chain, "bound") == {"wanted": 8, "least": 1, "most": 6, "count": 6, "holds": True}


def test_hpa_the_way_down_is_limited_too() -> None:
    down = {"window_s": 0.0, "policies": [{"type": "Pods", "value": 1, "period_s": 60.0}]}
    (chain,) = asked(hpa(behavior={"scale_down": down}), every(15.0, "gpu_utilisation_frac", 0.4), [0.0])
    assert step(chain, "rate_limit") == {"wanted": 2, "at_least": 3, "count": 3, "holds": True}


def test_hpa_without_a_measurement() -> None:
    (chain,) = asked(hpa(), [], [0.0])
    assert step(chain, "metric") == {"metric": "gpu_utilisation_frac", "value": None, "holds": True}
    assert [each["what"] for each in steps(chain, "wait")] == [
        "a ready pod with a sample (without one: 4, not ready: 0)",
        "the metrics that are invalid: one may ask for more",
    ]


def test_hpa_takes_the_most_of_several_metrics() -> None:
    total = {"metric": "queue_length", "source": "External", "target_type": "AverageValue", "target": 5.0}
    samples = [(0.0, {"gpu_utilisation_frac": 0.8, "queue_length": 30.0})]
    (chain,) = asked(hpa(metrics=[BUSY, total]), samples, [0.0])
    assert [each["ratio"] for each in steps(chain, "ratio")] == [1.0, 1.5]  # 30 waiting, of 5 for each of 4
    assert steps(chain, "recommendation")[-1] == {"count": 6, "most_of": [4, 6]}


# ---- alarms
def test_target_tracking_two_of_three_points() -> None:
    policy = scaler("target_tracking", metric="gpu_allocation_frac", target=0.7, points_in=3, also={})
    samples = every(60.0, "gpu_allocation_frac", 0.65, 0.9, 0.95, start_s=30.0)
    (chain,) = asked(policy, samples, [180.0])
    assert step(chain, "metric") == {"metric": "gpu_allocation_frac", "value": 0.95, "age_s": 30.0, "window_s": 60.0}
    assert step(chain, "ratio") == {"ratio": pytest.approx(0.95 / 0.7), "target": 0.7}
    out, into = steps(chain, "alarm")
    assert out == {"direction": "out", "bound": 0.7, "breaching": 2, "points": 3, "on": False, "holds": True}
    assert into == {
        "direction": "in",
        "bound": pytest.approx(0.63),
        "breaching": 0,
        "points": 3,
        "on": False,
        "holds": True,
    }
    assert chain["count"] == 4


def test_target_tracking_names_points_that_are_missing() -> None:
    policy = scaler("target_tracking", points_in=2, also={})
    (chain,) = asked(policy, every(60.0, "gpu_allocation_frac", 0.9, start_s=30.0), [60.0])
    assert steps(chain, "alarm")[0] == {
        "direction": "out",
        "bound": 0.7,
        "breaching": 1,
        "points": 3,
        "missing": 2,
        "on": False,
        "holds": True,
    }


def test_target_tracking_the_cool_down_holds() -> None:
    policy = scaler("target_tracking", points_out=1, points_in=1, cooldown_out_s=300.0, also={})
    samples = every(60.0, "gpu_allocation_frac", 0.9, 0.9, start_s=30.0)
    first, second = asked(policy, samples, [60.0, 120.0])
    assert (first["count"], steps(first, "cool_down")) == (6, [])  # 4 · 0.9 / 0.7 is 5.1
    assert step(second, "recommendation")["count"] == 8
    assert step(second, "cool_down") == {"direction": "out", "left_s": 240.0, "holds": True}
    assert second["count"] == 6


def test_step_says_its_step() -> None:
    """0.75 is 0.15 above the bound: 30% of 4 is 1."""
    (chain,) = asked(scaler("step"), every(60.0, "gpu_utilisation_frac", 0.75, start_s=30.0), [60.0])
    assert step(chain, "recommendation") == {
        "count": 5, "adjustment": 30.0, "kind": "percent", "base": 4, "rests": False,
    }  # fmt: skip


def test_threshold_the_cool_down_holds() -> None:
    policy = scaler("threshold", sustained_s=0.0, upper=0.8, lower=0.4, cooldown_out_s=300.0)
    first, second = asked(policy, every(60.0, "gpu_allocation_frac", 0.9, 0.95), [0.0, 60.0])
    assert first["count"] == 5
    assert step(second, "metric") == {
        "metric": "gpu_allocation_frac",
        "value": 0.95,
        "age_s": 0.0,
        "window_s": 0.0,
        "lowest": 0.95,
        "highest": 0.95,
    }
    assert steps(second, "alarm") == [
        {"direction": "out", "bound": 0.8, "lowest": 0.95, "on": True},
        {"direction": "in", "bound": 0.4, "highest": 0.95, "on": False},
    ]
    assert step(second, "recommendation") == {"count": 6}
    assert step(second, "cool_down") == {"direction": "out", "left_s": 240.0, "holds": True}
    assert step(second, "bound") == {"of": "default", "wanted": 5, "least": 0, "most": 20, "count": 5}


def test_threshold_not_measured_for_long_enough() -> None:
    (chain,) = asked(scaler("threshold", sustained_s=120.0), [(50.0, {"gpu_allocation_frac": 1.0})], [100.0])
    assert step(chain, "metric") == {
        "metric": "gpu_allocation_frac",
        "value": None,
        "age_s": 50.0,
        "window_s": 120.0,
        "holds": True,
    }


# ---- queues, requests
def test_queue_depth_stands_by_the_most_of_its_delay() -> None:
    policy = scaler("queue_depth", per_unit=4.0, counts_busy=False, delay_in_s=300.0)
    samples = every(60.0, "queue_length", 12.0, 2.0)
    first, second = asked(policy, samples, [0.0, 60.0])
    assert (step(first, "recommendation"), first["count"]) == ({"count": 3, "busy": 0.0}, 3)
    assert step(second, "ratio") == {"ratio": 0.5, "target": 4.0}
    assert step(second, "stabilisation") == {"wanted": 1, "count": 3, "window_s": 300.0, "holds": True}


def test_keda_the_cool_down_holds_the_last_one() -> None:
    policy = scaler("keda", cooldown_s=300.0)
    samples = [(0.0, {"queue_length": 5.0}), (30.0, {"queue_length": 0.0})]
    chain = asked(policy, samples, [0.0, 30.0], units=1, service=True)[-1]
    assert step(chain, "alarm") == {"direction": "active", "bound": 0.0, "on": False}
    assert step(chain, "cool_down") == {"direction": "to 0", "left_s": 270.0, "holds": True}
    assert chain["count"] == 1


def test_knative_the_grace_of_the_last_one() -> None:
    policy = scaler("knative_kpa", grace_s=30.0, stable_window_s=6.0)
    chains = asked(policy, every(2.0, "concurrency", *[0.0] * 10), [10.0, 12.0], units=1, service=True)
    assert step(chains[-1], "delay") == {"direction": "to 0", "have": 2.0, "need": 30.0, "unit": "s", "holds": True}
    assert [each["window_s"] for each in steps(chains[-1], "metric")] == [6.0, pytest.approx(0.6)]


def test_ray_serve_delays() -> None:
    policy = scaler("ray_serve", upscale_delay_s=30.0, period_s=10.0)
    samples = every(10.0, "concurrency", 12.0, 12.0)
    chain = asked(policy, samples, [0.0, 10.0], service=True)[-1]
    assert step(chain, "ratio") == {"ratio": 1.5, "target": 2.0, "units": 4}
    assert step(chain, "recommendation") == {"count": 6, "unrounded": 6.0}
    assert step(chain, "delay") == {"direction": "out", "have": 10.0, "need": 30.0, "unit": "s", "holds": True}


def test_skyserve_counts_decisions() -> None:
    policy = scaler("skyserve", upscale_delay_s=60.0, period_s=20.0)
    chain = asked(policy, every(20.0, "request_rate_per_s", 6.0, 6.0), [0.0, 20.0], service=True)[-1]
    assert step(chain, "delay") == {
        "direction": "out",
        "have": 2,
        "need": 3,
        "unit": "decisions in a row",
        "holds": True,
    }


# ---- what is known ahead
def test_predictive_says_its_forecasts() -> None:
    policy = scaler("predictive", forecaster={"name": "last_value"}, per_unit=2.0, lead_s=120.0, quantile=0.5)
    samples = every(60.0, "concurrency", *[7.0] * 40)
    (chain,) = asked(policy, samples, [2340.0], service=True, units=5)
    assert step(chain, "metric") == {"metric": "concurrency", "value": 7.0, "age_s": 0.0}
    later, until_then = steps(chain, "forecast")
    assert later == {"load": 7.0, "units": 4, "lead_s": 120.0, "quantile": 0.5, "by": "last_value"}
    assert until_then == {"load": 7.0, "units": 4, "until_s": 120.0, "quantile": 0.5, "by": "last_value"}
    assert step(chain, "recommendation") == {"count": 4, "now": 4}


def test_predictive_that_takes_nothing_away() -> None:
    policy = scaler("predictive", forecaster={"name": "last_value"}, per_unit=2.0, scales_in=False)
    (chain,) = asked(policy, every(60.0, "concurrency", *[2.0] * 8), [420.0], service=True)
    assert step(chain, "note") == {"text": "scales_in=false: no units are taken away", "holds": True}
    assert chain["count"] == 4


def test_oracle_says_the_truth() -> None:
    policy = scaler("oracle", times_s=[0.0, 100.0], values=[10.0, 24.0], lead_s=90.0, per_unit=8.0, period_s=60.0)
    (chain,) = asked(policy, [], [0.0], units=2)
    assert [each["load"] for each in steps(chain, "forecast")] == [24.0, 10.0]
    assert step(chain, "recommendation") == {"count": 3}


def test_scheduled_says_what_the_clock_sets() -> None:
    policy = scaler("scheduled", actions=[{"at_s": 60.0, "min_units": 6}])
    before, after = asked(policy, [], [0.0, 60.0])
    assert step(before, "schedule") == {"least": 6, "holds": True}  # as of the day before
    assert step(after, "bound") == {"of": "default", "wanted": 6, "least": 6, "most": 20, "count": 6}


# ---- node autoscalers
def test_cluster_autoscaler_a_node_is_not_unneeded_for_long_enough() -> None:
    policy = scaler("cluster_autoscaler", unneeded_s=600.0)
    chain = asked(policy, [], [0.0, 100.0], units=1)[-1]
    assert step(chain, "demand") == {"unplaced": 0, "gpus": 0, "holds": True}
    assert step(chain, "idle") == {"of": "default", "nodes": 1, "have_s": 100.0, "need_s": 600.0, "holds": True}
    assert chain["count"] == 1


def test_cluster_autoscaler_lets_it_go_then() -> None:
    chain = asked(scaler("cluster_autoscaler", unneeded_s=600.0), [], [0.0, 601.0], units=1)[-1]
    assert "holds" not in step(chain, "idle")
    assert chain["count"] == 0


def test_cluster_autoscaler_pods_that_are_too_new() -> None:
    jobs = {"a": FakeJob(num_gpus=8, held=8), "b": FakeJob(num_gpus=8, submit_s=90.0)}
    policy = scaler("cluster_autoscaler", new_gpu_pod_s=30.0)
    young, old = asked(policy, [], [100.0, 125.0], units=1, jobs=jobs)
    assert step(young, "demand") == {"unplaced": 1, "gpus": 8}
    assert step(young, "delay") == {"direction": "out", "have": 10.0, "need": 30.0, "unit": "s", "holds": True}
    assert step(old, "recommendation") == {"of": "default", "count": 2, "serves_pods": 1}
    assert old["count"] == 2


def test_ray_autoscaler_launches_so_many_at_once() -> None:
    jobs = {f"j{i}": FakeJob(num_gpus=8, held=8 * (i == 0)) for i in range(6)}
    (chain,) = asked(scaler("ray_autoscaler", upscaling_speed=2.0), [], [0.0], units=1, jobs=jobs)
    assert step(chain, "demand") == {"jobs": 5, "nodes": 5}
    assert step(chain, "rate_limit") == {"wanted": 6, "at_most": 3, "count": 3, "holds": True}


def test_karpenter_waits_for_its_batch() -> None:
    jobs = {"a": FakeJob(num_gpus=8, held=8), "b": FakeJob(num_gpus=8, submit_s=100.0)}
    (chain,) = asked(scaler("karpenter"), [], [100.0], units=1, jobs=jobs)
    assert step(chain, "demand") == {"pods": 1, "gpus": 8}
    assert steps(chain, "wait")[0] == {"what": "the end of the batch", "left_s": 1.0, "holds": True}


def test_static_never_changes() -> None:
    (chain,) = asked(scaler("static"), [], [0.0])
    assert step(chain, "fixed") == {"holds": True}


def test_members_of_a_joint_policy_say_what_concerns_them() -> None:
    """Of two pools one is full: the other gets the node, and each says its own part and what both share."""
    cluster = FakeCluster({"a": FakeJob(num_gpus=8, held=8), "b": FakeJob(num_gpus=8)}, nodes=[8], now_s=1000.0)
    view = cluster.view()
    view.pools["more"] = PoolView(name="more", gpus_per_unit=8, min_units=0, max_units=3)
    view.explain = why = Reasons()
    policies = jointly(scaler("cluster_autoscaler"), ["default", "more"])
    chains = {}
    for name, policy in policies.items():
        target = view.target(name)
        why.open(target)
        wanted = policy.desired(target, view)
        why.close(target, wanted, wanted)
        (chains[name],) = json.loads(why.take())
    assert names(chains["default"]) == ["demand", "note", "bound"]
    assert step(chains["default"], "note")["text"] == "it has as many nodes as it may have"
    assert names(chains["more"]) == ["demand", "recommendation", "bound"]
    assert step(chains["more"], "demand") == step(chains["default"], "demand") == {"unplaced": 1, "gpus": 8}
    assert (chains["default"]["count"], chains["more"]["count"]) == (1, 1)
