"""Comparisons: grouping, intervals by hand, what is said about runs that can't be compared, and the command."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from policies import registry
from simulator.compare import main
from simulator.comparison import Comparison, Estimate, compare, difference, flat_labels, of_service, sites_of
from simulator.comparison_table import print_table, write_csv
from simulator.errors import RunError
from simulator.pools import PoolSpec
from simulator.run import Run
from simulator.scenario import Scenario
from simulator.serving.services import ServicePlan
from simulator.serving.spec import ServiceSpec
from simulator.simulation import simulate
from simulator.summary import write_summary
from workloads import JobTable
from workloads.requests import build_requests
from workloads.serving.service_times import ServiceTimes


def fake(allocation: str = "fifo", seed: int = 0, jct_s: float = 7200.0, **more: Any) -> Run:
    """A run of which only the summary is there."""
    labels = {"allocation": allocation, "scaling": "static", "workload": "synthetic"} | more.pop("labels", {})
    summary = {
        "labels": labels,
        "num_submitted": 10,
        "num_finished": 10,
        "jct_mean_s": jct_s,
        "jct_lower_bound_mean_s": jct_s,
        "cost_usd": 100.0,
        "workload_hash": f"jobs of seed {seed}",
        "warmup_s": 0.0,
        **more,
    }
    return Run({"seed": seed, "end_s": 1.0}, {}, Path(f"runs/{allocation}-{seed}"), summary=summary)


def two_policies() -> list[Run]:
    return [fake("fifo", seed, jct_s) for seed, jct_s in enumerate((3600.0, 7200.0, 10800.0))] + [
        fake("srtf", seed, jct_s) for seed, jct_s in enumerate((1800.0, 5400.0, 10800.0))
    ]


def printed(comparison: Comparison, width: int = 400, **options: Any) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None, **options)
    print_table(comparison, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_intervals_by_hand() -> None:
    """Student's t with 2 degrees of freedom: 4.303."""
    estimate = Estimate.of(np.array([1.0, 2.0, 3.0, math.nan]))
    assert (estimate.mean, estimate.num) == (2.0, 3)
    assert estimate.half_width == pytest.approx(4.302653 / math.sqrt(3))
    assert math.isnan(Estimate.of(np.array([5.0])).half_width)
    assert Estimate.of(np.array([])).num == 0


def test_differences_are_paired_by_seed() -> None:
    comparison = compare(two_policies())
    fifo, srtf = comparison.groups
    assert (comparison.by, comparison.baselines) == (["allocation"], [None, fifo])
    gain = difference(srtf, fifo, "jct_mean_s")
    assert gain.mean == -1200.0  # of −1800, −1800, 0
    assert gain.half_width == pytest.approx(4.302653 * math.sqrt(3 * 600**2 * 2 / 2) / math.sqrt(3), rel=1e-6)
    assert gain.half_width < srtf.estimate("jct_mean_s").half_width / 3
    assert comparison.notes == []


def test_only_seeds_with_the_same_jobs_are_paired() -> None:
    runs = two_policies()
    runs[-1].summary["workload_hash"] = "others"  # type: ignore[index]
    comparison = compare(runs)
    assert difference(comparison.groups[1], comparison.groups[0], "jct_mean_s").num == 2
    assert comparison.notes == ["the jobs of seed 2 differ between fifo and srtf: these rows can't be compared"]


def test_baseline_of_each_row_shares_its_other_labels() -> None:
    runs = [fake(a, labels={"scaling": s}) for a in ("fifo", "srtf") for s in ("static", "threshold")]
    comparison = compare(runs, baseline={"allocation": "fifo"})
    assert [group and group.name for group in comparison.baselines] == [
        None,
        None,
        "fifo · static",
        "fifo · threshold",
    ]
    only = compare(runs, baseline={"allocation": "fifo", "scaling": "static"})
    assert [group and group.name for group in only.baselines] == [None, *["fifo · static"] * 3]


