"""What is written is read back as the same."""

from __future__ import annotations

import json
from dataclasses import fields
from fractions import Fraction
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import registry
from policies.metrics_view import SERVICE_METRICS
from policies.scaling.karpenter import CONSOLIDATION
from simulator.errors import ConfigError
from simulator.manifests.deployment import read_deployment, write_deployment, write_job
from simulator.manifests.kubeflow import write_pytorch_job
from simulator.manifests.metrics import MetricNames
from simulator.manifests.scaling import WRITERS, policies_of, write_policy
from simulator.serving.spec import ServiceSpec
from workloads import Elasticity, JobSpec
from workloads.manifests.documents import Document
from workloads.manifests.pods import Pod, shares
from workloads.readers.kubeflow import read_job

METRIC = st.sampled_from(sorted(SERVICE_METRICS))
POSITIVE = st.integers(1, 10**9).map(lambda millis: millis / 1000)
SECONDS = st.integers(0, 3600).map(float)
EXACT = st.floats(0.001, 1e6)


def rates():
    kinds, seconds = st.sampled_from(["Pods", "Percent"]), st.integers(1, 1800).map(float)
    return st.fixed_dictionaries({"type": kinds, "value": st.integers(1, 1000), "period_s": seconds})


def rules():
    return st.fixed_dictionaries(
        {},
        optional={
            "window_s": SECONDS,
            "select": st.sampled_from(["Max", "Min", "Disabled"]),
            "policies": st.lists(rates(), min_size=1, max_size=3),
            "tolerance": st.integers(0, 1000).map(lambda millis: millis / 1000),
        },
    )


BEHAVIOR = st.none() | st.fixed_dictionaries({}, optional={"scale_up": rules(), "scale_down": rules()})


@st.composite
def hpa_metrics(draw):
    source, types = draw(
        st.sampled_from(
            [
                ("Resource", ["Utilization", "AverageValue"]),
                ("Pods", ["AverageValue"]),
                ("Object", ["Value", "AverageValue"]),
                ("External", ["Value", "AverageValue"]),
            ]
        )
    )
    kind = draw(st.sampled_from(types))
    target = draw(st.integers(1, 1000).map(float) if kind == "Utilization" else POSITIVE)
    return {"metric": draw(METRIC), "source": source, "target_type": kind, "target": target}


def bounded(least, **options):
    """Options with min_units and max_units."""
    pairs = st.tuples(st.integers(least, 50), st.integers(1, 50)).map(lambda pair: (pair[0], max(pair)))
    return st.tuples(pairs, st.fixed_dictionaries(options)).map(
        lambda both: {**both[1], "min_units": both[0][0], "max_units": both[0][1]}
    )


