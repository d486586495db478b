"""The names that a comparison is checked by before there is a run are those that a run then has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from simulator.errors import ConfigError
from simulator.metric_names import RUN_METRICS, SERVICE_METRICS, check_metric
from simulator.metrics import summarise
from tests.simulator.serving.small_services import plan, serve
from workloads.serving.llm_times import LlmTimes


def numbers(of: Mapping[str, Any]) -> set[str]:
    return {
        name
        for name, value in of.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }


def test_every_metric_of_a_run_has_its_name() -> None:
    queue, llm = plan([1.0]), plan([1.0], [(8, 8)], name="llm", model="llm", llm=LlmTimes())
    summary = summarise(serve([queue, llm]))
    assert set(RUN_METRICS) == numbers(summary)
    assert set(SERVICE_METRICS) == numbers(summary["services"]["llm"])
    assert numbers(summary["services"]["chat"]) < set(SERVICE_METRICS)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("jct_men_s", r"compare\.y=jct_men_s: unknown metric; did you mean jct_mean_s"),
        ("latency_p99_s", r"unknown metric \(of a service it is services\.NAME\.latency_p99_s\)"),
        ("services.chat.latency_p9_s", r"latency_p9_s: unknown metric of a service; did you mean latency_p99_s"),
        ("services.caht.cost_usd", r"services\.caht\.cost_usd: unknown service; did you mean chat\? Known: a\.b, chat"),
    ],
)
def test_a_name_that_no_run_will_have(metric: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_metric("compare.y", metric, {"chat", "a.b"})
    with pytest.raises(ConfigError, match="unknown service: none runs"):
        check_metric("compare.y", "services.chat.cost_usd", ())


@pytest.mark.parametrize("metric", ["energy_kwh", "services.chat.latency_p99_9_s", "services.a.b.cost_usd"])
def test_a_name_that_runs_have(metric: str) -> None:
    check_metric("compare.y", metric, {"chat", "a.b"})
