"""Step times of an LLM engine fitted to measurements: `LlmTimes` by least squares of relative errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from workloads.errors import WorkloadError
from workloads.profile import HoldOut

MIN_ROWS = 8
_FOLDS = 5


@dataclass(frozen=True)
class PrefillRows:
    """Measured prefills; arrays of shape (R,): sums of the prompts' tokens and of their squares, seconds."""

    kind: ClassVar[str] = "prefill"
    names: ClassVar[tuple[str, ...]] = ("prefill_fixed_s", "prefill_per_token_s", "prefill_per_token2_s")

    tokens: np.ndarray
    tokens2: np.ndarray
    step_s: np.ndarray

    @property
    def terms(self) -> np.ndarray:
        """What the coefficients are multiplied with; (R, 3)."""
        return np.column_stack([np.ones(len(self.step_s)), self.tokens, self.tokens2]).astype(np.float64)


@dataclass(frozen=True)
class DecodeRows:
    """Measured decode steps; arrays of shape (R,): requests, tokens of context in all, seconds."""

    kind: ClassVar[str] = "decode"
    names: ClassVar[tuple[str, ...]] = ("decode_fixed_s", "decode_per_request_s", "decode_per_token_s")

    requests: np.ndarray
    context: np.ndarray
    step_s: np.ndarray

    @property
    def terms(self) -> np.ndarray:
        """What the coefficients are multiplied with; (R, 3)."""
        return np.column_stack([np.ones(len(self.step_s)), self.requests, self.context]).astype(np.float64)


@dataclass(frozen=True)
class LlmFit:
    """Coefficients by name, fitted to all rows, and the errors on each row of a fit that was not given it."""

    coefficients: dict[str, float]
    holdout: HoldOut
    num_rows: int


def fit_steps(rows: PrefillRows | DecodeRows, seed: int = 0) -> LlmFit:
    """Fits one kind of step; coefficients are 0 or more.

    For the errors, a fifth of the rows at a time is held out of a fit to the others, so that each row is once; `seed`
    draws the fifths. One part held out would say little: of 27 rows it is a handful.

    Raises:
        WorkloadError: what `check_rows` refuses.
    """
    check_rows(rows)
    terms, step_s = rows.terms, np.asarray(rows.step_s, np.float64)
    num = len(step_s)
    fold = np.random.default_rng(seed).permutation(num) % _FOLDS
    errors = np.empty(num)
    for each in range(_FOLDS):
        held, kept = fold == each, fold != each
        errors[held] = np.abs(terms[held] @ _solve(terms[kept], step_s[kept]) / step_s[held] - 1.0)
    holdout = HoldOut(num, float(np.median(errors)), float(np.quantile(errors, 0.9)))
    return LlmFit(dict(zip(rows.names, _solve(terms, step_s).tolist(), strict=True)), holdout, num)


def check_rows(rows: PrefillRows | DecodeRows) -> None:
    """Sees that the rows can be fitted.

    Raises:
        WorkloadError: too few rows; rows that don't tell the coefficients apart; a time that isn't above 0.
    """
    step_s = np.asarray(rows.step_s, np.float64)
    if len(step_s) < MIN_ROWS:
        raise WorkloadError(f"{len(step_s)} {rows.kind} rows: a fit needs {MIN_ROWS} or more")
    bad = ~(np.isfinite(step_s) & (step_s > 0))
    if bad.any():
        row = int(bad.argmax())
        raise WorkloadError(f"{rows.kind} step_s[{row}]={step_s[row]}: must be a number above 0")
    terms = rows.terms
    if np.linalg.matrix_rank(terms / np.abs(terms).max(axis=0)) < len(rows.names):
        raise WorkloadError(
            f"{len(step_s)} {rows.kind} rows don't tell {', '.join(rows.names)} apart: requests and tokens must vary"
        )


def _solve(terms: np.ndarray, step_s: np.ndarray) -> np.ndarray:
    """The coefficients, 0 or more, with the least squares of relative errors."""
    from scipy.optimize import nnls  # slow to import

    relative = terms / step_s[:, None]
    scale = relative.max(axis=0)
    return np.asarray(nnls(relative / scale, np.ones(len(step_s)))[0]) / scale