def test_what_can_not_be_asked_for() -> None:
    with pytest.raises(RunError, match=r"--by alocation: no run has this label: did you mean allocation\?"):
        compare(two_policies(), by=["alocation"])
    with pytest.raises(RunError, match=r"--baseline scaling: not compared by: known: allocation"):
        compare(two_policies(), baseline={"scaling": "static"})
    with pytest.raises(RunError, match="--baseline allocation=las: no such runs; there are fifo; srtf"):
        compare(two_policies(), baseline={"allocation": "las"})
    with pytest.raises(RunError, match="no finished run to compare"):
        compare([])


def test_what_a_reader_must_know() -> None:
    runs = [fake("fifo"), fake("srtf", num_finished=8, jct_lower_bound_mean_s=9000.0)]
    assert compare(runs).notes == [
        "one seed: no intervals; run several, as in seed=range(5), to tell a difference from chance",
        "srtf finished 8 of 10 jobs, fewer than others: its JCT leaves out the rest "
        "(with the others until the end the mean is at least 2.5 h)",
    ]
    seeds = compare([*two_policies(), fake("las", 7)])
    assert seeds.notes == [
        "one seed only, hence no intervals: las",
        "not all rows have the same seeds (in all: none); differences are over those that two share",
    ]
    workloads = compare([fake("fifo"), fake("srtf", labels={"workload": "philly"})])
    assert "the workloads differ (synthetic, philly): rows of different workloads can't be compared" in workloads.notes
    warmups = compare([fake("fifo"), fake("srtf", warmup_s=3600.0)])
    assert "the warm-ups differ (0 s, 3600 s)" in warmups.notes


def test_the_same_run_twice_counts_once() -> None:
    again, other = fake("fifo"), fake("fifo", jct_s=1.0)
    again.folder, other.folder = Path("copy"), Path("other")
    comparison = compare([fake("fifo"), fake("srtf"), again, other])
    assert [len(group.all_runs) for group in comparison.groups] == [1, 1]
    assert comparison.notes[0] == ("copy is left out: same labels and seed as runs/fifo-0 (the same run twice)")
    assert "other is left out: same labels and seed as runs/fifo-0 (but other results" in comparison.notes[1]


def test_rows_can_be_means_over_other_labels() -> None:
    runs = [fake(a, labels={"scaling": s}) for a in ("fifo", "srtf") for s in ("static", "threshold")]
    comparison = compare(runs, by=["allocation"])
    assert [group.name for group in comparison.groups] == ["fifo", "srtf"]
    assert "a row is the mean of runs that also differ in scaling" in comparison.notes


def test_labels_may_be_nested_or_missing() -> None:
    labels = {"allocation": "las", "las": {"limits": [1, 2], "age_s": None}, "seed": 3}
    assert flat_labels(labels) == {"allocation": "las", "las.limits": "[1, 2]", "las.age_s": "–"}
    comparison = compare([fake("fifo"), fake("fifo", labels={"backfill": True})])
    assert [group.labels for group in comparison.groups] == [{"backfill": "–"}, {"backfill": "true"}]


def test_table_on_one_line_a_row_where_there_is_room() -> None:
    lines = printed(compare(two_policies())).splitlines()
    row = next(line for line in lines if line.strip().startswith("srtf"))
    assert "1.67 ± 3.13" in row.replace("  ", " ")  # 0.5, 1.5 and 3 h
    assert "-0.333 ± 0.717" in row
    assert "30/30" in row


def test_table_fits_120_columns_of_a_terminal_and_is_never_folded() -> None:
    comparison = compare(two_policies())
    text = printed(comparison, 120, force_terminal=True)
    assert max(map(len, text.splitlines())) <= 120
    assert "± 3.13" in text
    stacked = printed(comparison, 100, force_terminal=True)
    assert max(map(len, stacked.splitlines())) <= 100
    assert stacked == printed(comparison, 40, force_terminal=True)
    piped = printed(comparison, 80)
    assert "…" not in piped
    assert sum(line.strip().startswith(("fifo", "srtf")) for line in piped.splitlines()) == 2


