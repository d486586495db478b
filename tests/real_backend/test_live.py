"""Policies on real processes: moves, failures, nodes that come and go. gloo on CPU; some seconds a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from policies import METRICS, registry
from real_backend.exporter import Exporter
from real_backend.run import LiveRun
from real_backend.runtime import Runtime
from simulator.checks import check
from simulator.explain import Explained, ordered
from simulator.metrics import summarise
from tests.real_backend.dawdling import THIRDS, say_go
from tests.real_backend.live_runs import (
    BY_THIRDS,
    SMALL,
    UNTIL_GO,
    Thirds,
    in_turn,
    jobs_of,
    largest_difference,
    run_live,
    uninterrupted,
    weights_after,
)
from tests.real_backend.patience import PATIENCE_S

TOLERANCE = 1e-4  # of the largest weight: sums of floats in another order, over some hundred steps; measured: 1e-6
ELASTIC = {"min_gpus": 1, "max_gpus": 2}

pytestmark = pytest.mark.slow


def steps_of(folder: Path, row: int = 0) -> Any:
    """The steps of a job in the order in which they were done."""
    frame = pq.read_table(folder / "steps.parquet").to_pandas()
    return frame[frame["job"] == row]


def sizes_of(steps: Any) -> list[int]:
    """The numbers of workers that a job has had, one after the other."""
    sizes = steps["num_workers"].to_numpy()
    return sizes[np.append(True, sizes[1:] != sizes[:-1])].tolist()


@pytest.mark.parametrize(("method", "sync"), [("in_place", "allreduce"), ("restart", "parameter_server")])
def test_a_policy_drives_one_two_one_workers(tmp_path: Path, method: str, sync: str) -> None:
    """Every step is done once, in order, and the weights are those of a run that nobody disturbed."""
    task = replace(BY_THIRDS, sync=sync)
    run, _ = run_live(tmp_path, jobs_of(ELASTIC), [300], Thirds(), method=method, task=task)
    assert run.jobs["state"].tolist() == ["finished"]
    steps = steps_of(tmp_path)
    assert steps["step"].tolist() == list(range(1, 301))
    assert sizes_of(steps) == list(THIRDS)
    sizes = steps["num_workers"].to_numpy()
    loss = steps["loss"].to_numpy()
    assert loss[-50:].mean() < 0.5 * loss[:50].mean()
    jumps = np.abs(np.diff(loss))
    moves = (sizes[1:] != sizes[:-1]).nonzero()[0]
    assert jumps[moves].max() < 2 * np.quantile(jumps, 0.99)  # the loss goes on where it was
    assert largest_difference(uninterrupted(300, task), weights_after(tmp_path, "a", task)) < TOLERANCE
    check(run)
    assert summarise(run, {})["num_rescales"] == 2


def test_killed_raising_and_hanging_workers_are_survived(tmp_path: Path) -> None:
    """Each at a rank and step; the gang falls back to its last checkpoint, and ends with the right weights."""
    faults = {
        "a": [{"rank": 1, "step": 100, "how": "kill"}],
        "b": [{"rank": 0, "step": 75, "how": "raise"}],
        "c": [{"rank": 0, "step": 50, "how": "hang"}],
    }
    jobs = jobs_of({"num_gpus": 2}, {}, {})
    run, live = run_live(
        tmp_path, jobs, [300, 200, 200], registry.create("allocation", "fifo"), pool={"gpus_per_node": 4},
        faults=faults, heartbeat_timeout_s=15.0, checkpoint_interval_s=0.2,
    )  # fmt: skip
    assert run.jobs["state"].tolist() == ["finished"] * 3
    assert len(live.cluster.failures) == 3
    told = {each["job_id"]: each["why"] for each in live.cluster.failures}
    assert told["a"] == "worker of rank 1 was lost: killed by signal 9" or "rank 0 was lost" in told["a"]  # its peer
    assert "a fault at rank 0, step 75, as asked for" in told["b"]
    assert "no sign of life for 15 s" in told["c"]
    want = uninterrupted(300)
    assert largest_difference(want, weights_after(tmp_path, "a")) < TOLERANCE
    steps = steps_of(tmp_path)["step"].to_numpy()
    assert set(steps) == set(range(1, 301))
    check(run)


def workers_of(pid: int) -> list[psutil.Process]:
    """The processes below an agent."""
    return psutil.Process(pid).children(recursive=True)


def test_a_killed_agent_takes_its_workers_along_and_is_replaced(tmp_path: Path) -> None:
    """The other job is busy until the new node is there."""
    orphans: list[psutil.Process] = []

    def kill(live: LiveRun, runtime: Runtime) -> None:
        agents = runtime.fleet.agents

        def now() -> None:
            pid = agents["node1"].pid
            orphans.extend(workers_of(pid))
            os.kill(pid, signal.SIGKILL)

        in_turn(
            runtime,
            (lambda: {step[0] for step in live.steps} == {0, 1}, now),
            (lambda: "node2" in agents, lambda: say_go(tmp_path)),
        )

    run, _ = run_live(
        tmp_path, jobs_of({}, {}), [150, 150], registry.create("allocation", "fifo"), meanwhile=kill, task=UNTIL_GO,
        pool={"num_nodes": 2, "gpus_per_node": 1}, checkpoint_interval_s=0.2,
    )  # fmt: skip
    assert run.jobs["state"].tolist() == ["finished", "finished"]
    assert run.jobs["num_preemptions"].tolist() == [0, 1]
    assert orphans
    psutil.wait_procs(orphans, timeout=PATIENCE_S)
    assert not [process for process in orphans if process.is_running() and process.status() != "zombie"]
    nodes = run.nodes
    assert len(nodes) == 3
    assert nodes["terminated_s"].iloc[1] < nodes["ready_s"].iloc[2]
    assert any("node node1 was lost" in note for note in run.facts["notes"])
    check(run)


@dataclass
class WhileSomeoneWaits:
    """Wants a second node while a job waits."""

    period_s: float = 0.2

    def desired(self, target: Any, view: Any) -> int:
        return 1 + bool(view.pending)


@pytest.mark.parametrize("provider", ["local", "command"])
def test_nodes_come_and_go_while_jobs_run(tmp_path: Path, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second job waits until a second node is there; it drains at once, and is let go when its job is done."""

    def watch(live: LiveRun, runtime: Runtime) -> None:
        in_turn(
            runtime,
            (lambda: bool(live.cluster.draining), lambda: say_go(tmp_path, "b")),
            (lambda: "node1" not in runtime.fleet.agents, lambda: say_go(tmp_path)),
        )

    options: dict[str, Any] = {"provider": provider}
    if provider == "command":
        agent = "python -m real_backend agent --join $CONTROLLER --name $NODE_NAME --slots 1"
        options["create_command"] = f"sh -c '{agent} & echo created $NODE_NAME >> {tmp_path}/log'"
        options["delete_command"] = f"sh -c 'echo deleted $NODE_NAME >> {tmp_path}/log'"
        monkeypatch.setenv("PATH", f"{Path(os.sys.executable).parent}:{os.environ['PATH']}")  # type: ignore[attr-defined]
    run, _ = run_live(
        tmp_path, jobs_of({}, {}), [150, 150], registry.create("allocation", "fifo"),
        pool={"num_nodes": 1, "min_nodes": 1, "max_nodes": 2, "gpus_per_node": 1},
        scaling=WhileSomeoneWaits(), task=UNTIL_GO, meanwhile=watch, explain=True, **options,
    )  # fmt: skip
    assert run.jobs["state"].tolist() == ["finished", "finished"]
    assert len(run.nodes) == 2
    second, a_end_s, b_end_s = run.nodes.iloc[1], *run.jobs["finish_s"]
    assert second["ordered_s"] < second["ready_s"] < second["drain_s"] < b_end_s <= second["terminated_s"] < a_end_s
    b = run.allocations[run.allocations["job"] == 1].iloc[0]
    assert b["nodes"].tolist() == [1]
    assert b["time_s"] >= second["ready_s"]
    if provider == "command":
        log = (tmp_path / "log").read_text().splitlines()
        assert sorted(log) == ["created node0", "created node1", "deleted node1"]
    check(run)
    changes = [asked for asked in Explained(run).after("default", -1.0) if asked.change]
    assert [(asked.num_units, asked.count) for asked in changes] == [(1, 2), (2, 1)]
    assert [unit.ready_s for unit in ordered(run, changes[0])] == [second["ready_s"]]


