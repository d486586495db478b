"""Two metrics against each other: fronts by hand, what beats what by pairs, the file, and the command."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.compare import main
from simulator.comparison import compare
from simulator.errors import ConfigError, RunError
from simulator.pareto import Point, Tradeoff, front, points_of, told, write_pareto
from simulator.run import Run
from simulator.summary import write_json

LUCK_USD = (0.0, 40.0, 80.0)  # what a seed's demand adds to all alike


def fake(scaling: str, purchase: str, seed: int, cost_usd: float, jct_s: float, folder: Path | None = None) -> Run:
    summary = {
        "labels": {"scaling": scaling, "cluster.purchase": purchase, "workload": "three"},
        "facts": {"seed": seed, "end_s": 1.0},
        "notes": [],
        "num_submitted": 10,
        "num_finished": 10,
        "jct_mean_s": jct_s,
        "queueing_p95_s": 2.0 * jct_s,
        "jct_lower_bound_mean_s": jct_s,
        "cost_usd": cost_usd,
        "workload_hash": f"jobs of seed {seed}",
        "warmup_s": 0.0,
    }
    return Run({"seed": seed, "end_s": 1.0}, {}, folder or Path(f"{scaling}-{purchase}-{seed}"), summary=summary)


MEANS = {  # (scaling, purchase): (cost, JCT) of the seed with the least luck
    ("slow", "spot"): (100.0, 3000.0),
    ("slow", "on_demand"): (150.0, 3000.0),
    ("fast", "spot"): (200.0, 1000.0),
    ("fast", "on_demand"): (300.0, 1001.0),
}


def runs() -> list[Run]:
    """Three seeds, which differ from each other by as much as policies do, and are the same for all."""
    return [
        fake(*policy, seed, cost + LUCK_USD[seed], jct + 400.0 * seed)
        for policy, (cost, jct) in MEANS.items()
        for seed in range(3)
    ]


def points(**options: object) -> list[Point]:
    return points_of(compare(runs()), Tradeoff(**options))  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, float).T
    rows = front(x, y).tolist()
    beaten = [any((a <= c and b < d) or (a < c and b <= d) for a, b in pairs) for c, d in pairs]
    assert {pairs[row] for row in rows} == {
        pair for pair, is_beaten in zip(pairs, beaten, strict=True) if not is_beaten
    }
    assert (np.diff(x[rows]) > 0).all()
    assert (np.diff(y[rows]) < 0).all()


def test_what_is_on_the_front_and_what_beats_the_others() -> None:
    found = {tuple(point.group.labels.values()): point for point in points()}
    assert [policy for policy, point in found.items() if point.is_pareto] == [("slow", "spot"), ("fast", "spot")]
    # 50 USD less in every seed, yet no less JCT; 100 USD and a second less: paired, both are sure
    assert list(found["slow", "on_demand"].beaten_by) == []
    assert list(found["fast", "on_demand"].beaten_by) == ["fast · spot"]
    assert list(found["slow", "spot"].beaten_by) == list(found["fast", "spot"].beaten_by) == []
    cost = found["fast", "on_demand"].x
    assert cost.mean == 340.0
    assert cost.high - cost.mean == pytest.approx(4.302653 * 40.0 / math.sqrt(3))
    assert cost.low + cost.high == pytest.approx(2 * cost.mean)


def test_who_leaves_jobs_is_neither_on_the_front_nor_beats_anyone() -> None:
    """Its mean is of those that finished: here a tenth of them, at no cost."""
    left = [fake("lazy", "spot", seed, 1.0, 1.0) for seed in range(3)]
    for run in left:
        run.summary["num_finished"] = 1  # type: ignore[index]
    found = points_of(compare([*runs(), *left]), Tradeoff(at_most=1500.0))
    lazy = next(point for point in found if point.group.labels["scaling"] == "lazy")
    assert (lazy.is_whole, lazy.is_pareto, lazy.meets) == (False, False, False)
    assert not any("lazy · spot" in point.beaten_by for point in found)
    assert found[0].group.name == "fast · spot"


def test_with_an_objective_the_cheapest_that_meets_it_comes_first() -> None:
    names = [point.group.name for point in points(at_most=1500.0)]
    assert names[:2] == ["fast · spot", "fast · on_demand"]
    assert [point.meets for point in points(at_most=1500.0)] == [True, True, False, False]
    tradeoff = Tradeoff(at_most=1500.0)
    assert told(points(at_most=1500.0), tradeoff) == [
        "Pareto front of cost_usd and jct_mean_s, cheapest first: slow · spot; fast · spot",
        "cheapest with jct_mean_s of at most 1500: fast · spot (not beyond its interval)",
        "then, by cost_usd (240 of the first): fast · on_demand (340)",
    ]
    assert told(points(at_most=9000.0), Tradeoff(at_most=9000.0))[1].endswith("at most 9000: slow · spot")
    assert told(points(at_most=100.0), Tradeoff(at_most=100.0))[1] == (
        "none has jct_mean_s of at most 100 in the mean; the least is 1,400"
    )


def test_the_file(tmp_path: Path) -> None:
    write_pareto(points(), Tradeoff(), tmp_path / "pareto.csv")
    with (tmp_path / "pareto.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("scaling", "cluster.purchase", "num_seeds", "num_submitted", "num_finished"),
        *("cost_usd_mean", "cost_usd_low", "cost_usd_high", "jct_mean_s_mean", "jct_mean_s_low", "jct_mean_s_high"),
        *("is_pareto", "beaten_by"),
    ]
    assert [(row["scaling"], row["cluster.purchase"], row["is_pareto"]) for row in rows] == [
        ("slow", "spot", "true"),
        ("slow", "on_demand", "false"),
        ("fast", "spot", "true"),
        ("fast", "on_demand", "false"),
    ]
    assert (rows[0]["num_seeds"], rows[0]["num_finished"], float(rows[0]["cost_usd_mean"])) == ("3", "30", 140.0)
    assert float(rows[0]["cost_usd_low"]) < 140.0 < float(rows[0]["cost_usd_high"])
    assert rows[3]["beaten_by"] == "fast · spot"
    one = points_of(compare(runs()[::3]), Tradeoff(at_most=1500.0))
    write_pareto(one, Tradeoff(at_most=1500.0), tmp_path / "one.csv")
    with (tmp_path / "one.csv").open() as file:
        first = next(csv.DictReader(file))
    assert (first["cost_usd_low"], first["meets_objective"], first["beaten_by"]) == ("", "true", "")


def test_other_metrics_and_those_that_no_run_has() -> None:
    assert points(y="queueing_p95_s")[0].y.mean == 6800.0
    with pytest.raises(RunError, match=r"jct_p5_s: no run has this metric; see summary\.json"):
        points(y="jct_p5_s")
    with pytest.raises(ConfigError, match=r"compare\.y=cost_usd: must be another metric than compare\.x"):
        Tradeoff(y="cost_usd")
    with pytest.raises(ConfigError, match=r"compare\.at_most=inf: must be a number"):
        Tradeoff(at_most=math.inf)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.figures.draw_comparison", lambda *_: [])  # needs tables, which these runs lack
    for run in runs():
        folder = tmp_path / str(run.folder)
        folder.mkdir()
        write_json(folder / "summary.json", run.summary)
    assert main([str(tmp_path), "--pareto", "cost_usd,queueing_p95_s", "--at-most", "2900"]) == 0
    assert "cheapest with queueing_p95_s of at most 2900: fast · spot" in capsys.readouterr().out
    assert "queueing_p95_s_mean" in (tmp_path / "pareto.csv").read_text()
    for arguments, message in (
        (["--pareto", "cost_usd"], "--pareto cost_usd: must read METRIC,METRIC"),
        (["--pareto", "cost_usd,cost_usd"], "must be another metric"),
        (["--pareto", "cost_usd,jct"], "jct: no run has this metric"),
        (["--at-most", "inf"], "must be a number"),
    ):
        assert main([str(tmp_path), *arguments]) == 2
        assert message in capsys.readouterr().err
