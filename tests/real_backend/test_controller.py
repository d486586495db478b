"""The controller itself: killed and restarted, a stranger at its door, its journal and its clock."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from real_backend.channel import Channel, Closed, Door, Message, knock, make_token, parse_address
from real_backend.errors import BackendError, TokenRefused
from real_backend.journal import Journal, read_journal
from real_backend.wall_clock import WallClock
from simulator import Run
from simulator.checks import check
from tests.real_backend.dawdling import say_go
from tests.real_backend.patience import PATIENCE_S, agents_of, wait_until
from tests.real_backend.small_profile import write_profile_file

ROOT = Path(__file__).parents[2]


def live_command(folder: Path, profile: Path, *more: str) -> list[str]:
    """A live run of four jobs of about 700 steps, which dawdle until they are told to go."""
    return [
        sys.executable, "-m", "real_backend", "run", "workload=live_tiny", "workload.num_jobs=4", "seed=1",
        "workload.duration_median_s=8", "workload.duration_min_s=7", "workload.duration_max_s=9",
        "workload.load_frac=3", "workload.gpu_counts=[1]", "workload.gpu_weights=[1]", "workload.elastic_frac=0",
        "workload.models=[mlp]", "workload.model_weights=[]", "compute=paced",
        "models.mlp.pace_base_s=0.001", "models.mlp.pace_per_sample_s=0.0",
        "models.mlp.train=tests.real_backend.dawdling:train_until_go", f"profile={profile}", "allocation=fifo",
        "cluster.num_nodes=2", "cluster.gpus_per_node=2", "figures=false", "live.keep_checkpoints=true",
        "live.checkpoint_interval_s=1", f"hydra.run.dir={folder}", *more,
    ]  # fmt: skip


def wait_for(process: subprocess.Popen[str], folder: Path, entry: str, count: int = 1) -> None:
    """Until the journal of a run has so many entries of a kind."""
    path = folder / "journal.jsonl"

    def has_them() -> bool:
        assert process.poll() is None, process.communicate()[1]
        return path.is_file() and sum(e["entry"] == entry for e in read_journal(path)) >= count

    wait_until(has_them, f"{count} × {entry} in {path}")


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("agents_survive", [True, False])
def test_a_killed_controller_goes_on_where_it_was(tmp_path: Path, agents_survive: bool) -> None:
    """Agents go on and are taken over; or they are gone too, and jobs restart from their checkpoints."""
    folder, profile = tmp_path / "run", write_profile_file(tmp_path)
    command = live_command(folder, profile)
    first = start(command)
    try:
        wait_for(first, folder, "moved", 2)
        wait_until(lambda: any(folder.glob("checkpoints/*/step-*")), "a checkpoint")
    finally:
        first.kill()
        first.communicate()
    assert not (folder / "summary.json").exists()
    if not agents_survive:
        for agent in agents_of(folder):
            agent.kill()
    again = start(command)
    try:
        wait_for(again, folder, "taken_over")
        say_go(folder)
        _, told = again.communicate(timeout=PATIENCE_S)
    finally:
        again.kill()
    assert again.returncode == 0, told
    run = Run.load(folder)
    assert run.jobs["state"].tolist() == ["finished"] * 4
    note = next(note for note in run.facts["notes"] if "the controller was restarted" in note)
    adopted = int(re.search(r"(\d+) gangs had gone on", note).group(1))  # type: ignore[union-attr]
    assert (adopted >= 2) is agents_survive
    check(run)
    if agents_survive:
        assert run.jobs["num_preemptions"].sum() == 0
        steps = pq.read_table(folder / "steps.parquet").to_pandas()
        assert not steps.duplicated(["job", "step"]).any()  # nothing was done twice
    wait_until(lambda: not agents_of(folder), "the agents' end")


@pytest.mark.slow
def test_an_interrupted_run_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder, profile = tmp_path / "run", write_profile_file(tmp_path)
    process = start(live_command(folder, profile))
    wait_for(process, folder, "moved")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "interrupted by SIGINT" in told
    assert json.loads((folder / "unfinished.json").read_text())["why"] == "interrupted by SIGINT"
    assert len(pq.read_table(folder / "jobs.parquet")) == 4
    wait_until(lambda: not agents_of(folder), "the agents' end")


# ---- the door
class Guests:
    """Who has come in, and what they said."""

    def __init__(self) -> None:
        self.heard: list[Message | None] = []
        self.channels: list[Channel] = []
        self.refused: list[str] = []

    def open(self, channel: Channel) -> object:
        self.channels.append(channel)
        return self.heard.append

    def wait(self, count: int) -> None:
        wait_until(lambda: len(self.heard) + len(self.refused) >= count, f"{count} guests")


def test_who_knows_the_token_comes_in() -> None:
    guests, token = Guests(), make_token()
    door = Door("127.0.0.1:0", token, guests.open, guests.refused.append)  # type: ignore[arg-type]
    channel = knock(door.address, token)
    channel.send("hello", name="node0", number=1)
    guests.wait(1)
    guests.channels[0].send("quit")
    assert channel.receive() == {"kind": "quit"}
    channel.close()
    guests.wait(2)
    assert guests.heard == [{"kind": "hello", "name": "node0", "number": 1}, None]
    door.close()
    with pytest.raises(OSError):
        knock(door.address, token)


def test_a_wrong_token_is_refused() -> None:
    guests = Guests()
    door = Door("127.0.0.1:0", make_token(), guests.open, guests.refused.append)  # type: ignore[arg-type]
    with pytest.raises(TokenRefused, match=r"refused: the token is not the controller's"):
        knock(door.address, "guess")
    guests.wait(1)
    assert not guests.channels
    assert len(guests.refused) == 1
    door.close()


@pytest.mark.slow
def test_an_agent_with_a_wrong_token_says_so() -> None:
    guests = Guests()
    door = Door("127.0.0.1:0", make_token(), guests.open, guests.refused.append)  # type: ignore[arg-type]
    command = [sys.executable, "-m", "real_backend", "agent", "--join", door.address, "--start", "spawn"]
    environment = {**os.environ, "REAL_BACKEND_TOKEN": "guess"}
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
    assert told.returncode == 2
    assert told.stderr == f"error: {door.address}: refused: the token is not the controller's\n"
    door.close()
    nobody = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
    assert nobody.returncode == 2
    assert "no controller there" in nobody.stderr


def test_a_guest_that_talks_nonsense_is_shown_out() -> None:
    guests, token = Guests(), make_token()
    door = Door("127.0.0.1:0", token, guests.open, guests.refused.append)  # type: ignore[arg-type]
    channel = knock(door.address, token)
    channel.connection.send_bytes(b"[1, 2")
    guests.wait(1)
    assert guests.heard == [None]
    with pytest.raises(Closed):
        channel.receive()
    door.close()


@pytest.mark.parametrize("text", ["29600", "localhost:", ":1", "host:port", "host:99999"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(BackendError, match="must read HOST:PORT"):
        parse_address(text)


# ---- journal and clock
def test_a_journal_comes_back_and_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.write("begin", began_s=5.0)
    journal.write("change", job=1, nodes=((0, 2),))
    journal.close()
    want = [{"entry": "begin", "began_s": 5.0}, {"entry": "change", "job": 1, "nodes": [[0, 2]]}]
    assert read_journal(path) == want
    whole = path.read_text()
    path.write_text(whole + '{"entry": "fin')
    assert read_journal(path) == want
    path.write_text("nonsense\n" + whole)
    with pytest.raises(BackendError, match=r"journal.jsonl:1: not an entry of a journal: 'nonsense'"):
        read_journal(path)


def test_the_clock_runs_what_is_posted_ahead_of_what_is_due() -> None:
    clock, told = WallClock(), []
    clock.call_after(0.0, lambda: told.append("due"))
    clock.post(lambda: told.append("posted"))
    clock.call_after(0.02, clock.stop)
    clock.run_all()
    assert told == ["posted", "due"]
    assert 0.02 <= float(clock.now) < 5.0


def test_the_clock_stops_at_the_horizon_and_when_it_is_done() -> None:
    clock = WallClock()
    assert not clock.run_until(lambda: False, horizon_s=0.01)
    assert clock.run_until(lambda: True, horizon_s=100.0)


def test_a_clock_that_takes_over_goes_on_in_time() -> None:
    first = WallClock(began_s=time.time() - 100.0)
    assert first.read() == pytest.approx(100.0, abs=5.0)
