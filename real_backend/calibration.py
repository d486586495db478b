"""Measuring what a simulator must know of this machine: step times, what moves cost by stage, how long a node takes.

Real gangs are moved through a list of settings (workers × nodes × batch), and their own reports are the measurements.
Nothing here is shared with validation runs but the machine.
"""

from __future__ import annotations

import csv
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from real_backend.errors import BackendError
from real_backend.gangs import Gang, Gangs, Move, Phase, Target
from real_backend.options import LiveOptions, Settings
from real_backend.running import read_settings
from real_backend.runtime import Runtime, names_of
from real_backend.task import Task
from simulator.catalogue import pool_settings
from simulator.config import PoolSpec
from workloads.fitting import MIN_ROWS, StepRows, fit_step_time
from workloads.options import build, nearest
from workloads.profile import MeasuredRange, ModelProfile, MoveStages, Profile, write_profile

_PATIENCE_S = 120.0
_STAGES = ("spawn_s", "import_s", "rendezvous_s", "restore_s", "first_step_s", "save_s", "teardown_s")


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions:
    """What is measured.

    Args:
        model: names; empty: all.
        workers: gang sizes; those that the nodes can't hold are left out.
        batch_factors: of each model's global batch, so that a worker's share varies apart from the gang's size.
        steps: that count at each setting, after `warmup` that don't.
        moves: of each kind, for the costs of moves.
        loaded: fills all other slots with a job of the same kind meanwhile, as in a full cluster.
        min_s: the least time spent at each setting.
    """

    model: Sequence[str] = ()
    workers: Sequence[int] = (1, 2, 4, 8)
    batch_factors: Sequence[float] = (0.5, 1.0, 2.0)
    steps: int = 16
    warmup: int = 3
    moves: int = 1
    loaded: bool = False
    min_s: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        rules = {
            "workers": (bool(self.workers) and all(k >= 1 for k in self.workers), "must be numbers of 1 or more"),
            "batch_factors": (bool(self.batch_factors) and all(f > 0 for f in self.batch_factors), "must be above 0"),
            "steps": (self.steps >= 3, "must be 3 or more"),
            "warmup": (self.warmup >= 1, "must be 1 or more"),
            "moves": (self.moves >= 1, "must be 1 or more"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise BackendError(f"calibration.{name}={getattr(self, name)}: {rule}")


@dataclass(frozen=True)
class StepRow:
    """Step times at one setting; seconds."""

    model: str
    device: str
    sync: str
    global_batch: int
    num_workers: int
    num_nodes: int
    batch_per_worker: int  # in one pass
    num_passes: int
    num_steps: int
    mean_s: float
    median_s: float
    p10_s: float
    p90_s: float


@dataclass
class _Watch:
    """Told what happens to gangs, and remembers."""

    step_s: dict[str, list[float]] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def moved(self, gang: Gang, move: Move) -> None:
        self.moves.append(move)
        self.step_s[gang.job_id] = []

    def progressed(self, gang: Gang, step_s: Sequence[float], losses: Sequence[float]) -> None:
        if gang.is_stepping:
            self.step_s.setdefault(gang.job_id, []).extend(step_s)

    def finished(self, gang: Gang) -> None:
        pass

    def broken(self, gang: Gang, why: str) -> None:
        self.errors.append(why)

    def failed(self, gang: Gang, why: str) -> None:
        self.errors.append(why)


def calibrate(settings: Mapping[str, Any], folder: Path, command: str = "", console: Console | None = None) -> Profile:
    """Measures, fits, and writes `folder`/NAME.yaml, `folder`/steps.csv and `folder`/moves.csv.

    Raises:
        BackendError: workers that break.
    """
    console = console or Console(width=None if sys.stdout.isatty() else 120)
    mine = read_settings(settings)
    options: CalibrationOptions = build(CalibrationOptions, settings.get("calibration") or {}, prefix="calibration.")
    pool: PoolSpec = build(PoolSpec, pool_settings(settings["cluster"]), prefix="cluster.", name="default")
    tasks, device = mine.tasks(), mine.device
    for name in options.model:
        if name not in tasks:
            raise BackendError(f"model={name}: unknown model{nearest(name, tasks)}")
    chosen = {name: task for name, task in tasks.items() if not options.model or name in options.model}
    for name, task in chosen.items():
        _check_enough(name, task, options, pool)
    folder.mkdir(parents=True, exist_ok=True)
    live = replace(mine.options(), provider="local", max_failures=0, checkpoint_interval_s=1e9)
    console.print(f"measuring {', '.join(chosen)} on {device}, compute={mine.compute}: some minutes a model")
    bench = _Bench(mine, live, device, pool, folder)
    try:
        with console.status("nodes start") as status:
            provision_s = bench.bring_up()
            device_name = next(iter(bench.runtime.fleet.agents.values())).device
            rows: list[StepRow] = []
            for name, task in chosen.items():
                for factor in options.batch_factors:
                    rows += bench.step_times(name, _sized(task, factor), options, device_name, status.update)
            moves = {name: bench.moves(name, task, options, status.update) for name, task in chosen.items()}
    finally:
        bench.close()
    other = "restart" if mine.method == "in_place" else "in_place"
    bench = _Bench(replace(mine, method=other), live, device, pool, folder)
    other_moves: dict[str, list[Move]] = {}
    try:
        with console.status(f"moves by {other}") as status:
            bench.bring_up()
            other_moves = {name: bench.moves(name, task, options, status.update) for name, task in chosen.items()}
    finally:
        bench.close()
    by_method = {mine.method: moves, other: other_moves}
    profile = _profile(chosen, rows, by_method, provision_s, device, device_name, mine, options, command)
    _write_csv(folder / "steps.csv", [asdict(row) for row in rows])
    _write_csv(
        folder / "moves.csv",
        [
            {"method": method, "model": name, **_row_of(move)}
            for method, of_model in by_method.items()
            for name, some in of_model.items()
            for move in some
        ],
    )
    path = folder / f"{profile.name}.yaml"
    write_profile(profile, path)
    _show(profile, rows, console)
    console.print(f"the profile is {path}; use it with profile={path}", highlight=False, soft_wrap=True)
    return replace(profile, path=str(path))


def _targets(sizes: Sequence[int], task: Task, num_nodes: int, slots: int) -> list[Target]:
    """Where gangs are measured: each size packed on as few nodes as can be, and over two."""
    targets: list[Target] = []
    names = names_of(num_nodes)
    for size in sizes:
        if size > slots * num_nodes or size > task.global_batch:
            continue
        for nodes in range(1, num_nodes + 1):
            shares = [len(part) for part in np.array_split(np.arange(size), nodes)]
            if nodes <= size and max(shares) <= slots and nodes in (-(-size // slots), 2):
                target = tuple(zip(names, shares, strict=False))
                if target not in targets:
                    targets.append(target)
    return targets


def _sized(task: Task, factor: float) -> Task:
    return replace(task, global_batch=max(1, round(task.global_batch * factor)))


def _check_enough(name: str, task: Task, options: CalibrationOptions, pool: PoolSpec) -> None:
    """Sees before anything is measured that there will be something to fit.

    Raises:
        BackendError: too few settings at which a worker does its share in one pass.
    """
    num_nodes = _num_nodes(pool)
    num_whole = sum(
        -(-sized.global_batch // sum(count for _, count in target)) <= task.max_batch_per_worker
        for sized in (_sized(task, factor) for factor in options.batch_factors)
        for target in _targets(options.workers, sized, num_nodes, pool.gpus_per_node)
    )
    if num_whole < MIN_ROWS:
        raise BackendError(
            f"calibration: a worker of {name} does its share in one pass at {num_whole} settings, and a fit needs "
            f"{MIN_ROWS}: add smaller calibration.batch_factors, or raise models.{name}.max_batch_per_worker"
        )


def _num_nodes(pool: PoolSpec) -> int:
    return max(pool.num_nodes, min(2, pool.most))


class _Bench:
    """Nodes on this host, and gangs that are told directly where to be."""

    def __init__(self, settings: Settings, live: LiveOptions, device: str, pool: PoolSpec, folder: Path) -> None:
        self._slots = pool.gpus_per_node
        self._num_nodes = _num_nodes(pool)
        self.runtime = Runtime(folder / f"work-{settings.method}", live, device, settings.method, self._slots)
        self.watch = _Watch()
        self._gangs = Gangs(self.runtime.fleet, self.runtime.gang_options, self.runtime.clock.read, self.watch)
        self.runtime.fleet.on_lost = self._gangs.lose
        self._count = 0

    def bring_up(self) -> float:
        """Starts the nodes; returns how long the last one took, all others being there."""
        names = names_of(self._num_nodes)
        self.runtime.bring_up(names[:-1])
        began_s = self.runtime.clock.read()
        self._add(names[-1])
        return self.runtime.clock.read() - began_s

    def _add(self, name: str) -> None:
        self.runtime.provider.create(name)
        self._wait(lambda: name in self.runtime.fleet.agents, f"node {name} to join")

    def close(self) -> None:
        self.runtime.close()

    def step_times(self, name: str, task: Task, options: CalibrationOptions, device: str, say: Any) -> list[StepRow]:
        """Step times of a task in gangs of each size, packed on nodes and spread over them."""
        rows = []
        gang = self._new(name, task)
        for target in _targets(options.workers, task, self._num_nodes, self._slots):
            workers = sum(count for _, count in target)
            say(f"{name}: {workers} workers on {len(target)} nodes, {task.global_batch} samples a step")
            self._settle(gang, target)
            neighbour = self._fill(name, task, target) if options.loaded else None
            times = self._steps(gang, options)
            if neighbour:
                self._end(neighbour)
            share = -(-task.global_batch // workers)
            num_passes = -(-share // task.max_batch_per_worker)
            low, high = np.quantile(times, [0.1, 0.9])
            rows.append(
                StepRow(
                    name, device, task.sync, task.global_batch, workers, len(target), -(-share // num_passes),
                    num_passes, len(times), float(np.mean(times)), float(median(times)), float(low), float(high),
                )
            )  # fmt: skip
        self._end(gang)
        return rows

    def moves(self, name: str, task: Task, options: CalibrationOptions, say: Any) -> list[Move]:
        """Starts, stops, resumes, grows and shrinks."""
        before = len(self.watch.moves)
        node = names_of(1)[0]
        sizes = [k for k in (1, 2, self._slots) if k <= min(self._slots, task.global_batch)]
        for turn in range(options.moves):
            say(f"{name}: moves by {self.runtime.method}, {turn + 1} of {options.moves}")
            gang = self._new(name, task)
            for size in (*sizes, sizes[0]):
                self._settle(gang, ((node, size),))
                self._steps(gang, replace(options, steps=3, warmup=1, min_s=0.0))
            for size in sizes:
                self._settle(gang, ())
                self._settle(gang, ((node, size),))
                self._steps(gang, replace(options, steps=3, warmup=1, min_s=0.0))
            self._end(gang)
        return self.watch.moves[before:]

    def _new(self, name: str, task: Task) -> Gang:
        self._count += 1
        return self._gangs.add(f"{name}-{self._count}", task, 10**9)

    def _fill(self, name: str, task: Task, target: Target) -> Gang | None:
        taken = dict(target)
        rest = tuple(
            (agent, free) for agent in names_of(self._num_nodes) if (free := self._slots - taken.get(agent, 0)) > 0
        )
        if not rest or sum(count for _, count in rest) > task.global_batch:
            return None
        gang = self._new(f"{name}-beside", task)
        self._settle(gang, rest)
        return gang

    def _settle(self, gang: Gang, target: Target) -> None:
        gang.aim(target)
        phase = Phase.RUNNING if target else Phase.IDLE
        self._wait(
            lambda: gang.phase is phase and dict(gang.actual) == dict(target), f"{gang.job_id} to move to {target}"
        )

    def _steps(self, gang: Gang, options: CalibrationOptions) -> list[float]:
        self.watch.step_s[gang.job_id] = []
        began_s, wanted = self.runtime.clock.read(), options.steps + options.warmup

        def is_enough() -> bool:
            times = self.watch.step_s.get(gang.job_id, [])
            return len(times) >= wanted and self.runtime.clock.read() - began_s >= options.min_s

        self._wait(is_enough, f"{gang.job_id} to make {wanted} steps")
        return self.watch.step_s[gang.job_id][options.warmup :]

    def _end(self, gang: Gang) -> None:
        self._settle(gang, ())
        self._gangs.forget(gang)

    def _wait(self, is_done: Any, what: str) -> None:
        clock = self.runtime.clock
        done = clock.run_until(lambda: bool(self.watch.errors) or is_done(), clock.read() + _PATIENCE_S)
        if self.watch.errors:
            raise BackendError(f"calibration: {self.watch.errors[0]}; see {self.runtime.folder / 'logs'}")
        if not done:
            raise BackendError(f"calibration: waited {_PATIENCE_S:g} s for {what}; see {self.runtime.folder / 'logs'}")


def _profile(
    tasks: Mapping[str, Task],
    rows: Sequence[StepRow],
    by_method: Mapping[str, Mapping[str, Sequence[Move]]],
    provision_s: float,
    device: str,
    device_name: str,
    settings: Settings,
    options: CalibrationOptions,
    command: str,
) -> Profile:
    models = {}
    for name, task in tasks.items():
        mine = [row for row in rows if row.model == name]
        whole = [row for row in mine if row.num_passes == 1]  # the others follow from them
        fit = fit_step_time(
            StepRows(
                num_gpus=np.array([row.num_workers for row in whole]),
                num_nodes=np.array([row.num_nodes for row in whole]),
                batch_per_gpu=np.array([row.batch_per_worker for row in whole]),
                step_s=np.array([row.mean_s for row in whole]),
            )
        )
        typical_s = {row.num_workers: row.median_s for row in mine if row.global_batch == task.global_batch}
        models[name] = ModelProfile(
            device=device_name,
            sync=task.sync,
            global_batch=task.global_batch,
            max_batch_per_gpu=task.max_batch_per_worker,
            step_time=fit.fit,
            range=MeasuredRange(
                gpus=_ends(row.num_workers for row in whole),
                nodes=_ends(row.num_nodes for row in whole),
                batch_per_gpu=_ends(row.batch_per_worker for row in whole),
            ),
            num_rows=len(whole),
            holdout=fit.holdout,
            measured_s={
                f"{row.num_workers}x{row.num_nodes}": round(row.mean_s, 6)
                for row in mine
                if row.global_batch == task.global_batch
            },
            moves={method: stages_of(of_model[name], typical_s) for method, of_model in by_method.items()},
        )
    return Profile(
        name=options.name or profile_name(settings.compute, device),
        models=models,
        provision_s=round(provision_s, 3),
        provenance={
            "source": f"measured, compute={settings.compute}",
            "machine": f"{platform.machine()}, {_num_cpus()} CPUs, {device_name}",
            "versions": {name: metadata.version(name) for name in ("torch", "numpy")}
            | {"python": platform.python_version()},
            "date": datetime.now(UTC).date().isoformat(),
            "command": command,
            "settings": {name: _plain(value) for name, value in asdict(options).items() if name != "name"},
        },
    )


def profile_name(compute: str, device: str) -> str:
    """What a profile of this machine is called: a GPU's short name, such as h200; else COMPUTE_DEVICE."""
    if device == "cuda" and compute == "real":
        import torch

        name = torch.cuda.get_device_name().replace("NVIDIA", "").split()
        return "".join(letter for letter in name[0].lower() if letter.isalnum()) if name else "cuda"
    return f"{compute}_{device}"


def stages_of(moves: Sequence[Move], typical_s: Mapping[int, float]) -> MoveStages:
    """Mean seconds by stage; of the first step what it takes longer than others.

    `wait_s` is what the pauses were longer than their stages: messages, and processes that end.
    """
    found: dict[str, list[float]] = {name: [] for name in (*_STAGES, "wait_s")}
    for move in moves:
        stages = dict(move.stages)
        first_s = stages.get("first_step_s", 0.0)
        extra_s = max(0.0, first_s - typical_s.get(move.to_workers, first_s))
        has_stepped = move.stepped_s == move.stepped_s
        for name in _STAGES:
            if name in stages and name != "first_step_s" and _tells(move.kind, name):
                found[name].append(stages[name])
        if has_stepped:
            found["first_step_s"].append(extra_s)
            inside = [name for name in _INSIDE[move.kind] if name in stages]
            found["wait_s"].append(max(0.0, move.pause_s - sum(stages[name] for name in inside)))
    return MoveStages(**{name: round(float(np.mean(some)), 4) if some else 0.0 for name, some in found.items()})


_INSIDE = {  # the stages that lie within the pause of a move
    "start": ("spawn_s", "import_s", "rendezvous_s", "restore_s"),
    "resume": ("spawn_s", "import_s", "rendezvous_s", "restore_s"),
    "restart": ("save_s", "teardown_s", "spawn_s", "import_s", "rendezvous_s", "restore_s"),
    "in_place": ("teardown_s", "rendezvous_s", "restore_s"),
    "stop": (),
}


def _tells(kind: str, stage: str) -> bool:
    """Whether a move of this kind says what a stage takes: a first start has nothing to restore."""
    return not (stage == "restore_s" and kind == "start")


def _row_of(move: Move) -> dict[str, Any]:
    return {
        "kind": move.kind, "from_workers": move.from_workers, "to_workers": move.to_workers,
        "pause_s": move.pause_s, **{name: move.stages.get(name) for name in _STAGES},
    }  # fmt: skip


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _show(profile: Profile, rows: Sequence[StepRow], console: Console) -> None:
    table = Table(title=f"step times, {profile.name}: measured and fitted", title_justify="left")
    for column in ("model", "workers", "nodes", "samples a step", "mean s", "p10–p90", "fit s", "off %"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        fitted_s = profile.models[row.model].step_time.step_time_s(
            row.num_workers, row.num_nodes, row.batch_per_worker, row.num_passes
        )
        table.add_row(
            row.model, str(row.num_workers), str(row.num_nodes), str(row.global_batch), f"{row.mean_s:.4f}",
            f"{row.p10_s:.4f}–{row.p90_s:.4f}", f"{fitted_s:.4f}", f"{100 * (fitted_s / row.mean_s - 1):+.1f}",
        )  # fmt: skip
    console.print(table)
    costs = Table(title="what moves cost, seconds (means)", title_justify="left")
    names = (*_STAGES, "wait_s")
    for column in ("model", "method", *(name.removesuffix("_s") for name in names)):
        costs.add_column(column, justify="left" if column in ("model", "method") else "right")
    for name, model in profile.models.items():
        for method, stages in model.moves.items():
            costs.add_row(name, method, *(f"{getattr(stages, each):.3f}" for each in names))
    console.print(costs)


def _ends(values: Any) -> tuple[int, int]:
    some = list(values)
    return min(some), max(some)


def _num_cpus() -> int:
    import os

    return os.cpu_count() or 1


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
