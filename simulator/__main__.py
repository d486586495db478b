"""`python -m simulator`: composes the settings with Hydra, and runs them. All that knows of Hydra is here."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from policies import PolicyError
from simulator import complaints
from simulator.commands import MISUSED, complain
from simulator.compare import compare_folders
from simulator.config import GROUPS, CompareOptions
from simulator.errors import ConfigError, RunError, SimulationError
from simulator.plugins import import_plugins
from simulator.running import Interrupted, Job, run_job
from simulator.schema import policy_schemas, root_schema
from simulator.sweeps import Overrides, check_sweep, first_labels
from workloads import WorkloadError
from workloads.options import build

_FULL = "HYDRA_FULL_ERROR"  # 1: Hydra raises what it would print
_ASKED = "SIMULATOR_FULL_ERROR"  # 1: the user had set it; seen by the processes of a sweep
_NO_LABELS = ("seed", "check", "explain", "figures", "export", "progress", "resume", "plugins")
_MOVED = {"node_scaling": "scaling@node_scaling"}  # groups that Hydra knows by where they are taken from
_UNSAID = {"requests": "none", "node_scaling": "static", "monitor": "sampled"}  # choices that are no labels
_OPEN = ("services", "pools")  # mappings by names of the user's own
_EXPERIMENT, _GLOBAL = "experiment", "@_global_"  # an experiment's settings are those of a run, not below `experiment`
FAILED, STOPPED = 1, 130  # exit codes, and MISUSED


class Reported(Exception):
    """A run of a sweep that failed and has said why; carries the exit code. The other runs go on."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what the command line says; returns the exit code.

    | code | means |
    |---|---|
    | 0 | all went well |
    | 1 | a policy, or the audit, failed while a run went on |
    | 2 | settings that can't be; nothing of that run was simulated |
    | 130 | interrupted |
    """
    given = [_flag(each) for each in (sys.argv[1:] if arguments is None else arguments)]
    full = os.environ.get(_FULL) == "1"
    try:
        overrides = _parse(given)
        import_plugins(_plugins(overrides))
        store_choices()
        with _command_line(_prepared(given, overrides)):
            _app()
    except Reported as reported:
        return reported.code
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt as interrupt:
        if not isinstance(interrupt, Interrupted):
            complain(f"{str(interrupt) or 'interrupted'}: no run was finished")
        return STOPPED
    except (HydraException, OmegaConfBaseException, OSError) as error:
        if full:
            raise
        complain(_why(error))
        return MISUSED
    except (ConfigError, PolicyError, WorkloadError) as error:
        if full:
            raise
        complain(str(error))
        return MISUSED
    return 0


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
def _app(settings: DictConfig) -> None:
    """One run; in a sweep possibly in another process, or on another machine."""
    about = HydraConfig.get()
    folder = Path(os.path.relpath(about.runtime.output_dir))
    in_sweep, has_started = about.mode == RunMode.MULTIRUN, False

    def start() -> None:
        nonlocal has_started
        has_started = True

    try:
        plain: Any = OmegaConf.to_container(settings, resolve=True)
        run_job(Job(plain, _labels(about), folder, in_sweep, datetime.date.today()), start)
        return
    except Interrupted as interrupt:
        complain(f"{interrupt}; what there was by then, and unfinished.json, is in {folder}")
        raise
    except Exception as error:
        if os.environ.get(_ASKED) == "1":
            raise
        code = FAILED if has_started else MISUSED
        complain(_why_run(error, has_started))
        if has_started:
            print(f"what was recorded until then is in {folder}", file=sys.stderr)
        elif folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    raise Reported(code) if in_sweep else SystemExit(code)


class AroundSweep(Callback):
    """Checks a sweep before its first run; once all are done compares them, or says how to.

    Hydra lets no exception of these out but SystemExit.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        def compose(job: Overrides) -> Any:
            composed = GlobalHydra.instance().config_loader().load_sweep_config(config, list(job))
            plain = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
            return OmegaConf.to_container(plain, resolve=True)

        try:
            check_sweep(_jobs_of(config), compose, _compare_options(config))
        except Exception as error:
            complain(_why(error) if isinstance(error, HydraException | OSError) else _why_run(error, False))
            raise SystemExit(MISUSED) from None

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        options, jobs = _compare_options(config), _jobs_of(config)
        folder = os.path.relpath(config.hydra.sweep.dir)
        if not options.after_sweep:
            if len(jobs) > 1:
                print(f"to compare the runs: python -m simulator.compare {folder}")
            return
        try:
            preferred = [options.baseline, first_labels(jobs)]
            compare_folders([folder], Console(), preferred=preferred, tradeoff=options)
        except RunError as error:
            complain(str(error))
            raise SystemExit(MISUSED) from None


def _jobs_of(config: DictConfig) -> list[Overrides]:
    """The overrides of each job of a sweep, by Hydra's own sweeper, in order; none where another finds values itself.

    Raises:
        HydraException: an override that can't be read.
    """
    params = config.hydra.sweeper.get("params") or {}
    given = [f"{key}={value}" for key, value in params.items()] + list(config.hydra.overrides.task)
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides(given)
    if any(each.is_sweep_override() and not each.is_discrete_sweep() for each in overrides):
        return []
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    return list(jobs)


