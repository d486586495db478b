"""Measuring what a simulator must know of an LLM engine: prefill and decode steps of a small GPT in plain torch."""

from __future__ import annotations

import csv
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from real_backend.errors import BackendError
from real_backend.models.gpt import Gpt
from real_backend.models.gpt_cache import Cache, read
from workloads.serving import LlmTimes, ServingProfile, write_serving_profile
from workloads.serving.fitting import DecodeRows, LlmFit, PrefillRows, fit_steps

MODELS = ("gpt",)


@dataclass(frozen=True, kw_only=True)
class ServingCalibrationOptions:
    """What is measured, of which model.

    Args:
        layers, width, heads, context, vocabulary: of the GPT.
        prompts: numbers of prompts in a prefill.
        batches: numbers of requests in a decode step.
        lengths: tokens of context of each; those beyond `context` are left out.
        repeats: of each setting, after `warmup`; the median counts.
        kv_gib: memory for keys and values: how many tokens fit.
        name: of the profile; empty: gpt_DEVICE.
    """

    layers: int = 4
    width: int = 256
    heads: int = 8
    context: int = 1024
    vocabulary: int = 4096
    prompts: Sequence[int] = (1, 2, 4)
    batches: Sequence[int] = (1, 2, 4, 8, 16, 32)
    lengths: Sequence[int] = (16, 32, 64, 128, 256, 384, 512, 768, 1000)
    repeats: int = 7
    warmup: int = 2
    num_threads: int = 1  # of torch, on a CPU
    kv_gib: float = 1.0
    seed: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        counts = ("layers", "width", "heads", "context", "vocabulary", "repeats", "warmup", "num_threads")
        rules = {
            **{name: (getattr(self, name) >= 1, "must be 1 or more") for name in counts},
            "prompts": (bool(self.prompts) and min(self.prompts) >= 1, "must be numbers of 1 or more"),
            "batches": (bool(self.batches) and min(self.batches) >= 1, "must be numbers of 1 or more"),
            "lengths": (bool(self.lengths) and min(self.lengths) >= 1, "must be numbers of 1 or more"),
            "kv_gib": (self.kv_gib > 0, "must be more than 0"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise BackendError(f"serving.{name}={getattr(self, name)}: {rule}")
        if self.width % self.heads:
            raise BackendError(f"serving.width={self.width}: must be a multiple of heads={self.heads}")

    @property
    def kv_tokens(self) -> int:
        """How many tokens' keys and values fit, of 4 bytes each."""
        return int(self.kv_gib * 2**30 / (2 * 4 * self.layers * self.width))


@dataclass(frozen=True)
class ServingRow:
    """One setting; seconds."""

    kind: str  # prefill | decode
    requests: int
    length: int  # tokens of each
    median_s: float
    p10_s: float
    p90_s: float


def calibrate_serving(
    options: ServingCalibrationOptions, device: str, folder: Path, command: str = "", console: Console | None = None
) -> ServingProfile:
    """Measures, fits, and writes `folder`/NAME.yaml and `folder`/serving_steps.csv."""
    console = console or Console(width=None if sys.stdout.isatty() else 120)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.num_threads)
    module = Gpt(options.layers, options.width, options.heads, options.context, options.vocabulary).to(device).eval()
    with console.status("a GPT") as status:
        rows = _measure(module, options, device, lambda what: status.update(what))
    profile = _profile(rows, module, options, device, command)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "serving_steps.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    path = folder / f"{profile.name}.yaml"
    write_serving_profile(profile, path)
    _show(profile, rows, console)
    console.print(f"the profile is {path}", highlight=False, soft_wrap=True)
    return profile


def _measure(
    module: Gpt, options: ServingCalibrationOptions, device: str, say: Callable[[str], None]
) -> list[ServingRow]:
    lengths = [length for length in options.lengths if length + options.repeats + options.warmup <= options.context]
    if not lengths:
        raise BackendError(
            f"serving.lengths={list(options.lengths)}: none leaves room for {options.repeats + options.warmup} tokens "
            f"more within serving.context={options.context}"
        )
    rows = []
    for length in lengths:
        for num in options.prompts:
            say(f"prefill: {num} prompts of {length} tokens")
            rows.append(_row("prefill", num, length, _prefills(module, num, length, options, device)))
        for num in options.batches:
            say(f"decode: {num} requests of {length} tokens")
            rows.append(_row("decode", num, length, _decodes(module, num, length, options, device)))
    return rows


def _prefills(module: Gpt, num: int, length: int, options: ServingCalibrationOptions, device: str) -> list[float]:
    tokens = torch.randint(options.vocabulary, (num, length), device=device)
    times = []
    for _ in range(options.warmup + options.repeats):
        cache = Cache.empty(module, num, length)
        times.append(_timed(lambda cache=cache: read(module, tokens, cache), device))  # type: ignore[misc]
    return times[options.warmup :]


def _decodes(module: Gpt, num: int, length: int, options: ServingCalibrationOptions, device: str) -> list[float]:
    """Each a token further than the one before: their median stands for the middle."""
    count = options.warmup + options.repeats
    cache = Cache.empty(module, num, length + count)
    cache.length = max(0, length - count // 2)  # what it has read doesn't change how long it takes
    tokens = torch.randint(options.vocabulary, (num, 1), device=device)
    times = [_timed(lambda: read(module, tokens, cache), device) for _ in range(count)]
    return times[options.warmup :]


def _timed(action: Callable[[], torch.Tensor], device: str) -> float:
    began_s = time.perf_counter()
    action()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began_s


def _row(kind: str, num: int, length: int, times: Sequence[float]) -> ServingRow:
    low, high = np.quantile(times, [0.1, 0.9])
    return ServingRow(kind, num, length, median(times), float(low), float(high))


def _fits(rows: Sequence[ServingRow]) -> dict[str, LlmFit]:
    of = {kind: [row for row in rows if row.kind == kind] for kind in ("prefill", "decode")}
    num, length, step_s = (
        {kind: np.array([getattr(row, name) for row in some]) for kind, some in of.items()}
        for name in ("requests", "length", "median_s")
    )
    return {
        "prefill": fit_steps(
            PrefillRows(num["prefill"] * length["prefill"], num["prefill"] * length["prefill"] ** 2, step_s["prefill"])
        ),
        "decode": fit_steps(DecodeRows(num["decode"], num["decode"] * length["decode"], step_s["decode"])),
    }


def _profile(
    rows: Sequence[ServingRow], module: Gpt, options: ServingCalibrationOptions, device: str, command: str
) -> ServingProfile:
    fits = _fits(rows)
    coefficients = {name: float(f"{value:.6g}") for fit in fits.values() for name, value in fit.coefficients.items()}
    device_name = torch.cuda.get_device_name() if device.startswith("cuda") else device
    size = f"{options.layers} layers of width {options.width}"
    return ServingProfile(
        name=options.name or f"gpt_{device}",
        device=device_name,
        llm=LlmTimes(**coefficients, kv_tokens=options.kv_tokens, max_batch=max(options.batches)),  # type: ignore[arg-type]
        provenance={
            "source": "measured: a GPT in plain torch",
            "model": f"{size}, {sum(p.numel() for p in module.parameters()):,} parameters, float32",
            "machine": f"{platform.machine()}, {options.num_threads} threads"
            if device == "cpu"
            else f"{platform.machine()}, {device_name}",
            "versions": {"torch": metadata.version("torch"), "python": platform.python_version()},
            "date": datetime.now(UTC).date().isoformat(),
            "command": command,
            "notes": f"kv_tokens: {options.kv_gib:g} GiB at {8 * options.layers * options.width} bytes a token; "
            f"contexts of {min(row.length for row in rows)} to {max(row.length for row in rows)} tokens",
        },
        holdout={kind: fit.holdout for kind, fit in fits.items()},
        num_rows={kind: fit.num_rows for kind, fit in fits.items()},
    )


def _show(profile: ServingProfile, rows: Sequence[ServingRow], console: Console) -> None:
    table = Table(title=f"steps, {profile.name}: measured and fitted", title_justify="left")
    for column in ("step", "requests", "tokens each", "median ms", "p10–p90", "fit ms", "off %"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for row in rows:
        fitted_s = _fitted_s(profile.llm, row)
        table.add_row(
            row.kind, str(row.requests), str(row.length), f"{1e3 * row.median_s:.3f}",
            f"{1e3 * row.p10_s:.3f}–{1e3 * row.p90_s:.3f}", f"{1e3 * fitted_s:.3f}",
            f"{100 * (fitted_s / row.median_s - 1):+.1f}",
        )  # fmt: skip
    console.print(table)
    for kind, holdout in profile.holdout.items():
        console.print(
            f"{kind}: error on {holdout.num_rows} rows that were held out: median {holdout.median_error_frac:.1%}, "
            f"p90 {holdout.p90_error_frac:.1%}",
            highlight=False,
        )


def _fitted_s(llm: LlmTimes, row: ServingRow) -> float:
    if row.kind == "prefill":
        return llm.prefill_s(row.requests * row.length, row.requests * row.length**2)
    context = row.requests * row.length
    return llm.decode_fixed_s + llm.decode_per_request_s * row.requests + llm.decode_per_token_s * context
