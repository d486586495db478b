"""What a rented cluster costs and how long its jobs take, and where a forecast of demand pays.

    python docs/studies/cost_latency.py [trace=cluster02.csv.gz] [seeds=10] [out=docs/studies] [work=FOLDER]

What docs/cost_latency.md tells, in four parts, each with its CSV; those with ITP only where its trace is given.

- The flagship: `experiment=cost_latency` on a day's rhythm and on ITP, its pareto.csv and figure.
- Forecasts: demand that follows a timetable, a day's rhythm, bursts, or ITP, and nodes that take 1, 8 or 30 minutes to
  come. The same policy (`predictive`) with several forecasters, with one that is always right (`oracle`), and with none
  (`last_value`: as it is now, plus headroom) at several quantiles, so that what a forecaster gives can be held against
  what the same money buys in headroom; beside it `cluster_autoscaler`. Ten days, of which a forecaster sees the first
  before it says anything. cost_latency_forecasts.csv has a row a run.
- Spot: how long machines last, which nobody publishes. cost_latency_spot.csv.
- Instances: `experiment=cheapest_instance`.

Runs go on where they stopped: `work` (by default outputs/cost_latency) keeps what they came to.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from simulator.__main__ import main as simulate_command
from simulator.__main__ import store_choices
from simulator.comparison import Estimate, compare, difference
from simulator.config import Setup, read_config
from simulator.figures.style import GREY, PALETTE, new_figure, save
from simulator.metrics import summarise
from simulator.pareto import COST, JCT, USUAL, points_of
from simulator.run import Run, find_runs
from simulator.simulation import simulate

Row = dict[str, Any]
MINUTE_S = 60.0
STAGES_S = {"allocation": 30.0, "boot": 150.0, "driver": 120.0, "image": 180.0}  # medians of the experiment: 8 minutes
LEADS_MIN = (1, 8, 30)
QUANTILES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)  # of headroom without a forecast
QUANTILE = 0.7  # of forecasts, that of scaling=predictive_pool
FORECASTERS = {
    "linear_regression": "regression",
    "holt_winters": "Holt–Winters",
    "seasonal_naive": "as a day ago",
}
ORACLE, REACTIVE, NO_FORECAST = "oracle", "cluster_autoscaler", "last_value"
BOOTSTRAPS = 4000
LEAST = 0.05  # as the figure shows it
TRACE_OPTIONS = ("cluster.num_nodes=12", "cluster.max_nodes=48", "workload.resample_block_days=5")
HOURLY = [f"{hour}" for hour in range(8, 20)]
DEMANDS: dict[str, tuple[str, ...]] = {
    "timetable": (
        *("workload.num_jobs=2880", "workload.arrivals=daily", "workload.rate_per_h=null", "workload.batch_size=24"),
        f"workload.batch_hours=[{','.join(HOURLY)}]",
    ),
    "diurnal": ("workload.num_jobs=4000",),
    "bursty": ("workload.num_jobs=4000", "workload.arrivals=bursty"),
}
TITLES = {
    "timetable": "24 jobs on the hour, from 8 to 19",
    "diurnal": "a day's rhythm",
    "bursty": "bursts",
    "itp": "ITP, cluster 02",
}


@dataclass(frozen=True)
class Case:
    """One run: where it belongs, and what is set over the experiment."""

    demand: str
    lead_min: int
    policy: str
    quantile: float | None
    seed: int
    given: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(map(str, (self.demand, self.lead_min, self.policy, self.quantile or "", self.seed)))


def settings(given: Iterable[str]) -> dict[str, Any]:
    """Those of the experiment with these overrides, as plain values."""
    store_choices()
    with initialize_config_module("conf", version_base="1.3"):
        composed = compose("config", ["experiment@_global_=cost_latency", *given])
    plain: Any = OmegaConf.to_container(composed, resolve=True)
    return dict(plain)


def run(case: Case) -> Row:
    setup = Setup(read_config(settings((*case.given, f"seed={case.seed}"))))
    summary = summarise(simulate(setup.scenario(setup.load())))
    return {
        "demand": case.demand,
        "lead_min": case.lead_min,
        "policy": case.policy,
        "quantile": case.quantile or "",
        "seed": case.seed,
        **{name: summary[name] for name in ("cost_usd", "jct_mean_s", "queueing_mean_s", "gpu_utilisation_frac")},
        **{name: summary[name] for name in ("num_finished", "num_submitted", "lost_gpu_h", "num_nodes_reclaimed")},
    }


# ---- the cases
def startup(lead_min: float) -> list[str]:
    """Stages that take so long in all, each its share."""
    factor = MINUTE_S * lead_min / sum(STAGES_S.values())
    return [f"cluster.startup.{stage}_s={factor * median_s:g}" for stage, median_s in STAGES_S.items()]


def policies(lead_min: int) -> dict[tuple[str, float | None], list[str]]:
    """(policy, quantile) -> how it is set."""

    def predictive(forecaster: str, quantile: float) -> list[str]:
        return ["scaling=predictive", f"++scaling.forecaster.name={forecaster}", f"scaling.quantile={quantile}"]

    waits_s = max(900.0, 4 * MINUTE_S * lead_min)  # its own 15 minutes give up every node that takes 30
    return {
        (REACTIVE, None): ["scaling=cluster_autoscaler", f"scaling.max_provision_s={waits_s:g}"],
        (ORACLE, None): ["scaling=oracle_pool"],
        **{(name, QUANTILE): predictive(name, QUANTILE) for name in FORECASTERS},
        **{(NO_FORECAST, quantile): predictive(NO_FORECAST, quantile) for quantile in QUANTILES},
    }


def forecast_cases(seeds: int, demands: Mapping[str, tuple[str, ...]]) -> list[Case]:
    return [
        Case(demand, lead_min, policy, quantile, seed, (*options, *startup(lead_min), *how))
        for demand, options in demands.items()
        for lead_min in LEADS_MIN
        for (policy, quantile), how in policies(lead_min).items()
        for seed in range(seeds)
    ]


def spot_cases(seeds: int) -> list[Case]:
    """Machines that last for three hours, a day, or for ever; `demand` says which."""
    lives = {"3 h": "10800", "1 day": "86400", "for ever": "inf"}
    how = {life: ("cluster.purchase=spot", f"cluster.spot.mean_life_s={mean_s}") for life, mean_s in lives.items()}
    how["on demand"] = ("cluster.purchase=on_demand",)
    return [
        Case(life, 8, policy, None, seed, (*bought, f"scaling={policy}"))
        for life, bought in how.items()
        for policy in (REACTIVE, "static_half")
        for seed in range(seeds)
    ]


def run_all(cases: Sequence[Case], work: Path) -> list[Row]:
    """Runs what `work` doesn't have yet; the rows in the order of the cases."""
    work.parent.mkdir(parents=True, exist_ok=True)
    lines = work.read_text(encoding="utf-8").splitlines() if work.exists() else []
    done = {tuple(known["key"]): known["row"] for known in map(json.loads, lines) if known["given"]}
    given = {tuple(known["key"]): tuple(known["given"]) for known in map(json.loads, lines)}
    todo = [case for case in cases if given.get(case.key) != case.given]
    with ProcessPoolExecutor(2) as pool, work.open("a", encoding="utf-8") as file:
        for number, (case, row) in enumerate(zip(todo, pool.map(run, todo), strict=True), 1):
            done[case.key] = row
            file.write(json.dumps({"key": case.key, "given": case.given, "row": row}) + "\n")
            file.flush()
            told = f"cost {row['cost_usd']:,.0f} USD, JCT {row['jct_mean_s'] / MINUTE_S:.4g} min"
            print(f"{number}/{len(todo)} {' '.join(case.key)}: {told}", flush=True)
    return [done[case.key] for case in cases]