def _compare_options(config: DictConfig) -> CompareOptions:
    return build(CompareOptions, OmegaConf.to_container(config.compare), prefix="compare.")  # type: ignore[arg-type]


def _why_run(error: Exception, has_started: bool) -> str:
    if isinstance(error, OmegaConfBaseException):
        return _why(error)
    if isinstance(error, PolicyError | SimulationError | ConfigError | WorkloadError):
        return complaints.in_one_line(error) if has_started else str(error)
    return complaints.of_policy(error)


def _why(error: BaseException) -> str:
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return f"{error.filename}: can't be written to: {error.strerror}" if error.filename else str(error)
    return complaints.of_composing(error, _groups())


def _parse(arguments: Sequence[str]) -> list[Override]:
    """The overrides among the arguments."""
    parser = OverridesParser.create()
    return [parser.parse_override(argument) for argument in arguments if _is_override(argument)]


def _plugins(overrides: Sequence[Override]) -> list[str]:
    for override in overrides:
        if override.key_or_group == "plugins":
            value = override.value()
            if not isinstance(value, list):
                raise ConfigError(f"plugins={value}: must be a list such as [my_policies]")
            return [str(name) for name in value]
    return []


def store_choices() -> None:
    """Makes every policy a choice of its group, typed by its fields."""
    store = ConfigStore.instance()
    store.store(name="run_schema", node=root_schema(), provider="simulator")
    for kind, name, schema in policy_schemas():
        store.store(group=kind, name=name, node=schema, provider="simulator")


def _prepared(arguments: Sequence[str], overrides: Sequence[Override]) -> list[str]:
    """The arguments, changed where Hydra alone would need more of the user.

    Flags come first, since argparse lets them not part the overrides. What lies inside an option that is a mapping
    (`workload.columns.submit_s=…`) is let in as new; whether it may be there is checked when the option is read. In a
    sweep, what is alike in all runs is kept out of their folders' names.
    """
    before = ["", *arguments]
    flags = [
        argument
        for argument, last in zip(arguments, before, strict=False)
        if argument.startswith("-") or (last.startswith("-") and not _is_override(argument))
    ]
    prepared = flags + [opened(argument) for argument in arguments if argument not in flags]
    alike = [each.key_or_group for each in overrides if not each.is_sweep_override()]
    if alike:  # an experiment may be a sweep, whatever the flags
        prepared.append(f"hydra.job.config.override_dirname.exclude_keys=[{','.join(alike)}]")
    return prepared


def _flag(argument: str) -> str:
    """--export, with =FILE or without, as the setting that it stands for."""
    name, equals, file = argument.partition("=")
    return f"export={file if equals else 'manifests.yaml'}" if name == "--export" else argument


def _is_override(argument: str) -> bool:
    return "=" in argument and not argument.startswith("-")


def opened(argument: str) -> str:
    """An override as Hydra must have it: an experiment is global, and an option inside a mapping may be new."""
    key, _, value = argument.partition("=")
    if key == _EXPERIMENT:
        return f"{_EXPERIMENT}{_GLOBAL}={value}"
    if key in _MOVED:
        return f"{_MOVED[key]}={value}"
    is_open = key.partition(".")[0] in _OPEN or key == "service.sites"
    is_open |= key.startswith("scaling.") and value.startswith("{")  # a mapping of metrics, or of options
    is_inside = (key.count(".") >= 2 or is_open) and not key.startswith(("+", "~", "hydra."))
    return f"++{argument}" if is_inside else argument


def _labels(about: Any) -> dict[str, Any]:
    """What was chosen of each group, and the options that were set by hand."""
    choices = about.runtime.choices
    labels = {group: choices[group] for group in GROUPS}
    for group, unsaid in _UNSAID.items():
        choice = choices.get(_MOVED.get(group, group), unsaid)
        if choice != unsaid:
            labels[group] = choice
    if choices.get(_EXPERIMENT + _GLOBAL):
        labels[_EXPERIMENT] = choices[_EXPERIMENT + _GLOBAL]
    for text in about.overrides.task:
        override = OverridesParser.create().parse_override(text)
        key = override.key_or_group
        known = (*GROUPS, *_UNSAID, *_NO_LABELS, _EXPERIMENT, _EXPERIMENT + _GLOBAL)
        if key not in known and not key.startswith("compare."):
            labels[key] = override.get_value_element_as_str()
    return labels


def _groups() -> list[str]:
    return sorted(Path(entry.name).name for entry in files("conf").iterdir() if entry.is_dir())


@contextmanager
def _command_line(arguments: Sequence[str]) -> Iterator[None]:
    """While Hydra reads `sys.argv`; its errors come here whole, where it would print them and exit."""
    argv, asked = sys.argv, os.environ.get(_FULL)
    sys.argv = ["python -m simulator", *arguments]
    os.environ[_FULL] = "1"
    os.environ[_ASKED] = asked or "0"
    try:
        yield
    finally:
        sys.argv = argv
        del os.environ[_ASKED]
        if asked is None:
            del os.environ[_FULL]
        else:
            os.environ[_FULL] = asked


if __name__ == "__main__":
    from simulator.__main__ import main as run  # by this name other processes of a sweep find it too

    sys.exit(run())
