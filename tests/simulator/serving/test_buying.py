"""What services cost that are bought by the second, the request or the token."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from policies import registry
from simulator.catalogue import load_managed, price_note
from simulator.errors import ConfigError
from simulator.metrics import summarise
from simulator.pools import PoolSpec
from simulator.scenario import Scenario
from simulator.serving.buying import Purchase
from simulator.serving.services import ServicePlan
from simulator.serving.settings import service_plans
from simulator.serving.spec import ServiceSpec
from simulator.serving.startup import Startup
from simulator.simulation import simulate
from workloads import JobTable, WorkloadError
from workloads.requests import Requests, RequestSource
from workloads.serving.llm_times import LlmTimes

ARRIVAL_S = [0.0, 1.0, 2.0, 40.0]
PROMPT, OUTPUT = [100, 200, 10**9, 300], [10, 20, 5, 1]  # the third fits into no memory, and is rejected
OLD = "a price list, 2026-01-01"


@dataclass(kw_only=True)
class Given(RequestSource):
    @property
    def has_tokens(self) -> bool:
        return True

    def read(self, rng: np.random.Generator) -> Iterator[Requests]:
        yield Requests(np.array(ARRIVAL_S), np.array(PROMPT), np.array(OUTPUT))


def scenario(purchase: Purchase, usd_per_node_h: float = 0.0, **options: Any) -> Scenario:
    spec = ServiceSpec(name="chat", model="llm", purchase=purchase, llm=LlmTimes(), **options)
    return Scenario(
        jobs=JobTable.none(),
        allocation=registry.get("allocation", "fifo")(),
        placement=registry.get("placement", "consolidate")(),
        pools=[PoolSpec(num_nodes=1, gpus_per_node=4, usd_per_node_h=usd_per_node_h)],
        services=[ServicePlan(spec, Given())],
        scaling={"chat": registry.get("scaling", "static")()},
    )


def summary_of(purchase: Purchase, **options: Any) -> Mapping[str, Any]:
    return summarise(simulate(scenario(purchase, **options)))


def test_tokens_of_those_served_are_paid() -> None:
    summary = summary_of(
        Purchase(buy="tokens", usd_per_m_input_tokens=2.0, usd_per_m_output_tokens=8.0, price_source=OLD)
    )
    of = summary["services"]["chat"]
    assert (of["num_served"], of["num_rejected"]) == (3, 1)
    assert (of["num_prompt_tokens"], of["num_output_tokens"]) == (600, 31)
    assert of["cost_usd"] == pytest.approx(600 * 2e-6 + 31 * 8e-6)
    assert of["cost_per_1k_requests_usd"] == pytest.approx(1000 * of["cost_usd"] / 3)
    assert summary["cost_usd"] == summary["cost_bought_usd"] == summary["cost_serving_usd"] == of["cost_usd"]
    assert of["purchase"]["price_source"] == OLD


def test_requests_that_were_served_are_paid() -> None:
    summary = summary_of(Purchase(buy="requests", usd_per_1k_requests=1.5, price_source=OLD))
    assert summary["services"]["chat"]["cost_usd"] == pytest.approx(0.0045)
    assert summary["services"]["chat"]["cost_per_1k_requests_usd"] == pytest.approx(1.5)


def test_seconds_of_each_gpu_are_paid_also_while_a_replica_starts() -> None:
    """None at first; the request at 0 starts one that is ready after 10 s, and stays to the end."""
    summary = summary_of(
        Purchase(buy="replica_seconds", usd_per_replica_s=0.5, price_source=OLD),
        replicas=0,
        max_replicas=1,
        gpus_per_replica=2,
        startup=Startup(scheduling_s=10.0, image_s=0.0, weights_s=0.0, engine_s=0.0),
    )
    of = summary["services"]["chat"]
    assert of["num_cold_starts"] == 1
    assert of["cost_usd"] == pytest.approx(0.5 * 2 * summary["facts"]["end_s"])
    assert of["gpu_startup_h"] == pytest.approx(2 * 10 / 3600)


def test_nodes_cost_what_they_did() -> None:
    summary = summary_of(Purchase(), usd_per_node_h=3600.0)
    end_s = summary["facts"]["end_s"]
    assert summary["services"]["chat"]["cost_usd"] == pytest.approx(end_s / 4)
    assert summary["cost_usd"] == pytest.approx(end_s)
    assert summary["cost_bought_usd"] == 0


def test_an_offer_brings_its_prices() -> None:
    offers = load_managed()
    tokens = Purchase(buy="tokens", offer="together-llama-3.1-8b").with_offer(offers)
    assert (tokens.usd_per_m_input_tokens, tokens.usd_per_m_output_tokens, tokens.offer) == (0.18, 0.18, "")
    assert tokens.price_source == "together-llama-3.1-8b, 2025-07-03"
    assert tokens.usd(9.9, 9, 3_000_000, 1_000_000) == pytest.approx(0.72)
    seconds = Purchase(buy="replica_seconds", offer="modal-l4").with_offer(offers)
    assert seconds.usd(1000.0, 0, 0, 0) == pytest.approx(0.222)
    requests = Purchase(buy="requests", offer="google-vision-labels").with_offer(offers)
    assert requests.usd(0.0, 2000, 0, 0) == pytest.approx(3.0)
    assert Purchase().with_offer(offers) == Purchase()


def test_stale_prices_are_told() -> None:
    day = datetime.date(2026, 11, 24)
    assert price_note("service 'chat'", OLD, day).startswith("the price of service 'chat' is more than 180 days old: a")
    assert price_note("service 'chat'", "a price list, 2026-11-01", day) == ""
    assert price_note("service 'chat'", "", day) == ""


def plan_of(**service: Any) -> ServicePlan:
    return next(service_plans({"name": "poisson"}, service, {}))[0]


def test_settings() -> None:
    assert plan_of(buy="replica_seconds", offer="modal-t4").spec.purchase.usd_per_replica_s == 0.000164
    assert plan_of().spec.purchase == Purchase()


REQUESTS = {"buy": "requests", "usd_per_1k_requests": 1.0, "price_source": "x"}


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ({"buy": "token"}, r"service\.buy=token: unknown way of buying; did you mean tokens\?"),
        ({"buy": "requests"}, r"service\.usd_per_1k_requests: is needed with service\.buy=requests; set it, or"),
        ({**REQUESTS, "price_source": ""}, r"service\.price_source: is needed: where the price is from"),
        ({**REQUESTS, "usd_per_1k_requests": 0}, r"service\.usd_per_1k_requests=0: must be a number above 0"),
        ({**REQUESTS, "usd_per_replica_s": 2}, r"usd_per_replica_s=2: is not used with service\.buy=requests"),
        ({"usd_per_replica_s": 2}, r"usd_per_replica_s=2: is not used with service\.buy=nodes"),
        ({"offer": "modal-t4"}, r"service\.offer=modal-t4: is not of nodes; set service\.buy too"),
        ({"buy": "replica_seconds", "offer": "modal-t5"}, r"service\.offer=modal-t5: no such offer; did you mean"),
        ({"buy": "requests", "offer": "modal-t4"}, r"service\.buy=requests: modal-t4 is bought by replica_seconds"),
        ({**REQUESTS, "offer": "google-vision-labels"}, r"is not used with service\.offer=google-vision-labels, which"),
        ({"buy": "tokens", "offer": "together-llama-3.1-8b"}, r"service\.buy=tokens .*model=queue knows no tokens"),
        ({**REQUESTS, "routing": "cost", "sites": {"a": {"pool": "x"}}}, r"sites\.a\.buy=requests: routing=cost comp"),
    ],
)  # fmt: skip
def test_settings_that_cant_be(service: Mapping[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, WorkloadError), match=message):
        plan_of(**service)


def test_nobody_pays_twice() -> None:
    bought = Purchase(buy="requests", usd_per_1k_requests=1.0, price_source=OLD)
    with pytest.raises(
        ConfigError, match=r"'chat': service\.buy=requests: .* pool 'default' cost 3 USD an hour; bind it"
    ):
        scenario(bought, usd_per_node_h=3.0)