def test_one_seed_prints_no_interval() -> None:
    assert "±" not in printed(compare([fake("fifo"), fake("srtf")]))


def serving(scaling: str, seed: int = 0, p99_s: float = 0.5, num_requests: int = 100, **more: Any) -> Run:
    """A run of a service and no jobs, of which only the summary is there."""
    service = {
        "num_requests": num_requests,
        "num_served": num_requests,
        "latency_p99_s": p99_s,
        "slo_attainment_frac": 0.9,
        "cost_per_1k_requests_usd": 2.0,
        "replicas_mean": 3.0,
        **more,
    }
    labels = {"scaling": scaling, "workload": "none", "requests": "poisson"}
    jobs = {"num_submitted": 0, "num_finished": 0, "jct_mean_s": None, "jct_lower_bound_mean_s": None}
    return fake("fifo", seed, labels=labels, services={"chat.v2": service}, **jobs)


def test_metrics_of_services_are_paired_too() -> None:
    runs = [serving("static", seed, p99_s) for seed, p99_s in enumerate((0.2, 0.4, 0.6))]
    runs += [serving("threshold", seed, p99_s) for seed, p99_s in enumerate((0.1, 0.3, 0.8))]
    comparison = compare(runs)
    static, threshold = comparison.groups
    p99 = of_service("chat.v2", "latency_p99_s")
    assert comparison.services == ["chat.v2"]
    assert not comparison.has_jobs
    assert static.by_seed(p99) == {0: 0.2, 1: 0.4, 2: 0.6}
    assert difference(threshold, static, p99).mean == pytest.approx(0.0)
    assert difference(threshold, static, p99).half_width == pytest.approx(4.302653 * math.sqrt(0.03) / math.sqrt(3))
    assert not static.estimate(of_service("chat.v2", "ttft_p99_s")).num
    assert not static.estimate(of_service("other", "latency_p99_s")).num
    assert static.total(of_service("chat.v2", "num_served")) == 300
    assert comparison.notes == []


def test_only_seeds_with_the_same_requests_are_paired() -> None:
    runs = [
        serving("static", 0),
        serving("static", 1),
        serving("threshold", 0),
        serving("threshold", 1, num_requests=9),
    ]
    comparison = compare(runs)
    assert difference(comparison.groups[1], comparison.groups[0], of_service("chat.v2", "latency_p99_s")).num == 1
    assert comparison.notes == [
        "the requests of seed 1 differ between static and threshold: these rows can't be compared"
    ]
    runs[2].summary["labels"]["requests"] = "diurnal"
    assert (
        "the requests differ (poisson, diurnal): rows of different requests can't be compared"
        in compare(runs, by=["scaling"]).notes
    )


def test_a_service_with_sites_is_paired_as_a_whole() -> None:
    """How many requests a site gets is for routing to say: that alone makes no other demand."""
    runs = [serving("static"), serving("threshold")]
    for run, num in zip(runs, (30, 60), strict=True):
        whole = run.summary["services"].pop("chat.v2")
        run.summary["services"] |= {f"chat@{k}": {**whole, "num_requests": n} for k, n in enumerate((num, 100 - num))}
        run.summary["routed"] = {"chat": {**whole, "sites": {"edge": "chat@0", "far": "chat@1"}}}  # type: ignore[index]
    comparison = compare(runs)
    assert comparison.services == ["chat", "chat@0", "chat@1"]
    static, threshold = comparison.groups
    assert difference(threshold, static, of_service("chat", "latency_p99_s")).num == 1
    assert sites_of(runs[0], "chat") == ["chat@0", "chat@1"]
    assert sites_of(runs[0], "chat@0") == ["chat@0"]
    assert not any("the requests" in note for note in comparison.notes)


