"""A model for each lead: what the series is a lead from now, learnt from lags and the calendar."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from policies.forecasting.calendar import HARMONICS, WEEK_S, calendar
from policies.forecasting.empirical import quantile_of
from policies.forecasting.on_grid import OnGrid
from policies.forecasting.window import Window

Predict = Callable[[np.ndarray], np.ndarray]  # features (N, F) -> changes (N,)
_MOST_LEADS = 64  # of which models are kept
_LEAST_PAIRS = 50  # to learn from, and half a season's


@dataclass
class LeadModel:
    """What has been learnt of one lead."""

    block: int = -1  # at whose begin `predict` was fitted
    predict: Predict | None = None
    errors: dict[int, np.ndarray] = field(default_factory=dict)  # by block
    ascending: list[float] = field(default_factory=list)  # all of them


@dataclass(kw_only=True)
class Direct(OnGrid):
    """Learns the change of the series from a step to that a lead later.

    Features: the last `lags` values, the values one season before now and one season before the time asked for, and
    sines and cosines of that time's place in the season and in the week, each once it has been seen for as long. None
    for leads of more than a season.

    Time is cut into blocks of `refit_every` steps. A model is fitted at the begin of each block, to what came in the
    `train` steps before it. Its errors in the block, none of which it was fitted to, widen the point forecasts of the
    blocks that follow: the last `window` steps of them, `min_errors` at least. A lead is learnt when it is asked for
    the first time, from the past that is kept, with the same result as if it had been asked for all along.
    """

    season_s: float = 86400.0
    lags: int = 4
    train: int = 10080
    refit_every: int = 60
    window: int = 2016
    min_errors: int = 20
    _season: int = field(default=1, init=False, repr=False)  # steps
    _values: Window = field(default_factory=lambda: Window(1), init=False, repr=False)
    _leads: dict[int, LeadModel] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("season_s", 0 < self.season_s < math.inf, "must be more than 0")
        for name in ("lags", "refit_every", "window"):
            self._require(name, getattr(self, name) >= 1, "must be 1 or more")
        self._require("train", self.train >= _LEAST_PAIRS, f"must be {_LEAST_PAIRS} or more")
        self._require("min_errors", 1 <= self.min_errors <= self.window, f"must lie in 1..window, {self.window}")

    @abstractmethod
    def _fit(self, lead: int, first: int, last: int) -> Predict:
        """A model fitted to the pairs whose later steps are `first` (included) to `last` (excluded)."""

    def _begin(self) -> None:
        self._season = self._steps("season_s")
        blocks = self._num_error_blocks + 2 + -(-self.train // self.refit_every)
        self._values = Window(blocks * self.refit_every + 2 * self._season + self.lags)

    def _update(self, value: float) -> None:
        self._values.append(value)

    def _quantile(self, lead: int, quantile: float) -> float | None:
        if lead > self._season:
            return None
        model, block = self._model(lead), (self._step + 1) // self.refit_every
        if model.block != block:
            self._learn(model, lead, block)
        if model.predict is None or len(model.ascending) < self.min_errors:
            return None
        target = self._step + lead
        change = float(model.predict(self._features(lead, target, target + 1))[0])
        return self._value + change + quantile_of(model.ascending, quantile)

    @property
    def _num_error_blocks(self) -> int:
        return -(-self.window // self.refit_every)

    def _model(self, lead: int) -> LeadModel:
        model = self._leads.get(lead)
        if model is None:
            if len(self._leads) >= _MOST_LEADS:
                del self._leads[next(iter(self._leads))]
            model = self._leads[lead] = LeadModel()
        return model

    def _learn(self, model: LeadModel, lead: int, block: int) -> None:
        """Brings a model to the begin of `block`, and its errors to the end of the block before."""
        every = self.refit_every
        oldest = max(0, block - self._num_error_blocks)
        for past in range(max(oldest, model.block), block):
            predict = model.predict if past == model.block else self._fit_before(lead, past)
            if predict is not None:
                first, last = past * every, (past + 1) * every
                model.errors[past] = self._changes(lead, first, last) - predict(self._features(lead, first, last))
        model.errors = {past: errors for past, errors in model.errors.items() if past >= oldest}
        model.ascending = np.sort(np.concatenate([*model.errors.values(), np.empty(0)])).tolist()
        model.predict, model.block = self._fit_before(lead, block), block

    def _fit_before(self, lead: int, block: int) -> Predict | None:
        """A model fitted to what was there at the begin of a block; None: too little."""
        last = block * self.refit_every
        first = max(last - self.train, self._season + lead, self.lags + lead)
        return self._fit(lead, first, last) if last - first >= max(_LEAST_PAIRS, self._season // 2) else None

    def _past(self, first: int, last: int) -> np.ndarray:
        """The values of steps `first` (included) to `last` (excluded)."""
        values = self._values.array()
        oldest = self._step + 1 - len(values)
        return values[first - oldest : last - oldest]

    def _changes(self, lead: int, first: int, last: int) -> np.ndarray:
        """How much the series has changed at steps `first` to `last` from a lead before; shape (N,)."""
        return self._past(first, last) - self._past(first - lead, last - lead)

    def _features(self, lead: int, first: int, last: int) -> np.ndarray:
        """What is known a lead before steps `first` to `last`; shape (N, F)."""
        begin, end, season = first - lead, last - lead, self._season
        assert self._first is not None
        columns = [self._past(begin - lag, end - lag) for lag in range(self.lags)]
        columns += [self._past(begin - season, end - season), self._past(first - season, last - season)]
        times_s = self._first[0] + self._width_s * np.arange(first, last)
        return np.column_stack([*columns, calendar(times_s, *self._periods_s)])

    @property
    def _periods_s(self) -> tuple[float, float]:
        return self.season_s, WEEK_S

    def _is_known(self, first: int, last: int) -> np.ndarray:
        """Which features steps `first` to `last` teach: a part of a period does not teach its waves; shape (F,)."""
        seen = np.array(self._periods_s) <= (last - first) * self._width_s
        return np.concatenate((np.ones(self.lags + 2, bool), np.tile(np.repeat(seen, HARMONICS), 2)))
