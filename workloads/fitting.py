"""From measured step times to a `StepTimeFit`, and how well it does on rows that it has not seen.

1. `HOLDOUT_FRAC` of the rows, drawn at random, are set aside.
2. On the others, 3-fold cross-validation chooses the form: the one with the fewest parameters whose error is within a
   standard error of the best (Breiman et al., 1984). No form has more parameters than half the rows.
3. That form is fitted to those others; its error on what was set aside is what is reported.
4. It is fitted again to all rows: that is the fit that is handed out.

Errors are of the logarithm: a tenth of a step is as much for a fast model as for a slow one. Outliers (a step that the
network held up) weigh little: the loss is a soft L1, then Cauchy's from where that ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from workloads.errors import WorkloadError
from workloads.profile import HoldOut, MeasuredRange
from workloads.step_time_fit import GROWTHS, StepTimeFit

HOLDOUT_FRAC = 0.3
MIN_HOLDOUT_ROWS = 10  # in all; with fewer, the error of three rows or so would tell nothing
MIN_ROWS = 4
_MOST_PARAMETERS = 0.5  # a row
_TELLS_GROWTH_GPUS = 8  # on fewer, a straight line and a logarithm are alike: taken as a logarithm
_FOLDS = 3
_SCALE = 0.05  # of a log error: what is well beyond is an outlier
_RIDGE = 1e-3  # holds what the rows don't determine at its start
_REACH = 12.0  # log parameters: at most so far from their start
_REACHES = {"compute_exponent": 1.5, "share_rate": 4.0}
_STOP = {"max_nfev": 60, "ftol": 1e-5, "xtol": 1e-5}
_NEGLIGIBLE = 1e-3  # a slope of T_sync: such a share of T_sync itself is none
_DIGITS = 6  # of what is handed out


@dataclass(frozen=True)
class StepRows:
    """Measured steps, a row a setting; all arrays of one length.

    `share` is the number of GPUs on the fullest node; None: spread evenly. `sync_s` (measured, if at all) is where the
    search for T_sync starts.
    """

    num_gpus: np.ndarray
    num_nodes: np.ndarray
    batch_per_gpu: np.ndarray
    step_s: np.ndarray
    share: np.ndarray | None = None
    sync_s: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self)):
            given = getattr(self, name)
            if given is None:
                continue
            values = np.asarray(given, float)
            object.__setattr__(self, name, values)
            if values.shape != (len(self.step_s),):
                raise WorkloadError(f"{name}: has shape {values.shape}, must have one value a row ({len(self.step_s)})")
            least = 0.0 if name == "sync_s" else 1.0 if name in ("num_gpus", "num_nodes", "share") else 0.0
            bad = ~np.isfinite(values) | (values < least) | ((values <= 0) & (name != "sync_s"))
            if bad.any():
                row = int(bad.argmax())
                raise WorkloadError(f"{name}[{row}]={values[row]}: must be a number, {'1 or more' if least else '> 0'}")
        if self.share is None:
            object.__setattr__(self, "share", -(-self.num_gpus // self.num_nodes))

    def __len__(self) -> int:
        return len(self.step_s)

    @classmethod
    def from_placements(
        cls, placements: Sequence[tuple[int, ...]], batch_per_gpu: Any, step_s: Any, sync_s: Any = None
    ) -> StepRows:
        """Rows whose GPUs are given node by node: (4, 4) are two nodes of four."""
        num_gpus, num_nodes, share = np.array([(sum(each), len(each), max(each)) for each in placements]).T
        return cls(num_gpus, num_nodes, batch_per_gpu, step_s, share, sync_s)

    def take(self, which: np.ndarray) -> StepRows:
        """The rows that `which` (numbers, or true and false) names."""
        taken: dict[str, Any] = {}
        for each in fields(self):
            values = getattr(self, each.name)
            taken[each.name] = None if values is None else values[which]
        return StepRows(**taken)

    @property
    def range(self) -> MeasuredRange:
        ends = {
            name: (int(values.min()), int(values.max()))
            for name, values in (
                ("gpus", self.num_gpus),
                ("nodes", self.num_nodes),
                ("batch_per_gpu", self.batch_per_gpu),
            )
        }
        return MeasuredRange(**ends)


@dataclass(frozen=True)
class Extrapolation:
    """What a fit says of more GPUs than it was made from."""

    num_rows: int  # fitted
    num_asked_rows: int
    most_asked_gpus: int
    median_error_frac: float
    p90_error_frac: float


@dataclass(frozen=True)
class FitReport:
    """A fit and what it was made from."""

    fit: StepTimeFit  # to all rows
    form: str  # as words
    num_parameters: int
    num_rows: int
    range: MeasuredRange
    holdout: HoldOut | None
    why_no_holdout: str = ""
    notes: list[str] = field(default_factory=list)
    held_out: StepRows | None = None  # the rows themselves, and ...
    predicted_s: np.ndarray | None = None  # ... what the fit to the others gives for them

    def asked_for(self, rows: StepRows) -> Extrapolation:
        """How well the fit does on other rows."""
        return _ask(self.fit, self.num_rows, rows)


def fit_step_time(rows: StepRows, *, seed: int = 0) -> FitReport:
    """Fits a form that is chosen by cross-validation; see the top of this file.

    Raises:
        WorkloadError: fewer than `MIN_ROWS` rows, or none on several GPUs.
    """
    if len(rows) < MIN_ROWS:
        raise WorkloadError(f"{len(rows)} row{'s' if len(rows) != 1 else ''}: a fit needs {MIN_ROWS} or more")
    if rows.num_gpus.max() < 2:
        raise WorkloadError("no row has several GPUs: how the model scales can't be told")
    order = np.random.default_rng(seed).permutation(len(rows))
    num_held_out = round(HOLDOUT_FRAC * len(rows)) if len(rows) >= MIN_HOLDOUT_ROWS else 0
    seen, unseen = rows.take(order[num_held_out:]), rows.take(order[:num_held_out])
    form = _choose(seen)
    holdout, why, predicted_s = None, "", None
    if num_held_out:
        predicted_s = _predict(form.fit(seen)[0], unseen)
        error = np.abs(predicted_s / unseen.step_s - 1.0)
        holdout = HoldOut(num_held_out, _rounded(np.median(error)), _rounded(np.quantile(error, 0.9)))
    else:
        why = f"{len(rows)} rows: too few to hold some out ({MIN_HOLDOUT_ROWS} needed)"
    fit, notes = form.fit(rows)
    return FitReport(
        fit, str(form), form.num_parameters(rows), len(rows), rows.range, holdout, why, notes, unseen, predicted_s
    )


def extrapolate(rows: StepRows, *, most_gpus: int = 4) -> Extrapolation | None:
    """Fits the rows of at most `most_gpus` GPUs and asks for the others; None where either are too few."""
    few = rows.num_gpus <= most_gpus
    if few.sum() < MIN_HOLDOUT_ROWS or rows.num_gpus[few].max() < 2 or few.all():
        return None
    known = rows.take(np.random.default_rng(0).permutation(few.nonzero()[0]))  # the folds are at random
    return _ask(_choose(known).fit(known)[0], len(known), rows.take(~few))


def _ask(fit: StepTimeFit, num_rows: int, asked: StepRows) -> Extrapolation:
    error = np.abs(_predict(fit, asked) / asked.step_s - 1.0)
    return Extrapolation(
        num_rows=num_rows,
        num_asked_rows=len(asked),
        most_asked_gpus=int(asked.num_gpus.max()),
        median_error_frac=_rounded(np.median(error)),
        p90_error_frac=_rounded(np.quantile(error, 0.9)),
    )


def _predict(fit: StepTimeFit, rows: StepRows) -> np.ndarray:
    predicted: np.ndarray = fit.step_time_s(rows.num_gpus, rows.num_nodes, rows.batch_per_gpu, share=rows.share)
    return predicted


def _choose(rows: StepRows) -> _Form:
    """The form by cross-validation: first how T_compute depends on the batch, then what placement does to it all."""
    losses: dict[_Form, np.ndarray] = {}
    in_full = [_placed(compute, rows)[0] for compute in ("linear", "power", "table") if _placed(compute, rows)]
    best = _best(in_full or [_Form("linear", False, False)], rows, losses)
    growths = GROWTHS if rows.num_gpus.max() >= _TELLS_GROWTH_GPUS else GROWTHS[:1]
    placed = [replace(form, growth=growth) for growth in growths for form in _placed(best.compute, rows)]
    return _best(placed or [best], rows, losses)


def _placed(compute: str, rows: StepRows) -> list[_Form]:
    """The forms of one T_compute that the rows can bear, the richest first."""
    forms = [_Form(compute, *placed).where_it_tells(rows) for placed in ((True, True), (False, True), (False, False))]
    return [form for form in dict.fromkeys(forms) if form.num_parameters(rows) <= _MOST_PARAMETERS * len(rows)]


def _best(forms: Sequence[_Form], rows: StepRows, losses: dict[_Form, np.ndarray]) -> _Form:
    """The smallest form whose loss is within a standard error of the best; `losses` remembers them."""
    if len(forms) == 1:
        return forms[0]
    for form in forms:
        if form not in losses:
            losses[form] = _cross_validated(form, rows)
    best = losses[min(forms, key=lambda form: losses[form].mean())]
    for form in sorted(forms, key=lambda form: form.num_parameters(rows)):
        excess = losses[form] - best
        if excess.mean() <= excess.std() / np.sqrt(len(excess)):
            return form
    raise AssertionError("the best is within any error of itself")


def _cross_validated(form: _Form, rows: StepRows) -> np.ndarray:
    """The loss of each row, when it is in the fold that isn't fitted."""
    fold = np.arange(len(rows)) % _FOLDS
    loss = np.empty(len(rows))
    for each in range(_FOLDS):
        unseen = rows.take(fold == each)
        error = np.log(_predict(form.fit(rows.take(fold != each))[0], unseen) / unseen.step_s)
        loss[fold == each] = np.log1p((error / _SCALE) ** 2)
    return loss


