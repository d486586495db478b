"""Training in real gangs of processes (gloo, CPU): their number and their moves change nothing but the last bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from living_gangs import Gang, Told, losses, train

from real_backend.task import Task

pytestmark = pytest.mark.slow

STEPS = 6
# Sums of float32 in another order. Measured over all cases below: 9e-8 (mlp), 2e-7 (resnet, gpt).
NEAR = {"rtol": 0.0, "atol": 2e-6}
SIZES = {"width": 16, "depth": 2, "features": 8}
# 10 samples a step: 4 + 3 + 3 for three workers, so shares are uneven, and so are the passes of at most 3 (2, 1, 1).
SMALL = {"model": "mlp", "model_options": SIZES, "num_samples": 32, "global_batch": 10, "max_batch_per_worker": 3}
PACED = {"pace_base_s": 0.001, "pace_per_sample_s": 0.0001}
ALONE = (Gang((0,), STEPS),)
SCHEDULES = {
    "two": (Gang((0, 1), STEPS),),
    "three": (Gang((0, 1, 2), STEPS),),
    "in place 1, 2, 1": (Gang((0,), 2), Gang((0, 1), 2, source=0), Gang((0,), 2)),
    "in place 2, 3, 2": (Gang((0, 1), 2), Gang((0, 1, 2), 2, source=0), Gang((0, 2), 2)),
    "another rank 0": (Gang((0,), 2), Gang((1, 0), 2, source=1), Gang((1,), 2)),
    "restart 1, 3, 2": (Gang((0,), 1), Gang((1, 2, 3), 3, restores=True), Gang((4, 5), 2, restores=True)),
}


def final(told: dict[int, Told], schedule: tuple[Gang, ...]) -> dict[str, np.ndarray]:
    """The state after the last gang; its members must have the very same weights."""
    assert [one.error for one in told.values()] == [""] * len(told), "\n".join(one.error for one in told.values())
    states = [told[member].state for member in schedule[-1].members]
    for state in states[1:]:
        for name in state:
            if name.startswith("model."):
                np.testing.assert_array_equal(state[name], states[0][name], err_msg=name)
    assert {told[member].step for member in schedule[-1].members} == {sum(gang.steps for gang in schedule)}
    return states[0]


def worst(told: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """The largest difference of the two states."""
    assert told.keys() == expected.keys()
    return max(float(np.abs(told[name].astype(float) - expected[name].astype(float)).max()) for name in expected)


@pytest.mark.parametrize("sync", ["allreduce", "parameter_server"])
@pytest.mark.parametrize("pace", [{}, PACED], ids=["real", "paced"])
def test_the_number_of_workers_and_their_moves_change_nothing(sync: str, pace: dict, tmp_path: Path) -> None:
    task = Task(sync=sync, **SMALL, **pace)
    told = train(task, ALONE, tmp_path / "alone")
    expected, expected_losses = final(told, ALONE), losses(told)
    assert expected_losses[-1] < expected_losses[0]
    for name, schedule in SCHEDULES.items():
        told = train(task, schedule, tmp_path / name)
        state = final(told, schedule)
        print(f"{sync} {name}: {worst(state, expected):.1e}")
        for key in expected:
            np.testing.assert_allclose(state[key], expected[key], **NEAR, err_msg=f"{name}: {key}")
        np.testing.assert_allclose(losses(told), expected_losses, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("model", "sizes", "optimizer"),
    [
        ("resnet", {"width": 8, "groups": 4}, "sgd"),
        ("gpt", {"width": 16, "heads": 2, "context": 8, "vocabulary": 16}, "adamw"),
        ("own_task:model", {"width": 5}, "adamw"),
    ],
)
def test_other_models(model: str, sizes: dict, optimizer: str, tmp_path: Path) -> None:
    data = "own_task:Points" if ":" in model else "synthetic"
    task = Task(model=model, model_options=sizes, data=data, optimizer=optimizer, lr=0.01, global_batch=6)
    alone = train(task, ALONE, tmp_path / "alone")
    moved = train(task, SCHEDULES["in place 1, 2, 1"], tmp_path / "moved")
    expected, state = final(alone, ALONE), final(moved, SCHEDULES["in place 1, 2, 1"])
    print(f"{model}: {worst(state, expected):.1e}")
    np.testing.assert_allclose(losses(moved), losses(alone), rtol=1e-4)
    for key in expected:
        np.testing.assert_allclose(state[key], expected[key], rtol=0.0, atol=1e-5, err_msg=key)  # AdamW magnifies


def test_only_the_parameter_server_keeps_the_optimisers_state(tmp_path: Path) -> None:
    schedule = (Gang((0, 1), 2), Gang((1, 0), 1, source=1))
    told = train(Task(sync="parameter_server", **SMALL), schedule, tmp_path)
    assert not told[0].error + told[1].error
    assert told[0].num_moments == [6, 0]
    assert told[1].num_moments == [0, 6]


def test_a_new_parameter_server_needs_the_state_of_the_old(tmp_path: Path) -> None:
    schedule = (Gang((0, 1), 2), Gang((1,), 1))
    told = train(Task(sync="parameter_server", **SMALL), schedule, tmp_path)
    assert "the source must be the old" in told[1].error


def test_a_paced_step_takes_as_long_as_it_is_told(tmp_path: Path) -> None:
    task = Task(**SMALL, pace_base_s=0.01, pace_per_sample_s=0.004)
    told = train(task, (Gang((0, 1), 3),), tmp_path)
    for one in told.values():  # 5 samples each in two passes
        assert min(one.step_s) >= 2 * 0.01 + 5 * 0.004
