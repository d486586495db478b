"""Fits of serving's step times: known coefficients come back, errors are of rows held out, bad rows are refused."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads import WorkloadError
from workloads.serving.fitting import MIN_ROWS, DecodeRows, PrefillRows, fit_steps

NUM, LENGTH = np.array(list(product((1, 2, 4, 8), (16, 64, 256, 500, 1000))), float).T
PREFILL = (0.02205, 0.1405e-3, 8.08e-9)
DECODE = (0.02348, 0.0607e-3, 5.93e-7)

Rows = PrefillRows | DecodeRows


def prefills(coefficients: tuple[float, ...] = PREFILL) -> PrefillRows:
    """Of 1 to 8 prompts of 16 to 1,000 tokens, exact."""
    rows = PrefillRows(NUM * LENGTH, NUM * LENGTH**2, np.ones(len(NUM)))
    return PrefillRows(rows.tokens, rows.tokens2, rows.terms @ coefficients)


def decodes(coefficients: tuple[float, ...] = DECODE) -> DecodeRows:
    """Likewise."""
    rows = DecodeRows(NUM, NUM * LENGTH, np.ones(len(NUM)))
    return DecodeRows(rows.requests, rows.context, rows.terms @ coefficients)


@pytest.mark.parametrize(("rows", "coefficients"), [(prefills(), PREFILL), (decodes(), DECODE)], ids=lambda each: "")
def test_known_coefficients_come_back(rows: Rows, coefficients: tuple[float, ...]) -> None:
    fit = fit_steps(rows)
    assert fit.coefficients == pytest.approx(dict(zip(rows.names, coefficients, strict=True)), rel=1e-6)
    assert fit.num_rows == fit.holdout.num_rows == 20
    assert fit.holdout.p90_error_frac < 1e-9


@given(st.tuples(*[st.floats(1e-6, 1.0)] * 3))
def test_exact_rows_have_no_error(sizes: tuple[float, float, float]) -> None:
    """Each coefficient makes up any part of the longest step."""
    largest = decodes().terms.max(axis=0)
    coefficients = tuple((np.array(sizes) / largest).tolist())
    fit = fit_steps(decodes(coefficients))
    fitted_s = decodes().terms @ list(fit.coefficients.values())
    np.testing.assert_allclose(fitted_s, decodes(coefficients).step_s, rtol=1e-6)
    assert fit.holdout.p90_error_frac < 1e-6


def test_no_coefficient_is_below_zero() -> None:
    """Prefills that grow less than linearly: a quadratic term below 0 would make long ones negative."""
    tokens = NUM * LENGTH
    fit = fit_steps(PrefillRows(tokens, NUM * LENGTH**2, 0.01 + 1e-4 * tokens**0.8))
    assert min(fit.coefficients.values()) == 0.0
    assert fit.holdout.median_error_frac > 0.001


def test_an_error_is_that_of_rows_held_out() -> None:
    """About the noise, and more than what the rows that were fitted are off."""
    rows, rng = decodes(), np.random.default_rng(1)
    held, fitted = [], []
    for _ in range(20):
        noisy = DecodeRows(rows.requests, rows.context, rows.step_s * np.exp(0.05 * rng.standard_normal(len(NUM))))
        fit = fit_steps(noisy)
        errors = np.abs(rows.terms @ list(fit.coefficients.values()) / noisy.step_s - 1.0)
        held.append([fit.holdout.median_error_frac, fit.holdout.p90_error_frac])
        fitted.append([np.median(errors), np.quantile(errors, 0.9)])
    median_frac, p90_frac = np.mean(held, axis=0)
    assert 0.03 < median_frac < 0.045  # of |N(0, 5%)|: 3.4%, and 8.2%
    assert 0.08 < p90_frac < 0.11
    assert (np.mean(held, axis=0) > 1.1 * np.mean(fitted, axis=0)).all()


def test_the_seed_draws_who_is_held_out() -> None:
    rows = decodes()
    noisy = DecodeRows(rows.requests, rows.context, rows.step_s * np.linspace(0.9, 1.1, len(NUM)))
    assert fit_steps(noisy, seed=3) == fit_steps(noisy, seed=3)
    assert fit_steps(noisy, seed=0).holdout != fit_steps(noisy, seed=1).holdout
    assert fit_steps(noisy, seed=0).coefficients == fit_steps(noisy, seed=1).coefficients


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (DecodeRows(NUM[:7], LENGTH[:7], np.ones(7)), f"7 decode rows: a fit needs {MIN_ROWS} or more"),
        (PrefillRows(NUM, NUM, np.append(np.ones(19), -0.5)), "prefill step_s[19]=-0.5: must be a number above 0"),
        (DecodeRows(NUM, LENGTH, np.append(np.nan, np.ones(19))), "decode step_s[0]=nan: must be a number above 0"),
        (
            DecodeRows(np.ones(20), LENGTH, np.ones(20)),
            "20 decode rows don't tell decode_fixed_s, decode_per_request_s, decode_per_token_s apart: requests and "
            "tokens must vary",
        ),
        (
            PrefillRows(NUM * 64, NUM * 64**2, np.ones(20)),
            "20 prefill rows don't tell prefill_fixed_s, prefill_per_token_s, prefill_per_token2_s apart: requests and "
            "tokens must vary",
        ),
    ],
)  # fmt: skip
def test_refused(rows: Rows, message: str) -> None:
    with pytest.raises(WorkloadError, match=f"^{re.escape(message)}$"):
        fit_steps(rows)
