"""Settings: their types, their choices, and what is refused before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from policies import PolicyError, registry
from simulator.__main__ import store_choices
from simulator.catalogue import pool_settings
from simulator.cluster import DecideOptions
from simulator.config import (
    GROUPS,
    SERVING_GROUPS,
    STEP_TIMES,
    CompareOptions,
    RunConfig,
    Setup,
    make_policy,
    read_config,
)
from simulator.errors import ConfigError
from simulator.monitor import MonitorOptions
from simulator.overheads import MoveCosts
from simulator.schema import schema_of
from tests.small_profile import write_small
from workloads import WorkloadError
from workloads.estimates import KINDS

CONF = Path(__file__).parents[2] / "conf"
Compose = Callable[..., Mapping[str, Any]]


@pytest.fixture(scope="module")
def settings() -> Iterator[Compose]:
    """Composes settings as plain values."""
    store_choices()
    with initialize_config_module("conf", version_base="1.3"):

        def of(*overrides: str) -> Mapping[str, Any]:
            plain: Any = OmegaConf.to_container(compose("config", list(overrides)), resolve=True)
            return plain

        yield of


def choices(group: str) -> list[str]:
    named = registry.names(group) if group in ("allocation", "placement", "scaling") else []
    return sorted({*named, *(path.stem for path in (CONF / group).glob("*.yaml"))})


@pytest.mark.parametrize("choice", [f"{group}={name}" for group in (*GROUPS, "monitor") for name in choices(group)])
def test_every_choice_makes_a_run(settings: Compose, choice: str, tmp_path: Path) -> None:
    file = CONF / f"{choice.replace('=', '/')}.yaml"
    open_options = re.findall(r"^(\w+): \?\?\?", file.read_text(), re.MULTILINE) if file.exists() else []
    group = choice.partition("=")[0]
    manifest = tmp_path / "flags.yaml"
    manifest.write_text("--scan-interval=10s")
    given = {"profile": write_small(tmp_path), "manifest": manifest}
    opened = [f"{group}.{option}={given.get(option, 'jobs.txt')}" for option in open_options]
    needed = ["cluster=aws_p4d"] if choice == "step_time=by_gpu" else []  # GPUs of which something is known
    Setup(read_config(settings(choice, *opened, *needed)))


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_a_file_begins_with_a_command_that_names_it(file: Path) -> None:
    first = file.read_text().splitlines()[0]
    if file.name in ("workload_options.yaml", "request_options.yaml"):
        return
    if file.parent == CONF:
        assert first.startswith(("# python -m simulator", "# python -m real_backend"))
    else:
        choice = f"{file.parent.relative_to(CONF).as_posix()}={file.stem}"
        assert re.match(
            rf"# python -m (simulator|workloads show|real_backend \w+) (.* )?{re.escape(choice)}( |$)", first
        )


def test_the_root_file_names_every_setting() -> None:
    given = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))
    assert isinstance(given, dict)
    own = {str(name): value for name, value in given.items() if name not in ("defaults", "hydra", "compare")}
    composed = (*GROUPS, *SERVING_GROUPS, "monitor", "service", "compare")
    config = RunConfig(**{group: {} for group in GROUPS})
    defaults = {each.name: getattr(config, each.name) for each in fields(RunConfig)}
    assert given["compare"] == {each.name: getattr(CompareOptions(), each.name) for each in fields(CompareOptions)}
    assert own == {name: value for name, value in defaults.items() if name not in composed}


@pytest.mark.parametrize(
    ("file", "cls"),
    [
        *((f"step_time/{name}", cls) for name, cls in STEP_TIMES.items()),
        ("overheads/none", MoveCosts),
        ("decide/events", DecideOptions),
        ("decide/rounds", DecideOptions),
        ("monitor/sampled", MonitorOptions),
    ],
)
def test_a_file_names_every_option_with_its_default(file: str, cls: type) -> None:
    given = OmegaConf.load(CONF / f"{file}.yaml")
    for option in fields(cls):
        assert option.name in list(given)
        if OmegaConf.is_missing(given, option.name):
            assert option.default is MISSING
        elif file != "decide/rounds" and option.name not in ("times_s", "gpus"):
            assert given[option.name] == (option.default if not callable(option.default_factory) else {})  # type: ignore[arg-type]


def test_every_kind_of_estimate_has_a_file() -> None:
    assert choices("estimates") == sorted(KINDS)


@pytest.mark.parametrize("file", sorted((CONF / "cluster").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_price_has_a_dated_source(file: Path) -> None:
    given = pool_settings(OmegaConf.to_container(OmegaConf.load(file)))  # type: ignore[arg-type]
    if given.get("usd_per_node_h"):
        assert re.search(r"\d{4}-\d{2}-\d{2}$", given["price_source"])


def test_settings_arrive(settings: Compose) -> None:
    given = (
        *("workload=synthetic", "workload.num_jobs=3", "cluster.num_nodes=2", "overheads=sia", "seed=7"),
        *("estimates=noisy", "estimates.sigma=0.25", "decide=rounds", "monitor.delay_s=5", "scaling=threshold"),
    )
    setup = Setup(read_config(settings(*given)))
    scenario = setup.scenario(setup.load())
    assert len(scenario.jobs) == 3
    assert scenario.pools[0].num_nodes == 2
    assert scenario.overheads.of("bert").restart_s == 120.0
    assert scenario.overheads.of("other").restart_s == 30.0
    assert (scenario.estimates, dict(scenario.estimate_options)) == ("noisy", {"sigma": 0.25, "bias": 1.0})
    assert scenario.decide.interval_s == 360.0
    assert scenario.monitor.delay_s == 5.0
    assert list(scenario.scaling) == ["default"]
    assert scenario.seed == 7


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("seed", -1, "seed=-1: must be 0 or more"),
        ("oversized", "drop", "oversized=drop: must be reject or error"),
        ("horizon_s", 0.0, "horizon_s=0.0: must be more than 0"),
        ("starve_after_s", -1.0, "starve_after_s=-1.0: must be more than 0"),
        ("warmup_s", float("nan"), "warmup_s=nan: must be a number of seconds, 0 or more"),
        ("max_idle_moves", 0, "max_idle_moves=0: must be 1 or more"),
        ("check", "perhaps", "check=perhaps: must be true or false"),
        ("sead", 1, "sead: unknown option; did you mean seed"),
        ("cluster", {"num_nodes": 2.5}, "cluster.num_nodes=2.5: must be a whole number"),
        ("cluster", {"num_nodes": 2, "max_nodes": 1}, "cluster.max_nodes=1"),
        ("cluster", {"nodes": 2}, "cluster.nodes: unknown option; did you mean num_nodes"),
        ("cluster", {"instance": "aws/us-east-1/p4d.24"}, "cluster.instance=aws/us-east-1/p4d.24: no such offer"),
        ("decide", {"interval_s": -1}, "decide.interval_s=-1"),
        ("monitor", {"interval_s": 0}, "monitor.interval_s=0"),
        ("monitor", {"window_s": -1}, "monitor.window_s=-1.0: must be a number of seconds, 0 or more"),
        ("monitor", {"perfect": True, "delay_s": 5}, "monitor.delay_s=5.0: a perfect monitor has none"),
        ("step_time", {"name": "liner"}, "step_time=liner: unknown model; did you mean linear"),
        ("step_time", {"name": "amdahl", "serial_frac": 2}, "serial_frac=2.0: must lie in 0..1"),
        ("overheads", {"restart_s": -1}, "overheads.restart_s=-1"),
        ("overheads", {"by_model": {"bert": {"restart": 1}}}, "overheads.by_model.bert.restart: unknown option"),
        ("estimates", {"name": "noisy", "sigma": -1}, "estimates.sigma=-1"),
        ("estimates", {"name": "guess"}, "estimates=guess: unknown kind"),
        ("allocation", {"name": "las", "limits": [3, 1]}, "must be more than 0 and ascending"),
        ("allocation", {"name": "las", "limit": [3]}, "allocation.limit: unknown option; did you mean limits"),
        ("allocation", {"name": "ffo"}, "unknown allocation policy 'ffo': did you mean fifo"),
        ("allocation", {}, "allocation.name: is needed"),
    ],
)
def test_refused(settings: Compose, name: str, value: Any, message: str) -> None:
    with pytest.raises((ConfigError, PolicyError, WorkloadError), match=re.escape(message)):
        Setup(read_config({**settings("workload=synthetic"), name: value}))


def test_a_step_time_model_must_know_every_job(settings: Compose) -> None:
    setup = Setup(read_config(settings("workload=synthetic", "step_time=table", "+step_time.times_s={bert: {1: 1.0}}")))
    with pytest.raises(WorkloadError, match=r"no step times for model 'resnet\d+' \(known: bert\); set default_model"):
        setup.scenario(setup.load())


def test_what_is_said_of_spot_machines_counts_where_they_are_bought(settings: Compose) -> None:
    def pool(*given: str) -> Any:
        return Setup(read_config(settings("workload=synthetic", "cluster.spot.mean_life_s=60", *given)))._pools[0]

    assert not pool().spot.is_on
    assert pool("cluster.purchase=spot").spot.mean_life_s == 60.0
    with pytest.raises(WorkloadError, match=r"cluster\.spot\.mean_life: unknown option; did you mean mean_life_s"):
        pool("+cluster.spot.mean_life=60")


@pytest.mark.parametrize("name", ["aws_p4d", "aws_p5", "azure_nd96isr_h100_v5", "gcp_a2_highgpu_8g"])
def test_rented_machines_can_be_scaled_and_static_ones_are_as_many_as_there_are(settings: Compose, name: str) -> None:
    def most_gpus(scaling: str) -> int:
        setup = Setup(read_config(settings("workload=synthetic", f"cluster={name}", f"scaling={scaling}")))
        return setup.scenario(setup.load()).most_gpus

    assert most_gpus("static") == 32 * 8  # larger jobs are rejected at once, and wait for ever for nothing
    assert most_gpus("threshold") == most_gpus("static_half") == 256 * 8


def test_speed_by_the_gpus_of_the_pool(settings: Compose) -> None:
    def rate(*given: str) -> float:
        setup = Setup(
            read_config(settings("workload=synthetic", "workload.models=[imagenet]", "step_time=by_gpu", *given))
        )
        return setup.scenario(setup.load()).step_time.step_time_s("imagenet", 1)

    assert rate("cluster.instance=aws/us-east-1/p4d.24xlarge") / rate("cluster=aws_p5") == pytest.approx(1.846)
    with pytest.raises(ConfigError, match=r"cluster\.gpu_type=: step_time\.gpus has no speed of it"):
        rate()
    two = ("cluster=aws_p4d", "+pools.a.num_nodes=1", "+pools.b.instance=aws/us-east-1/p5.48xlarge")
    with pytest.raises(ConfigError, match=r"GPUs of several types, A100-40GB, H100-80GB; set training_pool"):
        rate(*two)
    assert rate(*two, "training_pool=b") == rate("cluster=aws_p5")


@dataclass
class Theirs:
    """What a user's policy may look like."""

    kind: ClassVar[str] = "no option"

    required: float
    number: int = 3
    maybe: int | None = None
    limits: list[float] = field(default_factory=lambda: [1.0])
    by_name: Mapping[str, float] = field(default_factory=dict)
    pair: tuple[int, int] = (1, 2)
    either: int | str = "auto"
    state: np.ndarray = field(default_factory=lambda: np.zeros(1), init=False)


