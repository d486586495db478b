"""`python -m workloads show`: what it prints and draws, by hand on three jobs, and one line for each mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from workloads import JobTable, statistics
from workloads.__main__ import main
from workloads.figure import save

THREE_JOBS = "job_id,submit_s,num_gpus,duration_s,model\na,0,1,7200,bert\nb,3600,4,3600,bert\nc,7200,1,3600,gpt\n"


@pytest.fixture
def csv(tmp_path: Path) -> str:
    path = tmp_path / "jobs.csv"
    path.write_text(THREE_JOBS)
    return str(path)


@pytest.fixture
def three_jobs() -> JobTable:
    columns = {"submit_s": [0.0, 3600.0, 7200.0], "num_gpus": [1, 4, 1], "duration_s": [7200.0, 3600.0, 3600.0]}
    return JobTable.from_columns(columns | {"model": ["bert", "bert", "gpt"]})


def test_demand_by_hand(three_jobs: JobTable) -> None:
    wanted = statistics.demand(three_jobs)
    np.testing.assert_array_equal(wanted.time_s, [0, 3600, 7200, 10800])
    np.testing.assert_array_equal(wanted.num_gpus, [1, 5, 1, 0])  # at 7200 s two end and one starts
    assert wanted.peak_gpus == 5
    np.testing.assert_allclose(wanted.mean_gpus(np.array([0.0, 1800.0, 5400.0, 10800.0])), [1.0, 3.0, 7 / 3])
    assert wanted.time_when_done_s(0.1) == 3600.0
    assert wanted.time_when_done_s(1.0) == 10800.0


def test_table_by_hand(three_jobs: JobTable) -> None:
    rows = dict(statistics.table(three_jobs, statistics.demand(three_jobs)))
    assert rows["jobs"] == "3"
    assert rows["submitted over"] == "2.0 h"
    assert rows["arrival rate"] == "1 jobs/h"
    assert rows["GPUs a job"] == "1: 66.67%, 4: 33.33%"
    assert rows["duration, median"] == "60.0 min"
    assert rows["work"] == "7 GPU·h"
    assert rows["mean demand while jobs arrive"] == "3.5 GPUs"
    assert rows["peak demand if nothing waits"] == "5 GPUs"
    assert rows["models"] == "2: bert 67%, gpt 33%"
    assert rows["tenants"] == "not given"
    assert rows["elastic"] == "0.0% malleable, 0.0% moldable, 100.0% rigid"


def test_show_prints_and_draws(csv: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["show", "workload=csv", f"workload.path={csv}", f"out={out}", "workload.elastic_frac=1"]) == 0
    printed = capsys.readouterr().out
    assert "3 of 3 rows kept" in printed
    assert "100.0% malleable" in printed
    assert sorted(path.name for path in out.iterdir()) == ["workload.png", "workload.svg"]
    assert (out / "workload.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "workload.svg").stat().st_size > 10_000


@pytest.mark.slow
def test_default_folder_and_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    drawing = Path("outputs", "workloads", "synthetic", "workload.svg")
    drawn = []
    for seed in (1, 1, 2):
        assert main(["show", "workload=synthetic", "workload.num_jobs=20", f"seed={seed}"]) == 0
        drawn.append(drawing.read_bytes())
    assert drawn[0] == drawn[1]  # byte for byte
    assert drawn[0] != drawn[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "tokens", [[], ["requests.prompt_tokens={median: 300, sigma: 1}", "requests.output_tokens={median: 9, sigma: 0}"]]
)
def test_requests_are_shown(tokens: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["show", "requests=diurnal", "requests.duration_s=7200", f"out={out}", *tokens]) == 0
    printed = capsys.readouterr().out
    assert "mean rate" in printed
    assert ("output tokens, mean" in printed) == bool(tokens)
    assert sorted(path.name for path in out.iterdir()) == ["requests.png", "requests.svg"]


def test_configs_of_requests_start_with_their_command() -> None:
    for path in sorted((Path(__file__).parents[2] / "conf" / "requests").glob("*.yaml")):
        command = "simulator" if path.stem == "none" else "workloads show"
        assert path.read_text().startswith(f"# python -m {command} requests={path.stem}"), path


@pytest.mark.slow
@pytest.mark.parametrize(
    "columns",
    [
        {"submit_s": [5.0], "num_gpus": [3], "duration_s": [1.0]},
        {"submit_s": [0.0, 0.0], "num_gpus": [1, 1], "duration_s": [60.0, 60.0]},
        {"submit_s": 1e9 + np.arange(40.0), "num_gpus": np.arange(1, 41), "duration_s": np.geomspace(1e-4, 1e9, 40)},
    ],
    ids=["one job", "all at once", "many sizes, a late start, a wide range"],
)
def test_odd_workloads_can_be_drawn(columns: dict[str, list[float]], tmp_path: Path) -> None:
    jobs = JobTable.from_columns(columns)
    assert statistics.table(jobs, statistics.demand(jobs))
    for path in save(jobs, statistics.demand(jobs), "odd", tmp_path):
        assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shw"], "unknown command 'shw'; did you mean show? Known: fit, show"),
        (["show"], "workload=NAME or requests=NAME is needed; workload=NAME is one of csv, gavel"),
        (["show", "requests=poison"], "requests=poison: unknown source of requests; did you mean poisson?"),
        (["show", "requests=csv"], "requests.path: is needed; set requests.path=FILE"),
        (["show", "requests=csv", "requests.path=no.csv"], "requests.path=no.csv: no such file"),
        (["show", "requests=poisson", "workload=csv"], "workload=csv: show takes one of workload and requests, once"),
        (["show", "workload=itpp"], "workload=itpp: unknown workload; did you mean itp?"),
        (["show", "workload=itp"], "workload.path: is needed; set workload.path=FILE"),
        (["show", "workload=itp", "workload.path=no.csv"], "no.csv: no such file"),
        (["show", "workload=itp", "workload.limt=3"], "workload.limt: unknown option; did you mean limit?"),
        (["show", "workload=itp", "workload.limit=x"], "workload.limit=x: must be a whole number or null"),
        (["show", "workload=synthetic", "workload.gpu_counts=[1,"], "no viable alternative at input '[1,'"),
        (["show", "workload=synthetic", "workload.arrivals=x"], "arrivals=x: must be one of poisson"),
        (["show", "workload=synthetic", "seed=x"], "seed=x: must be a whole number"),
        (["show", "workload=synthetic", "seed=-1"], "seed=-1: must be 0 or more"),
        (["show", "workload=synthetic", "sede=1"], "sede: unknown key; did you mean seed?"),
        (["show", "workload=synthetic", "seed.a=1"], "seed.a: unknown key"),
        (["show", "workload"], "'workload': must read KEY=VALUE"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {message}")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["show", "--help"], ["fit", "-h"], ["show", "workload=itp", "--help"]):
        assert main(arguments) == 0
        told = capsys.readouterr()
        assert "python -m workloads show workload=NAME" in told.out
        assert told.err == ""
    assert {"workload.path=???", "workload.limit=null"} <= set(told.out.splitlines())
    assert main(["show", "workload=ipt", "--help"]) == 2
    assert capsys.readouterr().err.startswith("error: workload=ipt: unknown workload; did you mean itp?")


@pytest.mark.slow
def test_importing_workloads_loads_neither_hydra_nor_matplotlib() -> None:
    heavy = {"hydra", "omegaconf", "matplotlib", "seaborn", "scipy", "simpy", "torch"}
    code = f"import sys, workloads.synthetic, workloads.estimates, workloads.show; print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "set()\n"
