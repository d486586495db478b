"""One run from its settings to its folder: checked, loaded, simulated, audited, measured, drawn.

`summary.json` comes last and in one go. What the same settings give is the same bytes, `environment.json` aside.
"""

from __future__ import annotations

import datetime
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from simulator.catalogue import price_note, price_notes
from simulator.config import GROUPS, RunConfig, Setup, read_config
from simulator.console import ProgressBar, line, show_table, size
from simulator.environment import write_environment
from simulator.errors import ConfigError
from simulator.manifests.export import of_config
from simulator.manifests.scaled import described
from simulator.metrics import summarise
from simulator.plugins import import_plugins
from simulator.run import SUMMARY, UNFINISHED, Run
from simulator.scenario import Scenario
from simulator.simulation import Simulation
from simulator.summary import write_json

CONFIG = "config.yaml"
_SHOWN = ("allocation", "placement", "scaling", "workload")
_LONGEST = 40  # characters of a label's value, in a run's name
_NOT_KEPT = ("progress", "resume", "compare")  # settings that change nothing in a run


class Interrupted(KeyboardInterrupt):
    """A run that was told to stop, and did, with its records written."""


@dataclass(frozen=True)
class Job:
    """What to run and where to.

    Args:
        settings: plain values, as `RunConfig` names them.
        labels: what was chosen, for summary.json and comparisons.
        folder: takes the run's files; made if need be, files of an older run in it are replaced.
        in_sweep: one of several: says less, draws nothing unless told to, may be done already.
        today: from which prices are old, and noted as such; None: nothing is said of it.
    """

    settings: Mapping[str, Any]
    labels: Mapping[str, Any]
    folder: Path
    in_sweep: bool = False
    today: datetime.date | None = None

    @property
    def name(self) -> str:
        """What stands out of its labels."""
        shown = {label: str(value) for label, value in self.labels.items() if label in _SHOWN or label not in GROUPS}
        short = {label: f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text for label, text in shown.items()}
        return " ".join(f"{label}={text}" for label, text in short.items())


def run_job(job: Job, on_start: Callable[[], None] = lambda: None) -> None:
    """Runs a job to its end.

    Args:
        on_start: called once everything has been checked, when the simulation begins.

    Raises:
        ConfigError, PolicyError, WorkloadError: settings that can't be; nothing has run.
        Interrupted: by SIGINT or SIGTERM; the folder holds the records so far and unfinished.json.
        Exception: of a policy, or an audit that failed; likewise.
    """
    import_plugins(job.settings.get("plugins") or ())
    settings, of_manifests = described(job.settings)
    config = read_config(settings)
    text = OmegaConf.to_yaml({name: value for name, value in settings.items() if name not in _NOT_KEPT})
    if job.in_sweep and config.resume and is_done(job.folder, text):
        print(f"{job.folder}: finished already with the same settings; kept (resume=false runs it anew)")
        return
    setup, manifests = Setup(config), of_config(config) if config.export else ""
    prepare(job.folder)
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
    with signals() as stopper:
        trace = setup.load()
        if not job.in_sweep and len(trace.jobs):
            print(trace.report)
        scenario = setup.scenario(trace)
        with ProgressBar(config.progress, until_s=requests_until_s(scenario)) as bar:
            simulation = Simulation(scenario, job.folder, bar)
            (job.folder / CONFIG).write_text(text, encoding="utf-8")
            if config.export:
                (job.folder / config.export).write_text(manifests, encoding="utf-8")
            on_start()
            stopper.stop = simulation.stop
            run = simulation.run()
        stopper.stop = None
        if run.why_unfinished:
            raise Interrupted(run.why_unfinished)
        run.facts = {**run.facts, "notes": [*of_manifests, *run.facts["notes"]]}
        if job.today:
            specs = [plan.spec for plan in scenario.services]
            stale = [price_note(f"service {of.name!r}", of.purchase.price_source, job.today) for of in specs]
            stale += price_notes(scenario.pools, job.today)
            run.facts = {**run.facts, "notes": [*run.facts["notes"], *filter(None, stale)]}
        audit(run, config, job.folder)
        wall_s, cpu_s = time.perf_counter() - begin_s, time.process_time() - begin_cpu_s
        write_environment(job.folder, config.seed, wall_s, cpu_s, len(trace.jobs))
        run.summary = summary = summarise(run, job.labels, config.warmup_s)
        if config.figures if config.figures is not None else not job.in_sweep:
            from simulator.figures import draw_run  # matplotlib and seaborn take 1.5 s to import

            draw_run(run, job.folder)
        write_json(job.folder / SUMMARY, summary)  # last
    if job.in_sweep:
        print(f"{job.folder}: {line(summary)}")
    else:
        show_table(summary, job.name)
        print(f"{size(summary)} in {wall_s:.1f} s; the run is in {job.folder}")


def requests_until_s(scenario: Scenario) -> float:
    """When the last service's requests are over, or the run ends; inf where nobody knows."""
    until_s = max((plan.requests.until_s for plan in scenario.services), default=math.inf)
    return min(until_s, scenario.horizon_s)


def is_done(folder: Path, config_text: str) -> bool:
    """True if the folder holds a finished run of just these settings."""
    try:
        return (folder / SUMMARY).is_file() and (folder / CONFIG).read_text(encoding="utf-8") == config_text
    except OSError:
        return False


def prepare(folder: Path) -> None:
    """Makes the folder, and sees that it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for mark in (SUMMARY, UNFINISHED):
            (folder / mark).unlink(missing_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"{folder}: a run can't be written there: {error.strerror}") from None


def audit(run: Run, config: RunConfig, folder: Path) -> None:
    """Checks a run's books, where `check` asks for it; a run that fails is marked unfinished."""
    if config.check:
        from simulator.checks import check

        try:
            check(run)
        except Exception as error:
            write_json(folder / UNFINISHED, {"why": f"the audit failed: {error}"})
            raise


class Stopper:
    """What a signal does: first it asks, a second time it breaks."""

    stop: Callable[[str], None] | None = None

    def __call__(self, number: int, _: object) -> None:
        name = signal.Signals(number).name
        if self.stop is None:
            raise KeyboardInterrupt(f"interrupted by {name}")
        self.stop(f"interrupted by {name}")
        self.stop = None


@contextmanager
def signals() -> Iterator[Stopper]:
    """SIGINT and SIGTERM end the simulation in good order while this lasts."""
    stopper = Stopper()
    if threading.current_thread() is not threading.main_thread():
        yield stopper
        return
    old = {number: signal.signal(number, stopper) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopper
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
