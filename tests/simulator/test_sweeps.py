"""Sweeps: where runs go, what is kept, what a failure stops, and the launchers that the extras bring."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from command import QUIET, Command

from policies import ClusterView, Draft
from policies.allocation.las import Las
from simulator.sweeps import first_labels, samples

SWEEP = (*QUIET, "hydra.sweep.dir=sweep")
TWO = (*SWEEP, "allocation=fifo,las")


def runs() -> list[str]:
    return sorted(path.parent.name for path in Path("sweep").glob("*/summary.json"))


def plugin(name: str, extra: str) -> pytest.MarkDecorator:
    is_there = find_spec("hydra_plugins") is not None and find_spec(f"hydra_plugins.{name}") is not None
    return pytest.mark.skipif(not is_there, reason=f"needs pip install -e '.[{extra}]'")


def test_runs_lie_in_folders_named_after_what_differs(command: Command) -> None:
    told = command(*SWEEP, "-m", "allocation=fifo,las", "seed=range(2)")
    assert told.code == 0, told.err
    assert runs() == [f"allocation={policy},seed={seed}" for policy in ("fifo", "las") for seed in (0, 1)]
    assert "sweep/allocation=las,seed=1: 40 / 40 finished, JCT mean" in told.out
    assert "\x1b" not in told.out


def test_what_is_finished_is_kept(command: Command) -> None:
    assert command("-m", *TWO).code == 0
    before = {name: Path("sweep", name, "environment.json").stat().st_mtime_ns for name in runs()}
    Path("sweep/allocation=las/summary.json").unlink()  # as if it had been interrupted
    told = command("-m", *SWEEP, "allocation=fifo,las,srtf")
    assert "allocation=fifo: finished already with the same settings; kept (resume=false runs it anew)" in told.out
    after = {name: Path("sweep", name, "environment.json").stat().st_mtime_ns for name in runs()}
    assert list(after) == ["allocation=fifo", "allocation=las", "allocation=srtf"]
    assert after["allocation=fifo"] == before["allocation=fifo"]
    assert after["allocation=las"] != before["allocation=las"]


@pytest.mark.parametrize("change", ["resume=false", "workload.num_jobs=30"])
def test_what_is_asked_for_anew_or_has_changed_is_run(command: Command, change: str) -> None:
    one = (*SWEEP, "allocation=fifo,las")
    assert command("-m", *one).code == 0
    told = command("-m", *one, change)
    assert "kept" not in told.out
    assert told.out.count("finished, JCT mean") == 2


def test_a_run_that_fails_stops_no_other(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(self: Las, view: ClusterView, draft: Draft) -> None:
        raise RuntimeError("not today")

    monkeypatch.setattr(Las, "allocate", allocate)
    told = command("-m", *SWEEP, "allocation=las,fifo")
    assert told.code == 1
    assert "RuntimeError: not today" in told.err
    assert runs() == ["allocation=fifo"]
    assert "not today" in json.loads(Path("sweep/allocation=las/unfinished.json").read_text())["why"]


def test_choices_are_checked_before_the_first_run(command: Command) -> None:
    told = command("-m", *SWEEP, "allocation=fifo,ffo")
    assert told.code == 2
    assert "allocation=ffo: unknown choice; did you mean fifo?" in told.err
    assert runs() == []


@pytest.mark.parametrize(
    ("choice", "module", "extra"),
    [
        ("hydra/launcher=cores", "hydra_joblib_launcher", "sweep"),
        ("hydra/launcher=ray_local", "hydra_ray_launcher", "ray"),
        ("hydra/launcher=ray_cluster", "hydra_ray_launcher", "ray"),
        ("hydra/launcher=slurm", "hydra_submitit_launcher", "slurm"),
        ("hydra/sweeper=resume", "filter", "sweep"),
    ],
)
def test_an_extra_that_is_not_there(command: Command, choice: str, module: str, extra: str) -> None:
    if find_spec("hydra_plugins") is not None and find_spec(f"hydra_plugins.{module}") is not None:
        pytest.skip("it is there")
    told = command("-m", *TWO, choice)
    assert told.code == 2
    assert f"pip install -e '.[{extra}]'" in told.err
    assert told.err.count("\n") == 1


def test_a_sweep_may_end_with_its_comparison(command: Command) -> None:
    told = command("-m", *SWEEP, "allocation=fifo,las", "seed=range(2)", "compare.after_sweep=true")
    assert told.code == 0, told.err
    assert "Pareto front of cost_usd and jct_mean_s, cheapest first: " in told.out
    assert {f"pareto.{kind}" for kind in ("csv", "svg", "png")} <= {path.name for path in Path("sweep").iterdir()}
    assert Path("sweep/pareto.csv").read_text().splitlines()[1].startswith("fifo,2,80,80,")
    assert "compare" not in Path("sweep/allocation=las,seed=0/config.yaml").read_text()
    again = command("-m", *SWEEP, "allocation=fifo,las", "seed=range(2)", "compare.after_sweep=true")
    assert again.out.count("finished already") == 4  # what compares runs changes none


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("compare.y=jct_p5_s",), "compare.y=jct_p5_s: unknown metric; did you mean jct_p95_s"),
        (("compare.x=cost",), "compare.x=cost: unknown metric; did you mean cost_usd"),
        (("compare.y=ttft_p99_s",), "compare.y=ttft_p99_s: unknown metric (of a service it is services.NAME.ttft_p99"),
        (("compare.y=services.chat.latency_p99_s",), "compare.y=services.chat.latency_p99_s: unknown service: none"),
        (
            ("compare.y=services.chta.latency_p99_s", "requests=poisson", "service.name=chat"),
            "compare.y=services.chta.latency_p99_s: unknown service; did you mean chat?",
        ),
        (
            ("compare.y=services.chat.latency_99_s", "requests=poisson", "service.name=chat"),
            "compare.y=services.chat.latency_99_s: unknown metric of a service; did you mean latency_p99_s",
        ),
        (("compare.y=cost_usd",), "compare.y=cost_usd: must be another metric than compare.x"),
        (("compare.at_most=nan",), "compare.at_most=nan: must be a number, in the unit of compare.y"),
        (("compare.at_most=soon",), "compare.at_most=soon: must be a number"),
        (("compare.at_least=3",), "compare.at_least: unknown option; did you mean at_most"),
        (("compare.baseline.alocation=fifo",), "compare.baseline.alocation: unknown label; did you mean allocation"),
    ],
)
def test_what_compares_the_runs_is_checked_before_the_first(
    command: Command, given: tuple[str, ...], message: str
) -> None:
    told = command("-m", *TWO, "compare.after_sweep=true", *given)
    assert told.code == 2
    assert told.err.startswith(f"error: {message}")
    assert told.err.count("\n") == 1
    assert not Path("sweep").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("scaling=static,threshhold",), "scaling=threshhold: unknown choice; did you mean threshold"),
        (("cluster.purchase=on_demand,spto",), "cluster.purchase=spto: unknown way of buying; did you mean spot"),
        (("scaling=threshold", "scaling.upper=0.9,often"), "scaling.upper=often: must be a number"),
        (("allocation=fifo,las", "warmup_s=interval(1,2)"), "does not support sweep type : INTERVAL_SWEEP"),
        (("allocation=fifo,las", "cluster.max_nodes=4,1"), "cluster.max_nodes=1 (pool 'default'): must be at least"),
    ],
)
def test_each_swept_value_is_checked_before_the_first_run(
    command: Command, given: tuple[str, ...], message: str
) -> None:
    told = command("-m", *SWEEP, "seed=range(3)", *given)
    assert told.code == 2
    assert message in told.err
    assert told.err.count("\n") == 1
    assert runs() == []


def test_a_value_of_each_option_is_composed_once() -> None:
    jobs = [[f"a={a}", f"+b={b}", f"seed={seed}", "c=1"] for a in "xy" for b in (1, 2, 3) for seed in range(5)]
    composed = [("x", 1), ("x", 2), ("x", 3), ("y", 1)]
    assert samples(jobs) == [[f"a={a}", f"+b={b}", "seed=0", "c=1"] for a, b in composed]
    assert first_labels(jobs) == {"a": "x", "b": "1"}
    assert first_labels(jobs[:1]) == {}
    assert samples(jobs[:1]) == jobs[:1]
    assert (samples([]), first_labels([])) == ([], {})


def test_a_sweep_that_is_not_compared_says_how_to(command: Command) -> None:
    told = command("-m", *TWO)
    assert told.out.splitlines()[-1] == "to compare the runs: python -m simulator.compare sweep"
    assert "to compare" not in command("-m", *SWEEP, "allocation=fifo").out
    assert "to compare" not in command("-m", *TWO, "compare.after_sweep=true").out


def test_differences_are_to_what_the_sweep_names_first_or_to_what_it_says(command: Command) -> None:
    two = ("-m", *SWEEP, "allocation=las,fifo", "compare.after_sweep=true")
    assert "• Δ: difference to las\n" in command(*two).out
    assert "• Δ: difference to fifo\n" in command(*two, "compare.baseline.allocation=fifo").out
    told = command(*two, "compare.baseline.allocation=srtf").out
    assert "• Δ: difference to las\n" in told
    assert "no row is srtf, which differences should be to: another takes its place" in told


def test_an_experiment_may_be_a_sweep(command: Command) -> None:
    """Without -m; what the command line says goes before what it sweeps."""
    small = ("workload.num_jobs=40", "check=true", "hydra.sweep.dir=sweep")
    told = command(
        "experiment=cost_latency", "scaling=threshold,oracle_pool", "cluster.purchase=spot", "seed=3", *small
    )
    assert told.code == 0, told.err
    assert runs() == ["scaling=oracle_pool", "scaling=threshold"]
    labels = json.loads(Path("sweep/scaling=oracle_pool/summary.json").read_text())["labels"]
    assert (labels["scaling"], labels["cluster.purchase"]) == ("oracle_pool", "spot")
    assert not any(name.startswith("compare") for name in labels)
    assert "• Δ: difference to threshold\n" in told.out  # and not to the bound


def test_the_flagship_holds_policies_against_one_that_can_be_had(command: Command) -> None:
    told = command(
        "experiment=cost_latency", "scaling=oracle_pool,cluster_autoscaler", "cluster.purchase=spot", "seed=3",
        "workload.num_jobs=20", "hydra.sweep.dir=sweep",
    )  # fmt: skip
    assert told.code == 0, told.err
    assert "• Δ: difference to cluster_autoscaler\n" in told.out


def test_the_flagship_takes_a_trace(command: Command) -> None:
    lines = [f"{day}-{k},{86400 * day + 600 * k},1800,{1 + k % 9}" for day in range(9) for k in range(9)]
    Path("cluster.csv").write_text("job_id,submission_time,duration,num_gpu\n" + "\n".join(lines))
    told = command(
        "experiment=cost_latency", "workload=itp", "workload.path=cluster.csv", "workload.resample_days=3",
        "scaling=static_half,predictive_pool", "cluster.purchase=on_demand", "seed=range(2)", "check=true",
        "hydra.sweep.dir=sweep",
    )  # fmt: skip
    assert told.code == 0, told.err
    assert len(runs()) == 4
    assert Path("sweep/pareto.svg").is_file()


@plugin("filter", "sweep")
def test_the_resuming_sweeper_launches_what_is_missing(command: Command) -> None:
    assert command("-m", *TWO).code == 0
    told = command("-m", *SWEEP, "allocation=fifo,las,srtf", "hydra/sweeper=resume")
    assert told.code == 0, told.err
    assert "Launching 1 jobs" in told.out
    assert runs() == ["allocation=fifo", "allocation=las", "allocation=srtf"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param("cores", marks=plugin("hydra_joblib_launcher", "sweep")),
        pytest.param("ray_local", marks=plugin("hydra_ray_launcher", "ray")),
    ],
)
def test_two_runs_in_processes_of_their_own(command: Command, launcher: str) -> None:
    (command.folder / "my_policies.py").write_text(
        "from dataclasses import dataclass\n"
        "from policies import register\n"
        "from policies.allocation.fifo import Fifo\n"
        '@register("allocation", "mine")\n'
        "@dataclass\n"
        "class Mine(Fifo):\n"
        "    pass\n"
    )
    arguments = ("-m", *SWEEP, f"hydra/launcher={launcher}", "plugins=[my_policies]", "allocation=mine,las")
    told = command.end_of(command.apart(*arguments, env={"RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}))
    assert told.code == 0, told.err
    assert runs() == ["allocation=las", "allocation=mine"]
    here = command("-m", *QUIET, "plugins=[my_policies]", "allocation=las", "hydra.sweep.dir=here")
    assert here.code == 0, here.err
    for name in ("summary.json", "config.yaml", "jobs.parquet"):  # as in this process
        assert Path("sweep/allocation=las", name).read_bytes() == Path("here", name).read_bytes()