TRIGGER = st.fixed_dictionaries(
    {
        "metric": METRIC,
        "threshold": EXACT,
        "activation_threshold": EXACT,
        "metric_type": st.sampled_from(["AverageValue", "Value"]),
    }
)
OUT = st.dictionaries(st.integers(1, 100).map(float), st.integers(0, 50).map(float), max_size=3)
STEPS = st.tuples(st.integers(0, 50).map(float), OUT).map(lambda both: {0.0: both[0], **both[1]})
POINTS = st.integers(1, 5)
OPTIONS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "kubernetes_hpa": bounded(1, metrics=st.lists(hpa_metrics(), min_size=1, max_size=3), behavior=BEHAVIOR),
    "keda": bounded(
        0,
        triggers=st.lists(TRIGGER, min_size=1, max_size=3),
        polling_s=SECONDS,
        cooldown_s=SECONDS,
        initial_cooldown_s=SECONDS,
        fallback_units=st.integers(0, 9),
        fallback_failures=st.integers(0, 9),
        behavior=BEHAVIOR,
    ),
    "karpenter": st.fixed_dictionaries(
        {
            "consolidation": st.sampled_from(CONSOLIDATION),
            "consolidate_after_s": SECONDS | st.just(float("inf")),
            "budget_frac": st.integers(0, 100).map(lambda percent: percent / 100),
            "max_units": st.none() | st.integers(0, 100),
        }
    ),
    "cluster_autoscaler": bounded(
        0,
        expander=st.lists(st.sampled_from(["least-waste", "price", "random"]), min_size=1, unique=True),
        unneeded_s=SECONDS,
        max_provision_s=SECONDS,
        period_s=st.integers(1, 10**6).map(lambda millis: millis / 1000),
        scale_down=st.booleans(),
        utilization_threshold=st.floats(0, 1),
        max_parallel=st.integers(0, 20),
        max_drain=st.integers(0, 20),
    ),
    "ray_serve": bounded(
        0,
        target_ongoing_requests=EXACT,
        look_back_s=st.floats(0.1, 3600),
        upscale_delay_s=SECONDS,
        downscale_delay_s=SECONDS,
        downscale_to_zero_delay_s=st.none() | SECONDS,
        upscaling_factor=EXACT,
        downscaling_factor=EXACT,
    ),
    "target_tracking": bounded(
        0,
        metric=METRIC.filter(lambda name: name != "slo_attainment_frac"),
        target=EXACT,
        also=st.just({}),
        cooldown_out_s=SECONDS,
        cooldown_in_s=SECONDS,
        disable_scale_in=st.booleans(),
    ),
    "step": bounded(
        0,
        metric=METRIC,
        upper=st.floats(2, 100),
        lower=st.floats(0, 1),
        steps_out=STEPS,
        steps_in=STEPS.map(lambda steps: {-begin: -value for begin, value in steps.items()}),
        adjustment=st.sampled_from(["change", "percent"]),
        points_out=POINTS,
        points_in=POINTS,
        point_s=st.integers(1, 300).map(float),
        cooldown_out_s=SECONDS,
        cooldown_in_s=SECONDS,
    ),
}


def test_every_writer_is_tried():
    assert set(OPTIONS) == set(WRITERS)


def read_back(text: str) -> Document:
    content = json.loads(text) if text.startswith("{") else yaml.safe_load(text)
    return Document("a.yaml: document 1", content)


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_policy_comes_back(name, data):
    policy = registry.create("scaling", name, **data.draw(OPTIONS[name]))
    document = read_back(write_policy(policy, "chat", name).text())
    (found,) = policies_of(document, MetricNames())
    assert found.policy == name
    assert registry.create("scaling", name, **found.options) == policy


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_no_manifest_says_is_refused_or_noted(name):
    """Each option of a policy, set to something else, comes back, or is noted, or is refused."""
    cls = registry.get("scaling", name)
    base = {"max_units": 9} if "max_units" in cls.__dataclass_fields__ else {}
    options = {each.name for each in fields(cls) if each.init} - {"target", "upper", "lower"}
    for option in sorted(options):
        value = getattr(cls(), option)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        other = {"budget_frac": 0.25, "utilization_threshold": 0.25, "stale_s": 60.0}.get(option, value + 1)
        try:
            policy = registry.create("scaling", name, **{**base, option: other})
        except ValueError:
            continue  # not by itself
        try:
            written = write_policy(policy, "chat", name)
        except ConfigError as error:
            told = str(error)
            assert f"{option}={other}" in told
            continue
        (found,) = policies_of(read_back(written.text()), MetricNames())
        is_noted = any(note.startswith(f"{option}={other}:") for note in written.notes)
        assert is_noted or found.options[option] == other, option


