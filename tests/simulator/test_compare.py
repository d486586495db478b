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
from simulator.comparison import Comparison, Estimate, compare, difference, flat_labels
from simulator.comparison_table import print_table
from simulator.errors import RunError
from simulator.pools import PoolSpec
from simulator.run import Run
from simulator.simulation import Scenario, simulate
from simulator.summary import write_summary
from workloads import JobTable


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
    names = ["comparison.csv", *(f"{n}.{t}" for n in ("cost_vs_jct", "jct_cdf", "over_time") for t in ("png", "svg"))]
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
        assert message in error
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
