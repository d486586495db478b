"""`explain=true`, and `python -m simulator.explain`: against decisions made by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from command import QUIET, Command
from small_runs import jobs_of, run_jobs

from policies import registry
from policies.reasons import STEPS, Reasons
from policies.scaling.hpa_ratio import Tolerance, Usage, by_pods
from simulator.explain import Explained, sentence
from simulator.explain.__main__ import changes, explanation, main
from simulator.explain.asked import Asked
from simulator.explain.sentences import _SENTENCES, plainly
from simulator.pools import PoolSpec
from simulator.run import Run
from simulator.scenario import Scenario
from simulator.simulation import simulate

sys.path.insert(0, str(Path(__file__).parent / "serving"))
from small_services import plan, serve

Capture = pytest.CaptureFixture[str]

# Eight GPUs a node, which takes 120 s to come. Asked every 60 s from 0 s on, of samples of that very second: at 60 s
# 16 GPUs are waited for, b's and c's. A node is ordered, and there at 180 s for b; its cool-down lasts to 360 s, when
# c still waits, and gets another one by 480 s. It is let go at 960 s, and drained when c is done, at 1080 s.
JOBS = ((10, 8, 1000), (30, 8, 1000), (30, 8, 600))
QUEUE: Mapping[str, Any] = {
    "metric": "pending_gpus",
    "upper": 0.9,
    "lower": 0.1,
    "sustained_s": 0.0,
    "cooldown_out_s": 300.0,
    "cooldown_in_s": 600.0,
}
POOL = PoolSpec(num_nodes=1, min_nodes=1, max_nodes=3, gpus_per_node=8, provision_s=120.0)


@pytest.fixture(scope="module")
def queue() -> Run:
    return queued()


def queued(**scenario: Any) -> Run:
    threshold = registry.create("scaling", "threshold", **QUEUE)
    scenario = {"explain": True, "scaling": {"default": threshold}, **scenario}
    return run_jobs(jobs_of(*JOBS), placement="consolidate", pools=[POOL], **scenario)


def told(run: Run, at_s: float, **more: Any) -> list[str]:
    return list(explanation(run, at_s, **more))


# ---- what is said, of pools
def test_a_change_and_what_came_of_it(queue: Run) -> None:
    assert told(queue, 100.0) == [
        "default, asked at 60 s: 1 → 2 nodes",
        "  there           1 ready, 0 starting, 0 draining",
        "  metric          pending_gpus 16; 16 to 16; 0 s old",
        "  alarm           out: on, the lowest is 16, and has to be above 0.9",
        "  alarm           in: off, the highest is 16, and has to be below 0.1",
        "  recommendation  2",
        "  bound           2: at least 1 and at most 3",
        "  outcome         2 wanted, 1 there",
        "  ordered         1 node: ready at 180 s (120 s later)",
        "  next            asked again at 120 s; changed at 360 s: 2 → 3 nodes",
        "",
        "jobs",
        "  decided         60 s: 2 jobs or replicas wait, 8 GPUs held, open nodes have 8",
        "  changed         10 s: GPUs of a 0 → 8",
    ]


def test_why_not(queue: Run) -> None:
    lines = told(queue, 140.0)
    assert lines[0] == "default, asked at 120 s: 2 nodes, and no change"
    assert "  there           1 ready, 1 starting, 0 draining" in lines
    assert "  cool-down       out: 240 s to go" in lines
    assert "  why not         the cool-down (out) lasts for another 240 s" in lines
    assert "  on the way      1 node: ready at 180 s (60 s later)" in lines
    assert not [line for line in lines if "ordered" in line or "held back" in line]


def test_why_not_fewer(queue: Run) -> None:
    """Nothing waited when monitoring looked first, at 0 s."""
    lines = told(queue, 10.0)
    assert "  bound           1 and not 0: at least 1 and at most 3" in lines
    assert "  why not         the bounds allow 1 and not 0: at least 1 and at most 3" in lines
    assert "  next            asked again, and changed, at 60 s: 1 → 2 nodes" in lines


def test_the_decision_of_that_very_second_counts(queue: Run) -> None:
    assert told(queue, 120.0)[0].startswith("default, asked at 120 s")
    assert told(queue, 119.9)[0].startswith("default, asked at 60 s")


def test_what_was_let_go(queue: Run) -> None:
    lines = told(queue, 1000.0)
    assert lines[0] == "default, asked at 960 s: 3 → 2 nodes"
    assert "  let go          1 node: drained by 1,080 s (120 s later)" in lines
    assert "  next            asked again at 1,020 s; no change until the run ended at 1,180 s" in lines
    assert "  decided         960 s: 0 jobs or replicas wait, 24 GPUs held, open nodes have 16" in lines


def test_the_first_nodes_were_not_ordered_by_a_decision() -> None:
    step_up = registry.create("scaling", "scheduled", actions=[{"at_s": 0.0, "min_units": 2}])
    run = run_jobs(jobs_of((0, 8, 300)), placement="consolidate", pools=[POOL], explain=True,
                   scaling={"default": step_up})  # fmt: skip
    assert "  ordered         1 node: ready at 120 s (120 s later)" in told(run, 0.0)


def test_changes_in_lines(queue: Run) -> None:
    assert list(changes(queue, 0.0, 2000.0)) == [
        "        60 s  default           1 → 2  pending_gpus 16; 16 to 16; 0 s old; recommendation 2",
        "       360 s  default           2 → 3  pending_gpus 8; 8 to 8; 0 s old; recommendation 3",
        "       960 s  default           3 → 2  pending_gpus 0; 0 to 0; 0 s old; recommendation 2",
    ]
    assert [line.split()[0] for line in changes(queue, 60.0, 360.0)] == ["60", "360"]
    assert list(changes(queue, 61.0, 359.0)) == ["no change from 61 s to 359 s"]


def test_jobs_that_a_decision_has_changed(queue: Run) -> None:
    assert told(queue, 500.0)[-1] == "  changed         480 s: GPUs of c 0 → 8"


# ---- of services
def test_replicas_that_were_ordered_and_let_go() -> None:
    run = serve(plan([0.0, 200.0], max_replicas=3), [(10.0, 3), (100.0, 1)], explain=True)
    ready_s = sorted(run.table("replicas").to_pandas()["ready_s"])[1:]
    assert len(ready_s) == 2
    lines = told(run, 10.0, target="chat")
    assert lines[:2] == ["chat, asked at 10 s: 1 → 3 replicas", "  there           1 ready, 0 starting, 0 draining"]
    came = "; ".join(f"ready at {each:g} s ({each - 10:g} s later)" for each in ready_s)
    assert f"  ordered         2 replicas: {came}" in lines
    assert "  changed         10 s: GPUs of replica 1 of chat 0 → 1, replica 2 of chat 0 → 1" in lines
    assert "  let go          2 replicas: gone at once; gone at once" in told(run, 100.0, target="chat")


def test_a_replica_that_was_cancelled() -> None:
    """It is ordered at 10 s, waits for a GPU that another holds, and is given up at 12 s."""
    run = serve(plan([0.0, 60.0], gpus_per_replica=8, max_replicas=2), [(10.0, 2), (12.0, 1)], explain=True)
    assert "  ordered         1 replica: cancelled at 12 s" in told(run, 10.0)
    lines = told(run, 11.0)
    assert "  there           1 ready, 1 starting (1 wait for GPUs), 0 draining" in lines
    assert "  on the way      1 replica: cancelled at 12 s" in lines
    assert "  let go          1 replica: cancelled before ready" in told(run, 12.0)


# ---- the command
SCALED = (
    *("scaling=threshold", "scaling.metric=pending_gpus", "scaling.upper=0.9", "scaling.lower=0.1"),
    *("cluster.min_nodes=1", "cluster.max_nodes=4", "hydra.run.dir=run"),
)


def said(capsys: Capture, *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(arguments) == code
    out = capsys.readouterr()
    return out.err if code else out.out


def test_from_settings_to_an_explanation(command: Command, capsys: Capture) -> None:
    assert command(*QUIET, *SCALED, "explain=true").code == 0
    run = Run.load("run")
    asked = Explained(run).at("default", 7200.0)
    assert asked is not None
    first = said(capsys, "run", "--at", "7200").splitlines()
    assert first[0].startswith(f"default, asked at {asked.time_s:,.1f}".removesuffix(".0"))
    assert f"  outcome         {asked.count} wanted, {asked.num_units} there" in first
    listed = said(capsys, "run", "--changes").splitlines()
    every = [each for each in Explained(run).after("default", -1.0) if each.change]
    assert len(listed) == len(every) > 2
    assert "explain" not in run.labels


def test_without_it_there_is_no_such_column_and_the_command_says_what_to_do(command: Command, capsys: Capture) -> None:
    assert command(*QUIET, *SCALED).code == 0
    assert pq.read_schema("run/decisions.parquet").names == [
        *("time_s", "num_changes", "num_pending", "gpus_held", "gpus_capacity"),
    ]  # fmt: skip
    why = said(capsys, "run", "--at", "0", code=2)
    assert why == "error: run: no reasons were recorded: run it again with explain=true\n"


def test_the_same_seed_gives_the_same_bytes(command: Command) -> None:
    for name in ("one", "two"):
        assert command(*QUIET, *SCALED, "explain=true", f"hydra.run.dir={name}").code == 0
    files = [Path(name, "decisions.parquet").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "--at", "0"), "nowhere: no such folder"),
        (("empty", "--at", "0"), "empty: not a run's folder: no summary.json in it"),
    ],
)
def test_folders_that_are_no_runs(command: Command, capsys: Capture, arguments: tuple[str, ...], message: str) -> None:
    Path("empty").mkdir()
    assert said(capsys, *arguments, code=2) == f"error: {message}\n"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda run: told(run, 99999.0), r"--at 99999: outside the run, which lasts from 0 to 1,\d{3} s"),
        (lambda run: told(run, -1.0), "--at -1: outside the run"),
        (lambda run: told(run, float("nan")), "--at nan: outside the run"),
        (lambda run: told(run, 0.0, target="defalt"), "target 'defalt': nobody scales it; did you mean default"),
        (lambda run: list(changes(run, 10.0, 5.0)), "--to 5: must not be less than --from 10"),
        (lambda run: list(changes(run, 99999.0, 1e9)), "--from 99999: outside the run"),
        (lambda run: list(changes(run, 0.0, 9.0, "chat")), "target 'chat': nobody scales it"),
    ],
)
def test_what_can_not_be_asked(queue: Run, ask: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(queue)


def test_options_that_can_not_be(capsys: Capture) -> None:
    for arguments in (("run",), ("run", "--at", "soon"), ("run", "--at", "1", "--changes")):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 2
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert told.endswith("(--help says more)\n")


def test_policies_are_asked_before_the_first_job_comes() -> None:
    late = run_jobs(jobs_of((100, 8, 10)), explain=True, scaling={"default": registry.create("scaling", "static")})
    assert told(late, 0.0)[0] == told(late, 50.0)[0] == "default, asked at 0 s: 1 node, and no change"
    assert "  why not         the policy never changes the count" in told(late, 0.0)


def test_nothing_was_asked_by_then(queue: Run) -> None:
    """As in a live run, whose first decision comes an instant after second 0."""
    decisions = queue.table("decisions").filter(pc.greater(queue.table("decisions")["time_s"], 50.0))
    late = Run(queue.facts, {**queue._tables, "decisions": decisions})
    assert told(late, 50.0)[0] == "default: not asked by 50 s"


# ---- pods without a sample
@pytest.mark.parametrize(
    ("use", "unready", "missing", "is_utilization", "said"),
    [
        (1600, 0, 2, True, "1 times the target of 80%, over pods: 2 ready; 2 without a sample, counted as 0%, since "
         "the others call for more; of the ready ones alone it is 2 times"),
        (1600, 1, 0, True, "1.32 times the target of 80%, over pods: 2 ready; 1 not ready yet, counted as 0%, since "
         "the others call for more; of the ready ones alone it is 2 times"),
        (400, 0, 2, True, "0.875 times the target of 80%, over pods: 2 ready; 2 without a sample, counted as 100% of "
         "what they request, since the others call for fewer; of the ready ones alone it is 0.5 times"),
        (400, 1, 0, True, "0.5 times the target of 80%, over pods: 2 ready; 1 not ready yet, left out"),
        (400, 0, 2, False, "0.75 times the target of 0.8, over pods: 2 ready; 2 without a sample, counted as 100% of "
         "the target, since the others call for fewer; of the ready ones alone it is 0.5 times"),
        (400, 0, 0, True, "0.5 times the target of 80%, over pods: 2 ready"),
    ],
)  # fmt: skip
def test_pods_without_a_sample_are_counted_as_kubernetes_does(
    use: int, unready: int, missing: int, is_utilization: bool, said: str
) -> None:
    """In milli-units, of 1000 requested by each pod; `use` is that of each of two ready ones."""
    why, goal = Reasons(), 80 if is_utilization else 800
    groups = (Usage(2, 2 * use, 2000), Usage(unready, 0, 1000 * unready), Usage(missing, 0, 1000 * missing))
    by_pods(2 + unready + missing, *groups, goal, is_utilization, Tolerance(), why)
    assert sentence(why.steps[0]) == said


def test_where_no_pod_has_a_sample_it_says_so() -> None:
    why = Reasons()
    assert by_pods(3, Usage(), Usage(1, 0, 1000), Usage(2, 0, 2000), 80, True, Tolerance(), why) is None
    assert sentence(why.steps[0]) == "for a ready pod with a sample (without one: 2, not ready: 1)"


# ---- it changes nothing
def of_services(explain: bool, name: str, **options: Any) -> Run:
    policy = registry.create("scaling", name, **options)
    arrivals = [0.3 * i for i in range(200)] + [100.0, 400.0]
    return serve(plan(arrivals, min_replicas=0, max_replicas=6), scaling={"chat": policy}, explain=explain)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kubernetes_hpa", {"metrics": [{"metric": "concurrency", "source": "Pods", "target_type": "AverageValue",
                                         "target": 2.0}]}),
        ("keda", {"cooldown_s": 60.0}),
        ("knative_kpa", {"target": 2.0}),
        ("ray_serve", {"period_s": 1.0}),
        ("target_tracking", {"metric": "concurrency_per_replica", "target": 2.0, "points_out": 1}),
        ("predictive", {"per_unit": 2.0}),
    ],
)  # fmt: skip
def test_a_run_with_services_is_the_same(name: str, options: Mapping[str, Any]) -> None:
    the_same(of_services(False, name, **options), of_services(True, name, **options))


@pytest.mark.parametrize("name", ["threshold", "cluster_autoscaler", "karpenter", "ray_autoscaler", "queue_depth"])
def test_a_run_with_jobs_is_the_same(name: str) -> None:
    jobs = jobs_of(*JOBS, (200, 4, 300), (900, 12, 200))
    runs = [
        simulate(
            Scenario(
                jobs=jobs,
                allocation=registry.create("allocation", "fifo"),
                placement=registry.create("placement", "consolidate", strict=False),
                pools=[POOL],
                scaling={"default": registry.create("scaling", name)},
                explain=explain,
            )
        )
        for explain in (False, True)
    ]
    the_same(*runs)


def the_same(off: Run, on: Run) -> None:
    """All tables are alike, and of decisions those that changed something; with reasons no loop sleeps."""
    assert {**on.facts, "num_decisions": 0} == {**off.facts, "num_decisions": 0}
    assert off._tables.keys() == on._tables.keys() > {"jobs", "nodes", "allocations"}
    for name in off._tables.keys() - {"decisions"}:
        pd.testing.assert_frame_equal(on.table(name).to_pandas(), off.table(name).to_pandas(), check_exact=True)
    more, fewer = on.decisions, off.decisions
    assert "reasons" not in fewer.columns
    kept = pd.merge(more.reset_index(), fewer, on=list(fewer.columns))["index"].drop_duplicates()
    assert len(kept) == len(fewer) < len(more)
    others = more.drop(index=kept)
    assert (others["num_changes"] == 0).all()
    assert others["reasons"].notna().all()
    changed = [chain for text in others["reasons"] for chain in json.loads(text)]
    assert all(chain["count"] == chain["ready"] + chain["starting"] for chain in changed)


def test_long_explanations_are_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and texts stay together where the file has several parts."""
    monkeypatch.setattr("simulator.records._MOST_REASONS", 10)
    monkeypatch.setattr("simulator.cluster.TICK", 8)
    scenario = Scenario(
        jobs=jobs_of(*JOBS),
        allocation=registry.create("allocation", "fifo"),
        placement=registry.create("placement", "consolidate"),
        pools=[POOL],
        scaling={"default": registry.create("scaling", "threshold", **QUEUE)},
        explain=True,
    )
    simulate(scenario, tmp_path)
    file = pq.ParquetFile(tmp_path / "decisions.parquet")
    assert file.num_row_groups > 1
    whole = simulate(scenario).table("decisions")
    assert file.read().to_pydict() == whole.to_pydict()


# ---- words
def test_every_step_has_a_sentence() -> None:
    assert _SENTENCES.keys() == STEPS.keys()


def test_what_is_not_known_is_told_as_it_is() -> None:
    assert sentence({"step": "wait", "for_how_long": 3.0}) == "for_how_long 3"
    assert sentence({"step": "ratio", "ratio": 0.5, "holds": True}) == "ratio 0.5"
    assert plainly({"step": "idle"}) == ""


def test_what_cuts_a_change_is_said() -> None:
    cut = {"step": "rate_limit", "wanted": 20, "at_most": 8, "count": 8, "holds": True}
    asked = Asked(0.0, "chat", 4, 0, 0, 0, 8, 8, [{"step": "metric", "value": None, "holds": True}, cut])
    assert asked.holding == [cut]
    assert sentence(cut) == "8 and not 20: at most 8 now"
    assert plainly(cut) == "the rate limit allows 8 and not 20: at most 8 now"
