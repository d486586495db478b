"""Measuring what a simulator must know of an LLM engine: prefill and decode steps of a small GPT in plain torch."""

from __future__ import annotations

import csv
import math
import os
import platform
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from real_backend.calibration import profile_name
from real_backend.errors import BackendError
from real_backend.models.gpt import Gpt
from real_backend.options import Settings
from real_backend.serving_steps import ServingRow, Setting, measure_steps, threads
from workloads import WorkloadError
from workloads.options import build, nearest
from workloads.profile import HoldOut
from workloads.serving import LlmTimes, ServingProfile, write_serving_profile
from workloads.serving.fitting import DecodeRows, LlmFit, PrefillRows, check_rows, fit_steps

DTYPES = {"float32": 4, "bfloat16": 2}  # bytes
STEPS_FILE = "serving_steps.csv"


@dataclass(frozen=True, kw_only=True)
class ServingCalibrationOptions:
    """What is measured, of which model.

    Args:
        layers, width, heads, context, vocabulary: of the GPT.
        dtype: of weights, keys and values: float32 | bfloat16.
        prompts: numbers of prompts in a prefill.
        batches: numbers of requests in a decode step.
        lengths: tokens of each prompt, or of each request's context.
        rounds: through all settings; each is measured for `steps` steps, after `warmup` that don't count.
        num_threads: of torch, on a CPU.
        kv_gib: memory for keys and values, which says how many tokens fit.
        name: of the profile; empty: gpt_cpu, or gpt_ and the GPU's short name.
    """

    layers: int = 4
    width: int = 256
    heads: int = 8
    context: int = 1024
    vocabulary: int = 4096
    dtype: str = "float32"
    prompts: Sequence[int] = (1, 2, 4)
    batches: Sequence[int] = (1, 2, 4, 8, 16, 32)
    lengths: Sequence[int] = (16, 32, 64, 128, 256, 384, 512, 768, 1000)
    rounds: int = 5
    steps: int = 4
    warmup: int = 1
    num_threads: int = 1
    kv_gib: float = 1.0
    seed: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        rules: dict[str, tuple[bool, str]] = {
            name: (getattr(self, name) >= 1, "must be 1 or more")
            for name in (
                *("layers", "width", "heads", "context", "vocabulary"),
                *("rounds", "steps", "warmup", "num_threads"),
            )
        }
        for name in ("prompts", "batches", "lengths"):
            given = getattr(self, name)
            holds = bool(given) and min(given) >= 1 and len(set(given)) == len(given)
            rules[name] = (holds, "must be different numbers of 1 or more")
        rules |= {
            "dtype": (self.dtype in DTYPES, f"unknown{nearest(self.dtype, DTYPES)}"),
            "seed": (self.seed >= 0, "must be 0 or more"),
            "kv_gib": (0 < self.kv_gib < math.inf, "must be a number above 0"),
            "name": (bool(re.fullmatch(r"[\w-]*", self.name)), "must be letters, digits, _ and -"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                value = getattr(self, name)
                raise BackendError(f"serving.{name}={list(value) if isinstance(value, tuple) else value}: {rule}")
        if self.width % self.heads:
            raise BackendError(f"serving.width={self.width}: must be a multiple of serving.heads={self.heads}")
        if max(self.lengths) > self.context:
            raise BackendError(
                f"serving.lengths={list(self.lengths)}: must be of no more than serving.context={self.context}"
            )
        if self.kv_tokens < 1:
            raise BackendError(f"serving.kv_gib={self.kv_gib}: a token takes {self.bytes_per_token} bytes")
        for kind, what in (("prefill", "prompts"), ("decode", "batches")):
            try:
                check_rows(_rows_of(kind, self.settings, np.ones(len(self.settings))))
            except WorkloadError as error:
                raise BackendError(f"serving.{what}, serving.lengths: {error}") from None

    @property
    def settings(self) -> list[Setting]:
        """All that is measured."""
        return [
            Setting(kind, num, length)
            for kind, requests in (("prefill", self.prompts), ("decode", self.batches))
            for num in requests
            for length in self.lengths
        ]

    @property
    def bytes_per_token(self) -> int:
        """Of a token's keys and values in all layers."""
        return 2 * DTYPES[self.dtype] * self.layers * self.width

    @property
    def kv_tokens(self) -> int:
        """How many tokens' keys and values fit."""
        return int(self.kv_gib * 2**30 / self.bytes_per_token)


def calibrate_serving(
    settings: Mapping[str, Any], folder: Path, command: str = "", console: Console | None = None
) -> ServingProfile:
    """Measures, fits, and writes `folder`/NAME.yaml and `folder`/serving_steps.csv, both or neither.

    Args:
        settings: `device`, and `serving`: the fields of `ServingCalibrationOptions`.
        command: for the profile, where it comes from.

    Raises:
        BackendError, WorkloadError: a setting that can't be; nothing was measured.
    """
    options: ServingCalibrationOptions = build(ServingCalibrationOptions, settings["serving"], prefix="serving.")
    device = Settings(device=settings["device"], compute="real", models={"gpt": {}}).resolved().device
    folder.mkdir(parents=True, exist_ok=True)
    console = console or Console(width=None if sys.stdout.isatty() else 120)
    torch.manual_seed(options.seed)
    module = Gpt(options.layers, options.width, options.heads, options.context, options.vocabulary)
    module = module.to(device, getattr(torch, options.dtype)).eval()
    load, _, _ = os.getloadavg()
    one_thread = device == "cpu" and options.num_threads == 1
    console.print(f"measuring {len(options.settings)} settings of a GPT on {device}, {options.rounds} rounds")
    with console.status("a GPT") as status, threads(options.num_threads):
        rows = measure_steps(
            module, options.settings, rounds=options.rounds, steps=options.steps, warmup=options.warmup,
            seed=options.seed, clock=time.thread_time if one_thread else time.perf_counter, say=status.update,
        )  # fmt: skip
    profile = _profile(rows, module, options, device, command, load)
    path = folder / f"{profile.name}.yaml"
    _write(profile, path, rows, folder / STEPS_FILE)
    _show(profile, rows, console)
    if load + options.num_threads > (os.cpu_count() or 1):
        console.print(f"other programs kept the CPUs busy (load {load:.1f}): steps are shorter on an idle machine")
    console.print(f"the profile is {path}", highlight=False, soft_wrap=True)
    return profile


def _rows_of(kind: str, settings: Sequence[Setting | ServingRow], step_s: np.ndarray) -> PrefillRows | DecodeRows:
    """The settings of one kind, as what is fitted."""
    here = np.array([each.kind == kind for each in settings])
    num, length = np.array([(each.requests, each.length) for each in settings], np.float64)[here].T
    if kind == PrefillRows.kind:
        return PrefillRows(num * length, num * length**2, step_s[here])
    return DecodeRows(num, num * length, step_s[here])


def _profile(
    rows: Sequence[ServingRow],
    module: Gpt,
    options: ServingCalibrationOptions,
    device: str,
    command: str,
    load: float,
) -> ServingProfile:
    step_s = np.array([row.median_s for row in rows])
    fits: dict[str, LlmFit] = {
        kind: fit_steps(_rows_of(kind, rows, step_s)) for kind in (PrefillRows.kind, DecodeRows.kind)
    }
    llm: dict[str, Any] = {name: _rounded(value) for fit in fits.values() for name, value in fit.coefficients.items()}
    on_cpu = device == "cpu"
    device_name = "cpu" if on_cpu else torch.cuda.get_device_name()
    threads_used = f"{options.num_threads} threads, wall time" if options.num_threads > 1 else "1 thread, its CPU time"
    machine = f"{platform.machine()} ({torch.backends.cpu.get_cpu_capability()}), {os.cpu_count()} CPUs, "
    size = f"{options.layers} × {options.width} (layers × width), {options.heads} heads"
    lengths = f"{min(options.lengths)} to {max(options.lengths)} tokens each"
    return ServingProfile(
        name=options.name or ("gpt_cpu" if on_cpu else f"gpt_{profile_name('real', device)}"),
        device=device_name,
        provenance={
            "source": "measured: a GPT in plain torch",
            "model": f"{size}, {sum(each.numel() for each in module.parameters()):,} parameters, {options.dtype}",
            "machine": machine + (threads_used if on_cpu else device_name),
            "versions": {"torch": metadata.version("torch"), "python": platform.python_version()},
            "date": datetime.now(UTC).date().isoformat(),
            "command": command,
            "settings": {name: value for name, value in asdict(options).items() if name != "name"},
            "load": round(load, 1),  # of the machine by other programs, when it began
            "spread_frac": _rounded(_spread_frac(rows)),
            "notes": f"measured: up to {max(options.prompts)} prompts a prefill and {max(options.batches)} requests a "
            f"decode step, {lengths}; kv_tokens: {options.kv_gib:g} GiB at {options.bytes_per_token} bytes a token",
        },
        llm=LlmTimes(
            **llm,
            kv_tokens=options.kv_tokens,
            max_batch=max(options.batches),
            max_prefill_tokens=max(options.prompts) * max(options.lengths),
        ),
        holdout={
            kind: HoldOut(
                fit.holdout.num_rows, _rounded(fit.holdout.median_error_frac), _rounded(fit.holdout.p90_error_frac)
            )
            for kind, fit in fits.items()
        },
        num_rows={kind: fit.num_rows for kind, fit in fits.items()},
    )


def _spread_frac(rows: Sequence[ServingRow]) -> float:
    """Of the steps at one setting, between the slower and the faster ones; the median of the settings."""
    return median(row.spread_frac for row in rows)


def _rounded(number: float) -> float:
    return float(f"{number:.6g}")


def _write(profile: ServingProfile, path: Path, rows: Sequence[ServingRow], table_path: Path) -> None:
    part = table_path.with_name(f"{table_path.name}.{os.getpid()}.part")
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(asdict(rows[0])))
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
        write_serving_profile(profile, path)
        os.replace(part, table_path)
    finally:
        part.unlink(missing_ok=True)


def _show(profile: ServingProfile, rows: Sequence[ServingRow], console: Console) -> None:
    table = Table(title=f"steps, {profile.name}: measured, and fitted to all of them", title_justify="left")
    for column in ("step", "requests", "tokens each", "median ms", "p10–p90", "fit ms", "off %"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for row in rows:
        fitted_s = fitted_step_s(profile.llm, row)
        table.add_row(
            row.kind, str(row.requests), str(row.length), f"{1e3 * row.median_s:.3f}",
            f"{1e3 * row.p10_s:.3f}–{1e3 * row.p90_s:.3f}", f"{1e3 * fitted_s:.3f}",
            f"{100 * (fitted_s / row.median_s - 1):+.1f}",
        )  # fmt: skip
    console.print(table)
    for kind, holdout in profile.holdout.items():
        worst = max(
            (row for row in rows if row.kind == kind),
            key=lambda row: abs(fitted_step_s(profile.llm, row) / row.median_s - 1),
        )
        off = fitted_step_s(profile.llm, worst) / worst.median_s - 1
        console.print(
            f"{kind}: error on {holdout.num_rows} rows, each held out of a fit to others: median "
            f"{holdout.median_error_frac:.1%}, p90 {holdout.p90_error_frac:.1%}; farthest off when all are fitted: "
            f"{off:+.1%}, {worst.requests} × {worst.length} tokens",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"steps at one setting: p90 is {_spread_frac(rows):.0%} over p10, in the median of settings", highlight=False
    )


def fitted_step_s(llm: LlmTimes, row: ServingRow | Setting) -> float:
    """What the profile says that a step takes."""
    context = row.requests * row.length
    if row.kind == PrefillRows.kind:
        return llm.prefill_s(context, context * row.length)
    return llm.decode_s(row.requests, context)
