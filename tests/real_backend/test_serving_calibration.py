"""`python -m real_backend calibrate serving=gpt`: what is measured, what is written, and what is said to mistakes."""

# ruff: noqa: E402

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

torch = pytest.importorskip("torch")

from rich.console import Console

from real_backend import serving_calibration, serving_steps
from real_backend.commands import composed_serving, run_command
from real_backend.errors import BackendError
from real_backend.models.gpt import Gpt
from real_backend.models.gpt_cache import Cache
from real_backend.serving_calibration import ServingCalibrationOptions, calibrate_serving, fitted_step_s
from real_backend.serving_steps import ServingRow, Setting, measure_steps
from tests.real_backend.test_commands import command
from workloads.options import build
from workloads.serving import LlmTimes, load_serving_profile

CONF = Path(__file__).parents[2] / "conf"
TINY = [
    "serving.layers=1", "serving.width=8", "serving.heads=2", "serving.context=32", "serving.vocabulary=16",
    "serving.prompts=[1,2]", "serving.batches=[1,2]", "serving.lengths=[4,8,16,32]", "serving.rounds=2",
    "serving.steps=2",
]  # fmt: skip


def test_the_file_names_every_option_with_its_default() -> None:
    given: Any = OmegaConf.to_container(OmegaConf.load(CONF / "serving" / "gpt.yaml"))
    assert list(given) == [each.name for each in fields(ServingCalibrationOptions)]
    for each in fields(ServingCalibrationOptions):
        default = list(each.default) if isinstance(each.default, tuple) else each.default
        assert given[each.name] == default, each.name
    build(ServingCalibrationOptions, given)


def test_settings_arrive() -> None:
    settings = composed_serving(["serving=gpt", "device=cpu", "serving.layers=2", "serving.lengths=[4,8,16]"])
    assert settings["device"] == "cpu"
    options = build(ServingCalibrationOptions, settings["serving"], prefix="serving.")
    assert (options.layers, options.lengths) == (2, [4, 8, 16])
    assert Setting("prefill", 4, 16) in options.settings
    assert Setting("decode", 32, 4) in options.settings
    assert len(options.settings) == 3 * 3 + 6 * 3


