"""What arrives, and how fast it runs.

`python -m workloads show workload=NAME [workload.OPTION=VALUE …] [seed=0] [out=FOLDER]`
prints how the workload was read and its statistics, and draws it into the folder (outputs/workloads/NAME).

`python -m workloads show requests=NAME [requests.OPTION=VALUE …] [seed=0] [out=FOLDER]`
does the same for a stream of requests to an inference service (outputs/requests/NAME).

`python -m workloads fit source=NAME source.path=FILE [source.OPTION=VALUE …] [seed=0] [hydra.run.dir=FOLDER]`
fits step times to measurements, prints their errors, and writes profiles into the folder (outputs/fits/NAME).
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from workloads.errors import WorkloadError
from workloads.measurements import SOURCES, source_class
from workloads.options import build, build_source, coerce, nearest
from workloads.requests import build_requests
from workloads.requests.show import show as show_requests
from workloads.show import show

_COMMANDS = ("show", "fit")
_GROUPS = ("workload", "requests")
_KEYS = (*_GROUPS, "seed", "out")
_FIT_KEYS = ("source", "seed", "hydra.run.dir")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, or 2 after one line about a user's mistake."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not given or not {"-h", "--help"}.isdisjoint(given):
            _help(given)
            return 0
        if given[0] not in _COMMANDS:
            raise WorkloadError(f"unknown command {given[0]!r}{nearest(given[0], _COMMANDS)}")
        (_fit if given[0] == "fit" else _show)(given[1:])
    except (WorkloadError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _help(given: Sequence[str]) -> None:
    """Usage and choices; of a choice that is given, its options and their defaults too."""
    print(f"{__doc__}\nWorkloads: {', '.join(_choices('workload'))}\nRequests: {', '.join(_choices('requests'))}")
    print(f"Sources of measurements: {', '.join(SOURCES)}")
    for choice in given:
        group, equals, _ = choice.partition("=")
        if equals and group in _GROUPS:
            settings = _compose([choice])[group]
            print(f"\nOptions of {choice} (???: is needed):")
            told = {option: "null" if value is None else value for option, value in settings.items()}
            print("\n".join(f"{group}.{option}={value}" for option, value in told.items() if option != "name"))


def _show(overrides: Sequence[str]) -> None:
    config = _compose(overrides)
    group, name, rng = config["group"], config["choice"], np.random.default_rng(_seed(config))
    if group == "requests":
        out = Path(config.get("out") or Path("outputs", "requests", name))
        show_requests(build_requests(config["requests"]), name, rng, out, Console())
        return
    out = Path(config.get("out") or Path("outputs", "workloads", name))
    show(build_source(config["workload"]), name, rng, out, Console())


def _fit(overrides: Sequence[str]) -> None:
    from workloads.fit import fit  # its figure is slow to import

    config: dict[str, str] = {}
    options: dict[str, str] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise WorkloadError(f"{override!r}: must read KEY=VALUE")
        if key.startswith("source."):
            options[key.removeprefix("source.")] = value
        elif key in _FIT_KEYS:
            config[key] = value
        else:
            raise WorkloadError(f"{key}: unknown key{nearest(key, (*_FIT_KEYS, 'source.path'))}")
    if "source" not in config:
        raise WorkloadError(f"source=NAME is needed; NAME is one of {', '.join(SOURCES)}")
    name = config["source"]
    source = build(source_class(name), options, prefix="source.")
    folder = Path(config.get("hydra.run.dir") or Path("outputs", "fits", name))
    fit(source, name, folder, Console(), seed=_seed(config), today=datetime.date.today().isoformat())


def _seed(config: Mapping[str, Any]) -> int:
    seed: int = coerce(config.get("seed", 0), int, "seed")
    if seed < 0:
        raise WorkloadError(f"seed={seed}: must be 0 or more")
    return seed


def _compose(overrides: Sequence[str]) -> dict[str, Any]:
    """The config as plain values: `workload` or `requests` (the `group`), its `choice`, and `seed` and `out`."""
    group = choice = ""
    prepared: list[str] = []
    for override in overrides:
        key, equals, value = override.partition("=")
        top, dot, _ = key.partition(".")
        if not equals or not key:
            raise WorkloadError(f"{override!r}: must read KEY=VALUE")
        if top not in _KEYS or (dot and top not in _GROUPS):
            raise WorkloadError(f"{key}: unknown key{nearest(top, _KEYS)}")
        if key in _GROUPS:
            if group:
                raise WorkloadError(f"{override}: show takes one of workload and requests, once")
            group, choice = key, value
            prepared.insert(0, f"+{override}")
        else:  # ++: set it, whether or not the file names it; what is no option is refused by build_source
            prepared.append(f"++{override}")
    if not group:
        known = ", ".join(_choices("workload"))
        raise WorkloadError(f"workload=NAME or requests=NAME is needed; workload=NAME is one of {known}")
    if choice not in _choices(group):
        what = "workload" if group == "workload" else "source of requests"
        raise WorkloadError(f"{group}={choice}: unknown {what}{nearest(choice, _choices(group))}")
    try:
        with initialize_config_module("conf", version_base="1.3"):
            config = OmegaConf.to_container(compose(overrides=prepared), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise WorkloadError(" ".join(str(error).split())) from None
    assert isinstance(config, dict)
    return {**config, "group": group, "choice": choice}


def _choices(group: str) -> list[str]:
    names = (Path(entry.name) for entry in files("conf").joinpath(group).iterdir())
    return sorted(name.stem for name in names if name.suffix == ".yaml")


if __name__ == "__main__":
    sys.exit(main())