def test_schema_of_a_policy() -> None:
    given = OmegaConf.structured(schema_of(Theirs, name="theirs"))
    assert OmegaConf.to_container(given) == {
        "name": "theirs", "required": "???", "number": 3, "maybe": None, "limits": [1.0], "by_name": {},
        "pair": [1, 2], "either": "auto",
    }  # fmt: skip
    assert OmegaConf.is_missing(given, "required")
    for name, value in {"number": "x", "limits": ["x"], "required": "x", "maybe": "x"}.items():
        with pytest.raises(ValueError, match="could not be converted"):
            given[name] = value
    given.either = 4


def test_a_default_that_no_file_can_hold() -> None:
    @dataclass
    class Odd:
        table: Any = field(default_factory=lambda: np.zeros(3))

    with pytest.raises(ConfigError, match=r"Odd.table: a default of type ndarray can't be a setting.*init=False"):
        schema_of(Odd)


def test_a_type_hint_that_cannot_be_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Lazy:
        factor: "Nowhere" = 1.0  # type: ignore[name-defined]  # noqa: F821, UP037

    monkeypatch.setattr(registry, "get", lambda kind, name: Lazy)
    with pytest.raises(ConfigError, match="allocation=lazy: a type hint of its fields names what its module lacks"):
        make_policy("allocation", {"name": "lazy", "factor": 2.0})
    assert schema_of(Lazy, name="lazy")().factor == 1.0


def test_one_setup_gives_the_same_jobs_each_time(settings: Compose) -> None:
    config = read_config(settings("workload=synthetic", "seed=5"))
    first, second = (Setup(config).load().jobs for _ in range(2))
    columns: Sequence[str] = ("submit_s", "duration_s", "num_gpus")
    assert all((getattr(first, name) == getattr(second, name)).all() for name in columns)
