"""`python -m real_backend`: what it says to mistakes, and a whole validation, small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from real_backend.__main__ import main
from real_backend.commands import composed, expanded
from real_backend.errors import BackendError
from real_backend.options import LiveOptions, Settings, backend_of
from real_backend.running import find_profile, make_plan, profile_text, read_settings
from real_backend.validation import validate
from simulator import Run
from tests.real_backend.patience import PATIENCE_S
from tests.real_backend.small_profile import write_profile_file
from workloads.profile import load_profile

ROOT = Path(__file__).parents[2]
SMALL = ["workload=live_tiny", "compute=paced", "device=cpu", "workload.models=[mlp]", "workload.model_weights=[]"]
FAST = ["models.mlp.pace_base_s=0.01", "models.mlp.pace_per_sample_s=0.0", "figures=false"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m real_backend` as a user without GPUs would."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, "-m", "real_backend", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, env=environment,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validat"], "unknown command 'validat'; did you mean validate"),
        (["run", "allocation=fif"], "fif"),
        (["run", "device=cuda"], "device=cuda: torch finds no NVIDIA GPU here; use device=cpu"),
        (["run", "compute=pased"], "compute=pased: unknown; did you mean paced"),
        (["run", "live.providr=join"], "providr"),
        (["run", "workload"], "'workload': must read OPTION=VALUE"),
        (["run", "hydra.sweep.dir=x"], "hydra.sweep.dir: of Hydra's settings only hydra.run.dir is used here"),
        (["run", "compute=paced", "profile=nowhere.yaml"], "nowhere.yaml"),
        (["calibrate", "model=resnett", "device=cpu"], "model=resnett: unknown model; did you mean resnet"),
        (["report", "nowhere"], "nowhere: no about.json in it: not a validation's folder, or it has not ended"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments: list[str], message: str) -> None:
    told = command(*arguments)
    assert told.returncode == 2
    assert told.stdout == ""
    assert told.stderr.startswith("error: ")
    assert message in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_a_gpu_validation_is_rehearsed_with_smaller_sizes_alone() -> None:
    """`make validate-gpu DEVICE=cpu` takes the same steps as with a GPU."""
    whole, small = (composed([f"validation={name}", "device=cpu"])[0] for name in ("gpu", "gpu_rehearsal"))
    differ = {name for name in whole if whole[name] != small[name]}
    assert differ == {"workload", "models", "calibration"}
    assert small["compute"] == "real"
    for name in ("model", "moves", "loaded"):
        assert small["calibration"][name] == whole["calibration"][name]
    assert small["workload"]["models"] == whole["workload"]["models"]


def test_help_names_every_command() -> None:
    told = command("--help")
    assert told.returncode == 0
    for name in ("calibrate", "run", "validate", "report", "agent"):
        assert f"\n{name} " in told.stdout


def test_help_may_stand_behind_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["run", "--help"], ["validate", "allocation=fifo", "-h"]):
        assert main(arguments) == 0
        assert "`python -m real_backend COMMAND …`" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main(["agent", "--help"])
    assert end.value.code == 0
    assert "python -m real_backend agent [-h] --join HOST:PORT" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main(["agent"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: the following arguments are required: --join")


def test_settings_are_the_simulators_and_its_own(tmp_path: Path) -> None:
    profile = write_profile_file(tmp_path)
    settings, labels = composed([*SMALL, f"profile={profile}", "allocation=srtf", "method=restart", "live.away_s=5"])
    assert labels["allocation"] == "srtf"
    assert (labels["compute"], labels["method"], labels["step_time"]) == ("paced", "restart", "profile")
    assert read_settings(settings).options().away_s == 5.0
    plan = make_plan(settings)
    jobs = plan.scenario.jobs
    assert plan.scenario.pools[0].provision_s == 3.0
    assert jobs.duration_s.tolist() == pytest.approx([steps * 0.012 for steps in plan.steps.num_steps])
    assert plan.scenario.overheads.of("mlp").rescale == "restart_all"


def test_a_list_with_commas_is_a_run_each() -> None:
    assert expanded(["allocation=fifo,srtf", "seed=1", "scaling=static,live_queue"]) == [
        ["allocation=fifo", "seed=1", "scaling=static"],
        ["allocation=fifo", "seed=1", "scaling=live_queue"],
        ["allocation=srtf", "seed=1", "scaling=static"],
        ["allocation=srtf", "seed=1", "scaling=live_queue"],
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("workload.models=[gpd]", "small.yaml: models: no model 'gpd'; known: mlp"),
        ("models.mlp.global_batch=1", "workers, but a step of mlp has 1 samples"),
        ("models.mlp.pace_base_s=null", "models.mlp.pace_base_s: compute=paced needs it"),
        ("models.mlp.width=3", "models.mlp.width: unknown option"),
        ("models.mlp.sync=ring", "models.mlp.sync=ring: must be one of allreduce, parameter_server"),
        ("live.heartbeat_timeout_s=0", "live.heartbeat_timeout_s=0.0: must be more than 0"),
        ("live.listen=29600", "'29600': must read HOST:PORT"),
        ("live.provider=cloud", "live.provider=cloud: must be one of local, command, join"),
    ],
)
def test_settings_that_cant_be(tmp_path: Path, override: str, message: str) -> None:
    settings, _ = composed([*SMALL, f"profile={write_profile_file(tmp_path)}", override])
    with pytest.raises(ValueError, match=message.replace("[", r"\[").replace(".", r"\.")):
        make_plan(settings)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("repeats=0", "repeats=0: must be 1 or more"),
        ("workload.num_jobs=0", "num_jobs=0: must be 1 or more"),
        ("models.mlp.lr=0", r"models\.mlp\.lr=0\.0: must be more than 0"),
    ],
)
def test_settings_that_cant_be_are_told_before_anything_is_measured(
    tmp_path: Path, override: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("real_backend.calibration.calibrate", lambda *_, **__: pytest.fail("measures"))
    with pytest.raises(ValueError, match=message):
        validate([composed([*SMALL, override])], tmp_path)


def test_a_profile_of_ours_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = make_plan(composed(["workload=live_tiny", "compute=paced", "device=cpu"])[0])
    assert plan.profile == load_profile("paced_cpu")
    mine = write_profile_file(tmp_path).rename(tmp_path / "paced_cpu.yaml")
    mine.write_text(mine.read_text().replace("name: small", "name: paced_cpu"))
    settings, _ = composed([*SMALL, f"profile={mine.name}"])
    assert make_plan(settings).scenario.step_time.step_time_s("mlp", 1) == 0.012  # not ours of the same name


def test_auto_needs_a_profile_of_this_kind() -> None:
    settings = Settings(models={"mlp": {}}, compute="real", device="cuda")
    with pytest.raises(BackendError, match="no profile real_cuda in workloads/profiles: measure one with"):
        find_profile(settings)


def test_auto_computes_on_gpus_only() -> None:
    auto = Settings(models={"mlp": {}}, device="cpu").resolved()
    assert (auto.device, auto.compute) == ("cpu", "paced")


def test_nccl_refuses_two_workers_on_a_gpu() -> None:
    assert backend_of(LiveOptions(), "cpu") == "gloo"
    assert backend_of(LiveOptions(), "cuda") == "nccl"
    assert backend_of(LiveOptions(slots_per_gpu=4), "cuda") == "gloo"
    with pytest.raises(BackendError, match=r"live.backend=nccl: workers share GPUs \(live.slots_per_gpu\); use gloo"):
        backend_of(LiveOptions(backend="nccl", slots_per_gpu=4), "cuda")


@pytest.mark.slow
def test_calibration_then_validation(tmp_path: Path) -> None:
    """Everything as a user has it, in a minute: a profile, two policies live and simulated, the report."""
    folder = tmp_path / "validation"
    small = [
        "workload.num_jobs=3", "cluster.num_nodes=2", "cluster.gpus_per_node=2", "allocation=fifo,fair_share",
        "calibration.model=[mlp]", "calibration.workers=[1,2]", "calibration.steps=6", "calibration.warmup=1",
        "calibration.moves=1",
    ]  # fmt: skip
    told = command("validate", *SMALL, *FAST, *small, f"hydra.run.dir={folder}")
    assert told.returncode == 0, told.stderr
    fidelity = json.loads((folder / "fidelity.json").read_text())
    assert [row["policy"] for row in fidelity["policies"]] == ["fair_share", "fifo"]
    for row in fidelity["policies"]:
        live, simulated = (Run.load(folder / kind / row["policy"]) for kind in ("live", "simulated"))
        assert (live.jobs["state"] == "finished").all()
        assert live.jobs.columns.tolist() == simulated.jobs.columns.tolist()
        assert live.jobs["duration_s"].tolist() == simulated.jobs["duration_s"].tolist()
        live_s, simulated_s = ((run.jobs["finish_s"] - run.jobs["submit_s"]).mean() for run in (live, simulated))
        assert row["mean_jct_error_frac"] == pytest.approx(simulated_s / live_s - 1)
        for name in ("p95_jct_error_frac", "makespan_error_frac", "cost_error_frac"):
            assert -1 < row[name] < 10  # how far off it is, depends on what else this machine does
    assert -1 <= fidelity["kendall_tau"] <= 1
    assert (fidelity["compute"], fidelity["device"]) == ("paced", "cpu")
    page = (folder / "report.html").read_text()
    assert "<svg" in page
    assert "slept" in page
    profile = load_profile(folder / "calibration" / "paced_cpu.yaml")
    assert set(profile.models["mlp"].measured_s) == {"1x1", "2x1", "2x2"}
    assert profile.models["mlp"].moves["in_place"].spawn_s > 0
    assert profile.models["mlp"].moves["restart"].save_s > 0
    assert profile.provision_s is not None
    assert profile.provision_s > 0
    assert (folder / "live" / "fifo" / "profile.yaml").read_text() == profile_text(profile)
    again = command("report", str(folder))
    assert again.returncode == 0, again.stderr
    assert json.loads((folder / "fidelity.json").read_text()) == fidelity
