"""Steps as they were live against those of the profile: what of an error is the profile's, before any scheduling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from real_backend.files import PROFILE, STEPS
from real_backend.report.errors import error_frac
from real_backend.report.pairs import Pair
from simulator.run import Run
from workloads.profile import Profile, load_profile

_GANG = ["model", "num_workers", "num_nodes"]


def step_rows(pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """By model and gang, over all live runs: the mean step, and the profile's; empty where runs have no such files.

    A gang's first step is left out: what it takes longer is part of the move's cost.
    """
    runs = [run for pair in pairs for run in pair.live]
    frames = list(_frames(runs))
    if not frames:
        return []
    profile = frames[0][0]
    rows = []
    means = pd.concat([frame for _, frame in frames]).groupby(_GANG)["duration_s"].agg(["mean", "size"])
    for gang in means.reset_index().to_dict("records"):
        live_s, of = float(gang["mean"]), profile.of(gang["model"])
        workers, nodes = gang["num_workers"], gang["num_nodes"]
        profile_s = of.step_time_s(workers, nodes)
        rows.append(
            {
                "model": gang["model"],
                "num_workers": workers,
                "num_nodes": nodes,
                "num_steps": gang["size"],
                "step_live_s": live_s,
                "step_profile_s": profile_s,
                "step_error_frac": error_frac(live_s, profile_s),
                "is_measured": f"{workers}x{nodes}" in of.measured_s,
            }
        )
    return rows


def _frames(runs: Sequence[Run]) -> Iterator[tuple[Profile, pd.DataFrame]]:
    for run in runs:
        if run.folder is None or not all((run.folder / name).is_file() for name in (STEPS, PROFILE)):
            continue
        steps = pd.read_parquet(run.folder / STEPS)
        steps["model"] = run.columns("jobs", "model")["model"].astype(str)[steps["job"].to_numpy()]
        steps = steps.sort_values(["job", "time_s"], kind="stable")
        gang = steps[["job", "num_workers", "num_nodes"]].to_numpy()
        is_first = np.r_[True, (gang[1:] != gang[:-1]).any(axis=1)] if len(gang) else np.zeros(0, bool)
        yield load_profile(run.folder / PROFILE), steps[~is_first]