def test_a_policy_of_ours_alone():
    with pytest.raises(
        ConfigError, match="threshold: no other system has this policy; manifests are of kubernetes_hpa"
    ):
        write_policy(registry.create("scaling", "threshold"), "chat", "threshold")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("karpenter", {"min_units": 1}, "karpenter: min_units=1: a NodePool can't say it"),
        ("karpenter", {"budget_frac": 0.125}, "budget_frac=0.125: a NodePool takes whole percents only"),
        ("karpenter", {"consolidate_after_s": 0.5}, "consolidate_after_s=0.5: a NodePool takes whole seconds"),
        ("keda", {"polling_s": 0.5}, "polling_s=0.5: a ScaledObject takes whole numbers only"),
        ("ray_serve", {}, "max_units: is needed"),
        ("target_tracking", {"min_units": 1}, "min_units=1: AWS has no MinCapacity without a MaxCapacity"),
        ("step", {"steps_out": {0.0: 1.5}}, "steps=1.5: AWS takes whole numbers only"),
        ("step", {"steps_out": {1.0: 1.0}}, "AWS needs a step that begins at 0"),
        ("cluster_autoscaler", {"unneeded_s": 0.0001}, "0.0001 s is not a whole number of milliseconds"),
    ],
)
def test_options_that_cannot_be_written(name, options, message):
    with pytest.raises(ConfigError, match=message):
        write_policy(registry.create("scaling", name, **options), "chat", name)


@given(st.integers(1, 8), st.integers(0, 10**5), st.integers(0, 10**7), st.integers(0, 9), st.integers(0, 3600))
def test_a_service_comes_back(gpus, millis, mebibytes, replicas, grace_s):
    service = ServiceSpec(
        name="chat",
        replicas=replicas,
        max_replicas=9,
        gpus_per_replica=gpus,
        **shares(Pod(gpus, Fraction(millis, 1000), Fraction(mebibytes * 2**20)), gpus),
        drain_timeout_s=float(grace_s),
    )
    options = read_deployment(read_back(write_deployment(service).text()).fields())
    assert ServiceSpec(max_replicas=9, **options) == service


JOB = st.builds(
    JobSpec,
    job_id=st.sampled_from(["a", "vision/a"]),
    submit_s=st.floats(0, 1e9),
    duration_s=st.floats(0.001, 1e9),
    num_gpus=st.just(4),
    min_gpus=st.integers(1, 3),
    max_gpus=st.integers(5, 9),
    elasticity=st.just(Elasticity.MALLEABLE),
    model=st.sampled_from(["", "bert"]),
    tenant=st.just("lab"),
    priority=st.integers(-5, 5),
    weight=st.floats(0.1, 10),
    deadline_s=st.just(float("inf")) | st.floats(0, 1e9),
    cpus_per_gpu=st.integers(0, 10**5).map(lambda millis: millis / 1000),
    memory_gib_per_gpu=st.integers(0, 10**6).map(lambda mebibytes: mebibytes / 1024),
)


@given(JOB)
def test_a_job_comes_back(job):
    back = read_job(read_back(write_pytorch_job(job).text()))
    assert {**vars_of(back), "elasticity": back.kind} == vars_of(job)


def vars_of(job: JobSpec) -> dict[str, Any]:
    return {each.name: getattr(job, each.name) for each in fields(job) if each.name != "user_estimate_s"}


def test_jobs_that_cannot_be_written():
    with pytest.raises(ConfigError, match="elasticity=moldable: a PyTorchJob is rigid, or elastic while it runs"):
        write_pytorch_job(JobSpec("a", 0.0, 2, 1.0, 1, 2, Elasticity.MOLDABLE))
    with pytest.raises(ConfigError, match=r"a: cpus_per_gpu=0\.33333: 1 GPUs make no whole number"):
        write_pytorch_job(JobSpec("a", 0.0, 2, 1.0, cpus_per_gpu=0.33333))


def test_a_job_as_a_deployment():
    written = write_job(JobSpec("lab/a", 0.0, 4, 1.0, 1, 8, cpus_per_gpu=2.0, memory_gib_per_gpu=16.0))
    options = read_deployment(written_fields(written))
    assert (options["name"], options["replicas"], options["gpus_per_replica"]) == ("a", 4, 1)
    assert (options["cpus_per_gpu"], options["memory_gib_per_gpu"]) == (2.0, 16.0)
    assert "min_gpus=1, max_gpus=8: scale it between them" in written.notes


def written_fields(written):
    return read_back(written.text()).fields()