# ---- what they come to
def of(rows: Sequence[Row], metric: str, **where: Any) -> np.ndarray:
    """A metric of the rows that are so, by seed."""
    mine = [row for row in rows if all(row[name] == value for name, value in where.items())]
    return np.array([row[metric] for row in sorted(mine, key=lambda row: int(row["seed"]))])


def without_forecast(cost_QS: np.ndarray, wait_QS: np.ndarray, cost_usd: float, seeds: np.ndarray) -> float:
    """How long jobs wait without a forecast for this bill: between the means at neighbouring quantiles.

    Straight in the logarithm of the wait, along those that no other quantile beats. Below the least bill its wait is
    taken, which is less than it would be.

    Args:
        cost_QS, wait_QS: Q quantiles, S seeds.
        seeds: which of them count, some perhaps more than once.
    """
    cost, wait = cost_QS[:, seeds].mean(axis=1), wait_QS[:, seeds].mean(axis=1)
    order = np.argsort(cost)
    best = np.minimum.accumulate(wait[order])
    kept = np.concatenate(([True], np.diff(best) < 0))
    return float(np.exp(np.interp(cost_usd, cost[order][kept], np.log(np.maximum(best[kept], 1e-3)))))


def saved(rows: Sequence[Row], demand: str, lead_min: int, policy: str) -> tuple[float, float, float, float]:
    """Wait with a forecast less that without one for the same bill: (s, % of the latter, its low and high end).

    The interval is that of a bootstrap over seeds, which all policies share.
    """
    here = {"demand": demand, "lead_min": lead_min}
    cost_QS, wait_QS = (
        np.array([of(rows, metric, policy=NO_FORECAST, quantile=quantile, **here) for quantile in QUANTILES])
        for metric in ("cost_usd", "queueing_mean_s")
    )
    cost, wait = (of(rows, metric, policy=policy, **here) for metric in ("cost_usd", "queueing_mean_s"))

    def change(seeds: np.ndarray) -> tuple[float, float]:
        before = without_forecast(cost_QS, wait_QS, float(cost[seeds].mean()), seeds)
        gap = float(wait[seeds].mean()) - before
        return gap, 100 * gap / before

    rng = np.random.default_rng(0)
    draws = [change(rng.integers(0, len(cost), len(cost)))[1] for _ in range(BOOTSTRAPS)]
    low, high = np.percentile(draws, (2.5, 97.5))
    return (*change(np.arange(len(cost))), float(low), float(high))


