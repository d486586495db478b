"""How good forecasts were on a series, and what they would have been worth to an autoscaler.

Rolling origin: at each step a forecaster is told the step's value and asked for a quantile a lead later; what it says
is held against what came. Scored are the times from the end of a warm-up on, the same for all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from policies.errors import PolicyError
from policies.forecasting.protocol import Clairvoyant, Forecaster
from policies.forecasting.series import Series


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked at each step.

    The warm-up is two seasons, or half of the series if that is less, unless `warmup_s` says otherwise.
    """

    lead_s: float = 600.0
    quantile: float = 0.9
    capacity_per_unit: float = 1.0  # demand that a unit serves
    season_s: float = 86400.0
    warmup_s: float | None = None

    def __post_init__(self) -> None:
        rules = {
            "lead_s": (0 < self.lead_s < math.inf, "must be more than 0"),
            "quantile": (0 < self.quantile < 1, "must lie between 0 and 1, both excluded"),
            "capacity_per_unit": (0 < self.capacity_per_unit < math.inf, "must be more than 0"),
            "season_s": (0 < self.season_s < math.inf, "must be more than 0"),
            "warmup_s": (self.warmup_s is None or 0 <= self.warmup_s < math.inf, "must be 0 or more"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise PolicyError(f"{name}={getattr(self, name)}: {rule}")

    def lead(self, series: Series) -> int:
        """Steps from asking to what is asked for."""
        return math.ceil(self.lead_s / series.step_s - 1e-6)

    def first(self, series: Series) -> int:
        """The first step that is scored.

        Raises:
            PolicyError: a series too short to score anything.
        """
        num, lead = len(series.values), self.lead(series)
        warmup_s = min(2 * self.season_s, 0.5 * num * series.step_s) if self.warmup_s is None else self.warmup_s
        first = max(math.ceil(warmup_s / series.step_s), 2 * lead)
        if first + lead >= num:
            raise PolicyError(
                f"the series has {num:,} steps of {series.step_s:g} s: too few for a lead of {lead:,} and a warm-up of "
                f"{first:,}"
            )
        return first


@dataclass(frozen=True, slots=True)
class Score:
    """How one forecaster did.

    The loss is in the series' unit: a unit too low costs q, one too high 1 - q. MASE is the mean absolute error of its
    medians over that of the last value at the same lead, in the whole series (after Hyndman and Koehler, 2006). Used
    for scaling, it asks for so many units at each step as its quantile needs, to be there a lead later: see `scaled`.
    """

    answered_frac: float  # of the questions; the others count for nothing, and scale by the last value
    pinball: float
    mase: float
    coverage_frac: float  # of what came, how much was no more than forecast
    unit_h: float  # paid for
    unit_h_over_oracle: float  # paid for, over what one pays who knows the demand
    served_frac: float  # of the demand


def forecasts(forecaster: Forecaster, series: Series, question: Question) -> np.ndarray:
    """Quantile and median at each step for a lead later; nan: none, or not asked, in the warm-up; shape (T, 2)."""
    lead_s, ask_from = question.lead(series) * series.step_s, question.first(series) - 2 * question.lead(series)
    if forecaster.knows_future:
        assert isinstance(forecaster, Clairvoyant)
        forecaster.reveal(series.times_s.tolist(), series.values.tolist())
    said = np.full((len(series.values), 2), math.nan)
    for step, (time_s, value) in enumerate(zip(series.times_s.tolist(), series.values.tolist(), strict=True)):
        forecaster.observe(time_s, value)
        if step >= ask_from:
            for place, quantile in enumerate((question.quantile, 0.5)):
                answer = forecaster.forecast(time_s + lead_s, quantile)
                said[step, place] = math.nan if answer is None else answer
    return said


def score(said: np.ndarray, series: Series, question: Question) -> Score:
    """What forecasts, as `forecasts` gives them, were worth."""
    lead, first, values = question.lead(series), question.first(series), series.values
    upper, median = said[first - lead : -lead].T
    came = values[first:]
    answered = ~np.isnan(upper)
    gap = (came - upper)[answered]
    naive = np.abs(values[lead:] - values[:-lead])
    paid_unit_h, served_frac = scaled(said[:, 0], series, question)
    ideal = np.concatenate((values[lead:], np.full(lead, math.nan)))
    least_unit_h, _ = scaled(ideal, series, question)
    return Score(
        answered_frac=float(answered.mean()),
        pinball=_mean(np.maximum(question.quantile * gap, (question.quantile - 1.0) * gap)),
        mase=_over(_mean(np.abs(came - median)[answered]), _mean(naive)),
        coverage_frac=_mean(gap <= 0),
        unit_h=paid_unit_h,
        unit_h_over_oracle=_over(paid_unit_h, least_unit_h),
        served_frac=served_frac,
    )


def scaled(wanted: np.ndarray, series: Series, question: Question) -> tuple[float, float]:
    """Unit-hours paid and share of the demand served, if at each step so much capacity is asked for a lead later.

    A unit takes the lead to start and is paid for from when it is asked for. So many are held as the largest wish for
    the coming lead needs; the rest goes at once, the youngest first. Where nothing was forecast, what is needed now is
    asked for. Counted are the steps from the end of the warm-up to a lead before the end of the series.
    """
    lead, first = question.lead(series), question.first(series)
    demand = np.maximum(series.values, 0.0)
    load = np.where(np.isnan(wanted), demand, np.maximum(wanted, 0.0))[first - 2 * lead :] / question.capacity_per_unit
    windows = np.lib.stride_tricks.sliding_window_view
    held = windows(np.ceil(load - 1e-9), lead + 1).max(axis=1)
    ready = windows(held, lead + 1).min(axis=1)[:-lead]
    asked = demand[first:-lead]
    served = np.minimum(asked, ready * question.capacity_per_unit)
    return float(held[lead:-lead].sum()) * series.step_s / 3600.0, _over(float(served.sum()), float(asked.sum()), 1.0)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _over(part: float, whole: float, otherwise: float = math.nan) -> float:
    return part / whole if whole else otherwise
