"""Every registered policy keeps to the contract, with several options and under every placement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from policies import registry
from policies.testing import AllocationPolicyContract, PlacementPolicyContract, ScalingPolicyContract

OPTIONS: dict[str, dict[str, list[dict[str, Any]]]] = {
    "allocation": {
        "fifo": [{}, {"backfill": "true"}, {"backfill": "easy"}],
        "greedy": [{}, {"backfill": False}],
        "fair_share": [{}],
        "lend": [{}, {"guaranteed_gpus": 4, "headroom_gpus": 2}, {"notice_s": 0.0}],
        "priority": [{}, {"backfill": True}, {"preemptive": False}, {"preemptive": False, "backfill": True}],
        "sjf": [{}, {"backfill": True}],
        "srtf": [{}, {"key": "gpu_time"}],
        "las": [
            {},
            {"limits": [500.0, 2000.0], "service": "seconds"},
            {"limits": [500.0], "promote_factor": 0.5},
            {"limits": []},
        ],
    },
    "placement": {
        "pooled": [{}],
        "consolidate": [{}, {"strict": False}],
        "spread": [{}],
    },
    "scaling": {
        "static": [{}],
        "threshold": [{}, {"metric": "queue_length", "sustained_s": 0.0, "step_out": 3}, {"min_units": 2}],
        "ray_autoscaler": [{}],
        "cluster_autoscaler": [{}, {"expander": ["random"], "new_gpu_pod_s": 0.0}],
        "predictive": [{}, {"forecaster": {"name": "last_value"}, "refresh_s": 600.0, "scales_in": False}],
        "oracle": [{"times_s": [0.0, 1200.0], "values": [20.0, 5.0]}],
        "karpenter": [{}, {"consolidation": "WhenEmpty", "validate_s": 0.0}, {"budget_frac": 1.0, "validate_s": 0.0}],
        "kubernetes_hpa": [
            {},
            {"behavior": {}, "metrics": [{"metric": "queue_length", "source": "External", "target_type": "Value"}]},
        ],
        "keda": [{}, {"triggers": [{"metric": "pending_gpus", "threshold": 8.0}], "behavior": {}}],
        "knative_kpa": [{"metric": "pending_gpus", "target": 8.0}],
        "ray_serve": [{"metric": "queue_length"}],
        "skyserve": [{"metric": "queue_length"}],
        "scheduled": [{"actions": [{"at_s": 60.0, "units": 3}, {"at_s": 7200.0, "min_units": 1}]}],
        "queue_depth": [{}, {"metric": "pending_gpus", "per_unit": 8.0, "counts_busy": False}],
        "step": [{}, {"adjustment": "change", "steps_out": {0: 1, 0.5: 3}, "steps_in": {0: -1}}],
        "target_tracking": [
            {},
            {"target": 0.5, "also": {"pending_gpus": 0.5}, "points_out": 1, "points_in": 1},
            {"metric": "queue_length", "points_out": 1, "cooldown_out_s": 0.0},
        ],
    },
}


# Scaling policies that scale replicas too, with options under which they do.
SERVICE_OPTIONS: dict[str, list[dict[str, Any]]] = {
    "static": [{}],
    "threshold": [{"metric": "concurrency_per_replica", "lower": 0.5, "upper": 1.5}],
    "kubernetes_hpa": [{}, {"metrics": [{"metric": "concurrency", "source": "Pods", "target_type": "AverageValue"}]}],
    "keda": [{}, {"triggers": [{"metric": "concurrency", "threshold": 0.5}], "min_units": 1}],
    "predictive": [{"per_unit": 0.5}],
    "oracle": [{"times_s": [0.0], "values": [5.0], "per_unit": 2.0}],
    "knative_kpa": [{}, {"metric": "request_rate_per_s", "target": 0.5, "min_units": 1}],
    "ray_serve": [{}],
    "skyserve": [{}],
    "scheduled": [{"policy": {"name": "threshold", "metric": "concurrency_per_replica"}}],
    "queue_depth": [{}],
    "step": [{"metric": "concurrency_per_replica", "upper": 1.0, "lower": 0.5}],
    "target_tracking": [
        {"metric": "concurrency_per_replica", "points_out": 1, "points_in": 1},
        {"metric": "request_rate_per_replica_per_s", "points_out": 1},
        {"metric": "gpu_utilisation_frac", "points_out": 1},
    ],
}


def cases(kind: str, only: dict[str, list[dict[str, Any]]] | None = None) -> Iterator[Any]:
    """Every registered policy of a kind; one that isn't listed above with its defaults."""
    listed = OPTIONS[kind] if only is None else only
    for name in registry.names(kind) if only is None else only:
        for options in listed.get(name, [{}]):
            said = ",".join(f"{key}={value}" for key, value in options.items())
            yield pytest.param((name, options), id=f"{name}({said})")


class TestAllocation(AllocationPolicyContract):
    @pytest.fixture(params=cases("allocation"))
    def policy(self, request: pytest.FixtureRequest) -> Any:
        name, options = request.param
        return registry.create("allocation", name, **options)


class TestPlacement(PlacementPolicyContract):
    @pytest.fixture(params=cases("placement"))
    def policy(self, request: pytest.FixtureRequest) -> Any:
        name, options = request.param
        return registry.create("placement", name, **options)


class Explaining(ScalingPolicyContract):
    """Ours say why, whatever they decide: something beside the bounds, and a step has the count that comes of it."""

    def check_reasons(self, chain: dict[str, Any], again: str) -> None:
        super().check_reasons(chain, again)
        assert any(step["step"] != "bound" for step in chain["steps"]), f"nothing but bounds; {again}"
        counts = [step["count"] for step in chain["steps"] if "count" in step]
        assert chain["count"] in (*counts, chain["ready"] + chain["starting"]), f"{chain}; {again}"


class TestScaling(Explaining):
    @pytest.fixture(params=cases("scaling"))
    def policy(self, request: pytest.FixtureRequest) -> Any:
        name, options = request.param
        return registry.create("scaling", name, **options)


class TestScalingOfServices(Explaining):
    scales = ("chat",)

    @pytest.fixture(params=cases("scaling", SERVICE_OPTIONS))
    def policy(self, request: pytest.FixtureRequest) -> Any:
        name, options = request.param
        return registry.create("scaling", name, **options)