def gap_of(rows: Sequence[Row], metric: str, policy: str, base: str, **where: Any) -> tuple[Estimate, float]:
    """(Of a policy less another, paired by seed; the mean of the other)."""
    mine, theirs = of(rows, metric, policy=policy, **where), of(rows, metric, policy=base, **where)
    return Estimate.of(mine - theirs), float(theirs.mean())


# ---- told and drawn
def tell_forecasts(rows: Sequence[Row]) -> None:
    """The tables of the page, in Markdown."""
    heading = ("demand", "nodes take", "who", "cost", "JCT", "Δ cost", "Δ JCT", "wait, to the same bill without one")
    print(f"\n| {' | '.join(heading)} |\n{'|---' * len(heading)}|")
    for demand in dict.fromkeys(row["demand"] for row in rows):
        for lead_min in LEADS_MIN:
            here = {"demand": demand, "lead_min": lead_min}
            for policy in (REACTIVE, *FORECASTERS, ORACLE):
                cost = Estimate.of(of(rows, "cost_usd", policy=policy, **here))
                jct = Estimate.of(of(rows, "jct_mean_s", policy=policy, **here) / MINUTE_S)
                cells = [TITLES[demand], f"{lead_min} min", policy, f"{cost.mean:,.0f} USD", f"{jct.mean:.2f} min"]
                if policy == REACTIVE:
                    cells += ["–"] * 2
                else:
                    usd, base_usd = gap_of(rows, "cost_usd", policy, REACTIVE, **here)
                    gap_s, _ = gap_of(rows, "jct_mean_s", policy, REACTIVE, **here)
                    cells.append(f"{100 * usd.mean / base_usd:+.1f} ± {100 * usd.half_width / base_usd:.1f}%")
                    cells.append(f"{gap_s.mean / MINUTE_S:+.2f} ± {gap_s.half_width / MINUTE_S:.2f} min")
                gap, share, low, high = saved(rows, demand, lead_min, policy)
                cells.append(f"{gap / MINUTE_S:+.2f} min, {share:+.0f}% ({low:+.0f} to {high:+.0f})")
                print(f"| {' | '.join(cells)} |")


def tell_sweep(folder: Path) -> None:
    """The table of a flagship: each row against the autoscaler's that buys alike, paired by seed."""
    comparison = compare([Run.load(run) for run in find_runs([folder])], baseline={"scaling": REACTIVE})
    on_front = {point.group.name for point in points_of(comparison, USUAL) if point.is_pareto}
    heading = ("bought", "scaling", "cost", "JCT", "Δ cost", "Δ JCT", "on the front")
    print(f"\n| {' | '.join(heading)} |\n{'|---' * len(heading)}|")
    rows = zip(comparison.groups, comparison.baselines, strict=True)
    for group, base in sorted(rows, key=lambda row: (row[0].labels["cluster.purchase"], row[0].estimate(COST).mean)):
        cost, jct = group.estimate(COST), group.estimate(JCT)
        cells = [group.labels["cluster.purchase"], group.labels["scaling"]]
        cells += [f"{cost.mean:,.0f} ± {cost.half_width:,.0f} USD", _minutes(jct.mean, jct.half_width)]
        if base is None:
            cells += ["–", "–"]
        else:
            usd, gap_s = difference(group, base, COST), difference(group, base, JCT)
            share = 100 / base.estimate(COST).mean
            cells += [f"{share * usd.mean:+.1f} ± {share * usd.half_width:.1f}%"]
            cells += [f"{gap_s.mean / MINUTE_S:+.2f} ± {gap_s.half_width / MINUTE_S:.2f} min"]
        print(f"| {' | '.join([*cells, 'yes' if group.name in on_front else ''])} |")


def _minutes(mean_s: float, half_width_s: float) -> str:
    return f"{mean_s / MINUTE_S:.2f} ± {half_width_s / MINUTE_S:.2f} min"


