"""Step-time models: exact values by hand, and refused tables."""

from __future__ import annotations

from typing import Any

import pytest

from workloads import Amdahl, Linear, StepTimeModel, Table, WorkloadError

TIMES_S = {"bert": {1: 8.0, 2: 5.0, 4: 4.0}, "gpt": {2: 10.0}}


def test_every_model_has_the_interface() -> None:
    for model in (Linear(), Amdahl(), Table(TIMES_S)):
        assert isinstance(model, StepTimeModel)


def test_linear() -> None:
    assert Linear().step_time_s("any", 4) == 0.25
    assert Linear(cross_node_frac=0.1).step_time_s("any", 4, 3) == pytest.approx(0.25 * 1.2)
    assert Linear(cross_node_frac=0.1).step_time_s("any", 4) == 0.25


def test_amdahl() -> None:
    model = Amdahl(serial_frac=0.2, serial_frac_by_model={"bert": 0.0}, cross_node_frac=0.5)
    assert model.step_time_s("any", 1) == 1.0
    assert model.step_time_s("any", 4) == pytest.approx(0.2 + 0.8 / 4)
    assert model.step_time_s("bert", 4) == 0.25
    assert model.step_time_s("bert", 4, 2) == pytest.approx(0.375)


def test_amdahl_never_beats_its_limit() -> None:
    assert Amdahl(serial_frac=0.1).step_time_s("any", 10**9) == pytest.approx(0.1)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_amdahl_refuses(value: float) -> None:
    with pytest.raises(WorkloadError, match=rf"^serial_frac={value}: must lie in 0\.\.1"):
        Amdahl(serial_frac=value)
    with pytest.raises(WorkloadError, match=rf"^serial_frac of bert={value}: must lie in 0\.\.1"):
        Amdahl(serial_frac_by_model={"bert": value})


def test_table_gives_its_points_back() -> None:
    for model, times_s in TIMES_S.items():
        for num_gpus, step_s in times_s.items():
            assert Table(TIMES_S).step_time_s(model, num_gpus) == pytest.approx(step_s)


def test_table_is_linear_in_the_throughput_between_points() -> None:
    # half way from 1/5 to 1/4 steps a second
    assert Table(TIMES_S).step_time_s("bert", 3) == pytest.approx(1 / (0.5 / 5 + 0.5 / 4))


def test_table_below_the_first_point_is_linear_through_the_origin() -> None:
    assert Table(TIMES_S).step_time_s("gpt", 1) == pytest.approx(20.0)


def test_table_beyond_the_last_point() -> None:
    with pytest.raises(WorkloadError, match="step times of 'bert' end at 4 GPUs, 8 asked; set beyond=flat or linear"):
        Table(TIMES_S).step_time_s("bert", 8)
    assert Table(TIMES_S, beyond="flat").step_time_s("bert", 8) == pytest.approx(4.0)
    assert Table(TIMES_S, beyond="linear").step_time_s("bert", 8) == pytest.approx(2.0)


def test_table_spans_nodes() -> None:
    assert Table(TIMES_S, cross_node_frac=0.25).step_time_s("bert", 4, 2) == pytest.approx(5.0)


def test_table_of_an_unknown_model() -> None:
    with pytest.raises(WorkloadError, match=r"no step times for model 'llama' \(known: bert, gpt\); set default_model"):
        Table(TIMES_S).step_time_s("llama", 1)
    assert Table(TIMES_S, default_model="bert").step_time_s("llama", 1) == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times_s": TIMES_S, "beyond": "up"}, "beyond='up': must be error, flat or linear"),
        ({"times_s": {"bert": {}}}, "step-time table of 'bert' is empty"),
        ({"times_s": {"bert": {0: 1.0}}}, "step-time table of 'bert': 0 GPUs: 1.0 s: both must be > 0"),
        ({"times_s": {"bert": {1: 0.0}}}, "step-time table of 'bert': 1 GPUs: 0.0 s: both must be > 0"),
        ({"times_s": TIMES_S, "default_model": "x"}, r"default_model='x': not in the table \(bert, gpt\)"),
    ],
)
def test_table_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        Table(**options)
