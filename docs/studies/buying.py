"""Machines by the hour, replicas by the second, or answers by the thousand: which is cheapest at which load.

    python docs/studies/buying.py [out=docs/studies] [duration_s=86400]

Runs the three services of `experiment=buying` one by one, each under the same requests, at loads from 0.01 to 100
requests/s. Writes buying.csv (a row a run) and draws cost per thousand requests against load, with the cheapest way
shaded and named, and where it changes: where straight lines between neighbouring loads cross, on logarithmic axes.

The cost is the whole bill: of iaas all nodes, also while they start or idle. The load is that of the day, the mean over
its 24 hours, of which 14 have none.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from simulator.__main__ import store_choices
from simulator.config import Setup, read_config
from simulator.figures.style import INK, PALETTE, new_figure, save
from simulator.metrics import summarise
from simulator.simulation import simulate

WAYS = {"iaas": "IaaS: machines by the hour", "paas": "PaaS: replicas by the second", "saas": "SaaS: by the request"}
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # mean over a week, as of requests=market
DAY_S = 86400.0
Row = dict[str, Any]


def settings(way: str, rate_per_s: float, duration_s: float) -> dict[str, Any]:
    """Those of the experiment with one of its services, which has the same name, so the same requests, in each way."""
    store_choices()
    overrides = [f"services.iaas.requests.{name}={value}" for name, value in
                 (("rate_per_s", rate_per_s), ("duration_s", duration_s))]  # fmt: skip
    with initialize_config_module("conf", version_base="1.3"):
        composed = compose("config", ["experiment@_global_=buying", *overrides])
    plain: Any = OmegaConf.to_container(composed, resolve=True)
    pool = plain["services"][way]["pool"]
    return {**plain, "services": {"labels": plain["services"][way]}, "pools": {pool: plain["pools"][pool]}}


def run(way: str, rate_per_s: float, duration_s: float) -> Row:
    setup = Setup(read_config(settings(way, rate_per_s, duration_s)))
    summary = summarise(simulate(setup.scenario(setup.load())))
    of = summary["services"]["labels"]
    return {
        "way": way,
        "price": _price(setup),
        "requests_per_s": of["num_requests"] / duration_s,
        "num_requests": of["num_requests"],
        "cost_usd": summary["cost_usd"],
        "cost_per_1k_requests_usd": 1e3 * summary["cost_usd"] / of["num_served"],
        "replicas_mean": of["replicas_mean"],
        "replicas_max": of["replicas_max"],
        "num_cold_starts": of["num_cold_starts"],
        "latency_p50_s": of["latency_p50_s"],
        "latency_p99_s": of["latency_p99_s"],
        "slo_attainment_frac": of["slo_attainment_frac"],
    }


def _price(setup: Setup) -> str:
    """Its source, with its day."""
    scenario = setup.scenario(setup.load())
    return scenario.services[0].spec.purchase.price_source or scenario.pools[0].price_source


def crossings(curves: Mapping[str, list[tuple[float, float]]]) -> list[tuple[float, float, str, str]]:
    """(load, cost, cheapest before, cheapest after) where the cheapest changes.

    Args:
        curves: by way, (load, cost) at the same loads, ascending.
    """
    loads = [load for load, _ in next(iter(curves.values()))]
    best = [min(curves, key=lambda way: curves[way][k][1]) for k in range(len(loads))]
    found = []
    for k in range(1, len(loads)):
        before, after = best[k - 1], best[k]
        if before != after:
            gap = [math.log(curves[after][j][1] / curves[before][j][1]) for j in (k - 1, k)]
            share = gap[0] / (gap[0] - gap[1])
            load = loads[k - 1] * (loads[k] / loads[k - 1]) ** share
            left, right = (curves[before][j][1] for j in (k - 1, k))
            found.append((load, left * (right / left) ** share, before, after))
    return found


def curves_of(rows: list[Row]) -> dict[str, list[tuple[float, float]]]:
    return {
        way: sorted((row["requests_per_s"], row["cost_per_1k_requests_usd"]) for row in rows if row["way"] == way)
        for way in WAYS
    }


def draw(rows: list[Row], out: Path) -> list[Path]:
    """Cost per thousand requests against load, and the cheapest way at each."""
    curves = curves_of(rows)
    changes = crossings(curves)
    loads = [load for load, _ in curves["iaas"]]
    first = changes[0][2] if changes else min(curves, key=lambda way: curves[way][0][1])
    order = [first, *(after for *_, after in changes)]
    title = f"Cheapest as load grows: {', then '.join(WAYS[way].partition(':')[0] for way in order)}"
    subtitle = "labels for images, a day with 10 hours of load; shaded: the cheapest"
    prices = {row["way"]: row["price"] for row in rows}
    colours = dict(zip(WAYS, (PALETTE[0], PALETTE[4], PALETTE[2]), strict=True))
    with new_figure(8.2, 4.8, title, subtitle) as figure:
        ax = figure.subplots()
        edges = [loads[0], *(load for load, *_ in changes), loads[-1]]
        for way, begin, end in zip(order, edges, edges[1:], strict=False):
            ax.axvspan(begin, end, color=colours[way], alpha=0.10, lw=0)
        for way, points in curves.items():
            x, y = zip(*points, strict=True)
            ax.plot(
                x, y, color=colours[way], marker="o", markersize=4, label=f"{WAYS[way]} ({prices[way]})", clip_on=False
            )
        for load, cost, _, after in changes:
            ax.plot([load], [cost], "o", color=INK, markersize=7, fillstyle="none")
            text = f"{WAYS[after].partition(':')[0]} from {load:.2g}/s"
            ax.annotate(text, (load, cost), xytext=(10, 12), textcoords="offset points", color=INK)
        ax.set(xscale="log", yscale="log", xlim=(loads[0], loads[-1]), xlabel="requests per second, mean of the day",
               ylabel="USD per 1,000 requests")  # fmt: skip
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.legend(loc="upper right", fontsize=8)
        return save(figure, out, "buying")


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    out, duration_s = Path(given.get("out", "docs/studies")), float(given.get("duration_s", DAY_S))
    rows: list[Row] = []
    with ProcessPoolExecutor(2) as pool:
        for future in [pool.submit(run, way, rate, duration_s) for rate in RATES for way in WAYS]:
            rows.append(future.result())
            print(", ".join(f"{name} {value:.5g}" if isinstance(value, float) else f"{name} {value}"
                            for name, value in rows[-1].items()), flush=True)  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    with (out / "buying.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for path in draw(rows, out):
        print(path)
    for load, cost, before, after in crossings(curves_of(rows)):
        print(
            f"up to {load:.3g} requests/s {before} is cheapest, then {after}: both cost {cost:.3g} USD per 1,000 there"
        )


if __name__ == "__main__":
    main()
