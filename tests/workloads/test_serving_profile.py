"""Serving's profiles: those that ship, a round trip through a file, and what is wrong with one in one line."""

from __future__ import annotations

from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from workloads import WorkloadError
from workloads.profile import HoldOut
from workloads.serving import LlmTimes, ServingProfile, load_llm_times, load_serving_profile, write_serving_profile

SHIPPED = sorted(Path(each.name).stem for each in files("workloads.serving").joinpath("profiles").iterdir())
TEXT = """\
name: small
device: cpu
provenance: {source: made up, date: 2026-11-24}
llm: {prefill_fixed_s: 0.1, prefill_per_token_s: 0.01, prefill_per_token2_s: 0.0, decode_fixed_s: 0.2,
  decode_per_request_s: 0.03, decode_per_token_s: 0.004, kv_tokens: 500, max_batch: 4}
holdout:
  decode: {num_rows: 3, median_error_frac: 0.01, p90_error_frac: 0.02}
num_rows: {decode: 10}
"""
SMALL = LlmTimes(
    prefill_fixed_s=0.1, prefill_per_token_s=0.01, prefill_per_token2_s=0.0, decode_fixed_s=0.2,
    decode_per_request_s=0.03, decode_per_token_s=0.004, kv_tokens=500, max_batch=4,
)  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(TEXT)
    return path


def test_what_a_file_says(small: Path) -> None:
    profile = load_serving_profile(small)
    assert profile.llm == load_llm_times(small) == SMALL
    assert profile.provenance["date"] == "2026-11-24"  # a text, not a date
    assert profile.holdout == {"decode": HoldOut(3, 0.01, 0.02)}
    assert profile.num_rows == {"decode": 10}
    assert profile.path == str(small)


@pytest.mark.parametrize("llm", [SMALL, LlmTimes()], ids=["own", "defaults"])
def test_round_trip(tmp_path: Path, small: Path, llm: LlmTimes) -> None:
    """What was measured is all in the file, also where it happens to equal a default."""
    profile = replace(load_serving_profile(small), llm=llm)
    path = tmp_path / "again.yaml"
    write_serving_profile(profile, path)
    assert load_serving_profile(path) == profile
    assert set(yaml.safe_load(path.read_text())["llm"]) == {each.name for each in fields(LlmTimes)}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["again.yaml", "small.yaml"]


def test_single_fields_in_place_of_the_profiles(small: Path) -> None:
    assert load_llm_times(small, kv_tokens="900", max_batch=None) == replace(SMALL, kv_tokens=900)
    with pytest.raises(WorkloadError, match=r"^llm.kv_token: unknown option; did you mean kv_tokens"):
        load_llm_times(small, kv_token=900)
    with pytest.raises(WorkloadError, match=r"^llm.max_batch=0: must be 1 or more$"):
        load_llm_times(small, max_batch=0)
    with pytest.raises(WorkloadError, match=r"^llm.decode_fixed_s=fast: must be a number$"):
        load_llm_times(small, decode_fixed_s="fast")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kv_tokens: 500", "kv_tokens: 0", "llm.kv_tokens=0: must be 1 or more"),
        ("kv_tokens: 500, ", "", "llm.kv_tokens: is needed"),
        ("decode_per_token_s: 0.004, ", "", "llm.decode_per_token_s: is needed"),
        ("decode_fixed_s: 0.2", "decode_fixed_s: -1", "llm.decode_fixed_s=-1.0: must be 0 or more"),
        ("decode_fixed_s", "decode_fxed_s", "llm.decode_fxed_s: unknown option; did you mean decode_fixed_s"),
        ("max_batch: 4", "max_batch: 1.5", "llm.max_batch=1.5: must be a whole number"),
        ("device: cpu\n", "", "device: is needed"),
        ("device:", "devise:", "devise: unknown option; did you mean device"),
        ("  decode: {", "  decoding: {", "holdout.decoding: unknown kind of step; did you mean decode"),
        ("num_rows: 3", "num_rows: a", "holdout.decode.num_rows=a: must be a whole number"),
        ("{decode: 10}", "{decode: 0}", "num_rows.decode=0: must be 1 or more"),
        ("num_rows: {", "path: x\nnum_rows: {", "path: unknown option"),
        ("name: small", "name: [small", "expected"),
    ],
)  # fmt: skip
def test_a_bad_file(small: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    small.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(WorkloadError, match=rf"^{small}.*: {message}") as error:
        load_serving_profile(small)
    assert "\n" not in str(error.value)


def test_no_such_profile(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"^profile=opt_13_a100: no such profile; did you mean opt_13b_a100"):
        load_llm_times("opt_13_a100")
    with pytest.raises(WorkloadError, match=rf"^{tmp_path}/none.yaml: No such file"):
        load_serving_profile(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped(name: str) -> None:
    profile = load_serving_profile(name)
    assert profile.name == name
    for what in ("source", "date", "notes"):
        assert profile.provenance[what], what
    if profile.provenance["source"].startswith("measured"):
        for what in ("machine", "versions", "command", "settings"):
            assert profile.provenance[what], what
        assert set(profile.holdout) == set(profile.num_rows) == {"prefill", "decode"}


def test_the_defaults_are_a_published_profile() -> None:
    assert load_llm_times("opt_13b_a100") == LlmTimes()


def test_a_profile_needs_no_provenance() -> None:
    assert ServingProfile(name="mine", device="cpu", llm=SMALL).holdout == {}