def test_requests_that_were_not_served_are_noted() -> None:
    comparison = compare([serving("static"), serving("threshold", num_served=80, num_rejected=20)])
    assert (
        "threshold served 80 of 100 requests of chat.v2, fewer than others: its latencies leave out the rest"
        in comparison.notes
    )


def test_table_of_services_has_no_empty_columns() -> None:
    comparison = compare([serving("static"), serving("threshold", p99_s=0.25, ttft_p99_s=0.1)])
    text = printed(comparison)
    assert "JCT" not in text
    assert "queueing" not in text
    assert "finished/" not in text
    assert "service chat.v2" in text
    row = next(line for line in reversed(text.splitlines()) if line.strip().startswith("threshold"))
    # latency, TTFT in ms, SLO, cost, replicas, differences (static has no TTFT), served
    assert row.split() == ["threshold", "250", "100", "90.00", "2.00", "3.00", "–", "+0.00", "+0", "100/100", "1"]
    only = printed(compare([serving("static"), serving("threshold")]))
    assert "TTFT" not in only
    both = printed(compare([serving("static"), fake("fifo", labels={"scaling": "threshold"})]))
    assert "JCT" in both
    assert "service chat.v2" in both


def test_costs_too_small_for_a_thousand_requests_are_told_by_the_million() -> None:
    text = printed(compare([serving("static", cost_per_1k_requests_usd=0.004), serving("threshold")], by=["workload"]))
    assert "1,000" in text
    text = printed(compare([serving("static", cost_per_1k_requests_usd=0.004)]))
    assert "a million" in text
    assert " 4.00 " in text


def test_labels_that_are_options_take_little_room() -> None:
    runs = [fake(labels={"service.startup.engine_s": str(k), "long": "x" * 80 + str(k)}) for k in (1, 2)]
    comparison = compare(runs)
    assert comparison.groups[0].name == f"engine_s=1 · {'x' * 80}1"
    lines = printed(comparison).splitlines()
    assert [
        next(k for k, line in enumerate(lines) if word in line) for word in ("service", ".startup", ".engine_s")
    ] == [*range(1, 4)]
    assert sum(line.count("x") for line in lines) == 160  # broken, not cut
    assert max(line.count("x") for line in lines) == 36


def test_csv_of_services(tmp_path: Path) -> None:
    write_csv(compare([serving("static"), serving("threshold", p99_s=0.25)]), tmp_path / "comparison.csv")
    with (tmp_path / "comparison.csv").open() as file:
        static, threshold = csv.DictReader(file)
    assert float(threshold["services.chat.v2.latency_p99_s"]) == 0.25
    assert float(threshold["services.chat.v2.latency_p99_s_difference"]) == -0.25
    assert threshold["services.chat.v2.num_served"] == "100"
    assert static["services.chat.v2.latency_p99_s_difference"] == ""
    assert "services.chat.v2.ttft_p99_s" not in static
    write_csv(compare(two_policies()), tmp_path / "jobs.csv")
    assert "serving" not in (tmp_path / "jobs.csv").read_text()


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """fifo and srtf, two seeds each, of ten small jobs; and a run that was killed."""
    for i, (allocation, seed) in enumerate((a, s) for a in ("fifo", "srtf") for s in (0, 1)):
        rng, folder = np.random.default_rng(seed), tmp_path / "sweep" / str(i)
        columns = {"submit_s": np.sort(rng.uniform(0, 100, 10)), "num_gpus": rng.integers(1, 5, 10)}
        scenario = Scenario(
            jobs=JobTable.from_columns({**columns, "duration_s": rng.uniform(5, 90, 10)}),
            allocation=registry.create("allocation", allocation),
            placement=registry.create("placement", "consolidate"),
            pools=[PoolSpec(num_nodes=1, gpus_per_node=4, usd_per_node_h=36.0)],
            seed=seed,
        )
        labels = {"allocation": allocation, "scaling": "static", "workload": "ten"}
        write_summary(simulate(scenario, folder), labels, folder)
    (tmp_path / "sweep" / "4").mkdir()
    (tmp_path / "sweep" / "4" / "unfinished.json").write_text(json.dumps({"why": "interrupted"}))
    return tmp_path / "sweep"


