"""`python -m workloads fit`: what it prints and writes, and one line for each mistake."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from workloads.__main__ import main
from workloads.profile import load_profile

GPUS, BATCHES = {"1": 1, "2": 2, "4": 4, "44": 8, "444": 12}, (8, 16, 32)


@pytest.fixture
def sia(tmp_path: Path) -> Path:
    """bert's steps by a rule, and two rows of yolov3."""
    rows = [
        f"{placement},{batch},{0.1 + 0.01 * batch + 0.05 * (gpus > 1) + 0.1 * len(placement)},0.01"
        for (placement, gpus), batch in product(GPUS.items(), BATCHES)
    ]
    for application, lines in {"bert": rows, "yolov3": rows[:2]}.items():
        folder = tmp_path / "profiles" / application
        folder.mkdir(parents=True)
        text = "\n".join(["placement,local_bsz,step_time,sync_time", *lines])
        (folder / "placements-aws.csv").write_text(text + "\n")
    return tmp_path / "profiles"


def test_fit_prints_and_writes(sia: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["fit", "source=sia", f"source.path={sia}", f"hydra.run.dir={out}"]) == 0
    printed = capsys.readouterr().out
    assert "errors of fits on rows that were held out" in printed
    assert "p90 %" in printed
    assert "yolov3 (t4): 2 rows: a fit needs 4 or more" in printed
    assert {path.name for path in out.iterdir()} == {"fit.json", "extrapolation.json", "sia_t4.yaml", "fit.svg"}

    bert, yolov3 = json.loads((out / "fit.json").read_text())
    assert (bert["application"], bert["gpu_type"], bert["num_rows"], bert["num_holdout_rows"]) == ("bert", "t4", 15, 4)
    assert 0 <= bert["holdout_median_error_frac"] <= bert["holdout_p90_error_frac"]
    assert yolov3["holdout_median_error_frac"] is None
    assert yolov3["notes"] == ["2 rows: a fit needs 4 or more"]

    profile = load_profile(out / "sia_t4.yaml")
    assert list(profile.models) == ["bert"]
    assert profile.models["bert"].range.gpus == (1, 12)
    assert profile.provenance["command"] == "python -m workloads fit source=sia source.path=profiles seed=0"
    assert (out / "fit.svg").read_text().startswith("<?xml")


def test_the_same_seed_gives_the_same_bytes(sia: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main(["fit", "source=sia", f"source.path={sia}", "seed=4", f"hydra.run.dir={tmp_path / name}"]) == 0
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "source=NAME is needed; NAME is one of sia, gavel"),
        (["source=sai"], "source=sai: unknown source; did you mean sia"),
        (["source=sia"], "source.path: is needed; set source.path=FILE"),
        (["source=sia", "source.pth=x"], "source.pth: unknown option; did you mean path"),
        (["source=sia", "source.path=none"], "source.path=none: no such file or folder"),
        (["source=sia", "source.path=none", "seed=-1"], "seed=-1: must be 0 or more"),
        (["source=sia", "sead=1"], "sead: unknown key; did you mean seed"),
        (["source"], "'source': must read KEY=VALUE"),
    ],
)
def test_one_line_for_a_mistake(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *given]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {message}")
    assert told.count("\n") == 1
