"""Small regressions on tables of features: ridge, support vectors, a network of one hidden layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import numpy as np

from workloads.errors import WorkloadError

Predict = Callable[[np.ndarray], np.ndarray]  # features (N, F) -> values (N,)
_RIDGE = 1e-3  # penalty on the squared weights, a row
_MOST_ROWS = 1000  # the last ones, of svr and neural, whose fits are slow
_HIDDEN, _EPOCHS, _RATE, _DECAY = 16, 200, 0.02, 1e-3  # of the network


def fit(method: str, features: np.ndarray, values: np.ndarray) -> Predict:
    """A fitted regression; it says nothing below the least or above the largest value that it was fitted to.

    Args:
        method: one of `METHODS`; linear is fitted to all rows, svr and neural to the last 1,000.
        features: shape (N, F); standardised here, a column that does not vary is left out.
        values: shape (N,).
    """
    middle, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-9 * np.abs(features).max(axis=0, initial=1e-9), scale, np.inf)
    base, unit = float(values.mean()), float(values.std())
    if unit == 0:
        return partial(_always, base)
    predict = METHODS[method]((features - middle) / scale, (values - base) / unit)
    return partial(_scaled, predict, (middle, scale), (base, unit), (float(values.min()), float(values.max())))


def _scaled(
    predict: Predict,
    of_features: tuple[np.ndarray, np.ndarray],
    of_values: tuple[float, float],
    bounds: tuple[float, float],
    features: np.ndarray,
) -> np.ndarray:
    middle, scale = of_features
    base, unit = of_values
    return (predict((features - middle) / scale) * unit + base).clip(*bounds)


def _always(value: float, features: np.ndarray) -> np.ndarray:
    return np.full(len(features), value)


def _linear(features: np.ndarray, values: np.ndarray) -> Predict:
    num, width = features.shape
    weights = np.linalg.solve(features.T @ features / num + _RIDGE * np.eye(width), features.T @ values / num)
    return partial(_product, weights)


def _product(weights: np.ndarray, features: np.ndarray) -> np.ndarray:
    return features @ weights


def _svr(features: np.ndarray, values: np.ndarray) -> Predict:
    from sklearn.svm import SVR

    predict: Predict = SVR(kernel="rbf", gamma="scale").fit(features[-_MOST_ROWS:], values[-_MOST_ROWS:]).predict
    return predict


def _neural(features: np.ndarray, values: np.ndarray) -> Predict:
    """tanh units, all rows at once, AdamW; numpy, since workloads do without torch. Its first weights never differ."""
    rng = np.random.default_rng(0)
    features, values = features[-_MOST_ROWS:], values[-_MOST_ROWS:]
    num, width = features.shape
    into, bias = rng.standard_normal((width, _HIDDEN)) / math.sqrt(width), np.zeros(_HIDDEN)
    out, base = rng.standard_normal(_HIDDEN) / math.sqrt(_HIDDEN), np.zeros(1)
    weights = [into, bias, out, base]
    first, second = ([np.zeros_like(weight) for weight in weights] for _ in range(2))  # moments
    for epoch in range(1, _EPOCHS + 1):
        hidden = np.tanh(features @ into + bias)
        wrong = 2.0 / num * (hidden @ out + base[0] - values)
        behind = np.outer(wrong, out) * (1.0 - hidden**2)
        slopes = [features.T @ behind, behind.sum(axis=0), hidden.T @ wrong, wrong.sum(keepdims=True)]
        for weight, slope, mean, square in zip(weights, slopes, first, second, strict=True):
            mean += 0.1 * (slope - mean)
            square += 0.001 * (slope**2 - square)
            step = (mean / (1 - 0.9**epoch)) / (np.sqrt(square / (1 - 0.999**epoch)) + 1e-8)
            weight -= _RATE * (step + _DECAY * weight)
    return partial(_network, into, bias, out, float(base[0]))


def _network(into: np.ndarray, bias: np.ndarray, out: np.ndarray, base: float, features: np.ndarray) -> np.ndarray:
    return np.tanh(features @ into + bias) @ out + base


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], Predict]] = {"linear": _linear, "svr": _svr, "neural": _neural}


def require_method(method: str) -> None:
    """Raises:
    WorkloadError: an unknown method, or one whose package is not installed.
    """
    if method not in METHODS:
        raise WorkloadError(f"method={method}: must be one of {', '.join(METHODS)}")
    if method == "svr" and find_spec("sklearn") is None:
        raise WorkloadError("method=svr: needs scikit-learn: pip install 'elastic-gpu-simulator[forecast]'")
