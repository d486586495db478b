"""One live run from its settings to its folder, and its counterpart in simulated time.

| live | simulated |
|---|---|
| agents, processes, collectives, checkpoints | the profile's step times, move costs and provisioning time |
| policies, jobs, steps a job, pool, prices, arrival times, records | the same |
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from real_backend.errors import BackendError
from real_backend.exporter import Exporter
from real_backend.files import JOURNAL, PROFILE
from real_backend.journal import read_journal
from real_backend.options import Settings
from real_backend.report.nodes import NodeCounts
from real_backend.run import LiveRun, Steps, in_steps, resume_point
from real_backend.runtime import Runtime, names_of
from real_backend.simulated_only import refuse_what_is_simulated_only
from real_backend.task import Task
from simulator.config import RunConfig, Setup, read_config
from simulator.console import ProgressBar, show_table
from simulator.environment import write_environment
from simulator.manifests.scaled import described
from simulator.metrics import summarise
from simulator.plugins import import_plugins
from simulator.run import SUMMARY, UNFINISHED, Run
from simulator.running import CONFIG, Interrupted, audit, prepare, signals
from simulator.scenario import Scenario
from simulator.simulation import simulate
from simulator.summary import write_json
from workloads.options import build
from workloads.profile import Profile, load_profile, write_profile

_NOT_KEPT = (
    "progress",
    "resume",
    "repeats",
    "calibration",
    "profile",
)  # change nothing in a run, or (the profile) are kept in a file of their own
OWN = (*(option.name for option in fields(Settings)), "repeats", "calibration")


@dataclass(frozen=True)
class Plan:
    """A run whose settings have been checked and whose workload has been read."""

    settings: Settings
    config: RunConfig
    scenario: Scenario
    steps: Steps
    profile: Profile
    text: str  # the settings, as config.yaml has them

    @property
    def slots(self) -> int:
        return self.scenario.pools[0].gpus_per_node


def read_settings(settings: Mapping[str, Any]) -> Settings:
    """The live backend's part of the settings, with `auto` resolved.

    Raises:
        BackendError, WorkloadError: by the name of the setting.
    """
    own = {name: value for name, value in settings.items() if name in {option.name for option in fields(Settings)}}
    return build(Settings, own).resolved()


def find_profile(settings: Settings) -> Profile:
    """The profile that the settings name.

    Raises:
        WorkloadError, BackendError: there is none.
    """
    if settings.profile != "auto":
        return load_profile(settings.profile)
    device = settings.device
    name = f"{settings.compute}_{device}"
    if not files("workloads").joinpath("profiles", f"{name}.yaml").is_file():
        raise BackendError(
            f"profile=auto: no profile {name} in workloads/profiles: measure one with "
            f"`python -m real_backend calibrate device={device} compute={settings.compute}`, then profile=FILE; "
            "validate does so by itself"
        )
    return load_profile(name)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Checks what can be checked without a profile, which may take minutes to measure.

    Raises:
        BackendError, ConfigError, PolicyError, WorkloadError: by the name of the setting.
    """
    _own(settings)
    Setup(read_config(_shared(settings))).load()


def make_plan(settings: Mapping[str, Any], profile: Profile | None = None) -> Plan:
    """Checks everything that can be checked before anything runs.

    Args:
        profile: in place of the one that the settings name.
    """
    mine, tasks = _own(settings)
    profile = profile or find_profile(mine)
    source = _named(profile)
    rest = _shared(settings)
    rest["step_time"] = {"name": "profile", "profile": source}
    rest["overheads"] = {"profile": source, "method": mine.method}
    config = read_config(rest)
    setup = Setup(config)
    scenario = setup.scenario(setup.load())
    pool = scenario.pools[0]
    steps = in_steps(scenario.jobs, scenario.step_time, pool.gpus_per_node, tasks)
    if profile.provision_s is not None:
        pool = replace(pool, provision_s=profile.provision_s, provision_cv=0.0)
    scenario = replace(scenario, jobs=steps.jobs, pools=(pool,))
    text = OmegaConf.to_yaml({name: value for name, value in settings.items() if name not in _NOT_KEPT})
    return Plan(mine, config, scenario, steps, profile, text)


def _own(settings: Mapping[str, Any]) -> tuple[Settings, dict[str, Task]]:
    """The live backend's part of the settings, checked, and what each model is when it runs."""
    import_plugins(settings.get("plugins") or ())
    mine = read_settings(settings)
    mine.options()
    refuse_what_is_simulated_only(settings)
    return mine, mine.tasks()


def _shared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The simulator's part of the settings, with what manifests say of bounds."""
    return described({name: value for name, value in settings.items() if name not in OWN})[0]


