"""The commands of `python -m real_backend` that take settings: composed with Hydra here, run elsewhere."""

from __future__ import annotations

import io
import itertools
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import field, fields, make_dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from policies import PolicyError
from real_backend.__main__ import FAILED, MISUSED, STOPPED, complain
from real_backend.errors import BackendError
from real_backend.options import LiveOptions, Settings
from simulator import complaints
from simulator.__main__ import opened, store_choices
from simulator.config import GROUPS
from simulator.errors import ConfigError, RunError, SimulationError
from simulator.plugins import import_plugins
from simulator.running import Interrupted
from simulator.schema import root_schema, schema_of
from workloads import WorkloadError

_FULL = "HYDRA_FULL_ERROR"
_NO_LABELS = ("seed", "check", "explain", "figures", "progress", "resume", "plugins", "repeats")
Composed = tuple[dict[str, Any], dict[str, Any]]  # settings, labels


def run_command(command: str, arguments: Sequence[str]) -> int:
    """Runs a command; returns the exit code, after one line about what is wrong."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # long work says how far it is, into a file too
    commands: dict[str, Callable[[list[str], Path], None]] = {
        "calibrate": _calibrate,
        "run": _run,
        "validate": _validate,
        "report": _report,
    }
    try:
        if command == "report":
            _report(list(arguments), Path())
        else:
            overrides, folder = _folder(command, arguments)
            commands[command](overrides, folder)
    except Interrupted as interrupt:
        return complain(f"{interrupt}; what there was by then, and unfinished.json, is in the run's folder", STOPPED)
    except KeyboardInterrupt as interrupt:
        return complain(f"{str(interrupt) or 'interrupted'}: no run was finished", STOPPED)
    except (HydraException, OmegaConfBaseException) as error:
        if os.environ.get(_FULL) == "1":
            raise
        return complain(complaints.of_composing(error, _groups(command, arguments)), MISUSED)
    except (BackendError, ConfigError, RunError, WorkloadError, OSError) as error:
        if os.environ.get(_FULL) == "1":
            raise
        return complain(str(error), MISUSED)
    except (PolicyError, SimulationError) as error:
        if os.environ.get(_FULL) == "1":
            raise
        return complain(complaints.in_one_line(error), FAILED)
    return 0


def _run(overrides: list[str], folder: Path) -> None:
    from real_backend.running import make_plan, run_live

    settings, labels = composed(overrides)
    run_live(make_plan(settings), labels, folder)


def _calibrate(overrides: list[str], folder: Path) -> None:
    command = "python -m real_backend calibrate " + " ".join(overrides)
    if _is_of_serving(overrides):
        from real_backend.serving_calibration import calibrate_serving

        calibrate_serving(composed_serving(overrides), folder, command=command)
        return
    from real_backend.calibration import calibrate

    models = [text.partition("=")[2] for text in overrides if text.startswith("model=")]
    rest = [text for text in overrides if not text.startswith("model=")]
    if models:
        rest.append(f"calibration.model=[{models[-1]}]")
    settings, _ = composed(rest)
    if settings["compute"] == "auto":
        settings["compute"] = "real"  # what is to be measured is this machine
    calibrate(settings, folder, command=command)


def _validate(overrides: list[str], folder: Path) -> None:
    from real_backend.validation import validate

    runs = [composed(each) for each in expanded(overrides)]
    validate(runs, folder, command="python -m real_backend validate " + " ".join(overrides))


def _report(arguments: list[str], _: Path) -> None:
    from real_backend.validation import report_again

    if len(arguments) != 1:
        raise BackendError("report takes one argument: the folder of a validation")
    report_again(Path(arguments[0]))


# ---- composing
def composed(overrides: Sequence[str]) -> Composed:
    """The settings as plain values, and what was chosen, as in summary.json.

    Raises:
        HydraException, OmegaConfBaseException: settings that can't be.
    """
    _store()
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("live", overrides=[_opened(text) for text in overrides], return_hydra_config=True)
    choices = config.hydra.runtime.choices
    labels = {group: choices[group] for group in GROUPS}
    for override in _parsed(overrides):
        key = override.key_or_group
        if key not in (*GROUPS, *_NO_LABELS):
            labels[key] = override.get_value_element_as_str()
    with open_dict(config):
        del config["hydra"]
    plain: Any = OmegaConf.to_container(config, resolve=True)
    labels |= {"step_time": "profile", "overheads": "profile"}
    mine = Settings(**{name: plain[name] for name in ("compute", "device", "method", "models")}).resolved()
    labels |= {"compute": mine.compute, "device": mine.device, "method": mine.method}
    return plain, labels


def composed_serving(overrides: Sequence[str]) -> dict[str, Any]:
    """The settings of `calibrate serving=…` as plain values.

    Raises:
        HydraException, OmegaConfBaseException: settings that can't be.
    """
    with initialize_config_module("conf", version_base="1.3"):
        plain: Any = OmegaConf.to_container(compose("calibrate_serving", overrides=list(overrides)), resolve=True)
    return dict(plain)


def _is_of_serving(overrides: Sequence[str]) -> bool:
    """Whether it is serving that is to be calibrated: any of its settings is given."""
    return any(re.match(r"[+~]*serving[.=]", text) for text in overrides)


def _opened(text: str) -> str:
    """As the simulator's; a validation's settings are global too."""
    return f"validation@_global_={text.partition('=')[2]}" if text.startswith("validation=") else opened(text)


def expanded(overrides: Sequence[str]) -> list[list[str]]:
    """Every combination of what is given with commas."""
    choices = []
    for text, override in zip(overrides, _parsed(overrides), strict=True):
        if override.is_sweep_override():
            prefix = "".join(("+" if override.is_add() else "", override.get_key_element()))
            choices.append([f"{prefix}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([text])
    return [list(each) for each in itertools.product(*choices)]


def _store() -> None:
    store_choices()
    root = root_schema()
    rows: list[Any] = [
        (
            each.name,
            each.type,
            field(default_factory=each.default_factory)
            if callable(each.default_factory)
            else field(default=each.default),
        )
        for each in fields(root)
    ]
    own = {"live": schema_of(LiveOptions)}
    for each in fields(schema_of(Settings)):
        kind = own.get(each.name)
        if kind:
            rows.append((each.name, kind, field(default_factory=kind)))
        elif each.name == "models":
            rows.append((each.name, Any, field(default_factory=dict)))
        else:
            rows.append((each.name, each.type, field(default=each.default)))
    rows += [("repeats", int, field(default=1)), ("calibration", Any, field(default_factory=dict))]
    ConfigStore.instance().store(name="live_schema", node=make_dataclass("LiveRun", rows), provider="real_backend")


def _parsed(overrides: Sequence[str]) -> list[Override]:
    for text in overrides:
        if "=" not in text:
            raise BackendError(f"{text!r}: must read OPTION=VALUE")
    return OverridesParser.create().parse_overrides(list(overrides))


def _folder(command: str, arguments: Sequence[str]) -> tuple[list[str], Path]:
    """The overrides without hydra.run.dir, and the folder that it names."""
    overrides, folder = [], Path("outputs", command, datetime.now().strftime("%Y-%m-%d/%H-%M-%S"))
    for text in arguments:
        key, _, value = text.partition("=")
        if key == "hydra.run.dir":
            folder = Path(value)
        elif key.startswith("hydra"):
            raise BackendError(f"{key}: of Hydra's settings only hydra.run.dir is used here")
        else:
            overrides.append(text)
    import_plugins(_plugins(overrides))
    return overrides, folder


def _plugins(overrides: Sequence[str]) -> list[str]:
    for override in _parsed(overrides):
        if override.key_or_group == "plugins":
            value = override.value()
            if not isinstance(value, list):
                raise ConfigError(f"plugins={value}: must be a list such as [my_policies]")
            return [str(name) for name in value]
    return []


def _groups(command: str, overrides: Sequence[str]) -> list[str]:
    """The groups that a command takes choices of."""
    if command == "calibrate" and _is_of_serving(overrides):
        return ["serving"]
    groups = sorted(Path(entry.name).name for entry in files("conf").iterdir() if entry.is_dir())
    return [name for name in groups if name != "serving"]
