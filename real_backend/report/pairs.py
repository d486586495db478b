"""What a report is made of: runs in pairs, live and simulated, and what a reader must know of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.comparison import MISSING, flat_labels
from simulator.errors import RunError
from simulator.run import Run

COMPUTES = ("real", "paced")
_NAMED = ("allocation", "scaling", "placement", "workload")  # labels that may name a policy, in this order


@dataclass(frozen=True)
class Pair:
    """One policy in both worlds.

    Args:
        policy: its name in the report, such as `fair_share` or `allocation=fifo scaling=threshold`.
        live: repeats of the same settings, one or more.
    """

    policy: str
    live: Sequence[Run]
    simulated: Run

    def __post_init__(self) -> None:
        if not self.live:
            raise RunError(f"{self.policy}: no live run to hold the simulated one against")


@dataclass(frozen=True)
class About:
    """What the runs can't say.

    Args:
        compute: `real`, or `paced`: steps were slept for as long as the profile says.
        device: such as `cpu` or `NVIDIA H200`.
        profile: the name of the profile that the simulation took its times from.
        facts: shown as tables, one for each mapping in it: machine, versions, workload, method, command, where the
            profile comes from and its hold-out errors.
        notes: shown at the top.
    """

    compute: str
    device: str
    profile: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.compute not in COMPUTES:
            raise ValueError(f"compute={self.compute!r}: must be {' or '.join(COMPUTES)}")


def load_pairs(folder: Path | str) -> list[Pair]:
    """The pairs in `folder`: live/LABEL or live/LABEL/repeat-N, and simulated/LABEL, each the folder of a run.

    A policy's name is its allocation; with what else differs between the pairs, as `allocation=fifo scaling=static`.

    Raises:
        RunError: a run that isn't there or hasn't finished, or a live and a simulated one of different policies.
    """
    folder = Path(folder)
    live, simulated = folder / "live", folder / "simulated"
    for needed in (folder, live, simulated):
        if not needed.is_dir():
            raise RunError(f"{needed}: no such folder; a report needs live/LABEL and simulated/LABEL in {folder}")
    labels = {path.name for each in (live, simulated) for path in _folders(each)}
    if not labels:
        raise RunError(f"{live}: no run in it")
    for label in sorted(labels):
        for here, other in ((live, simulated), (simulated, live)):
            if not (here / label).is_dir():
                raise RunError(f"{here / label}: no such folder, but there is {other / label}: run it, or leave it out")
    names = sorted(labels, key=_natural)
    runs = [([Run.load(path) for path in _repeats(live / name)], Run.load(simulated / name)) for name in names]
    for repeats, twin in runs:
        _check_alike(repeats, twin)
    policies = policy_names([twin.labels for _, twin in runs], names)
    return [Pair(policy, repeats, twin) for policy, (repeats, twin) in zip(policies, runs, strict=True)]


def policy_names(labels: Sequence[Mapping[str, Any]], otherwise: Sequence[str]) -> list[str]:
    """A name for each of these runs, from what differs between them; `otherwise` where that doesn't tell them apart."""
    flat = [flat_labels(each) for each in labels]
    if not all("allocation" in each for each in flat):
        return list(otherwise)
    differ = [name for name in _NAMED[1:] if len({each.get(name, MISSING) for each in flat}) > 1]
    if differ:
        named = [" ".join(f"{name}={each.get(name, MISSING)}" for name in ("allocation", *differ)) for each in flat]
    else:
        named = [each["allocation"] for each in flat]
    return named if len(set(named)) == len(named) else list(otherwise)


def _check_alike(repeats: Sequence[Run], twin: Run) -> None:
    for run in repeats:
        for name in _NAMED:
            mine, theirs = (flat_labels(each.labels).get(name) for each in (run, twin))
            if mine is not None and theirs is not None and mine != theirs:
                raise RunError(f"{run.folder} has {name}={mine}, but {twin.folder} {name}={theirs}: not a pair")


def _repeats(folder: Path) -> list[Path]:
    return [path for path in _folders(folder) if re.fullmatch(r"repeat-\d+", path.name)] or [folder]


def _folders(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(found, key=lambda path: _natural(path.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts `repeat-2` before `repeat-10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
