"""Metrics of summary.json as axes show them: what they are called, in which unit, how their numbers are spelt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from simulator.comparison import fine_unit_of, unit_of
from simulator.figures.spelling import spell_usd

_WIDE = 50.0  # times
_SHORT = {"jct": "JCT", "ttft": "TTFT", "gpu": "GPU", "slo": "SLO"}


def _plain(value: float) -> str:
    return f"{value:,.10g}"


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric as an axis shows it: `offset` + `factor` · its value, of which less is better."""

    metric: str
    label: str
    factor: float = 1.0
    offset: float = 0.0
    spell: Callable[[float], str] = _plain


def measure_of(metric: str, values: Iterable[float]) -> Measure:
    """A metric by its name, in the unit that suits these values of it; of a service only the metric is told."""
    name, values = metric.rpartition(".")[2], list(values)
    if name.endswith("_s"):
        if max(values) > _WIDE * min(values):
            values = [median(values)]  # days would tell little of minutes
        unit_s, unit = (fine_unit_of if "latency" in name or "ttft" in name else unit_of)(values)
        return Measure(metric, f"{words_of(metric)} ({unit})", 1 / unit_s)
    if name.endswith("_usd"):
        return Measure(metric, f"{words_of(metric)} (USD)", spell=spell_usd)
    if name.endswith("_frac"):
        return Measure(metric, f"{words_of(metric)} (%)", 100.0)
    return Measure(metric, words_of(metric))


def words_of(metric: str) -> str:
    """What a metric is called, without its unit: `jct_mean_s` is the mean JCT."""
    name = metric.rpartition(".")[2]
    for unit in ("_s", "_usd", "_frac"):
        name = name.removesuffix(unit)
    words = name.split("_")
    if words[-1] == "mean":
        words = ["mean", *words[:-1]]
    return " ".join(_SHORT.get(word, word) for word in words)