def test_how_many_tokens_fit() -> None:
    options = ServingCalibrationOptions(layers=2, width=64, heads=4, kv_gib=1.0)
    assert options.bytes_per_token == 2 * 4 * 2 * 64
    assert options.kv_tokens == 2**30 // 1024
    assert ServingCalibrationOptions(layers=2, width=64, heads=4, dtype="bfloat16").kv_tokens == 2 * options.kv_tokens


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, r"serving.layers=0: must be 1 or more"),
        ({"warmup": 0}, r"serving.warmup=0: must be 1 or more"),
        ({"layers": "many"}, r"serving.layers=many: must be a whole number"),
        ({"layer": 3}, r"serving.layer: unknown option; did you mean layers"),
        ({"lengths": []}, r"serving.lengths=\[\]: must be different numbers of 1 or more"),
        ({"prompts": [1, 0]}, r"serving.prompts=\[1, 0\]: must be different numbers of 1 or more"),
        ({"batches": [2, 2]}, r"serving.batches=\[2, 2\]: must be different numbers of 1 or more"),
        ({"dtype": "float16"}, r"serving.dtype=float16: unknown; did you mean bfloat16"),
        ({"kv_gib": 0}, r"serving.kv_gib=0.0: must be a number above 0"),
        ({"kv_gib": 1e-9}, r"serving.kv_gib=1e-09: a token takes 8192 bytes"),
        ({"seed": -1}, r"serving.seed=-1: must be 0 or more"),
        ({"name": "../mine"}, r"serving.name=../mine: must be letters, digits, _ and -"),
        ({"heads": 3}, r"serving.width=256: must be a multiple of serving.heads=3"),
        ({"context": 500}, r"serving.lengths=\[.*, 1000\]: must be of no more than serving.context=500"),
        (
            {"lengths": [8, 16]},
            r"serving.prompts, serving.lengths: 6 prefill rows: a fit needs 8 or more",
        ),
        (
            {"batches": [4]},
            r"serving.batches, serving.lengths: 9 decode rows don't tell .* apart: requests and tokens must vary",
        ),
    ],
)
def test_options_that_cant_be(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """Said before anything is measured or written."""
    with pytest.raises(ValueError, match=f"^{message}"):
        calibrate_serving({"device": "cpu", "serving": options}, tmp_path / "none")
    assert not (tmp_path / "none").exists()


# ---- measuring
class Clock:
    """A read takes a second a token, and the first of a setting ten; all reads are kept: prompts, tokens, behind."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.reads: list[tuple[int, int, int]] = []

    def __call__(self) -> float:
        return self.now_s

    def read(self, module: Gpt, tokens: torch.Tensor, cache: Cache) -> torch.Tensor:
        is_first = not cache.keys[0].any()
        cache.keys[0].fill_(1.0)
        self.now_s += tokens.numel() * (10.0 if is_first else 1.0)
        self.reads.append((tokens.shape[0], tokens.shape[1], cache.length))
        cache.length += tokens.shape[1]
        return torch.zeros(1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(serving_steps, "read", made.read)
    return made


def test_what_is_timed(clock: Clock) -> None:
    """Prompts into an empty cache, and one token behind all others; warm-up doesn't count."""
    module = Gpt(1, 4, 2, 8, 5)
    settings = [Setting("prefill", 2, 6), Setting("decode", 3, 8)]
    told: list[str] = []
    rows = measure_steps(module, settings, rounds=2, steps=3, warmup=1, seed=0, clock=clock, say=told.append)
    assert rows == [ServingRow("prefill", 2, 6, 6, 12.0, 12.0, 12.0), ServingRow("decode", 3, 8, 6, 3.0, 3.0, 3.0)]
    assert sorted(clock.reads) == [(2, 6, 0)] * 8 + [(3, 1, 7)] * 8
    assert sorted(told)[0] == "round 1 of 2: decode of 3 × 8 tokens"
    assert len(told) == 4


def test_each_round_has_an_order_of_its_own(clock: Clock) -> None:
    settings = [Setting("decode", num, 2) for num in range(1, 9)]
    measure_steps(Gpt(1, 4, 2, 8, 5), settings, rounds=2, steps=1, warmup=1, seed=0, clock=clock)
    orders = [[num for num, _, _ in clock.reads[first : first + 16 : 2]] for first in (0, 16)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(1, 9))
    assert orders[0] != orders[1]


def test_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(serving_steps, "read", read)
    with pytest.raises(BackendError, match="serving: decode of 3 × 8 tokens: doesn't fit into the GPU's memory"):
        measure_steps(Gpt(1, 4, 2, 8, 5), [Setting("decode", 3, 8)], rounds=1, steps=1, warmup=1, seed=0)


# ---- the profile
TRUTH = LlmTimes(
    prefill_fixed_s=0.01, prefill_per_token_s=1e-4, prefill_per_token2_s=1e-7, decode_fixed_s=0.002,
    decode_per_request_s=1e-4, decode_per_token_s=1e-6, kv_tokens=1,
)  # fmt: skip


@pytest.mark.parametrize(("num_threads", "clock"), [(1, time.thread_time), (2, time.perf_counter)])
def test_one_thread_is_timed_by_its_own_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_threads: int, clock: Callable[[], float]
) -> None:
    given = fake_steps(monkeypatch)
    before = torch.get_num_threads()
    calibrated(tmp_path, f"serving.num_threads={num_threads}")
    assert given["clock"] is clock
    assert given["num_threads"] == num_threads
    assert torch.get_num_threads() == before
    machine = load_serving_profile(tmp_path / "gpt_cpu.yaml").provenance["machine"]
    assert machine.endswith("1 thread, its CPU time" if num_threads == 1 else "2 threads, wall time")


