"""From named options to a source: types, nearest names, and config files that name every option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from workloads import SOURCES, Elasticity, WorkloadError, source_class
from workloads.options import build, build_source, coerce
from workloads.synthetic import SyntheticSource

CONFIGS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "workload").glob("*.yaml"))


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, int, 3),
        (3.0, int, 3),
        ("1e6", int, 1_000_000),
        (3, float, 3.0),
        ("inf", float, float("inf")),
        ("true", bool, True),
        (False, bool, False),
        (2017, str, "2017"),
        ("a/b", Path, Path("a/b")),
        (None, int | None, None),
        ("7", int | None, 7),
        ("a", str | Path, "a"),
        ([1, 2.0], list[int], [1, 2]),
        ([1, 2], Sequence[float], [1.0, 2.0]),
        (["a"], tuple[str, ...], ("a",)),
        ({"a": 1}, Mapping[str, float], {"a": 1.0}),
        ({"a": [1]}, dict[str, Any], {"a": [1]}),
        ("moldable", Elasticity, Elasticity.MOLDABLE),
        ("up", Literal["up", "down"], "up"),
    ],
)
def test_coerce(value: Any, hint: Any, expected: Any) -> None:
    got = coerce(value, hint, "x")
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (3.5, int, "x=3.5: must be a whole number"),
        ("many", int, "x=many: must be a whole number"),
        (True, int, "x=True: must be a whole number"),
        (float("inf"), int, "x=inf: must be a whole number"),
        ("fast", float, "x=fast: must be a number"),
        (None, float, "x=None: must be a number"),
        ("yes", bool, "x=yes: must be true or false"),
        (1, bool, "x=1: must be true or false"),
        ([1], str, "x=[1]: must be a text"),
        ("some", int | None, "x=some: must be a whole number or null"),
        (1, list[int], "x=1: must be a list such as [1, 2]"),
        ("ab", list[str], "x=ab: must be a list such as [a, b]"),
        ([1, "b"], list[int], "x[1]=b: must be a whole number"),
        ([1], dict[str, int], "x=[1]: must be a mapping such as {a: 1}"),
        ({"a": "b"}, dict[str, int], "x.a=b: must be a whole number"),
        ("elastic", Elasticity, "x=elastic: must be one of rigid, moldable, malleable"),
        ("left", Literal["up", "down"], "x=left: must be one of up, down"),
    ],
)
def test_coerce_refuses(value: Any, hint: Any, message: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        coerce(value, hint, "x")
    assert str(caught.value) == message


@dataclass
class Part:
    size: int


@dataclass
class Whole:
    path: str
    part: Part | None = None
    sizes: list[int] = field(default_factory=list)


def test_build_nests_and_fixes() -> None:
    assert build(Whole, {"path": "p", "part": {"size": "2"}}) == Whole("p", Part(2))
    assert build(Whole, {"sizes": [1]}, path="given") == Whole("given", None, [1])
    with pytest.raises(WorkloadError, match=r"^w\.path: unknown option"):
        build(Whole, {"path": "p"}, prefix="w.", path="given")


@pytest.mark.parametrize("options", [{}, {"path": "???"}])
def test_build_says_how_to_give_what_is_needed(options: dict[str, str]) -> None:
    with pytest.raises(WorkloadError) as caught:
        build(Whole, options, prefix="w.")
    assert str(caught.value) == "w.path: is needed; set w.path=FILE"


def test_build_source() -> None:
    source = build_source({"name": "synthetic", "num_jobs": "12", "gpu_weights": [1, 1], "gpu_counts": [1, 2]})
    assert isinstance(source, SyntheticSource)
    assert source.num_jobs == 12
    assert source.gpu_weights == [1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "workload.name: is needed"),
        ({"name": "synthetik"}, "unknown workload 'synthetik'; did you mean synthetic?"),
        ({"name": "synthetic", "num_job": 1}, "workload.num_job: unknown option; did you mean num_jobs"),
        ({"name": "synthetic", "num_jobs": "x"}, "workload.num_jobs=x: must be a whole number"),
        ({"name": "itp", "path": "???"}, "workload.path: is needed; set workload.path=FILE"),
    ],
)
def test_build_source_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        build_source(options)
    assert str(caught.value).startswith(message)


def composed(name: str) -> dict[str, Any]:
    with initialize_config_module("conf", version_base="1.3"):
        config = OmegaConf.to_container(compose(overrides=[f"+workload={name}"]))
    assert isinstance(config, dict)
    return config["workload"]


def test_every_source_has_a_config() -> None:
    assert set(SOURCES) <= set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_name_every_option_with_a_good_value(name: str) -> None:
    """So that `workload.xxx=` works for each without a +, and `--cfg job` shows them all."""
    options = composed(name)
    cls = source_class(options["name"])
    assert set(options) - {"name"} == {option.name for option in fields(cls)}
    build_source({key: "FILE" if value == "???" else value for key, value in options.items()})


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in ("synthetic", "none")])
def test_configs_of_readers_hold_the_defaults(name: str) -> None:
    options = composed(name)
    given = {key: "" if value == "???" else value for key, value in options.items() if key != "name"}
    assert build(source_class(name), given) == source_class(name)()


def test_philly_like_resembles_philly() -> None:
    """Quantiles of the derived CSV (82,247 jobs) within the misfit that SyntheticSource's docstring owns up to."""
    options = composed("philly_like") | {"num_jobs": 82_247}
    jobs = build_source(options).load(np.random.default_rng(0)).jobs
    for percent, published_s in (
        (10, 61),
        (25, 115),
        (50, 1144),
        (75, 2932),
        (90, 11_265),
        (95, 43_646),
        (99, 254_758),
    ):
        assert np.percentile(jobs.duration_s, percent) == pytest.approx(published_s, rel=0.3), percent
    assert jobs.duration_s.mean() == pytest.approx(13_136, rel=0.1)
    assert jobs.duration_s.max() <= 4_628_226
    assert jobs.gpu_s.mean() == pytest.approx(32_600, rel=0.3)


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_start_with_their_command(name: str) -> None:
    first = (Path(__file__).parents[2] / "conf" / "workload" / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith(f"# python -m {'simulator' if name == 'none' else 'workloads show'} workload={name}")