def tell_spot(rows: Sequence[Row]) -> None:
    print("\n| machines last | who | cost | JCT | GPU·h lost |\n|---|---|---|---|---|")
    for life in dict.fromkeys(row["demand"] for row in rows):
        for policy in dict.fromkeys(row["policy"] for row in rows):
            cells = [life, policy]
            for metric, unit, spell in (
                ("cost_usd", 1.0, "{:,.0f} ± {:,.0f} USD"),
                ("jct_mean_s", MINUTE_S, "{:.2f} ± {:.2f} min"),
                ("lost_gpu_h", 1.0, "{:.1f} ± {:.1f}"),
            ):
                estimate = Estimate.of(of(rows, metric, demand=life, policy=policy) / unit)
                cells.append(spell.format(estimate.mean, estimate.half_width))
            print(f"| {' | '.join(cells)} |")


def draw_forecasts(rows: Sequence[Row], out: Path) -> list[Path]:
    """A panel a demand: what forecasters change of the wait, for nodes that take longer and longer."""
    demands = list(dict.fromkeys(row["demand"] for row in rows))
    seeds = len({row["seed"] for row in rows})
    title = "What a forecast of demand is worth"
    subtitle = (
        f"mean wait of jobs, times that without a forecast for the same bill: below 1 it pays; 95%, {seeds} seeds"
    )
    names = {**FORECASTERS, ORACLE: "always right"}
    with new_figure(3.0 * len(demands) + 0.6, 4.4, title, subtitle) as figure:
        axes = figure.subplots(1, len(demands), sharey=True, squeeze=False)[0]
        for ax, demand in zip(axes, demands, strict=True):
            ax.axhline(1, color=GREY, linewidth=1)
            for place, (policy, label) in enumerate(names.items()):
                x = np.arange(len(LEADS_MIN)) + 0.17 * (place - (len(names) - 1) / 2)
                found = np.array([saved(rows, demand, lead, policy)[1:] for lead in LEADS_MIN]).T
                times, low, high = np.maximum(1 + found / 100, LEAST)
                ax.errorbar(
                    x, times, yerr=[times - low, high - times], fmt="osD^"[place], color=PALETTE[place], capsize=2.5,
                    markersize=6, elinewidth=1.1, label=label, clip_on=False,
                )  # fmt: skip
            ax.set_title(TITLES[demand])
            ax.set(yscale="log", ylim=(LEAST, 20))
            ax.set_xticks(range(len(LEADS_MIN)), [f"{lead} min" for lead in LEADS_MIN])
            ax.grid(axis="x", visible=False)
        axes[0].set_yticks(
            [LEAST, 0.1, 0.2, 0.5, 1, 2, 5, 10], [f"≤ {LEAST:g}", *["0.1", "0.2", "0.5", "1", "2", "5", "10"]]
        )
        axes[0].minorticks_off()
        axes[0].set_ylabel("wait, times that without a forecast")
        figure.supxlabel("how long a node takes to come", fontsize=9.5)
        axes[min(2, len(axes) - 1)].legend(loc="upper right", fontsize=8.5)
        return save(figure, out, "cost_latency_forecasts")


def write_csv(rows: Sequence[Row], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sweep(experiment: str, name: str, given: Sequence[str], seeds: int, work: Path, out: Path) -> None:
    """An experiment as it is, and its figure and table under another name."""
    folder = work / name
    arguments = [f"experiment={experiment}", *given, f"seed=range({seeds})", f"hydra.sweep.dir={folder}"]
    print("python -m simulator", *arguments, flush=True)
    if code := simulate_command(arguments):
        raise SystemExit(code)
    for kind in ("csv", "svg"):
        shutil.copyfile(folder / f"pareto.{kind}", out / f"cost_latency_{name}.{kind}")
    if experiment == "cost_latency":
        tell_sweep(folder)


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    out, work = Path(given.get("out", "docs/studies")), Path(given.get("work", "outputs/cost_latency"))
    seeds, trace = int(given.get("seeds", 10)), given.get("trace")
    demands = dict(DEMANDS)
    out.mkdir(parents=True, exist_ok=True)
    sweep("cost_latency", "diurnal", [], seeds, work, out)
    sweep("cheapest_instance", "instances", [], seeds, work, out)
    if trace:
        of_trace = ("workload=itp", f"workload.path={trace}", "workload.resample_days=10", *TRACE_OPTIONS)
        demands["itp"] = of_trace
        sweep("cost_latency", "itp", of_trace, seeds, work, out)
    parts: list[tuple[str, list[Case], Callable[[Sequence[Row]], None]]] = [
        ("forecasts", forecast_cases(seeds, demands), tell_forecasts),
        ("spot", spot_cases(seeds), tell_spot),
    ]
    for name, cases, tell in parts:
        rows = run_all(cases, work / f"{name}.jsonl")
        write_csv(rows, out / f"cost_latency_{name}.csv")
        tell(rows)
        if name == "forecasts":
            for path in draw_forecasts(rows, out):
                print(path)


if __name__ == "__main__":
    main()