def fake_steps(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Measures what the forms say, exactly; returns what it will have been given."""
    given: dict[str, Any] = {}

    def measure(module: Gpt, settings: list[Setting], **rest: Any) -> list[ServingRow]:
        given.update(rest, num_threads=torch.get_num_threads())
        times = [(each, fitted_step_s(TRUTH, each)) for each in settings]
        return [
            ServingRow(each.kind, each.requests, each.length, 8, time_s, time_s, time_s * 1.1) for each, time_s in times
        ]

    monkeypatch.setattr(serving_calibration, "measure_steps", measure)
    return given


def calibrated(folder: Path, *overrides: str) -> tuple[str, list[dict[str, str]]]:
    """What is said, and the rows of the table that is written."""
    console = Console(file=io.StringIO(), width=120)
    calibrate_serving(composed_serving(["device=cpu", *TINY, *overrides]), folder, "a command", console)
    assert isinstance(console.file, io.StringIO)
    with (folder / "serving_steps.csv").open(newline="", encoding="utf-8") as file:
        return console.file.getvalue(), list(csv.DictReader(file))


def test_exact_steps_give_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_steps(monkeypatch)
    told, rows = calibrated(tmp_path)
    profile = load_serving_profile(tmp_path / "gpt_cpu.yaml")
    for name in (each.name for each in fields(LlmTimes) if each.name.endswith("_s")):
        assert getattr(profile.llm, name) == pytest.approx(getattr(TRUTH, name), rel=1e-5)
    assert (profile.llm.kv_tokens, profile.llm.max_batch, profile.llm.max_prefill_tokens) == (2**30 // 64, 2, 64)
    assert profile.num_rows == {"prefill": 8, "decode": 8}
    assert {kind: each.num_rows for kind, each in profile.holdout.items()} == {"prefill": 8, "decode": 8}
    assert max(each.p90_error_frac for each in profile.holdout.values()) < 1e-6
    assert profile.provenance["command"] == "a command"
    assert profile.provenance["settings"]["lengths"] == [4, 8, 16, 32]
    assert len(rows) == 16
    assert [rows[0][name] for name in ("kind", "requests", "length", "num_steps")] == ["prefill", "1", "4", "8"]
    times = [float(rows[0][name]) for name in ("median_s", "p10_s", "p90_s")]
    assert times == pytest.approx([0.0104016, 0.0104016, 0.01144176])
    assert "prefill: error on 8 rows, each held out of a fit to others: median 0.0%, p90 0.0%" in told
    assert "p90 is 10% over p10, in the median of settings\n" in told
    assert sorted(each.name for each in tmp_path.iterdir()) == ["gpt_cpu.yaml", "serving_steps.csv"]


@pytest.mark.parametrize(("load", "is_said"), [(0.9, False), (1.1, True)])
def test_a_busy_machine_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: float, is_said: bool) -> None:
    """One thread of two CPUs is taken for the measurement."""
    fake_steps(monkeypatch)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 9.0, 9.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    told, _ = calibrated(tmp_path, "serving.name=mine")
    assert (f"other programs kept the CPUs busy (load {load})" in told) == is_said
    assert load_serving_profile(tmp_path / "mine.yaml").provenance["load"] == load


def test_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_steps(monkeypatch)

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(serving_calibration, "write_serving_profile", fail)
    with pytest.raises(OSError, match="the disk is full"):
        calibrated(tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---- as a user has it
@pytest.mark.slow
def test_measures_in_earnest(tmp_path: Path) -> None:
    told = command("calibrate", "serving=gpt", "device=cpu", *TINY, f"hydra.run.dir={tmp_path}")
    assert told.returncode == 0, told.stderr
    assert "prefill: error on 8 rows, each held out of a fit to others: median" in told.stdout
    assert "decode: error on 8 rows, each held out of a fit to others: median" in told.stdout
    profile = load_serving_profile(tmp_path / "gpt_cpu.yaml")
    assert profile.device == "cpu"
    assert profile.provenance["command"].startswith("python -m real_backend calibrate serving=gpt device=cpu")
    assert 0 < profile.llm.prefill_s(8, 64) < 1
    assert (tmp_path / "serving_steps.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["calibrate", "serving=gtp"], "serving=gtp: unknown choice; did you mean gpt"),
        (["calibrate", "serving=gpt", "serving.layer=1"], "serving.layer: unknown option; did you mean layers"),
        (["calibrate", "serving=gpt", "allocation=fifo"], "allocation: unknown group; known: serving"),
        (["calibrate", "serving=gpt", "seed=1"], "seed: unknown option; known: device"),
        (["calibrate", "serving.width=9"], "serving.width=9: must be a multiple of serving.heads=8"),
        (["calibrate", "serving=gpt", "device=gpu"], "device=gpu: unknown; did you mean cpu"),
        (["run", "serving=gpt"], "serving: unknown group; known: allocation"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    name, *rest = arguments
    assert run_command(name, [*rest, f"hydra.run.dir={tmp_path / 'none'}"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"error: {message}")
    assert len(told.err.splitlines()) == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="device=cuda: torch finds no NVIDIA GPU here; use device=cpu"):
        calibrate_serving(composed_serving(["device=cuda"]), tmp_path / "none")
    assert not (tmp_path / "none").exists()