@dataclass(frozen=True)
class _Form:
    """A form of T_step, with the search for its parameters; these are searched for as logarithms."""

    compute: str  # linear | power | table
    contends: bool  # T_compute depends on the share
    shares: bool  # T_sync does
    growth: str = "log"  # of T_sync

    def __str__(self) -> str:
        extras = (("contention", self.contends), ("shared network", self.shares))
        return " + ".join([self.compute, f"{self.growth} sync", *(name for name, is_there in extras if is_there)])

    def where_it_tells(self, rows: StepRows) -> _Form:
        """Without what these rows can't tell."""
        share, several = rows.share, rows.num_nodes > 1
        assert share is not None
        return replace(
            self,
            compute=self.compute if len(np.unique(rows.batch_per_gpu)) > 2 else "linear",
            contends=self.contends and len(np.unique(share)) > 2,
            shares=self.shares and len(np.unique(share[several])) > 1,
        )

    def num_parameters(self, rows: StepRows) -> int:
        return len(self._start(rows)) + 1

    def fit(self, rows: StepRows) -> tuple[StepTimeFit, list[str]]:
        """The fit, and what was to be assumed."""
        from scipy.optimize import least_squares  # slow to import

        log_step = np.log(rows.step_s)
        start = self._start(rows)
        names = list(start)
        reach = np.array([_REACHES.get(name, _REACH) for name in [*names, "gamma"]])

        def search(first: np.ndarray, centre: np.ndarray, loss: str) -> Any:
            def residuals(point: np.ndarray) -> np.ndarray:
                error = np.log(_predict(self._fit_at(names, point, rows), rows)) - log_step
                return np.concatenate((error, _RIDGE * (point - centre)))

            bounds = (centre - reach, centre + reach)
            return least_squares(residuals, first, bounds=bounds, loss=loss, f_scale=_SCALE, **_STOP)

        centres = []
        for sync_factor, gamma_at in ((1.0, -1.0), (0.3, 1.0)):
            guesses = [value * (sync_factor if "sync" in name else 1.0) for name, value in start.items()]
            centres.append(np.append(np.log(guesses), gamma_at))
        found = [search(centre, centre, "soft_l1") for centre in centres]
        nearer = min(range(len(found)), key=lambda i: found[i].cost)
        best = search(found[nearer].x, centres[nearer], "cauchy")
        return _tidy(self._fit_at(names, best.x, rows), rows)

    def _start(self, rows: StepRows) -> dict[str, float]:
        """Names and first guesses of the parameters that the rows can tell."""
        step_s, batch, several = rows.step_s, rows.batch_per_gpu, rows.num_nodes > 1
        start: dict[str, float] = {}
        if self.compute == "table":
            batches = np.unique(batch)
            start |= {f"table {float(each)!r}": float(np.median(step_s[batch == each])) for each in batches}
        else:
            low_s = float(np.median(step_s[batch <= np.quantile(batch, 0.2)]))
            high_s = float(np.median(step_s[batch >= np.quantile(batch, 0.8)]))
            start["compute_fixed_s"] = 0.7 * low_s
            start["compute_variable_s"] = max(high_s - 0.7 * low_s, 0.1 * high_s)  # at the largest batch
            if self.compute == "power":
                start["compute_exponent"] = 1.0
        if self.contends:
            start |= {"share_most_frac": 0.1, "share_rate": 0.4}
        for name, here in (("local", (rows.num_gpus > 1) & ~several), ("nodes", several)):
            if here.any():
                sync_s = 0.1 * step_s if rows.sync_s is None else rows.sync_s
                guess_s = max(float(np.median(sync_s[here])), 1e-6 * float(np.median(step_s)))
                start[f"{name}_sync_s"] = guess_s
                if rows.num_gpus[here].min() < rows.num_gpus[here].max():
                    start[f"{name}_sync_slope_s"] = 0.05 * guess_s
        if self.shares:
            start["nodes_sync_share_slope_s"] = 0.05 * start["nodes_sync_s"]
            if len(np.unique(rows.num_nodes[several])) > 1:
                start["nodes_sync_node_slope_s"] = 0.05 * start["nodes_sync_s"]
        return start

    def _fit_at(self, names: Sequence[str], point: np.ndarray, rows: StepRows) -> StepTimeFit:
        values = dict(zip(names, np.exp(point[:-1]).tolist(), strict=True))
        table = {name: values.pop(name) for name in names if name.startswith("table ")}
        if table:
            values["table_batch_per_gpu"] = tuple(float(name.removeprefix("table ")) for name in table)
            values["table_compute_s"] = tuple(table.values())
        else:
            largest = float(rows.batch_per_gpu.max())
            values["compute_variable_s"] /= largest ** values.get("compute_exponent", 1.0)
        gamma = 1.0 + 9.0 / (1.0 + float(np.exp(-point[-1])))
        return StepTimeFit(form=self.compute, gamma=gamma, sync_growth=self.growth, **values)


