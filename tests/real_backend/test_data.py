"""Who gets which samples, and the samples."""

# ruff: noqa: E402

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from real_backend.data import data_of, samples_of
from real_backend.task import Task


@settings(deadline=None)
@given(
    worlds=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    num_samples=st.integers(1, 40),
    extra=st.integers(0, 30),
    seed=st.integers(0, 2**63 - 1),
)
def test_each_sample_once_an_epoch_whatever_the_gangs(
    worlds: Sequence[int], num_samples: int, extra: int, seed: int
) -> None:
    batch = 9 + extra
    stream = []
    for step, world_size in enumerate(worlds):
        shares = [samples_of(step, rank, world_size, num_samples, batch, seed) for rank in range(world_size)]
        whole = samples_of(step, 0, 1, num_samples, batch, seed)
        for share, expected in zip(shares, np.array_split(whole, world_size), strict=True):
            np.testing.assert_array_equal(share, expected)
        stream.extend(whole.tolist())
    for begin in range(0, len(stream), num_samples):
        epoch = stream[begin : begin + num_samples]
        assert len(set(epoch)) == len(epoch)
        assert len(epoch) < num_samples or set(epoch) == set(range(num_samples))


def test_epochs_and_seeds_have_their_own_order() -> None:
    orders = [samples_of(step, 0, 1, 50, 50, seed).tolist() for step in (0, 1) for seed in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_more_workers_than_samples() -> None:
    with pytest.raises(ValueError, match=r"rank 0 of 5 workers: a step has 4 samples"):
        samples_of(0, 0, 5, 100, 4, 0)


@pytest.mark.parametrize("model", ["mlp", "resnet", "gpt"])
def test_a_sample_is_the_same_wherever_it_is(model: str) -> None:
    task = Task(model=model, num_samples=600, seed=3)
    x, y = data_of(task).batch(np.array([5, 599, 17]))
    again, labels = data_of(task).batch(np.array([17, 5]))
    assert torch.equal(x[[2, 0]], again)
    assert torch.equal(y[[2, 0]], labels)
    assert not torch.equal(data_of(Task(model=model, num_samples=600, seed=4)).batch(np.array([17, 5]))[0], again)


def test_own_data() -> None:
    data = data_of(Task(data="own_task:Points"))
    x, y = data.batch(np.array([0, 22]))
    assert data.num_samples == 23
    assert (x.shape, y.dtype, y.tolist()) == ((2, 3), torch.float64, [0.0, 2.0])
    with pytest.raises(ValueError, match="data: has no samples"):
        data_of(Task(data="own_task:no_points"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": 1}, "learning_rate: unknown option of a task"),
        ({"optimiser": "sgd"}, "did you mean optimizer"),
        ({"model": "resnt"}, "model=resnt: must be package.module:factory, or a built-in model; did you mean resnet"),
        ({"model": "mine:"}, "model=mine:: must be"),
        ({"model_options": {"widht": 3}}, r"model_options.widht: unknown size of mlp; did you mean width\?"),
        ({"model_options": {"width": 0}}, "model_options.width=0: must be a whole number, 1 or more"),
        ({"model_options": {"depth": 2.5}}, "model_options.depth=2.5: must be a whole number"),
        ({"model_options": 3}, "model_options=3: must be a mapping"),
        ({"data": "mnist"}, "data=mnist: must be synthetic or package.module:factory"),
        ({"train": "mine.train"}, "train=mine.train: must be package.module:function"),
        ({"sync": "ring"}, "sync=ring: must be one of allreduce, parameter_server"),
        ({"optimizer": "adam"}, "optimizer=adam: must be one of sgd, adamw"),
        ({"global_batch": "64"}, "global_batch='64': must be a whole number"),
        ({"global_batch": True}, "global_batch=True: must be a whole number"),
        ({"global_batch": 0}, "global_batch=0: must be 1 or more"),
        ({"max_batch_per_worker": -1}, "max_batch_per_worker=-1"),
        ({"lr": float("nan")}, "lr=nan: must be more than 0"),
        ({"momentum": 1}, "momentum=1: must lie in 0..1"),
        ({"seed": -1}, "seed=-1"),
        ({"pace_base_s": float("inf")}, "pace_base_s=inf"),
        ({"pace_per_sample_s": -0.1}, "pace_per_sample_s=-0.1"),
    ],
)
def test_tasks_that_cannot_be(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Task.from_dict(values)


def test_a_task_travels_as_json() -> None:
    task = Task(model="gpt", model_options={"layers": 1}, pace_base_s=0.5, lr=1)
    assert Task.from_dict(json.loads(json.dumps(task.to_dict()))) == task


def test_a_task_loads_nothing_slow() -> None:
    code = "import sys, real_backend.task; print([n for n in ('torch', 'pandas', 'numpy') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
