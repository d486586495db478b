"""Control loops on top of each other: what goes wrong, by how much, and what mends it.

    python docs/studies/stacked_loops.py [out=docs/studies] [seeds=10]

Runs cold_start_thrash, slow_driver and consolidation_churn as they are and with each remedy, seed by seed. Writes
stacked_loops.csv (a row a run) and prints a table of means with 95% intervals of them (Student's t over seeds).
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from scipy import stats

from simulator.__main__ import store_choices
from simulator.config import Setup, read_config
from simulator.metrics import summarise
from simulator.simulation import simulate

VARIANTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "cold_start_thrash": {
        "in after 60 s": (),
        "in after 300 s (Kubernetes' default)": ("scaling.behavior.scale_down.window_s=300",),
        "in after 1800 s": ("scaling.behavior.scale_down.window_s=1800",),
    },
    "slow_driver": {
        "a node without its GPUs is none": (),
        "it is on its way": ("scaling.waits_for_gpus=true",),
    },
    "consolidation_churn": {
        "consolidates at once": (),
        "the same, jobs checkpoint every 10 min": ("workload.checkpoint_interval_s=600",),
        "after 30 quiet minutes, with checkpoints": (
            "workload.checkpoint_interval_s=600",
            "scaling.consolidate_after_s=1800",
        ),
        "empty nodes only": ("scaling.consolidation=WhenEmpty",),
    },
}
MEASURES = {
    "cold_start_thrash": ("num_replicas_never_ready", "gpu_startup_h", "slo_attainment_frac", "cost_usd"),
    "slow_driver": ("num_nodes_ordered", "cost_startup_usd", "cost_usd", "jct_mean_s"),
    "consolidation_churn": ("num_nodes_ordered", "num_preemptions", "cost_lost_usd", "cost_usd", "jct_mean_s"),
}
Row = dict[str, Any]


def run(experiment: str, variant: str, seed: int) -> Row:
    store_choices()
    overrides = [f"experiment@_global_={experiment}", f"seed={seed}", *VARIANTS[experiment][variant]]
    with initialize_config_module("conf", version_base="1.3"):
        plain: Any = OmegaConf.to_container(compose("config", overrides), resolve=True)
    setup = Setup(read_config(plain))
    summary = summarise(simulate(setup.scenario(setup.load())))
    of = {**summary, **next(iter(summary["services"].values()), {}), "cost_usd": summary["cost_usd"]}
    return {
        "experiment": experiment,
        "variant": variant,
        "seed": seed,
        **{name: of[name] for name in MEASURES[experiment]},
    }


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half of its 95% interval."""
    of = np.asarray(values)
    return float(of.mean()), float(stats.t.ppf(0.975, of.size - 1) * of.std(ddof=1) / np.sqrt(of.size))


def main(arguments: list[str]) -> None:
    options = {"out": "docs/studies", "seeds": "10"} | dict(argument.split("=", 1) for argument in arguments)
    todo = [(e, v, seed) for e, of in VARIANTS.items() for v in of for seed in range(int(options["seeds"]))]
    with ProcessPoolExecutor(2) as pool:
        rows = list(pool.map(run, *zip(*todo, strict=True)))
    names = ["experiment", "variant", "seed", *dict.fromkeys(name for of in MEASURES.values() for name in of)]
    with (Path(options["out"]) / "stacked_loops.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for experiment, variants in VARIANTS.items():
        measures = MEASURES[experiment]
        print(f"\n| {experiment} | {' | '.join(measures)} |\n|{'---|' * (len(measures) + 1)}")
        for variant in variants:
            mine = [row for row in rows if (row["experiment"], row["variant"]) == (experiment, variant)]
            cells = ("{:,.4g} ± {:,.2g}".format(*interval([row[name] for row in mine])) for name in measures)
            print(f"| {variant} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