def _tidy(fit: StepTimeFit, rows: StepRows) -> tuple[StepTimeFit, list[str]]:
    """Rounded; what wasn't measured of T_sync is taken from what was, and said."""
    notes: list[str] = []
    several = rows.num_nodes > 1
    changes: dict[str, Any] = {}
    if not several.any():
        changes = {"nodes_sync_s": fit.local_sync_s, "nodes_sync_slope_s": fit.local_sync_slope_s}
        notes.append("several nodes were not measured: taken as one")
    elif not ((rows.num_gpus > 1) & ~several).any():
        changes = {"local_sync_s": fit.nodes_sync_s, "local_sync_slope_s": fit.nodes_sync_slope_s}
        notes.append("several GPUs on one node were not measured: taken as on several nodes")
    for name in (each.name for each in fields(fit) if "slope" in each.name):
        if getattr(fit, name) < _NEGLIGIBLE * getattr(fit, f"{name.partition('_')[0]}_sync_s"):
            changes.setdefault(name, 0.0)
    for each in fields(fit):
        value = changes.get(each.name, getattr(fit, each.name))
        if isinstance(value, tuple):
            changes[each.name] = tuple(_rounded(number) for number in value)
        elif isinstance(value, float):
            changes[each.name] = _rounded(value)
    return replace(fit, **changes), notes


def _rounded(number: Any) -> float:
    return float(f"{float(number):.{_DIGITS}g}")
