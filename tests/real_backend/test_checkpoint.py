"""Checkpoints are whole or not at all, whenever the process that saves them is killed."""

# ruff: noqa: E402

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from real_backend import checkpoint
from tests.real_backend.patience import PATIENCE_S


def state(step: int) -> dict[str, Any]:
    return {
        "model.weight": torch.full((3, 4), float(step)),
        "model.half": torch.arange(6, dtype=torch.bfloat16)[::2],
        "optimizer.0.step": torch.tensor(float(step)),
        "mask": torch.tensor([True, False]),
        "step": torch.tensor(step, dtype=torch.int64),
    }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_holds(path: Path, step: int) -> None:
    found, expected = checkpoint.load(state(0), path), state(step)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = checkpoint.save(state(7), tmp_path / "new", 7)
    assert path.name == "step-00000007"
    assert checkpoint.latest(tmp_path / "new") == (7, path)
    assert_holds(path, 7)


def test_a_template_is_left_alone(tmp_path: Path) -> None:
    path, template = checkpoint.save(state(7), tmp_path, 7), state(1)
    checkpoint.load(template, path)
    assert all(torch.equal(template[name], value) for name, value in state(1).items())


def test_only_the_last_are_kept(tmp_path: Path) -> None:
    for step in (1, 20, 3, 100_000_000):
        checkpoint.save(state(step), tmp_path, step)
    assert names(tmp_path) == ["step-00000020", "step-100000000"]
    assert checkpoint.latest(tmp_path) == (100_000_000, tmp_path / "step-100000000")


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    checkpoint.save(state(1), tmp_path, 5)
    assert_holds(checkpoint.save(state(5), tmp_path, 5), 5)
    assert names(tmp_path) == ["step-00000005"]


def test_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "nowhere") is None


def test_what_is_not_complete_does_not_count(tmp_path: Path) -> None:
    good = checkpoint.save(state(1), tmp_path, 1)
    shutil.copytree(good, tmp_path / ".part-step-00000002-123")
    shutil.copytree(good, tmp_path / "step-00000003")
    (tmp_path / "step-00000003" / ".metadata").unlink()
    assert checkpoint.latest(tmp_path) == (1, good)
    assert names(tmp_path) == ["step-00000001", "step-00000003"]


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    path = checkpoint.save(state(1), tmp_path, 1)
    with pytest.raises(ValueError, match=r"Size mismatch .* for model\.weight"):
        checkpoint.load({**state(1), "model.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(RuntimeError, match=r"Missing key .* model\.other"):
        checkpoint.load({**state(1), "model.other": torch.zeros(2)}, path)


def test_nothing_but_tensors_is_in_it(tmp_path: Path) -> None:
    path = checkpoint.save(state(1), tmp_path, 1)
    index = pickle.loads((path / ".metadata").read_bytes())
    kinds = {type(entry).__name__ for entry in index.state_dict_metadata.values()}
    assert kinds == {"TensorStorageMetadata"}


# Where the process is killed -> the step found after it. Saved before: 1 and 2.
DEATHS = {"data": 2, "index": 2, "rename": 2, "renamed": 3, "deleting": 3}


@pytest.mark.slow
@pytest.mark.parametrize("moment", DEATHS)
def test_killed_while_saving(moment: str, tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save(state(step), tmp_path, step)
    run_to_its_death(tmp_path, 3, moment)
    step, _ = checkpoint.latest(tmp_path) or (0, None)
    assert step == DEATHS[moment]
    for other in tmp_path.glob("step-*"):  # the older ones are as good
        assert_holds(other, int(other.name.removeprefix("step-")))
    checkpoint.save(state(4), tmp_path, 4)
    assert names(tmp_path) == [f"step-0000000{step}", "step-00000004"]


@pytest.mark.slow
def test_killed_while_replacing(tmp_path: Path) -> None:
    checkpoint.save(state(3), tmp_path, 3)
    run_to_its_death(tmp_path, 3, "replacing")
    step, path = checkpoint.latest(tmp_path) or (0, tmp_path)
    assert_holds(path, step)
    assert names(tmp_path) == ["step-00000003"]


def run_to_its_death(folder: Path, step: int, moment: str) -> None:
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["real_backend.preload"])
    process = context.Process(target=_save_and_die, args=(folder, step, moment), daemon=True)
    process.start()
    try:
        process.join(PATIENCE_S)
        assert process.exitcode == -signal.SIGKILL
    finally:
        process.kill()
        process.join()


def _save_and_die(folder: Path, step: int, moment: str) -> None:
    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def half_delete(path: Path, **_: Any) -> None:
        if path.exists():
            for file in path.glob("*.distcp"):
                file.unlink()
            die()

    rename = os.rename

    def dying_rename(source: Path, target: Path) -> None:
        is_new = target.name.startswith("step-")
        if is_new and moment in ("rename", "replacing"):
            die()
        rename(source, target)
        if is_new and moment == "renamed":
            die()

    if moment == "data":
        checkpoint.dcp.FileSystemWriter.write_data = die
    elif moment == "index":
        checkpoint.dcp.FileSystemWriter.finish = die
    elif moment == "deleting":
        checkpoint.shutil.rmtree = half_delete
    os.rename = dying_rename
    checkpoint.save(state(step), folder, step)
    raise AssertionError("outlived its death")
