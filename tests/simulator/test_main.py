"""`python -m simulator`, end to end: what it writes, what it says, and how it fails."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command import QUIET, SMALL, Command

from policies import ClusterView, Draft
from policies.allocation.fifo import Fifo
from simulator.console import ProgressBar, show_table
from workloads.requests import build_requests

RECORDS = {
    *("config.yaml", "summary.json", "environment.json", "jobs.parquet", "allocations.parquet", "nodes.parquet"),
    *("decisions.parquet", "metrics.parquet"),
}
MINE = """
from dataclasses import dataclass
from policies import register

@register("allocation", "mine")
@dataclass
class Mine:
    threshold: float = 0.5  # of the cluster, for one job

    def allocate(self, view, draft):
        for job in view.pending:
            if job.num_gpus <= self.threshold * view.capacity_gpus:
                draft.give(job, job.num_gpus)
"""


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_run_and_its_folder(command: Command) -> None:
    told = command(*QUIET, "hydra.run.dir=run", "allocation=las", "allocation.limits=[60, 600]")
    assert told.code == 0, told.err
    assert told.err == ""
    assert "40 / 40" in told.out
    assert "the run is in run" in told.out
    assert files(Path("run")) == RECORDS
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["num_finished"] == 40
    assert summary["labels"]["allocation"] == "las"
    assert summary["labels"]["allocation.limits"] == "[60,600]"
    assert "seed" not in summary["labels"]


def test_a_csv_as_others_rely_on_it(command: Command) -> None:
    Path("jobs.csv").write_text("id,submit_s,num_gpus,duration_s\na,0,8,100\nb,10,8,50\nc,20,4,5\n")
    told = command(
        "workload=csv", "workload.path=jobs.csv", "workload.columns.job_id=id", "cluster.num_nodes=1",
        "cluster.gpus_per_node=8", "allocation=fifo", "allocation.backfill=false", "placement=pooled", "seed=3",
        "check=true", "figures=false", "hydra.run.dir=out",
    )  # fmt: skip
    assert told.code == 0, told.err
    jobs = pd.read_parquet("out/jobs.parquet")
    assert jobs["finish_s"].tolist() == [100.0, 150.0, 155.0]
    assert {"job_id", "submit_s", "start_s", "finish_s", "num_gpus", "num_preemptions", "state"} <= set(jobs)


def test_the_default_folder_is_dated(command: Command) -> None:
    assert command(*QUIET).code == 0
    (run,) = Path("outputs").glob("????-??-??/??-??-??")
    assert (run / "summary.json").is_file()


def test_a_second_run_replaces_the_first(command: Command) -> None:
    assert command(*QUIET, "hydra.run.dir=run").code == 0
    first = Path("run/summary.json").read_bytes()
    Path("run/unfinished.json").write_text("{}")
    assert command(*QUIET, "hydra.run.dir=run").code == 0
    assert Path("run/summary.json").read_bytes() == first
    assert files(Path("run")) == RECORDS


@pytest.mark.slow
def test_same_seed_same_bytes_in_any_process(command: Command) -> None:
    varied = ("experiment=threshold_autoscaling", "workload.num_jobs=150", "workload.elastic_frac=0.5", "seed=3")
    policies = ("allocation=srtf", "estimates=history", "overheads=sia")
    processes = [
        command.apart(*varied, *policies, f"hydra.run.dir={seed}", env={"PYTHONHASHSEED": seed}) for seed in ("1", "2")
    ]
    for process in processes:
        told = command.end_of(process)
        assert told.code == 0, told.err
    names = files(command.folder / "1")
    assert names == files(command.folder / "2")
    assert any(name.endswith((".png", ".svg")) for name in names)
    for name in names - {"environment.json"}:
        assert (command.folder / "1" / name).read_bytes() == (command.folder / "2" / name).read_bytes(), name


def test_a_policy_of_ones_own(command: Command) -> None:
    (command.folder / "my_policies.py").write_text(MINE)
    own = ("plugins=[my_policies]", "allocation=mine")
    good, wrong = (
        command.apart(*QUIET, *own, f"allocation.{option}=0.7", "hydra.run.dir=run")
        for option in ("threshold", "treshold")
    )
    told = command.end_of(wrong)
    assert (told.code, told.out) == (2, "")
    assert "allocation.treshold: unknown option; did you mean threshold?" in told.err
    told = command.end_of(good)
    assert told.code == 0, told.err
    assert "threshold: 0.7" in (command.folder / "run" / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("allocation=ffo", "allocation=ffo: unknown choice; did you mean fifo? Known: easy_backfill, fair_share, fifo"),
        ("workload=phily", "workload=phily: unknown choice; did you mean philly or philly_like?"),
        ("alocation=fifo", "alocation: unknown option; did you mean allocation?"),
        ("allocation=las allocation.limit=[1]", "allocation.limit: unknown option; did you mean limits?"),
        ("cluster.num_node=3", "cluster.num_node: unknown option; did you mean num_nodes"),
        ("cluster.num_nodes=many", "cluster.num_nodes=many: must be a whole number"),
        ("allocation=las allocation.limits=[1,x]", "allocation.limits=[1,x]: must be a number"),
        ("check=perhaps", "check=perhaps: must be true or false"),
        ("workload.num_jobs=many", "workload.num_jobs=many: must be a whole number"),
        ("workload=philly", "workload.path: is needed; set workload.path=FILE"),
        ("workload=csv workload.path=nowhere.csv", "nowhere.csv: no such file"),
        ("cluster.num_nodes=-1", "cluster.num_nodes=-1 (pool 'default'): must be 1 or more, or 0 with a max_nodes"),
        (
            "overheads.by_model.bert.restart=1",
            "overheads.by_model.bert.restart: unknown option; did you mean restart_s",
        ),
        ("scaling=threshold scaling.metric=gpus", "threshold: unknown metric 'gpus'"),
        ("allocation=las allocation.limits=[2,1]", "must be more than 0 and ascending"),
        ("estimates=noisy estimates.sigma=-1", "estimates.sigma=-1.0: must be 0 or more"),
        ("oversized=error workload.gpu_counts=[64] workload.gpu_weights=[1]", "40 of 40 jobs can never run here"),
        (
            "requests=superposition requests.parts={a:{name:poisson}}",
            "requests.parts.a: isn't there yet; set 'requests.parts.a={…}', and take away what you don't want: "
            "'~requests.parts.base', '~requests.parts.surges'",
        ),
        ("services={a:{pool:b}}", "services.a.requests: is needed, such as"),
        ("services=3", "services=3: must be a mapping"),
        ("pools={a:{num_node:1}}", "pools.a.num_node: unknown option; did you mean num_nodes"),
        ("service.sites=3", "service.sites=3: must be a mapping"),
        ("seed", "'seed' can't be read (missing EQUAL at '<EOF>'): it must read OPTION=VALUE"),
        ("plugins=[nowhere]", "plugins=[nowhere]: no module 'nowhere': neither installed nor in"),
        ("plugins=[mine.py]", "a module's name has no ending: mine"),
        ("plugins=mine", "plugins=mine: must be a list such as [my_policies]"),
        ("experiment=dmo", "experiment=dmo: unknown choice; did you mean demo?"),
    ],
)
def test_a_mistake_is_one_line(command: Command, arguments: str, message: str) -> None:
    small = () if "workload=" in arguments else QUIET
    told = command(*small, *arguments.split(), "hydra.run.dir=run")
    assert told.code == 2
    assert message in told.err
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    assert "finished" not in told.out
    assert not Path("run/summary.json").exists()


def test_all_of_the_error_on_demand(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match="seed=-1: must be 0 or more"):
        command(*QUIET, "seed=-1")
    with pytest.raises(Exception, match="ffo"):
        command(*QUIET, "allocation=ffo")
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


def test_a_file_in_the_way(command: Command) -> None:
    Path("run").write_text("mine")
    for folder in ("run", "run/1"):
        told = command(*QUIET, f"hydra.run.dir={folder}")
        assert told.code == 2
        assert told.err.startswith(f"error: {folder}: can't be written to: ")
    assert Path("run").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(command: Command) -> None:
    Path("closed").mkdir(mode=0o500)
    told = command(*QUIET, "hydra.run.dir=closed")
    assert (told.code, told.err) == (2, "error: closed: a run can't be written there: Permission denied\n")


def test_a_policy_that_raises(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    decide = Fifo.allocate

    def allocate(self: Fifo, view: ClusterView, draft: Draft) -> None:
        if view.now_s > 1000:
            raise KeyError("a bug of mine")
        decide(self, view, draft)

    monkeypatch.setattr(Fifo, "allocate", allocate)
    told = command(*QUIET, "hydra.run.dir=run")
    assert told.code == 1
    assert "KeyError: 'a bug of mine'" in told.err
    assert 'raise KeyError("a bug of mine")' in told.err  # the policy's own line ...
    assert "cluster.py" not in told.err  # ... and none of the engine's
    assert "in the simulation at " in told.err
    assert "what was recorded until then is in run" in told.err
    assert files(Path("run")) == {"config.yaml", "unfinished.json", *(n for n in RECORDS if n.endswith(".parquet"))}
    assert "a bug of mine" in json.loads(Path("run/unfinished.json").read_text())["why"]


def test_a_policy_that_over_allocates(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(self: Fifo, view: ClusterView, draft: Draft) -> None:
        for job in view.pending:
            draft.give(job, 99)

    monkeypatch.setattr(Fifo, "allocate", allocate)
    told = command(*QUIET, "hydra.run.dir=run")
    assert told.code == 1
    first = told.err.splitlines()[0]
    assert "asked to run on 99 GPUs" in first
    assert "in the simulation at " in first
    assert "test_main.py:" in first


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_what_it_has(
    command: Command, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    decide = Fifo.allocate

    def allocate(self: Fifo, view: ClusterView, draft: Draft) -> None:
        if len(view.jobs) and int(view.jobs.seq[-1]) == 20:
            signal.raise_signal(number)
        decide(self, view, draft)

    monkeypatch.setattr(Fifo, "allocate", allocate)
    before = signal.getsignal(number)
    told = command(*QUIET, "hydra.run.dir=run")
    assert signal.getsignal(number) is before
    assert told.code == 130
    assert told.err == (
        f"error: interrupted by {number.name}; what there was by then, and unfinished.json, is in run\n"
    )
    assert json.loads(Path("run/unfinished.json").read_text())["why"] == f"interrupted by {number.name}"
    states = pd.read_parquet("run/jobs.parquet")["state"].value_counts()
    assert states["finished"] > 0
    assert states["not_submitted"] > 0
    assert not Path("run/summary.json").exists()


def test_an_audit_that_fails_leaves_no_summary(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator import checks
    from simulator.errors import SimulationError

    def refuse(run: object) -> None:
        raise SimulationError("the books of this run don't balance")

    monkeypatch.setattr(checks, "check", refuse)
    told = command(*QUIET, "hydra.run.dir=run")
    assert told.code == 1
    assert "the books of this run don't balance" in told.err
    assert "don't balance" in json.loads(Path("run/unfinished.json").read_text())["why"]
    assert not Path("run/summary.json").exists()


def test_help_says_what_can_be_chosen(command: Command) -> None:
    told = command("--help")
    assert told.code == 0
    assert "allocation: easy_backfill, fair_share, fifo" in told.out
    assert "python -m simulator.compare FOLDER" in told.out


def test_figures_of_a_single_run(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import simulator.figures

    drawn: list[Path] = []
    monkeypatch.setattr(simulator.figures, "draw_run", lambda run, folder: drawn.append(folder))
    assert command(*SMALL, "hydra.run.dir=run").code == 0
    assert drawn == [Path("run")]
    assert command("-m", *SMALL, "hydra.sweep.dir=sweep", "seed=1").code == 0
    assert drawn == [Path("run")]


def test_the_bar_is_for_long_runs_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("simulator.console.time.monotonic", lambda: now_s[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with ProgressBar(True) as bar:
        bar(1, 10, 60.0)
        assert not bar.is_shown
        now_s[0] = 2.0
        bar(2, 10, 120.0)
        assert bar.is_shown
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with ProgressBar(True) as bar:
        now_s[0] = 9.0
        bar(2, 10, 120.0)
        assert not bar.is_shown


def test_the_bar_of_a_run_without_jobs_shows_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("simulator.console.time.monotonic", lambda: now_s[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with ProgressBar(True, until_s=7200.0) as bar:
        now_s[0] = 2.0
        bar(0, 0, 3600.0)
        assert bar._bar is not None
        task = bar._bar.tasks[0]
        assert (task.total, task.completed, task.fields["time"]) == (7200.0, 3600.0, "hour 1.0 of 2.0")
        bar(0, 0, 7300.0)  # what came last is still being served
        assert task.completed == 7200.0
    now_s[0] = 0.0
    with ProgressBar(True) as bar:
        now_s[0] = 2.0
        bar(0, 0, 129600.0)
        assert bar._bar is not None
        assert bar._bar.tasks[0].total is None
        assert bar._bar.tasks[0].fields["time"] == "day 1.5"
    assert ProgressBar(True, until_s=10 * 86400.0).spell_time(86400.0, alone=True) == "day 1.0 of 10.0"


def test_when_requests_are_over() -> None:
    def until_s(**options: Any) -> float:
        return build_requests(options).until_s

    assert until_s(name="poisson", duration_s=100.0) == 100.0
    assert until_s(name="sensors", duration_s=100.0, from_s=20.0, to_s=60.0, time_scale=2.0) == 80.0
    parts = {"a": {"name": "poisson", "duration_s": 10.0}, "b": {"name": "bursty", "duration_s": 30.0, "to_s": 20.0}}
    assert until_s(name="superposition", parts=parts) == 20.0
    assert until_s(name="csv", path="requests.csv") == math.inf
    assert until_s(name="csv", path="requests.csv", to_s=50.0) == 50.0


def test_a_run_of_a_service_alone_says_nothing_of_jobs(command: Command) -> None:
    told = command("workload=none", "requests=poisson", "requests.duration_s=60", "service.name=" + "x" * 50,
                   "figures=false", "hydra.run.dir=run")  # fmt: skip
    assert told.code == 0, told.err
    num = json.loads(Path("run/summary.json").read_text())["services"]["x" * 50]["num_requests"]
    assert f"{num} requests in " in told.out
    assert "jobs" not in told.out
    assert f"service.name={'x' * 40}…" in told.out


def test_many_services_are_a_table_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    of = {
        "num_requests": 10,
        "num_served": 9,
        "num_rejected": 1,
        "num_timed_out": 0,
        "num_lost": 0,
        "num_in_flight": 0,
        "latency_p50_s": 0.1,
        "latency_p95_s": 0.2,
        "latency_p99_s": 0.25,
        "slo_attainment_frac": 0.9,
        "slo_minutes_in_violation": 3,
        "replicas_mean": 1.5,
        "replicas_max": 2,
        "cost_usd": 4.0,
        "cost_per_1k_requests_usd": None,
    }
    summary: dict[str, Any] = {
        "num_submitted": 0,
        "gpu_allocation_frac": 0.5,
        "gpu_utilisation_frac": 0.4,
        "cost_usd": 9.0,
        "num_preemptions": 0,
        "num_rescales": 0,
        "num_decisions": 7,
        "notes": [],
    }
    show_table({**summary, "services": {"a": of, "b": of}}, "two")
    assert "a: served / arrived" in capsys.readouterr().out
    show_table({**summary, "services": {"a": of, "b": of, "c": of}}, "three")
    out = capsys.readouterr().out
    assert "a: served" not in out
    assert "unserved" in out
    row = next(line for line in out.splitlines() if line.strip().startswith("c "))
    assert row.split() == ["c", "9", "1", "100", "ms", "250", "ms", "90.0%", "1.5", "$4.00", "–"]
