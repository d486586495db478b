"""The built-in models: they learn, and a sample's loss doesn't depend on its company."""

# ruff: noqa: E402

from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from real_backend.data import data_of
from real_backend.models import build
from real_backend.task import MODELS, Task
from real_backend.training import Training

SMALL = {
    "mlp": {"width": 32, "depth": 2},
    "resnet": {"width": 8, "groups": 4, "classes": 2},
    "gpt": {"width": 32, "layers": 1, "context": 16, "vocabulary": 32},
}


@pytest.mark.parametrize("model", MODELS)
def test_sizes_are_those_that_build_takes(model: str) -> None:
    made = importlib.import_module(f"real_backend.models.{model}").build
    assert tuple(inspect.signature(made).parameters) == MODELS[model]


@pytest.mark.parametrize("model", MODELS)
def test_the_seed_gives_the_weights(model: str) -> None:
    first, again, other = (build(Task(model=model, seed=seed))[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("model", MODELS)
def test_a_samples_loss_does_not_depend_on_the_others(model: str) -> None:
    task = Task(model=model, model_options=SMALL[model])
    module, loss = build(task)
    x, y = data_of(task).batch(np.arange(6))
    alone = [loss(module, x[row : row + 1], y[row : row + 1]).item() for row in range(6)]
    assert loss(module, x, y).item() == pytest.approx(sum(alone) / 6, rel=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_learns(model: str) -> None:
    optimizer, lr = ("adamw", 0.01) if model == "gpt" else ("sgd", 0.05)
    task = Task(
        model=model, model_options=SMALL[model], num_samples=256, global_batch=32, optimizer=optimizer, lr=lr, seed=1
    )
    training = Training(task, torch.device("cpu"))  # no gang yet: all samples are its own
    losses = [training.train_step() for _ in range(24)]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"model_options.width=30: must be a multiple of heads=4"):
        build(Task(model="gpt", model_options={"width": 30}))
    with pytest.raises(ValueError, match=r"model_options.width=12: must be a multiple of groups=8"):
        build(Task(model="resnet", model_options={"width": 12}))


def test_own_model() -> None:
    module, _ = build(Task(model="own_task:model", model_options={"width": 7}))
    assert module.first.out_features == 7
