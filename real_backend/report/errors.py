"""Errors of the simulation with their intervals, and whether it ranks policies as the real runs do.

An error is simulated / live − 1: the live run is the truth, and +0.1 means that the simulator said 10% too much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from real_backend.report.compared import PARTS, Compared
from real_backend.report.nodes import NodeCounts
from simulator.comparison import Estimate
from simulator.simulation import stream

RESAMPLES = 2000
NUM_WORST = 5
_CHUNK = 1 << 21  # numbers drawn at a time
_INTERVAL = (2.5, 97.5)  # percentiles

Statistic = Callable[[np.ndarray], np.ndarray]  # over the last axis


def mean(values: np.ndarray) -> np.ndarray:
    """Over jobs."""
    return values.mean(axis=-1)


def p95(values: np.ndarray) -> np.ndarray:
    """Over jobs; linear between neighbours."""
    return np.percentile(values, 95, axis=-1)


def error_frac(live: float, simulated: float) -> float:
    """Signed; nan where the live value is 0 or isn't there."""
    return simulated / live - 1 if live and math.isfinite(live) else math.nan


def row_of(compared: Compared, seed: int) -> dict[str, Any]:
    """All numbers of one policy; nan where there is none."""
    live, simulated = compared.live, compared.simulated
    row: dict[str, Any] = {
        "policy": compared.pair.policy,
        "num_jobs": compared.num_jobs,
        "num_compared": compared.num_compared,
        "num_repeats": compared.num_repeats,
        "num_finished_live": (compared.states_live == "finished").sum(axis=1).tolist(),
        "num_finished_simulated": int((compared.states_simulated == "finished").sum()),
    }
    for name, statistic in (("mean_jct", mean), ("p95_jct", p95)):
        row |= _error(name, "s", _over_jobs(live.jct_s, statistic), _over_jobs(simulated.jct_s, statistic))
        row[f"{name}_error_ci_frac"] = _error_interval(compared, statistic, seed, name)
    row["mean_jct_error_s"] = row["mean_jct_simulated_s"] - row["mean_jct_live_s"]
    cost_live = [_number(summary, "cost_usd") for summary in compared.summaries_live]
    for name, unit, of_live, of_simulated in (
        ("makespan", "s", live.makespan_s, float(simulated.makespan_s)),
        ("cost", "usd", np.array(cost_live), _number(compared.summary_simulated, "cost_usd")),
    ):
        row |= _error(name, unit, of_live, of_simulated)
        row[f"{name}_error_ci_frac"] = _interval_over_repeats(of_live, of_simulated)
    row |= _error("queueing", "s", _over_jobs(live.queueing_s, mean), _over_jobs(simulated.queueing_s, mean))
    row["queueing_error_s"] = row["queueing_simulated_s"] - row["queueing_live_s"]
    row |= _error("held", "gpu_s", _over_jobs(live.held_gpu_s, mean), _over_jobs(simulated.held_gpu_s, mean))
    for name in ("rescales", "preemptions"):
        counts = [_number(summary, f"num_{name}") for summary in compared.summaries_live]
        row[f"{name}_live"] = float(np.mean(counts))
        row[f"{name}_simulated"] = compared.summary_simulated[f"num_{name}"]
    return row | _of_nodes(compared) | _of_jobs(compared)


