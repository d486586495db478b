"""What policies see of replicas one by one, and an HPA that goes by it; by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from policies import ClusterView, PodSample, PolicyError, ServiceView
from policies.scaling.kubernetes_hpa import KubernetesHpa
from policies.scaling.scheduled import Scheduled
from policies.view import Target
from simulator.monitor import MonitorOptions
from tests.simulator.serving.small_services import Script, lives, plan, serve
from tests.simulator.small_runs import jobs_of
from workloads.serving.service_times import ServiceTimes

LONG = ServiceTimes(mean_s=1000.0, distribution="constant")
BY_REQUESTS = {
    "metrics": [{"metric": "concurrency_per_replica", "source": "Pods", "target_type": "AverageValue", "target": 2.0}],
    "period_s": 5.0,
}


@dataclass
class Looks(Script):
    """Scales by a script, and notes what it sees of the pods at each second."""

    wants_pods: ClassVar[bool] = True
    seen: dict[float, list[PodSample]] = field(default_factory=dict)
    failed: dict[float, int] = field(default_factory=dict)

    def desired(self, target: Target, view: ClusterView) -> int:
        assert isinstance(target, ServiceView)
        self.seen[view.now_s], self.failed[view.now_s] = list(target.pods), target.num_failed
        assert len(target.pods) == len(self.seen[view.now_s])
        assert list(target.pods[:1]) == self.seen[view.now_s][:1]
        return super().desired(target, view)

    def __deepcopy__(self, memo: Any) -> Looks:
        return self  # a run copies its policies; the test looks at this one


def states(pods: Sequence[PodSample]) -> list[tuple[str, bool, bool, float | None]]:
    return [(pod.phase, pod.is_ready, pod.is_deleting, pod.start_s) for pod in pods]


def test_the_life_of_a_replica() -> None:
    """The second is asked for at 10 s, scheduled until 11 s, loads until 17 s, and drains from 30 s on."""
    looks = Looks([(10.0, 2), (30.0, 1)])
    serve(plan([1.0, 2.0, 20.0], max_replicas=2, service_times=LONG), scaling={"chat": looks}, horizon_s=40.0)
    first = ("running", True, False, 0.0)
    assert states(looks.seen[10.0]) == [first]
    assert states(looks.seen[11.0]) == [first, ("running", False, False, 11.0)]
    assert states(looks.seen[16.0]) == [first, ("running", False, False, 11.0)]
    assert states(looks.seen[18.0]) == [first, ("running", True, False, 11.0)]
    assert states(looks.seen[31.0]) == [first, ("running", False, True, 11.0)]
    assert [pod.ready_changed_s for pod in looks.seen[16.0]] == [0.0, 10.0]
    assert [pod.ready_changed_s for pod in looks.seen[18.0]] == [0.0, 17.0]
    assert [pod.ready_changed_s for pod in looks.seen[31.0]] == [0.0, 30.0]


def test_a_replica_without_gpus_or_image_is_pending() -> None:
    """A node of one GPU: the second waits for ever; the first pulls its image until 11 s."""
    looks = Looks([(0.0, 2)])
    service = plan([0.5], replicas=0, max_replicas=2)
    serve(service, scaling={"chat": looks}, pool={"gpus_per_node": 1}, horizon_s=20.0)
    pending = ("pending", False, False, None)
    assert states(looks.seen[10.0]) == [pending, pending]
    assert states(looks.seen[12.0]) == [("running", False, False, 11.0), pending]


@pytest.mark.parametrize(("delay_s", "has_since_s"), [(0.0, 30.0), (4.0, 34.0)])
def test_values_are_of_replicas_that_were_ready_when_they_were_measured(delay_s: float, has_since_s: float) -> None:
    """Ready at 17 s, measured at 30 s, known so much later: three requests, one of each being served."""
    looks = Looks([(10.0, 2)])
    service = plan([1.0, 2.0, 3.0], max_replicas=2, service_times=LONG)
    serve(service, scaling={"chat": looks}, horizon_s=40.0, monitor=MonitorOptions(delay_s=delay_s))
    first, second = looks.seen[has_since_s - 1.0]
    assert (first.values["concurrency"], first.measured_s, second.values) == (3.0, 15.0, {})
    for pod in looks.seen[has_since_s]:
        assert (pod.values["concurrency"], pod.values["queue_length"], pod.measured_s) == (1.5, 0.5, 30.0)
        assert (pod.values["concurrency_per_replica"], pod.values["gpu_utilisation_frac"]) == (1.5, 1.0)


def test_a_replica_whose_gpus_are_taken_while_it_starts_has_failed() -> None:
    """At 8 s a job that is more important takes the node; at 30 s one that takes it from a replica that was ready."""
    looks = Looks([(5.0, 1)])
    jobs = jobs_of((8.0, 4, 4.0, {"priority": 1}), (30.0, 4, 4.0, {"priority": 1}))
    service = plan([60.0], replicas=0, max_replicas=1)
    serve(service, scaling={"chat": looks}, jobs=jobs, allocation="priority", pool={"gpus_per_node": 4}, horizon_s=40.0)
    assert [looks.failed[at_s] for at_s in (7.0, 9.0, 29.0, 31.0)] == [0, 1, 1, 1]


def test_nobody_who_does_not_ask_sees_pods() -> None:
    @dataclass
    class Blind(Looks):
        wants_pods: ClassVar[bool] = False

    looks = Blind([(10.0, 2)])
    serve(plan([1.0], max_replicas=2), scaling={"chat": looks}, horizon_s=20.0)
    assert not any(looks.seen.values())


def test_an_hpa_takes_a_replica_that_has_just_come_for_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three requests at a target of two a replica: two, at 15 s.

    The second is ready at 22 s and first measured at 30 s. Until then the last sample says three a replica: an HPA that
    takes it for that of both asks for a third at 25 s. One that looks at pods takes the new one for idle: 1.5 a
    replica, and nothing moves.
    """

    def orders() -> list[float]:
        service = plan([1.0, 2.0, 3.0], max_replicas=4, service_times=LONG)
        run = serve(service, scaling={"chat": KubernetesHpa(**BY_REQUESTS)}, horizon_s=60.0)  # type: ignore[arg-type]
        return [life[0] for life in lives(run)]

    assert orders() == [0.0, 15.0]
    monkeypatch.setattr(KubernetesHpa, "wants_pods", False)
    assert orders() == [0.0, 15.0, 25.0]


def test_who_wants_pods() -> None:
    assert KubernetesHpa().wants_pods
    outside = {"metrics": [{"metric": "queue_length", "source": "External", "target_type": "Value", "target": 1.0}]}
    assert not KubernetesHpa(**outside).wants_pods  # type: ignore[arg-type]
    assert Scheduled(policy={"name": "kubernetes_hpa"}).wants_pods
    assert not Scheduled(policy={"name": "kubernetes_hpa", **outside}).wants_pods
    assert not Scheduled().wants_pods


def test_a_metric_that_is_not_measured_is_an_error_still() -> None:
    policy = KubernetesHpa(metrics=[{"metric": "cpu_utilisation_frac"}])  # type: ignore[list-item]
    with pytest.raises(PolicyError, match="metric 'cpu_utilisation_frac' is not measured of 'chat'"):
        serve(plan([1.0], max_replicas=2), scaling={"chat": policy}, horizon_s=20.0)