def test_command(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep)]) == 0
    out = capsys.readouterr().out
    assert "Δ: difference to fifo, paired by seed" in out
    assert f"left out: {sweep / '4'}: the run did not finish: interrupted; run it again, or leave it out" in out
    names = ["comparison.csv", *(f"{n}.{t}" for n in ("pareto", "jct_cdf", "over_time") for t in ("png", "svg"))]
    assert all((sweep / name).stat().st_size > 500 for name in names)
    with (sweep / "comparison.csv").open() as file:
        fifo, srtf = csv.DictReader(file)
    assert (srtf["baseline"], srtf["seeds"], srtf["num_finished"]) == ("fifo", "0 1", "20")
    seeds = [json.loads((sweep / i / "summary.json").read_text())["jct_mean_s"] for i in ("2", "3")]
    assert float(srtf["jct_mean_s"]) == pytest.approx(np.mean(seeds))
    assert float(srtf["jct_mean_s_difference"]) == pytest.approx(float(srtf["jct_mean_s"]) - float(fifo["jct_mean_s"]))
    assert fifo["jct_mean_s_difference"] == ""


def test_command_refuses_in_one_line(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, message in (
        (["nowhere"], "nowhere: no such folder"),
        (["sweep/4"], "no finished run to compare; sweep/4: the run did not finish: interrupted"),
        (["sweep", "--by", "alocation"], "--by alocation: no run has this label: did you mean allocation?"),
        (["sweep", "--baseline", "fifo"], "--baseline fifo: must read label=value"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {message}")
        assert error.count("\n") == 1
    with pytest.raises(SystemExit) as caught:
        main(["sweep", "--basline", "x"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_can_not_be_written(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert main([str(sweep), "--out", str(locked / "out")]) == 2
    assert "can't be written to" in capsys.readouterr().err


def test_out_that_is_a_file(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main([str(sweep), "--out", str(tmp_path / "file")]) == 2
    assert f"{tmp_path / 'file'}: can't be written to" in capsys.readouterr().err


def test_command_with_services(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i, (replicas, seed) in enumerate((r, s) for r in (1, 2) for s in (0, 1)):
        spec = ServiceSpec(name="chat", replicas=replicas, service_times=ServiceTimes(mean_s=0.2))
        scenario = Scenario(
            jobs=JobTable.none(),
            allocation=registry.create("allocation", "fifo"),
            placement=registry.create("placement", "consolidate"),
            pools=[PoolSpec(num_nodes=1, gpus_per_node=4, usd_per_node_h=36.0)],
            services=[ServicePlan(spec, build_requests({"name": "poisson", "rate_per_s": 2.0, "duration_s": 300.0}))],
            seed=seed,
        )
        folder = tmp_path / str(i)
        labels = {"allocation": "fifo", "workload": "none", "requests": "poisson", "service.replicas": str(replicas)}
        write_summary(simulate(scenario, folder), labels, folder)
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "service chat" in out
    assert "Δ: difference to replicas=1, paired by seed" in out
    drawn = {path.stem for path in tmp_path.glob("*.svg")}
    assert drawn == {"cost_vs_latency-chat", "latency_cdf-chat", "over_time"}
    said = (tmp_path / "cost_vs_latency-chat.svg").read_text()
    for text in ("chat: cost against latency (poisson)", "requests not in time (%)", "replicas=1", "replicas=2"):
        assert f"<!-- {text} -->" in said
    assert "<!-- Requests waiting -->" in (tmp_path / "over_time.svg").read_text()
    assert "Jobs waiting" not in (tmp_path / "over_time.svg").read_text()
