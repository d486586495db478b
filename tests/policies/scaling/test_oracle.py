"""oracle: orders what will be needed, keeps what will be until then, and must be told the load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import PolicyError
from policies.scaling.oracle import Oracle
from tests.policies.scaling.play import wishes


def oracle(*series: tuple[float, float], **options: Any) -> Oracle:
    """Units for a load of 1, that take 100 s to come, asked for every 20 s."""
    times_s, values = zip(*series, strict=True)
    return Oracle(times_s=times_s, values=values, **{"per_unit": 1.0, "lead_s": 100.0, "period_s": 20.0, **options})


STEPS = ((0.0, 2.0), (200.0, 6.0), (400.0, 3.0))


@pytest.mark.parametrize(
    ("now_s", "wanted"),
    [
        (0.0, 2),
        (80.0, 2),  # what comes at 180 s is for until 200 s, excluded
        (80.1, 6),
        (100.0, 6),
        (300.0, 6),  # until 400 s all are needed
        (399.9, 6),
        (400.0, 3),
        (9e9, 3),  # the last one stands for ever
    ],
)
def test_what_is_needed_when_it_is_there(now_s: float, wanted: int) -> None:
    units = 2 if now_s < 100.0 else 6
    assert wishes(oracle(*STEPS), [], [now_s], units=units) == [wanted]


def test_a_peak_before_units_would_come_can_t_be_helped() -> None:
    assert wishes(oracle((0.0, 2.0), (50.0, 9.0), (90.0, 2.0)), [], [0.0], units=2) == [2]


def test_a_short_peak_is_seen_whenever_it_is() -> None:
    assert wishes(oracle((0.0, 2.0), (110.0, 9.0), (111.0, 2.0)), [], [0.0], units=2) == [9]


def test_before_the_first_value_it_counts() -> None:
    assert wishes(oracle((1000.0, 7.0)), [], [0.0]) == [7]


def test_gpus_of_a_pool_and_bounds() -> None:
    assert wishes(oracle((0.0, 50.0), per_unit=None), [], [0.0]) == [7]
    assert wishes(oracle((0.0, 50.0), max_units=9), [], [0.0]) == [9]
    assert wishes(oracle((0.0, 0.0), min_units=2), [], [0.0]) == [2]
    with pytest.raises(PolicyError, match="oracle: per_unit: is needed to scale 'chat'"):
        wishes(oracle((0.0, 5.0), per_unit=None), [], [0.0], service=True)


def test_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "demand.csv"
    file.write_text("time_s,value\n0,2\n200,6.5\n")
    assert wishes(Oracle(path=str(file), per_unit=1.0), [], [0.0]) == [7]
    for text, message in (
        ("time_s\n0\n", "demand.csv:1: column 'value': is needed"),
        ("time_s,value\n0,2\n1,x\n", "demand.csv:3: column 'value': 'x': must be a number"),
        ("time_s,value\n5,2\n1,3\n", "oracle: times_s: must ascend"),
        ("time_s,value\n", "oracle: 0 times and 0 values: must be as many, 1 or more"),
    ):
        file.write_text(text)
        with pytest.raises(PolicyError, match=message):
            wishes(Oracle(path=str(file), per_unit=1.0), [], [0.0])
    with pytest.raises(PolicyError, match=r"oracle: path=nowhere.csv: No such file"):
        wishes(Oracle(path="nowhere.csv"), [], [0.0])


def test_it_must_be_told() -> None:
    assert Oracle.knows_future
    with pytest.raises(PolicyError, match="oracle: does not know the load: give path, times_s and values, or call"):
        wishes(Oracle(), [], [0.0])
    told = Oracle(per_unit=1.0)
    told.reveal([0.0], [5.0])
    assert wishes(told, [], [0.0]) == [5]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0.0, 30.0), min_size=1, max_size=20),
    st.integers(0, 12),
    st.floats(0.0, 500.0),
    st.floats(10, 200),
)
def test_it_is_never_short_of_what_it_could_have_ordered(
    values: list[float], start: int, lead_s: float, period_s: float
) -> None:
    """Everything that it orders comes after the lead; from then on no load finds too few."""
    policy = oracle(*((60.0 * i, value) for i, value in enumerate(values)), lead_s=lead_s, period_s=period_s)
    asked = [i * period_s for i in range(int(1300 / period_s) + 1)]
    told = wishes(policy, [], asked, units=start, most=50)
    for i, value in enumerate(values):
        ordered = [count for at_s, count in zip(asked, told, strict=True) if at_s + lead_s <= 60.0 * i]
        if ordered and 60.0 * i < asked[-1]:
            assert ordered[-1] >= value - 1e-9
    assert all(isinstance(count, int) and 0 <= count <= 50 for count in told)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": [1.0]}, "oracle: 0 times and 1 values: must be as many, 1 or more"),
        ({"times_s": [0.0, 0.0], "values": [1.0, 2.0]}, "oracle: times_s: must ascend"),
        ({"times_s": [0.0], "values": [float("nan")]}, "oracle: times_s and values: must be finite"),
        ({"path": "a.csv", "times_s": [0.0], "values": [1.0]}, "oracle: path=a.csv: must not be given beside values"),
        ({"lead_s": -1.0}, "oracle: lead_s=-1.0: must be 0 or more"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Oracle(**options)
