"""One pool for training and a service, against the same machines split in two.

    python docs/studies/mixed_pool.py [seeds=10] [out=docs/studies/mixed_pool] [hours=48]

Runs `experiment=mixed_pool` as it is, then its training jobs alone on some of the nodes and its service alone on the
others, for three splits of the nodes. Same jobs, same requests, same nodes, all of which
are on all the time: the cost is the same. Writes mixed_pool.csv (a row a run), and draws mean JCT against SLO
attainment, with 95% confidence intervals over seeds.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from simulator.__main__ import store_choices
from simulator.comparison import Estimate
from simulator.config import Setup, read_config
from simulator.figures.style import BLUE, GREY, ORANGE, new_figure, save
from simulator.metrics import summarise
from simulator.simulation import simulate

HOUR_S = 3600.0
Row = dict[str, Any]


def settings(seed: int, hours: float) -> dict[str, Any]:
    """Those of the experiment, as plain values."""
    store_choices()
    with initialize_config_module("conf", version_base="1.3"):
        composed = compose("config", ["experiment@_global_=mixed_pool", f"seed={seed}"])
    plain: Any = OmegaConf.to_container(composed, resolve=True)
    plain["requests"]["duration_s"] = hours * HOUR_S
    plain["workload"]["num_jobs"] = round(plain["workload"]["num_jobs"] * hours / 48)
    return dict(plain)


def run(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The summary of one run."""
    setup = Setup(read_config(given))
    return summarise(simulate(setup.scenario(setup.load())))


def mixed(seed: int, hours: float) -> Row:
    return _row("mixed", seed, *[run(settings(seed, hours))] * 2)


def split(seed: int, hours: float, serving_nodes: int) -> Row:
    """Two clusters."""
    given = settings(seed, hours)
    num_nodes = given["cluster"]["num_nodes"]
    training = {
        **given,
        "cluster": {**given["cluster"], "num_nodes": num_nodes - serving_nodes},
        "requests": {"name": "none"},
        "scaling": {"name": "static"},
        "allocation": {"name": "fair_share"},
    }
    gpus = serving_nodes * given["cluster"]["gpus_per_node"]
    serving = {
        **given,
        "cluster": {**given["cluster"], "num_nodes": serving_nodes},
        "workload": {"name": "none"},
        "allocation": {"name": "fifo"},
        "service": {**given["service"], "max_replicas": min(gpus, given["service"]["max_replicas"])},
    }
    return _row(f"split {num_nodes - serving_nodes}|{serving_nodes}", seed, run(training), run(serving))


def _row(name: str, seed: int, training: Mapping[str, Any], serving: Mapping[str, Any]) -> Row:
    service = serving["services"]["web"]
    return {
        "pool": name,
        "seed": seed,
        "jct_mean_s": training["jct_mean_s"],
        "jct_p95_s": training["jct_p95_s"],
        "num_finished": training["num_finished"],
        "num_submitted": training["num_submitted"],
        "slo_attainment_frac": service["slo_attainment_frac"],
        "latency_p99_s": service["latency_p99_s"],
        "num_served": service["num_served"],
        "num_requests": service["num_requests"],
        "replicas_mean": service["replicas_mean"],
    }


def draw(rows: list[Row], out: Path) -> list[Path]:
    """Mean JCT against the share of requests that miss their objective."""
    names = list(dict.fromkeys(row["pool"] for row in rows))
    best = _beaten(rows)
    title = "One pool, and the same machines split in two"
    if best:
        title = f"One pool is better in both than {', '.join(best)}"
    seeds = len({row["seed"] for row in rows})
    subtitle = f"means and 95% confidence intervals over {seeds} seeds; nodes for training | for the service"
    with new_figure(7.5, 4.6, title, subtitle) as figure:
        ax = figure.subplots()
        for name in names:
            x, y = _estimates(rows, name)
            colour = ORANGE if name == "mixed" else BLUE
            ax.errorbar(
                x.mean, y.mean, xerr=x.half_width, yerr=y.half_width, fmt="o", color=colour, capsize=3, markersize=7
            )
            ax.annotate(name, (x.mean, y.mean), xytext=(8, 6), textcoords="offset points", color=colour)
        ax.set(xscale="log", yscale="log", xlabel="mean JCT of training (h)", ylabel="requests out of objective (%)")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(lambda value, _: f"{value:.1g}" if f"{value:e}"[0] in "25" else "")
        ax.margins(0.2)
        ax.text(0.02, 0.03, "better", transform=ax.transAxes, color=GREY, fontsize=9)
        return save(figure, out, "mixed_pool")


def _estimates(rows: list[Row], name: str) -> tuple[Estimate, Estimate]:
    mine = [row for row in rows if row["pool"] == name]
    jct_h = np.array([row["jct_mean_s"] / HOUR_S for row in mine])
    return Estimate.of(jct_h), Estimate.of(np.array([100 * (1 - row["slo_attainment_frac"]) for row in mine]))


def _beaten(rows: list[Row]) -> list[str]:
    """The splits that are worse in both, paired by seed, beyond the 95% confidence intervals of the differences."""
    mine = {row["seed"]: row for row in rows if row["pool"] == "mixed"}
    beaten = []
    for name in dict.fromkeys(row["pool"] for row in rows):
        others = [row for row in rows if row["pool"] == name != "mixed"]
        gains = [
            Estimate.of(np.array([sign * (row[metric] - mine[row["seed"]][metric]) for row in others]))
            for metric, sign in (("jct_mean_s", 1.0), ("slo_attainment_frac", -1.0))
        ]
        if others and all(gain.mean - gain.half_width > 0 for gain in gains):
            beaten.append(name)
    return beaten


def _tasks(seeds: int, hours: float) -> Iterator[tuple[Any, ...]]:
    num_nodes = settings(0, hours)["cluster"]["num_nodes"]
    for seed in range(seeds):
        yield mixed, seed, hours
        for serving_nodes in range(3, num_nodes - 2):
            yield split, seed, hours, serving_nodes


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    out = Path(given.get("out", "docs/studies"))
    seeds, hours = int(given.get("seeds", 10)), float(given.get("hours", 48))
    rows: list[Row] = []
    with ProcessPoolExecutor(2) as pool:
        for future in [pool.submit(*task) for task in _tasks(seeds, hours)]:
            rows.append(future.result())
            print(", ".join(f"{name} {value:.5g}" if isinstance(value, float) else f"{name} {value}"
                            for name, value in rows[-1].items()), flush=True)  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    with (out / "mixed_pool.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for path in draw(rows, out):
        print(path)
    for name in dict.fromkeys(row["pool"] for row in rows):
        jct, missed = _estimates(rows, name)
        print(f"{name:12} JCT {jct.mean:.3g} ± {jct.half_width:.2g} h, "
              f"missed {missed.mean:.3g} ± {missed.half_width:.2g} %")  # fmt: skip


if __name__ == "__main__":
    main()
