"""Bills: by hand, and what holds of any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.billing import billed_s, billed_usd

EIGHTHS = st.integers(0, 80_000).map(lambda n: n / 8)  # seconds that floats hold exactly
STEPS = st.sampled_from([0.0, 1.0, 60.0, 3600.0])
LEASTS = st.sampled_from([0.0, 60.0, 90.0, 600.0])


@pytest.mark.parametrize(
    ("used_s", "granularity_s", "minimum_s", "billed"),
    [
        (0, 1, 60, 0),
        (0.5, 1, 60, 60),
        (60, 1, 60, 60),
        (60.25, 1, 60, 61),
        (3600, 1, 60, 3600),
        (1, 3600, 0, 3600),
        (3601, 3600, 0, 7200),
        (90.5, 0, 0, 90.5),
        (90.5, 0, 120, 120),
        (45, 60, 90, 90),
        (100, 60, 90, 120),
    ],
)
def test_seconds_that_are_billed(used_s: float, granularity_s: float, minimum_s: float, billed: float) -> None:
    assert billed_s(7.0, 7.0 + used_s, granularity_s, minimum_s) == billed
    assert billed_usd(7.0, 7.0 + used_s, 36.0, granularity_s, minimum_s) == pytest.approx(billed / 100)


def test_many_lives_at_once_each_with_its_own_rule() -> None:
    usd = billed_usd([0, 0, 10], [30, 90.5, 10], [36, 36, 36], [1, 60, 1], [60, 0, 60])
    assert usd.tolist() == [0.6, 1.2, 0.0]
    assert billed_usd(np.zeros((2, 3)), 3600.0, 2.0, 1.0, 60.0).tolist() == [[2.0] * 3] * 2


def test_a_difference_of_clock_readings_makes_no_step_of_its_own() -> None:
    start_s = 1000.4
    used_s = start_s + 60.0 - start_s
    assert used_s > 60.0  # by rounding
    assert billed_s(start_s, start_s + 60.0, 1, 0) == used_s  # not 61, and not below the time either


@given(EIGHTHS, EIGHTHS, STEPS, LEASTS)
def test_never_below_the_time_itself_and_little_above(
    start_s: float, used_s: float, step_s: float, least_s: float
) -> None:
    billed = float(billed_s(start_s, start_s + used_s, step_s, least_s))
    assert billed >= used_s
    assert billed <= max(least_s, used_s + step_s)


@given(EIGHTHS, EIGHTHS, STEPS, LEASTS)
def test_longer_is_never_cheaper(used_s: float, more_s: float, step_s: float, least_s: float) -> None:
    short, long = billed_s(0.0, [used_s, used_s + more_s], step_s, least_s)
    assert short <= long


@given(EIGHTHS, EIGHTHS, STEPS, LEASTS)
def test_a_life_in_two_parts_costs_as_much_or_a_step_and_a_minimum_more(
    first_s: float, second_s: float, step_s: float, least_s: float
) -> None:
    whole, first, second = billed_s(
        [0.0, 0.0, first_s], [first_s + second_s, first_s, first_s + second_s], step_s, least_s
    )
    assert whole <= first + second
    assert first + second <= whole + step_s + max(step_s, least_s)


@given(EIGHTHS, STEPS, LEASTS, st.floats(0, 1000))
def test_money_is_time_at_the_price(used_s: float, step_s: float, least_s: float, usd_per_h: float) -> None:
    usd = billed_usd(0.0, used_s, usd_per_h, step_s, least_s)
    assert usd == pytest.approx(float(billed_s(0.0, used_s, step_s, least_s)) * usd_per_h / 3600)
    assert usd >= used_s * usd_per_h / 3600 * (1 - 1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 9, 1, 1, 60), "end_s=9: must be a time, not before start_s"),
        ((0, [5, np.inf], 1, 1, 60), "end_s=inf: must be a time, not before start_s"),
        ((0, 1, -2, 1, 60), "usd_per_h=-2: must be 0 or more"),
        ((0, 1, np.nan, 1, 60), "usd_per_h=nan: must be 0 or more"),
        ((0, 1, 1, -1, 60), "granularity_s=-1: must be a number of seconds, 0 or more"),
        ((0, 1, 1, [1, np.inf], 60), "granularity_s=inf: must be a number of seconds, 0 or more"),
        ((0, 1, 1, 1, np.nan), "minimum_s=nan: must be a number of seconds, 0 or more"),
    ],
)
def test_refused(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        billed_usd(*arguments)
