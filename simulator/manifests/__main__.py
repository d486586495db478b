"""Manifests and what they mean here, both ways.

`python -m simulator.manifests show FILE [metrics={THEIRS: OURS}]`
prints what each document of a file means, what of it has no effect or another one, and the command that runs it.

`python -m simulator.manifests export RUN_FOLDER [out=FILE] [jobs=all|ID,ID] [jobs_as=PyTorchJob|Deployment]`
writes a run's services and scaling policies as manifests, and jobs if asked to; without `out` to the terminal.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from policies import PolicyError
from simulator.commands import MISUSED, asks_for_help, complain
from simulator.errors import ConfigError
from simulator.manifests.export import exported
from simulator.manifests.metrics import SHOWN, MetricNames
from simulator.manifests.show import shown
from workloads import WorkloadError
from workloads.options import nearest

_OPTIONS: Mapping[str, Sequence[str]] = {"show": (SHOWN,), "export": ("out", "jobs", "jobs_as")}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 2 for what a user can mend, told in one line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and asks_for_help(given):
        print(__doc__)
        return 0
    if len(given) < 2 or given[0] not in _OPTIONS:
        print(__doc__, file=sys.stderr)
        return MISUSED
    try:
        command, path, options = given[0], given[1], _options(given[0], given[2:])
        if command == "show":
            print(shown(path, MetricNames(_mapping(options.get(SHOWN, "{}")), SHOWN)))
        else:
            _export(path, options)
    except (ConfigError, PolicyError, WorkloadError, OSError) as error:
        return complain(error)
    return 0


def _export(folder: str, options: Mapping[str, str]) -> None:
    jobs = options.get("jobs", "")
    text, notes = exported(Path(folder), jobs, options.get("jobs_as", "PyTorchJob"))
    if "out" not in options:
        print(text, end="")
        return
    Path(options["out"]).write_text(text, encoding="utf-8")
    for note in notes:
        print(note)
    print(f"written: {shlex.quote(options['out'])}")


def _options(command: str, given: Sequence[str]) -> dict[str, str]:
    found = {}
    for argument in given:
        key, equals, value = argument.partition("=")
        if key not in _OPTIONS[command] or not equals:
            raise ConfigError(f"{argument}: unknown option of {command}{nearest(key, _OPTIONS[command])}")
        found[key] = value
    return found


def _mapping(text: str) -> dict[str, Any]:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if not isinstance(value, dict):
        raise ConfigError(f"metrics={text}: must be a mapping such as {{http_requests: request_rate_per_s}}")
    return {str(theirs): ours for theirs, ours in value.items()}


if __name__ == "__main__":
    sys.exit(main())
