"""From plain settings to services: what arrives, what is refused and in which words; the same bytes each time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from policies import PolicyError
from simulator.config import Setup, read_config
from simulator.errors import ConfigError
from simulator.run import Run
from simulator.scenario import Scenario
from simulator.simulation import simulate
from tests.simulator.command import Command
from workloads import WorkloadError

BASE: Mapping[str, Any] = {
    "allocation": {"name": "fifo"},
    "placement": {"name": "pooled"},
    "scaling": {"name": "static"},
    "workload": {"name": "none"},
    "cluster": {"num_nodes": 2},
    "step_time": {"name": "linear"},
    "overheads": {},
    "estimates": {"name": "oracle"},
    "decide": {},
}
POISSON = {"name": "poisson", "rate_per_s": 2.0, "duration_s": 10.0}
TOKENS = {"prompt_tokens": {"median": 100, "sigma": 0.5}, "output_tokens": {"median": 20, "sigma": 0.5}}


def scenario(**settings: Any) -> Scenario:
    setup = Setup(read_config({**BASE, **settings}))
    return setup.scenario(setup.load())


# ---- what arrives
def test_settings_arrive() -> None:
    given = {
        "name": "chat",
        "model": "llm",
        "profile": "opt_13b_a100",
        "llm": {"max_batch": 7},
        "replicas": "3",
        "min_replicas": 1,
        "max_replicas": 9,
        "slo": {"ttft_s": 2},
        "startup": {"image_s": 1.5},
        "queue_limit": 4,
        "keep_requests": True,
    }
    (plan,) = scenario(requests={**POISSON, **TOKENS}, service=given).services
    spec = plan.spec
    assert (spec.name, spec.model, spec.replicas, spec.fewest, spec.most) == ("chat", "llm", 3, 1, 9)
    assert (spec.slo.ttft_s, spec.startup.image_s, spec.startup.engine_s) == (2.0, 1.5, 176.0)
    assert spec.requests.queue_limit == 4
    assert spec.llm.max_batch == 7
    assert spec.llm.decode_fixed_s == 0.02348  # the profile's
    assert plan.requests.has_tokens


def test_without_requests_there_is_no_service() -> None:
    with pytest.raises(ConfigError, match=re.escape("nothing to run: no jobs and no service; set workload=")):
        scenario(service={"replicas": 3})


def test_more_services_differ_from_service_where_they_say_so() -> None:
    base = {"replicas": 2, "slo": {"latency_s": 3.0, "target_frac": 0.9}, "model": "batch"}
    services = {
        "a": {"requests": POISSON, "slo": {"latency_s": 1.0}},
        "b": {"requests": {**POISSON, "rate_per_s": 5.0}, "replicas": 4, "max_replicas": 5,
              "scaling": {"name": "queue_depth", "per_unit": 3.0}},
    }  # fmt: skip
    of = scenario(requests=POISSON, service=base, services=services)
    service, a, b = (plan.spec for plan in of.services)
    assert [spec.name for spec in (service, a, b)] == ["service", "a", "b"]
    assert [spec.replicas for spec in (service, a, b)] == [2, 2, 4]
    assert [spec.slo.latency_s for spec in (service, a, b)] == [3.0, 1.0, 3.0]
    assert {spec.slo.target_frac for spec in (service, a, b)} == {0.9}
    assert of.services[2].requests.rate_per_s == 5.0  # type: ignore[attr-defined]
    assert {name: type(policy).__name__ for name, policy in of.scaling.items()} == {
        "default": "Static", "service": "Static", "a": "Static", "b": "QueueDepth",
    }  # fmt: skip


def test_scaling_is_of_replicas_and_node_scaling_of_nodes() -> None:
    of = scenario(requests=POISSON, scaling={"name": "queue_depth"}, node_scaling={"name": "threshold"})
    assert {name: type(policy).__name__ for name, policy in of.scaling.items()} == {
        "default": "Threshold", "service": "QueueDepth",
    }  # fmt: skip


# ---- what is refused
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # names
        ({"requests": {"name": "poison"}}, "requests=poison: unknown source of requests; did you mean poisson?"),
        ({"requests": {**POISSON, "rate": 3}}, "requests.rate: unknown option; known: duration_s, from_s, limit"),
        ({"requests": {**POISSON, "duration": 3}}, "requests.duration: unknown option; did you mean duration_s?"),
        ({"service": {"modl": "queue"}}, "service.modl: unknown option; did you mean model?"),
        (
            {"service": {"model": "lm"}},
            "service.model=lm: unknown model; did you mean llm? Known: batch, llm, llm_steps",
        ),
        ({"service": {"slo": {"latency": 3}}}, "service.slo.latency: unknown option; did you mean latency_s?"),
        (
            {"service": {"startup": {"imag_s": 3}}},
            "service.startup.imag_s: unknown option; did you mean image_s or image_sigma?",
        ),
        (
            {"service": {"llm": {"kv_token": 1}}},
            "service.llm.kv_token: unknown option; did you mean kv_tokens or chunk_tokens?",
        ),
        ({"service": {"profile": "opt_13b"}}, "service.profile=opt_13b: no such profile; did you mean opt_13b_a100"),
        ({"service": {"balancer": "random"}}, "service.balancer=random: must be one of least_loaded, round_robin"),
        ({"service": {"scaling": {"name": "static"}}}, "service.scaling: unknown option"),
        ({"service": {"requests": POISSON}}, "service.requests: unknown option"),
        (
            {"service": {"pool": "defalt"}},
            "service 'service': service.pool=defalt: no such pool; did you mean default?",
        ),
        # types
        ({"requests": "poisson"}, "requests=poisson: must be a mapping such as {a: 1}"),
        ({"service": {"replicas": "two"}}, "service.replicas=two: must be a whole number"),
        ({"service": {"replicas": 2.5}}, "service.replicas=2.5: must be a whole number"),
        ({"service": {"activation": "maybe"}}, "service.activation=maybe: must be true or false"),
        ({"service": {"slo": 3}}, "service.slo=3: must be a mapping of latency_s, ttft_s, target_frac"),
        ({"service": {"llm": 3}}, "service.llm=3: must be a mapping such as {a: 1}"),
        ({"services": [1]}, "services=[1]: must be a mapping such as {a: 1}"),
        # bounds
        ({"service": {"replicas": -1}}, "service.replicas=-1 (service 'service'): must be 0 or more"),
        ({"service": {"min_replicas": 3}}, "service.min_replicas=3 (service 'service'): must lie in 0..replicas=1"),
        (
            {"service": {"replicas": 3, "max_replicas": 2}},
            "service.max_replicas=2 (service 'service'): must be 1 or more, and no less than replicas=3",
        ),
        ({"service": {"replicas": 0}}, "service.max_replicas=None (service 'service'): must be 1 or more"),
        ({"service": {"name": ""}}, "service.name= (service ''): must not be empty"),
        ({"service": {"sample_s": 0}}, "service.sample_s=0.0 (service 'service'): must be more than 0"),
        ({"service": {"network_s": -1}}, "service.network_s=-1.0 (service 'service'): must be 0 or more"),
        ({"service": {"weight": 0}}, "service.weight=0.0 (service 'service'): must be more than 0"),
        ({"service": {"drain_timeout_s": -1}}, "service.drain_timeout_s=-1.0 (service 'service'): must be 0 or more"),
        ({"service": {"gpus_per_replica": 0}}, "service.gpus_per_replica=0 (service 'service'): must be 1 or more"),
        ({"service": {"timeout_s": 0}}, "service.timeout_s=0.0: must be more than 0"),
        ({"service": {"retries": -1}}, "service.retries=-1: must be 0 or more"),
        ({"service": {"slo": {"target_frac": 2}}}, "service.slo.target_frac=2.0: must be above 0, and 1 at most"),
        ({"service": {"startup": {"image_s": -1}}}, "service.startup.image_s=-1.0: must be a number, 0 or more"),
        ({"requests": {**POISSON, "rate_per_s": -1}}, "requests.rate_per_s=-1.0: must be more than 0"),
        ({"requests": {**POISSON, "from_s": 10}}, "requests.from_s=10.0: must be less than 10, when the stream ends"),
        ({"requests": {**POISSON, "limit": 0}}, "requests.limit=0: must be 1 or more"),
        (
            {"requests": {**POISSON, **TOKENS, "output_tokens": {"median": 0, "sigma": 1}}},
            "requests.output_tokens.median=0.0: must be 1 or more",
        ),
        ({"service": {"service_times": {"mean_s": 0}}}, "service.service_times.mean_s=0.0: must be more than 0"),
        ({"service": {"batch": {"max_batch": 0}}}, "service.batch.max_batch=0: must be 1 or more"),
        # what doesn't fit together
        (
            {"service": {"profile": "opt_13b_a100"}},
            "service.profile=opt_13b_a100: has step times of an LLM; set service.model=llm, not queue",
        ),
        (
            {"service": {"slo": {"ttft_s": 1}}},
            "service.slo.ttft_s=1 (service 'service'): model=queue has no first token; set slo.latency_s, or model=llm",
        ),
        (
            {"service": {"service_times": {"cv": 2}}},
            "service.service_times.cv=2.0: is not used with distribution=exponential",
        ),
        (
            {"service": {"model": "llm"}},
            "service 'service': service.model=llm needs requests with tokens: set requests.prompt_tokens and "
            "requests.output_tokens, or read a trace that has them",
        ),
        (
            {"requests": {**POISSON, "prompt_tokens": TOKENS["prompt_tokens"]}},
            "prompt_tokens and output_tokens go together",
        ),
        (
            {"service": {"gpus_per_replica": 17}},
            "service 'service': service.gpus_per_replica=17: the cluster has 16 GPUs at most",
        ),
        (
            {"service": {"cpus_per_gpu": 9}, "cluster": {"cpus_per_node": 8}},
            "service 'service': service.cpus_per_gpu=9: nodes have 8 at most",
        ),
        (
            {"service": {"memory_gib_per_gpu": 80.5}, "cluster": {"memory_gib_per_node": 64}},
            "service 'service': service.memory_gib_per_gpu=80.5: nodes have 64 at most",
        ),
        # more services
        ({"services": {"a": {}}}, "services.a.requests: is needed, such as {name: poisson, rate_per_s: 10}"),
        ({"services": {"a": {"requests": "poisson"}}}, "services.a.requests: is needed, such as {name: poisson"),
        (
            {"services": {"a": {"requests": {"name": "poison"}}}},
            "services.a.requests.name=poison: unknown source of requests; did you mean poisson?",
        ),
        ({"services": {"a": {"requests": {**POISSON, "rate_per_s": 0}}}}, "services.a.requests.rate_per_s=0.0: must"),
        ({"services": {"a": {"requests": {}}}}, "services.a.requests.name: is needed; it is one of poisson"),
        ({"services": {"a": 3}}, "services.a=3: must be a mapping of options of a service"),
        ({"services": {"a": {"requests": POISSON, "replica": 1}}}, "services.a.replica: unknown option; did you mean"),
        ({"services": {"a": {"requests": {**POISSON, "rat": 1}}}}, "services.a.requests.rat: unknown option"),
        ({"services": {"a": {"requests": POISSON, "name": "b"}}}, "services.a.name=b: its name is a"),
        (
            {"services": {"a": {"requests": POISSON, "scaling": "static"}}},
            "services.a.scaling=static: must be a mapping such as {name: target_tracking}",
        ),
        ({"services": {"a": {"requests": POISSON, "scaling": {}}}}, "services.a.scaling.name: is needed"),
        (
            {"services": {"a": {"requests": POISSON, "scaling": {"name": "threshold", "uper": 1}}}},
            "services.a.scaling.uper: unknown option; did you mean upper?",
        ),
        (
            {"services": {"service": {"requests": POISSON}}},
            "services ['service', 'service']: names must differ from each other, and from those of pools: ['default']",
        ),
        (
            {"services": {"default": {"requests": POISSON}}},
            "services ['service', 'default']: names must differ from each other, and from those of pools: ['default']",
        ),
        # scaling
        (
            {"scaling": {"name": "queue_depth", "per_units": 1}},
            "scaling.per_units: unknown option; did you mean per_unit",
        ),
        ({"node_scaling": {"name": "threshold", "upper": "x"}}, "node_scaling.upper=x: must be a number"),
    ],
)
def test_refused(settings: Mapping[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, PolicyError, WorkloadError)) as error:
        scenario(**{"requests": POISSON, **settings})
    assert message in str(error.value)


def test_more_replicas_than_gpus_are_told() -> None:
    of_pool = {"service": {"replicas": 9, "gpus_per_replica": 2}, "requests": POISSON}
    assert simulate(scenario(**of_pool)).facts["notes"] == [
        "service 'service': service.replicas=9 take 18 GPUs; the cluster has 16 at most, the others wait"
    ]


def test_requests_that_are_left_out_are_told(tmp_path: Path) -> None:
    path = tmp_path / "code.csv"
    rows = "2023-11-16 18:00:00,10,2\n2023-11-16 18:00:01,10,0\n2023-11-16 18:00:02,10,3\n"
    path.write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}")
    run = simulate(scenario(requests={"name": "azure_llm", "path": str(path)}, service={"model": "llm"}))
    assert run.facts["services"]["service"]["num_requests"] == 2
    assert run.facts["notes"] == [f"{path}: 1 requests without tokens, in or out, are left out"]


def test_a_file_without_a_request_in_the_window(tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    path.write_text("arrival_s\n1\n2\n")
    with pytest.raises(WorkloadError, match=r"requests\.csv: has no request from from_s=5 to to_s=inf"):
        simulate(scenario(requests={"name": "csv", "path": str(path), "from_s": 5}))


def test_node_scaling_is_for_runs_with_a_service() -> None:
    rule = "node_scaling is for runs with a service; without one, scaling is that of nodes"
    with pytest.raises(ConfigError, match=re.escape(rule)):
        scenario(node_scaling={"name": "threshold"})


def test_a_service_that_can_not_be_scaled_says_so() -> None:
    of = scenario(requests=POISSON, service={"replicas": 2}, scaling={"name": "queue_depth"})
    assert simulate(of).facts["notes"] == [
        "service 'service' can't be scaled: it has 2 replicas at least and at most; set service.min_replicas and "
        "service.max_replicas"
    ]


# ---- from the command line
SERVES = (
    *("workload=none", "requests=poisson", "requests.rate_per_s=2", "requests.duration_s=60", "cluster.num_nodes=1"),
    *("figures=false", "check=true", "service.replicas=2"),
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("requests=poison",), "requests=poison: unknown choice; did you mean poisson"),
        (("service.replica=2",), "service.replica: unknown option; did you mean replicas"),
        (("service.replicas=two",), "service.replicas"),
        (
            ("service.max_replicas=1",),
            "service.max_replicas=1 (service 'service'): must be 1 or more, and no less than",
        ),
        (("+services.a.replicas=2",), "services.a.requests: is needed"),
        (("service.model=llm",), "service.model=llm needs requests with tokens"),
    ],
)
def test_a_mistake_is_told_in_one_line(command: Command, arguments: tuple[str, ...], message: str) -> None:
    told = command(*SERVES, *arguments)
    assert (told.code, told.out) == (2, "")
    assert message in told.err
    assert told.err.startswith("error: ")
    assert len(told.err.splitlines()) == 1


def test_a_run_and_what_is_in_its_folder(command: Command) -> None:
    told = command(*SERVES, "hydra.run.dir=run")
    assert told.code == 0, told.err
    of = json.loads(Path("run/summary.json").read_text())["services"]["service"]
    assert of["num_requests"] == of["num_served"] > 80
    assert of["replicas_mean"] == 2.0
    assert {"latency_p50_s", "latency_p99_s", "slo_attainment_frac", "cost_per_1k_requests_usd"} <= set(of)
    run = Run.load(Path("run"))
    assert len(run.table("requests")) == of["num_served"]
    assert pd.read_parquet("run/replicas.parquet")["end"].tolist() == ["running", "running"]


@pytest.mark.slow
def test_same_seed_same_bytes_in_any_process(command: Command) -> None:
    """Two services of their own kinds beside elastic training, with everything drawn that can be."""
    mixed = (
        *("workload=synthetic", "workload.num_jobs=30", "workload.reference_gpus=16", "workload.elastic_frac=0.5"),
        *("allocation=lend", "placement=spread", "overheads=pollux", "cluster.num_nodes=2", "horizon_s=2400", "seed=3"),
        *("requests=bursty", "requests.rate_per_s=3", "requests.duration_s=900", "figures=false", "check=true"),
        *("service.name=chat", "service.model=llm", "service.balancer=power_of_two", "service.max_replicas=6"),
        *("requests.prompt_tokens={median: 500, sigma: 1}", "requests.output_tokens={median: 60, sigma: 1}"),
        *("service.startup.image_s=30", "service.startup.engine_s=20", "service.retries=1", "service.timeout_s=20"),
        *("service.min_replicas=0", "scaling=concurrency", "scaling.target=2", "service.keep_requests=true"),
        "+services.rank={requests: {name: poisson, rate_per_s: 5, duration_s: 600}, model: queue, replicas: 2}",
    )
    processes = [command.apart(*mixed, f"hydra.run.dir={seed}", env={"PYTHONHASHSEED": seed}) for seed in ("1", "2")]
    for process in processes:
        told = command.end_of(process)
        assert told.code == 0, told.err
    names = {path.name for path in (command.folder / "1").iterdir()} - {"environment.json"}
    tables = ("service_metrics", "replicas", "latencies", "latency_heat", "slo_minutes", "requests")
    assert {f"{table}.parquet" for table in tables} <= names
    for name in names:
        assert (command.folder / "1" / name).read_bytes() == (command.folder / "2" / name).read_bytes(), name
    run = Run.load(command.folder / "1")
    assert len(run.table("replicas")) > 3
    assert len(run.table("requests")) > 4000


def test_a_run_that_breaks_off_leaves_json(tmp_path: Path) -> None:
    """Also where a service has served nothing yet, and has no latencies."""
    tracking = {"name": "target_tracking", "metric": "ttft_p99_s"}
    broken = scenario(requests=POISSON, service={"max_replicas": 2}, scaling=tracking)
    with pytest.raises(PolicyError, match=r"metric 'ttft_p99_s' is not measured of 'service': (?!it is one of)"):
        simulate(broken, tmp_path)
    told = json.loads((tmp_path / "unfinished.json").read_text(), parse_constant=pytest.fail)
    assert told["services"]["service"]["latency_p99_s"] is None
