"""kubernetes_hpa as a whole: reconciliation, several metrics, pods one by one and on average, its options."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import PodSample, PolicyError, ServiceView
from policies.scaling.kubernetes_hpa import KubernetesHpa
from tests.policies.scaling.play import cluster_of, run, wishes

UTIL = "gpu_utilisation_frac"
PER_POD = {"metric": "concurrency_per_replica", "source": "Pods", "target_type": "AverageValue", "target": 5.0}
QUEUE = {"metric": "queue_length", "source": "External", "target_type": "AverageValue", "target": 10.0}
VALUE = {**QUEUE, "target_type": "Value"}


def hpa(*metrics: dict[str, Any], **options: Any) -> KubernetesHpa:
    return KubernetesHpa(metrics=list(metrics) or [{"target": 75.0}], **options)  # type: ignore[arg-type]


def test_the_vector_of_the_reference_from_averages() -> None:
    assert wishes(hpa(), [(0.0, {UTIL: 0.9})], [0.0], units=50, most=99, service=True) == [60]
    assert wishes(hpa(), [(0.0, {UTIL: 0.9})], [0.0], units=50, most=99) == [60]  # nodes too


@pytest.mark.parametrize(
    ("spec", "values", "wanted"),
    [
        (PER_POD, {"concurrency_per_replica": 8.0}, 7),  # 1.6 · 4
        ({**PER_POD, "metric": "concurrency"}, {"concurrency": 32.0}, 7),  # a total, spread over the pods
        (QUEUE, {"queue_length": 75.0}, 8),
        (VALUE, {"queue_length": 15.0}, 6),  # 1.5 · 4
        ({**PER_POD, "source": "Resource"}, {"concurrency_per_replica": 8.0}, 7),
    ],
)
def test_sources(spec: dict[str, Any], values: dict[str, float], wanted: int) -> None:
    assert wishes(hpa(spec), [(0.0, values)], [0.0], service=True) == [wanted]


def test_the_first_decision_counts_what_there_is_as_recommended() -> None:
    asked = [15.0 * i for i in range(22)]
    told = wishes(hpa(), [(0.0, {UTIL: 0.3})], asked, units=10, service=True)
    assert told == [10] * 21 + [4]
    told = wishes(hpa(behavior={}), [(0.0, {UTIL: 0.3})], asked, units=10, service=True)  # type: ignore[arg-type]
    assert told == [10] * 20 + [4, 4]  # 0.3 / 0.75 · 10; the window has others of 4


def test_outside_its_bounds_it_goes_there_at_once() -> None:
    assert wishes(hpa(max_units=5), [], [0.0], units=9, service=True) == [5]
    assert wishes(hpa(min_units=6), [], [0.0], units=1, service=True) == [6]
    assert wishes(hpa(), [], [0.0], units=1, least=7, service=True) == [7]


def test_at_zero_it_is_off_unless_zero_is_its_minimum() -> None:
    samples = [(0.0, {"queue_length": 35.0})]
    assert wishes(hpa(QUEUE), samples, [0.0], units=0, service=True) == [0]
    assert wishes(hpa(QUEUE, min_units=0), samples, [0.0], units=0, service=True) == [4]
    assert wishes(hpa(VALUE, min_units=0), samples, [0.0], units=0, service=True) == [4]


def test_to_zero_with_a_metric_from_outside() -> None:
    asked = [15.0 * i for i in range(22)]
    assert wishes(hpa(QUEUE, min_units=0), [(0.0, {})], asked, service=True)[-1] == 0
    assert wishes(hpa(QUEUE), [(0.0, {})], asked, service=True)[-1] == 1


def test_several_metrics_the_most_counts() -> None:
    samples = [(0.0, {UTIL: 0.3, "queue_length": 90.0})]
    assert wishes(hpa({"target": 75.0}, QUEUE), samples, [0.0], service=True) == [8]


def chat(*pods: PodSample, starting: int = 0) -> Any:
    """A service of these pods, and its view, at 1000 s."""
    cluster, target = cluster_of(len(pods) - starting, service=True)
    assert isinstance(target, ServiceView)
    target.pods, target.num_starting = pods, starting
    cluster.now_s = 1000.0
    return target, cluster.view()


def pod(use: float | None, **more: Any) -> PodSample:
    return PodSample(values={} if use is None else {UTIL: use}, start_s=0.0, **more)


def test_pods_one_by_one() -> None:
    busy = [pod(0.9), pod(0.9)]
    assert hpa().desired(*chat(*busy)) == 3  # 1.2 · 2
    assert hpa().desired(*chat(*busy, pod(None, phase="pending"), starting=1)) == 3  # 60% of three: flips
    assert hpa({"target": 50.0}).desired(*chat(*busy, pod(None))) == 4  # 60% of three: 1.2 · 3
    assert hpa({"target": 50.0}).desired(*chat(*busy, pod(9.0, phase="failed"))) == 4  # 1.8 · 2
    assert hpa().desired(*chat(pod(None), pod(None))) == 2  # nothing to go by


def test_what_pods_request_counts() -> None:
    asked = {UTIL: 3.0}
    assert hpa({"target": 33.0}).desired(*chat(*[pod(1.0, requests=asked)] * 3)) == 3  # 33%
    assert hpa({"target": 20.0}).desired(*chat(*[pod(1.0, requests=asked)] * 3)) == 5  # 33 / 20 · 3 = 4.95


def test_an_invalid_metric_holds_the_way_down_and_not_the_way_up() -> None:
    """No pod has the second metric."""
    specs = ({"target": 75.0}, PER_POD)
    policy = hpa(*specs, stabilization_s=0.0)
    assert policy.desired(*chat(pod(0.3), pod(0.3))) == 2
    assert policy.desired(*chat(pod(0.9), pod(0.9))) == 3
    assert hpa(stabilization_s=0.0).desired(*chat(pod(0.3), pod(0.3))) == 2  # what there is, recommended just now


def test_units_on_the_way_are_pending_pods() -> None:
    """Averages only: four at 120% of the target and four that start are 60% of eight, so nothing moves."""
    cluster, target = cluster_of(4, service=True)
    target.num_starting = 4
    cluster.measure(0.0, "chat", **{UTIL: 0.9})
    assert hpa().desired(target, cluster.view()) == 8
    cluster.measure(0.0, "chat", **{UTIL: 1.8})
    assert hpa().desired(target, cluster.view()) == 10  # 90% of eight: 1.2 · 8


def test_an_old_sample_is_none() -> None:
    policy = hpa(stale_s=60.0)
    assert wishes(policy, [(0.0, {UTIL: 0.9})], [60.0, 61.0], service=True) == [5, 5]
    assert wishes(policy, [(0.0, {UTIL: 0.9})], [61.0], service=True) == [4]
    assert wishes(hpa(), [], [0.0], service=True) == [4]


def test_behavior_and_its_tolerance() -> None:
    narrow = {"scale_up": {"tolerance": 0.0, "policies": [{"type": "Pods", "value": 1, "period_s": 60.0}]}}
    policy = hpa(behavior=narrow)  # type: ignore[arg-type]
    assert wishes(policy, [(0.0, {UTIL: 0.76})], [0.0, 15.0, 60.0], units=10, service=True) == [11, 11, 12]
    assert wishes(policy, [(0.0, {UTIL: 0.7})], [0.0], units=10, service=True) == [10]


@settings(max_examples=40, deadline=None)
@given(load=st.floats(0.1, 14.0), start=st.integers(1, 12), behaves=st.booleans())
def test_under_a_constant_load_it_comes_to_rest_within_its_tolerance(load: float, start: int, behaves: bool) -> None:
    policy = hpa(behavior={} if behaves else None)  # type: ignore[arg-type]
    told = run(policy, lambda _, target: {UTIL: load / target.num_ready}, 3600.0, units=start, service=True, least=1)
    assert len(set(told[-40:])) == 1
    assert all(1 <= count <= 20 for count in told)
    assert load / told[-1] <= 0.75 * 1.1 + 0.01  # percentages are whole


@pytest.mark.parametrize("units", [1, 4, 20])
def test_at_its_target_nothing_moves(units: int) -> None:
    assert set(run(hpa(), lambda *_: {UTIL: 0.75}, 1200.0, units=units, service=True)) == {units}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": []}, r"kubernetes_hpa: metrics=\[\]: must have one or more"),
        ({"metrics": [{"metric": "gpu"}]}, "kubernetes_hpa: unknown metric 'gpu'"),
        ({"metrics": [{"source": "Node"}]}, "metrics.source=Node: must be one of Resource, Pods, Object, External"),
        (
            {"metrics": [{"target_type": "Value"}]},
            "target_type=Value: must be Utilization or AverageValue with source=R",
        ),
        ({"metrics": [{"target": 0.0}]}, "kubernetes_hpa: metrics.target=0.0: must be more than 0"),
        ({"metrics": [{"taget": 1.0}]}, r"kubernetes_hpa: metrics\[0\]: unknown setting 'taget': did you mean target"),
        ({"min_units": 0}, "min_units=0: must be 1 or more: 0 needs an Object or External metric"),
        ({"max_units": 0, "metrics": [QUEUE], "min_units": 0}, "max_units=0: must not be less than min_units, or 1"),
        ({"stabilization_s": -1.0}, "kubernetes_hpa: stabilization_s=-1.0: must be 0 or more"),
        ({"behavior": {"scaleUp": {}}}, "kubernetes_hpa: behavior: unknown setting 'scaleUp': did you mean scale_up"),
        ({"period_s": 0.0}, "kubernetes_hpa: period_s=0.0: must be more than 0"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        KubernetesHpa(**options)