def _named(profile: Profile) -> str:
    """What `step_time.profile` has to be to mean it: its name if that is this very profile, else its file."""
    place = files("workloads").joinpath("profiles", f"{profile.name}.yaml")
    is_built_in = place.is_file() and load_profile(profile.name) == profile
    return profile.name if is_built_in or not profile.path else profile.path


def run_live(plan: Plan, labels: Mapping[str, Any], folder: Path, is_quiet: bool = False) -> Run:
    """Runs a plan on real processes.

    Raises:
        Interrupted: by SIGINT or SIGTERM; the folder holds the records so far and unfinished.json.
        BackendError: nodes that don't come.
        PolicyError: what a policy did that can't be carried out.
    """
    history = _history(plan, folder)
    if not history:
        prepare(folder)
        (folder / JOURNAL).unlink(missing_ok=True)
        _write_settings(folder, plan)
    options = plan.settings.options()
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    kept: dict[str, Any] = {}
    if history:
        since_s, address = resume_point(folder, history)
        token = (folder / "token").read_text(encoding="utf-8").strip()
        kept = {"listen": address, "token": token, "began_s": since_s}
    exporter = Exporter(options.prometheus_port) if options.prometheus_port else None
    with signals() as stopper:
        runtime = Runtime(folder, options, plan.settings.device, plan.settings.method, plan.slots, **kept)
        try:
            if not history:
                runtime.bring_up(names_of(plan.scenario.pools[0].num_nodes), report=print)
            with ProgressBar(plan.config.progress and not is_quiet, "second", 1.0) as bar:
                tasks = plan.settings.tasks()
                live = LiveRun(plan.scenario, plan.steps.num_steps, tasks, runtime, history, bar, exporter)
                stopper.stop = live.stop
                run = live.run()
            stopper.stop = None
        finally:
            runtime.close()
            if exporter:
                exporter.close()
    if run.why_unfinished:
        raise Interrupted(run.why_unfinished)
    run.facts = {**run.facts, "notes": [*_warnings(plan), *run.facts["notes"]]}
    return _conclude(
        run, plan, labels, folder, time.perf_counter() - began_s, time.process_time() - began_cpu_s, is_quiet
    )


def run_simulated(plan: Plan, labels: Mapping[str, Any], folder: Path, is_quiet: bool = True) -> Run:
    """Runs the same plan in simulated time."""
    prepare(folder)
    _write_settings(folder, plan)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    run = simulate(plan.scenario, folder)
    return _conclude(
        run, plan, labels, folder, time.perf_counter() - began_s, time.process_time() - began_cpu_s, is_quiet
    )


def _conclude(
    run: Run, plan: Plan, labels: Mapping[str, Any], folder: Path, wall_s: float, cpu_s: float, is_quiet: bool
) -> Run:
    audit(run, plan.config, folder)
    write_environment(folder, plan.config.seed, wall_s, cpu_s, len(plan.scenario.jobs))
    run.summary = summary = summarise(run, labels, plan.config.warmup_s)
    if plan.config.figures if plan.config.figures is not None else not is_quiet:
        from simulator.figures import draw_run

        draw_run(run, folder)
    write_json(folder / SUMMARY, summary)
    if not is_quiet:
        show_table(summary, " ".join(f"{name}={labels[name]}" for name in ("allocation", "scaling", "workload")))
        counts = NodeCounts.of(run)
        if counts.ordered:
            print(
                f"nodes: {counts.first} at the start, {counts.ordered} ordered; there {counts.mean:.1f} on average, "
                f"{counts.most} at most"
            )
        print(f"{len(plan.scenario.jobs)} jobs in {wall_s:.1f} s; the run is in {folder}")
    return run


def profile_text(profile: Profile) -> str:
    """A profile as its file has it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "profile.yaml")
        write_profile(profile, path)
        return path.read_text(encoding="utf-8")


def _write_settings(folder: Path, plan: Plan) -> None:
    (folder / CONFIG).write_text(plan.text, encoding="utf-8")
    (folder / PROFILE).write_text(profile_text(plan.profile), encoding="utf-8")


def _history(plan: Plan, folder: Path) -> list[dict[str, Any]]:
    """The journal of a run of the same settings whose controller was killed; empty where there is none."""
    path = folder / JOURNAL
    if not plan.config.resume or not path.is_file() or (folder / SUMMARY).exists() or (folder / UNFINISHED).exists():
        return []
    if not (folder / "token").is_file():
        return []
    if not (folder / CONFIG).is_file() or (folder / CONFIG).read_text(encoding="utf-8") != plan.text:
        raise BackendError(
            f"{folder}: holds a run of other settings that has not ended; take another folder (hydra.run.dir), "
            "or delete this one"
        )
    return read_journal(path)


def _warnings(plan: Plan) -> list[str]:
    if plan.settings.is_paced:
        return ["compute=paced: the compute part of each step was slept, not computed"]
    return []
