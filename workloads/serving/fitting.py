"""Step times of an LLM engine fitted to measurements: `LlmTimes` by least squares of relative errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from workloads.errors import WorkloadError
from workloads.profile import HoldOut

PREFILL = ("prefill_fixed_s", "prefill_per_token_s", "prefill_per_token2_s")
DECODE = ("decode_fixed_s", "decode_per_request_s", "decode_per_token_s")
MIN_ROWS = 8
_HELD_OUT_FRAC = 0.3


@dataclass(frozen=True)
class PrefillRows:
    """Measured prefills; arrays of shape (R,): sums of the prompts' tokens and of their squares, seconds."""

    tokens: np.ndarray
    tokens2: np.ndarray
    step_s: np.ndarray

    @property
    def terms(self) -> np.ndarray:
        return np.column_stack([np.ones(len(self.step_s)), self.tokens, self.tokens2]).astype(np.float64)


@dataclass(frozen=True)
class DecodeRows:
    """Measured decode steps; arrays of shape (R,): requests, tokens of context in all, seconds."""

    requests: np.ndarray
    context: np.ndarray
    step_s: np.ndarray

    @property
    def terms(self) -> np.ndarray:
        return np.column_stack([np.ones(len(self.step_s)), self.requests, self.context]).astype(np.float64)


@dataclass(frozen=True)
class LlmFit:
    """Coefficients by name, fitted to all rows, and the errors of a fit on rows that it was not given."""

    coefficients: dict[str, float]
    holdout: HoldOut
    num_rows: int


def fit_steps(rows: PrefillRows | DecodeRows, seed: int = 0) -> LlmFit:
    """Fits one kind of step; coefficients are 0 or more.

    Raises:
        WorkloadError: too few rows, or a time that isn't above 0.
    """
    names = PREFILL if isinstance(rows, PrefillRows) else DECODE
    terms, step_s = rows.terms, np.asarray(rows.step_s, np.float64)
    num = len(step_s)
    if num < MIN_ROWS:
        raise WorkloadError(f"{num} rows: a fit of {', '.join(names)} needs {MIN_ROWS} or more")
    if not (step_s > 0).all():
        raise WorkloadError("step times must be above 0")
    order = np.random.default_rng(seed).permutation(num)
    held, kept = np.split(order, [max(1, round(_HELD_OUT_FRAC * num))])
    errors = np.abs(terms[held] @ _solve(terms[kept], step_s[kept]) / step_s[held] - 1.0)
    holdout = HoldOut(len(held), float(np.median(errors)), float(np.quantile(errors, 0.9)))
    return LlmFit(dict(zip(names, _solve(terms, step_s).tolist(), strict=True)), holdout, num)


def _solve(terms: np.ndarray, step_s: np.ndarray) -> np.ndarray:
    """The coefficients, 0 or more, with the least squares of relative errors."""
    relative = terms / step_s[:, None]
    scale = np.abs(relative).max(axis=0)
    scale[scale == 0] = 1.0
    return np.asarray(nnls(relative / scale, np.ones(len(step_s)))[0]) / scale
