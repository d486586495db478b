"""What a machine's life costs: providers bill in steps of time, and for a least time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

HOUR_S = 3600.0
_SLACK = 1e-6  # of a step: as much may the difference of two clock readings be off before it makes another step


def billed_s(start_s: ArrayLike, end_s: ArrayLike, granularity_s: ArrayLike, minimum_s: ArrayLike) -> np.ndarray:
    """The seconds that are billed for being there from `start_s` to `end_s`; of the shape that the arguments make.

    A step of `granularity_s` that has begun is billed whole (0: time as it is), `minimum_s` at least, and nothing
    where the end is the start. Never less than the time itself.

    Raises:
        ValueError: an end before its start or never, or a step or minimum below 0.
    """
    start, end = np.asarray(start_s, np.float64), np.asarray(end_s, np.float64)
    step, least = np.asarray(granularity_s, np.float64), np.asarray(minimum_s, np.float64)
    for name, bad, rule in (
        ("end_s", ~((end >= start) & np.isfinite(end)), "must be a time, not before start_s"),
        ("granularity_s", ~((step >= 0) & np.isfinite(step)), "must be a number of seconds, 0 or more"),
        ("minimum_s", ~((least >= 0) & np.isfinite(least)), "must be a number of seconds, 0 or more"),
    ):
        if bad.any():
            value = np.broadcast_to({"end_s": end, "granularity_s": step, "minimum_s": least}[name], bad.shape)[bad]
            raise ValueError(f"{name}={value.flat[0]:g}: {rule}")
    used = end - start
    steps = np.ceil(used / np.where(step > 0, step, 1.0) - _SLACK) * step
    return np.where(used > 0, np.maximum(np.maximum(used, steps), least), 0.0)


def billed_usd(
    start_s: ArrayLike, end_s: ArrayLike, usd_per_h: ArrayLike, granularity_s: ArrayLike, minimum_s: ArrayLike
) -> np.ndarray:
    """What being there from `start_s` to `end_s` costs at `usd_per_h`; see `billed_s`.

    Raises:
        ValueError: as `billed_s`, or a price below 0.
    """
    price = np.asarray(usd_per_h, np.float64)
    if not (price >= 0).all():
        raise ValueError(f"usd_per_h={price[~(price >= 0)].flat[0]:g}: must be 0 or more")
    return billed_s(start_s, end_s, granularity_s, minimum_s) * price / HOUR_S
