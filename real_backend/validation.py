"""How far the simulator is off: each policy simulated with the profile, then live, then the report.

FOLDER/calibration/            the profile, where none was named: measured first, apart from what follows
FOLDER/simulated/LABEL/        each plan in simulated time
FOLDER/live/LABEL[/repeat-N]/  the same on real processes
FOLDER/fidelity.json, report.html, figures/
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from real_backend.errors import BackendError
from real_backend.files import PROFILE
from real_backend.report import About, load_pairs, write_report
from real_backend.running import (
    Plan,
    check_settings,
    find_profile,
    make_plan,
    profile_text,
    read_settings,
    run_live,
    run_simulated,
)
from simulator.run import SUMMARY
from simulator.running import CONFIG
from simulator.summary import write_json
from workloads.profile import Profile, load_profile

ABOUT = "about.json"


def validate(runs: Sequence[tuple[dict[str, Any], dict[str, Any]]], folder: Path, command: str = "") -> dict[str, Any]:
    """Runs everything, and writes the report.

    Args:
        runs: settings and labels, one a policy.

    Returns:
        What is in fidelity.json.
    """
    console = _console()
    names = _names([labels for _, labels in runs])
    settings = runs[0][0]
    repeats = int(settings["repeats"])
    if repeats < 1:
        raise BackendError(f"repeats={repeats}: must be 1 or more")
    for each, _ in runs:  # all are checked before anything is measured
        check_settings(each)
    folder.mkdir(parents=True, exist_ok=True)
    profile = _profile(settings, folder, command, console)
    plans = [make_plan(each, profile) for each, _ in runs]
    turns = list(zip([labels for _, labels in runs], plans, names, strict=True))
    expected_s = {}
    for labels, plan, name in turns:
        run = run_simulated(plan, labels, folder / "simulated" / name)
        expected_s[name] = float(run.facts["end_s"])
        console.print(_line("simulated", name, run.summary), highlight=False, soft_wrap=True)
    for repeat in range(repeats):  # all policies in turn: a machine whose speed drifts then favours none
        for labels, plan, name in turns:
            place = folder / "live" / name if repeats == 1 else folder / "live" / name / f"repeat-{repeat + 1}"
            if (place / SUMMARY).is_file() and plan.config.resume and _is_same(place, plan):
                console.print(f"{place}: there already, of the same settings; kept", highlight=False, soft_wrap=True)
                continue
            told = f" ({repeat + 1} of {repeats})" if repeats > 1 else ""
            with console.status(f"live: {name}{told}, about {expected_s[name]:.0f} s"):
                run = run_live(plan, labels, place, is_quiet=True)
            console.print(_line("live", f"{name}{told}", run.summary), highlight=False, soft_wrap=True)
    write_json(folder / ABOUT, _about(plans[0], profile, command))
    return report_again(folder, console)


def report_again(folder: Path, console: Console | None = None) -> dict[str, Any]:
    """Writes the report from the runs in a validation's folder."""
    console = console or _console()
    try:
        about = About(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))
    except OSError:
        raise BackendError(f"{folder}: no {ABOUT} in it: not a validation's folder, or it has not ended") from None
    told = write_report(folder, load_pairs(folder), about)
    table = Table(title="simulated against live, live as the truth", title_justify="left")
    for column in ("policy", "mean JCT", "p95 JCT", "makespan", "cost", "rescales*", "nodes ordered*"):
        table.add_column(column, justify="left" if column == "policy" else "right")
    for row in told["policies"]:
        keys = ("mean_jct_error_frac", "p95_jct_error_frac", "makespan_error_frac", "cost_error_frac")
        errors = [f"{100 * row[key]:+.1f} %" if row[key] is not None else "–" for key in keys]
        counts = [f"{row[f'{key}_live']:.3g} / {row[f'{key}_simulated']}" for key in ("rescales", "nodes_ordered")]
        table.add_row(row["policy"], *errors, *counts)
    console.print(table)
    console.print("* live / simulated", highlight=False)
    console.print(told["verdict"], highlight=False, soft_wrap=True)
    console.print(f"the report is {folder / 'report.html'}", highlight=False, soft_wrap=True)
    return told


def _console() -> Console:
    """Wide enough for tables, where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 120)


def _profile(settings: Mapping[str, Any], folder: Path, command: str, console: Console) -> Profile:
    mine = read_settings(settings)
    if mine.profile != "auto":
        return find_profile(mine)
    from real_backend.calibration import calibrate, profile_name

    place = folder / "calibration"
    name = settings["calibration"].get("name") or profile_name(mine.compute, mine.device)
    if (place / f"{name}.yaml").is_file() and settings.get("resume", True):
        console.print(f"{place / name}.yaml: there already; kept", highlight=False, soft_wrap=True)
        return load_profile(place / f"{name}.yaml")
    return calibrate(settings, place, command=command, console=console)


def _names(labels: Sequence[Mapping[str, Any]]) -> list[str]:
    """A folder's name for each run: what differs between them, the allocation always."""
    differing = [key for key in labels[0] if len({str(each.get(key)) for each in labels}) > 1 and key != "allocation"]
    names = [
        ",".join([str(each["allocation"]), *(f"{key}={each.get(key)}" for key in differing)]).replace("/", "_")
        for each in labels
    ]
    if len(set(names)) < len(names):
        raise BackendError(f"validate: two runs of the same settings: {', '.join(names)}")
    return names


def _is_same(place: Path, plan: Plan) -> bool:
    """Also of the same profile: it says how many steps a job has."""
    texts = ((place / CONFIG, plan.text), (place / PROFILE, profile_text(plan.profile)))
    return all(path.is_file() and path.read_text(encoding="utf-8") == text for path, text in texts)


def _line(world: str, name: str, summary: Mapping[str, Any]) -> str:
    from simulator.console import line

    return f"{world:>9}  {name}: {line(summary)}"


def _about(plan: Plan, profile: Profile, command: str) -> dict[str, Any]:
    pool = plan.scenario.pools[0]
    holdout = {
        name: f"{100 * model.holdout.median_error_frac:.1f} % median, {100 * model.holdout.p90_error_frac:.1f} % p90, "
        f"{model.holdout.num_rows} of {model.num_rows} rows"
        for name, model in profile.models.items()
        if model.holdout
    }
    facts: dict[str, Any] = {
        "command": command,
        "machine": f"{platform.system()}, {platform.machine()}, {os.cpu_count()} CPUs",
        "versions": ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "simpy")),
        "jobs": len(plan.scenario.jobs),
        "nodes at the start": f"{pool.num_nodes} of {pool.gpus_per_node} ({pool.fewest} to {pool.most})",
        "method of moving": plan.settings.method,
        "profile": profile.name,
        **{f"profile: {name}": value for name, value in profile.provenance.items()},
        **{f"hold-out error of step times, {name}": text for name, text in holdout.items()},
    }
    notes = []
    if extrapolated := _extrapolated(plan, profile):
        notes.append(f"step times were extrapolated for {', '.join(extrapolated)}: outside of what was measured")
    device = next(iter(profile.models.values())).device
    return {
        "compute": plan.settings.compute, "device": device, "profile": profile.name, "facts": facts, "notes": notes,
    }  # fmt: skip


def _extrapolated(plan: Plan, profile: Profile) -> list[str]:
    jobs, size = plan.scenario.jobs, plan.scenario.pools[0].gpus_per_node
    found = set()
    for row in range(len(jobs)):
        model, most = str(jobs.model[row]), int(jobs.max_gpus[row])
        if profile.is_extrapolated(model, most, -(-most // size)):
            found.add(f"{model} on {most} GPUs")
    return sorted(found)