def test_metrics_have_the_names_that_policies_know(tmp_path: Path) -> None:
    """The same names in the records, for policies, and on the page that Prometheus reads."""
    exporter, pages = Exporter(0), [""]

    def scrape(live: LiveRun, runtime: Runtime) -> None:
        def has_all() -> bool:
            with urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=PATIENCE_S) as page:
                pages.append(page.read().decode())
            values = dict(line.rsplit(" ", 1) for line in pages[-1].splitlines() if not line.startswith("#"))
            measured = [f'elastic_gpu_{of}_utilisation_frac{{pool="default"}}' for of in ("cpu", "gpu")]
            return all(float(values.get(name, 0.0)) > 0 for name in measured)

        in_turn(runtime, (has_all, lambda: say_go(tmp_path)))

    run, _ = run_live(
        tmp_path, jobs_of({}), [150], registry.create("allocation", "fifo"), meanwhile=scrape, exporter=exporter,
        task=UNTIL_GO,
    )  # fmt: skip
    exporter.close()
    for name in METRICS:
        assert f'elastic_gpu_{name}{{pool="default"}}' in pages[-1]
    assert 'elastic_gpu_node_cpu_utilisation_frac{node="node0"}' in pages[-1]
    metrics = run.metrics
    assert metrics["gpu_allocation_frac"].max() == 0.5
    assert 0 < metrics["gpu_utilisation_frac"].max() <= 0.5
    assert metrics["cpu_utilisation_frac"].max() > 0
    assert np.isfinite(metrics.to_numpy(float)).all()


def test_an_agent_that_somebody_starts_is_a_node(tmp_path: Path) -> None:
    """provider=join: the controller waits for whoever comes with the token."""

    def start_one(runtime: Runtime) -> None:
        command = [sys.executable, "-m", "real_backend", "agent", "--join", runtime.address, "--name", "my-host"]
        subprocess.Popen([*command, "--slots", "2"], env={**os.environ, "REAL_BACKEND_TOKEN": "a secret of ours"})

    run, _ = run_live(
        tmp_path, jobs_of({"num_gpus": 2}), [200], registry.create("allocation", "fifo"),
        before=start_one, provider="join", token="a secret of ours",
    )  # fmt: skip
    assert run.jobs["state"].tolist() == ["finished"]


@pytest.mark.parametrize("method", ["in_place", "restart"])
def test_a_training_function_of_ones_own(tmp_path: Path, method: str) -> None:
    task = replace(SMALL, train="tests.real_backend.own_task:train")
    run, _ = run_live(tmp_path, jobs_of(ELASTIC), [300], Thirds(), method=method, task=task)
    assert run.jobs["state"].tolist() == ["finished"]
    steps = steps_of(tmp_path)
    assert steps["step"].tolist() == list(range(1, 301))
    assert steps["loss"].tolist() == [0.5 ** (step - 1) for step in range(1, 301)]  # exact, as halving is
    assert sizes_of(steps) == list(THIRDS)