def ranking(all_compared: Sequence[Compared], rows: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Whether the simulation orders the policies as the real runs do, over the jobs that all of them finished.

    τ is Kendall's τ-b (Kendall, The treatment of ties in ranking problems, Biometrika 1945); nan where there are fewer
    than two policies, a value is missing, or all are equal.
    """
    names = [each.pair.policy for each in all_compared]
    shared = sorted(set.intersection(*(set(each.job_ids.tolist()) for each in all_compared)))
    rows_of = [_rows(each, shared) for each in all_compared]
    live = [each.live.take(at) for each, at in zip(all_compared, rows_of, strict=True)]
    simulated = [each.simulated.take(at) for each, at in zip(all_compared, rows_of, strict=True)]
    jct_live, jct_simulated = (
        [float(_over_jobs(times.jct_s, mean).mean()) for times in ts] for ts in (live, simulated)
    )
    makespan_live, makespan_simulated = ([float(times.makespan_s.mean()) for times in ts] for ts in (live, simulated))
    pairs = list(combinations(range(len(names)), 2)) if np.isfinite(jct_live + jct_simulated).all() else []
    differences: list[dict[str, Any]] = [
        {
            "policies": [names[a], names[b]],
            "live_s": jct_live[a] - jct_live[b],
            "live_ci_s": _difference_interval(live[a].jct_s, live[b].jct_s, stream(seed, f"{names[a]} – {names[b]}")),
            "simulated_s": jct_simulated[a] - jct_simulated[b],
        }
        for a, b in pairs
    ]
    swapped = [each["policies"] for each in differences if np.sign(each["live_s"]) != np.sign(each["simulated_s"])]
    return {
        "num_ranked_jobs": len(shared),
        "kendall_tau": _kendall(jct_live, jct_simulated),
        "kendall_tau_makespan": _kendall(makespan_live, makespan_simulated),
        "kendall_tau_cost": _kendall(*([row[f"cost_{world}_usd"] for row in rows] for world in ("live", "simulated"))),
        "same_ranking_mean_jct": not swapped if pairs else None,
        "ranking_live": _ranked(names, jct_live) if pairs else None,
        "ranking_simulated": _ranked(names, jct_simulated) if pairs else None,
        "indistinguishable": [each["policies"] for each in differences if _may_be_0(each["live_ci_s"])],
        "swapped": swapped,
        "mean_jct_differences": differences,
    }


# ---- of one policy
def _error(name: str, unit: str, live: np.ndarray, simulated: np.ndarray | float) -> dict[str, Any]:
    of_live, of_simulated = float(np.mean(live)), float(simulated)
    return {
        f"{name}_live_{unit}": of_live,
        f"{name}_simulated_{unit}": of_simulated,
        f"{name}_error_frac": error_frac(of_live, of_simulated),
    }


def _over_jobs(values: np.ndarray, statistic: Statistic) -> np.ndarray:
    """The statistic of shape (...) over values of shape (..., J); nan where there are no jobs."""
    return np.asarray(statistic(values)) if values.shape[-1] else np.full(values.shape[:-1], math.nan)


def _error_interval(compared: Compared, statistic: Statistic, seed: int, name: str) -> list[float] | None:
    """Bootstrap over jobs, each drawn with its live and its simulated JCT, and over live repeats; None of one job."""
    live, simulated = compared.live.jct_s, compared.simulated.jct_s
    rng = stream(seed, f"{compared.pair.policy} {name}")
    errors = []
    for jobs in _draws(rng, *live.shape):
        of_live = _resampled(live, jobs, statistic, rng)
        with np.errstate(divide="ignore", invalid="ignore"):
            errors.append(statistic(simulated[jobs]) / of_live - 1)
    return _percentiles(errors)


def _interval_over_repeats(live: np.ndarray, simulated: float) -> list[float] | None:
    """From Student's t interval of the live mean; None of one repeat, or where that interval reaches 0."""
    of_live = Estimate.of(live)
    if of_live.num < 2 or not of_live.mean - of_live.half_width > 0:
        return None
    ends = [simulated / (of_live.mean + sign * of_live.half_width) - 1 for sign in (1, -1)]
    return ends if np.isfinite(ends).all() else None


def _of_nodes(compared: Compared) -> dict[str, Any]:
    """What scaling came to: counts of nodes, live ones as means over repeats."""
    live, simulated = [NodeCounts.of(run) for run in compared.pair.live], NodeCounts.of(compared.pair.simulated)
    row: dict[str, Any] = {}
    for name in ("ordered", "mean", "most"):
        row[f"nodes_{name}_live"] = float(np.mean([getattr(each, name) for each in live]))
        row[f"nodes_{name}_simulated"] = getattr(simulated, name)
    took_s = [each.took_s for each in live if math.isfinite(each.took_s)]
    row["nodes_took_live_s"] = float(np.mean(took_s)) if took_s else math.nan
    row["nodes_took_simulated_s"] = simulated.took_s
    return row


def _of_jobs(compared: Compared) -> dict[str, Any]:
    live, simulated = compared.live, compared.simulated
    live_s = live.jct_s.mean(axis=0)
    errors = [error_frac(a, b) for a, b in zip(live_s.tolist(), simulated.jct_s.tolist(), strict=True)]
    by_part = {part: simulated.part_s(part) - live.part_s(part).mean(axis=0) for part in PARTS}
    difference_s = simulated.jct_s - live_s
    worst = np.argsort(-np.abs(difference_s), kind="stable")[:NUM_WORST]
    return {
        "median_job_abs_error_frac": float(np.median(np.abs(errors))) if errors else math.nan,
        "decomposition_s": {
            part: {
                "live": float(_over_jobs(live.part_s(part), mean).mean()),
                "simulated": float(_over_jobs(simulated.part_s(part), mean)),
                "difference": float(_over_jobs(by_part[part], mean)),
            }
            for part in PARTS
        },
        "worst_jobs": [
            {
                "job": str(compared.job_ids[j]),
                "jct_live_s": live_s[j],
                "jct_simulated_s": simulated.jct_s[j],
                "jct_error_s": difference_s[j],
                "jct_error_frac": errors[j],
                **{f"{part}_error_s": by_part[part][j] for part in PARTS},
            }
            for j in worst
        ],
        "left_out": list(compared.left_out),
    }


def _number(summary: Any, name: str) -> float:
    value = summary.get(name)
    return math.nan if value is None else float(value)


# ---- of several
def _rows(compared: Compared, job_ids: Sequence[str]) -> np.ndarray:
    row_of = {name: row for row, name in enumerate(compared.job_ids.tolist())}
    return np.array([row_of[name] for name in job_ids], np.int64)


def _difference_interval(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> list[float] | None:
    """Of the difference of mean live JCT, (R, J) each: the same jobs drawn for both policies, repeats for each."""
    draws = _draws(rng, max(len(a), len(b)), a.shape[1])
    return _percentiles([_resampled(a, jobs, mean, rng) - _resampled(b, jobs, mean, rng) for jobs in draws])


def _draws(rng: np.random.Generator, num_repeats: int, num_jobs: int) -> Iterator[np.ndarray]:
    """`RESAMPLES` draws of jobs with replacement, some at a time, shape (B, J); none of fewer than two jobs."""
    size = max(1, _CHUNK // max(1, num_repeats * num_jobs))
    for begin in range(0, RESAMPLES if num_jobs > 1 else 0, size):
        yield rng.integers(num_jobs, size=(min(size, RESAMPLES - begin), num_jobs))


def _resampled(live: np.ndarray, jobs: np.ndarray, statistic: Statistic, rng: np.random.Generator) -> np.ndarray:
    """A statistic of live values (R, J), averaged over repeats that are drawn as well; shape (B,)."""
    repeats = rng.integers(len(live), size=(len(jobs), len(live)))
    return statistic(live[repeats[:, :, None], jobs[:, None, :]]).mean(axis=1)


def _percentiles(parts: Sequence[np.ndarray]) -> list[float] | None:
    """The ends of the interval; None of nothing, or where a draw has no value."""
    values = np.concatenate(parts) if parts else np.zeros(0)
    return np.percentile(values, _INTERVAL).tolist() if len(values) and np.isfinite(values).all() else None


def _kendall(live: Sequence[float], simulated: Sequence[float]) -> float:
    if len(live) < 2 or not np.isfinite([live, simulated]).all():
        return math.nan
    from scipy.stats import kendalltau  # slow to import

    return round(float(kendalltau(live, simulated).statistic), 12)


def _may_be_0(interval: Sequence[float] | None) -> bool:
    """True also where it isn't known."""
    return interval is None or interval[0] <= 0 <= interval[1]


def _ranked(names: Sequence[str], values: Sequence[float]) -> list[str]:
    return [names[k] for k in np.argsort(values, kind="stable")]
