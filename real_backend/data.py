"""Which samples a worker has in a step, and the samples themselves.

The order of an epoch is a permutation by (seed, epoch), the epochs follow one another, step k takes samples
[k·B, (k+1)·B) of that stream, and the workers share them out. So a step's samples don't depend on how many workers
there are, and each sample comes once an epoch across any rescale.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch

from real_backend.task import Task

Batch = tuple[torch.Tensor, torch.Tensor]


def samples_of(step: int, rank: int, world_size: int, num_samples: int, global_batch: int, seed: int) -> np.ndarray:
    """Indices of a worker's samples in a step (counted from 0); shape (B / W,), the first ranks have one more.

    Raises:
        ValueError: more workers than samples a step.
    """
    if not 0 <= rank < world_size <= global_batch:
        raise ValueError(
            f"rank {rank} of {world_size} workers: a step has {global_batch} samples, one a worker or more"
        )
    share, extra = divmod(global_batch, world_size)
    begin = step * global_batch + rank * share + min(rank, extra)
    stream = np.arange(begin, begin + share + (rank < extra))
    epochs = stream // num_samples
    indices = np.empty(len(stream), np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        indices[here] = _order(seed, int(epoch), num_samples)[stream[here] % num_samples]
    return indices


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, num_samples: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(num_samples)


class Data(Protocol):
    """Samples by index; the same index gives the same sample in every process."""

    num_samples: int

    def batch(self, indices: np.ndarray) -> Batch:
        """Inputs and labels, the first axis along the indices."""
        ...


def data_of(task: Task) -> Data:
    """What the task trains on."""
    if task.data != "synthetic":
        module, _, name = task.data.partition(":")
        return _OwnData(getattr(importlib.import_module(module), name)())
    generator = torch.Generator().manual_seed(task.seed)
    options = task.model_options
    if task.model == "gpt":
        return _Tokens(
            int(options.get("context", 64)), int(options.get("vocabulary", 256)), task.num_samples, generator
        )
    shape = (3, 32, 32) if task.model == "resnet" else (int(options.get("features", 64)),)
    return _Classes(torch.randn(int(options.get("classes", 10)), *shape, generator=generator), task, generator)


class _Classes:
    """Noise around one centre a class: inputs that can be told apart."""

    def __init__(self, centres: torch.Tensor, task: Task, generator: torch.Generator) -> None:
        self.num_samples = task.num_samples
        self._centres = centres
        self._labels = torch.randint(len(centres), (task.num_samples,), generator=generator)
        # Reused: drawing more would cost more than a step.
        self._noise = torch.randn(257, *centres.shape[1:], generator=generator)

    def batch(self, indices: np.ndarray) -> Batch:
        rows = torch.from_numpy(indices)
        labels = self._labels[rows]
        return self._centres[labels] + self._noise[rows % len(self._noise)], labels


class _Tokens:
    """Sequences that count up by a stride: the next token follows from the two before."""

    def __init__(self, context: int, vocabulary: int, num_samples: int, generator: torch.Generator) -> None:
        self.num_samples = num_samples
        self._context, self._vocabulary = context, vocabulary
        self._begins = torch.randint(vocabulary, (num_samples,), generator=generator)
        self._strides = torch.randint(1, 8, (num_samples,), generator=generator)

    def batch(self, indices: np.ndarray) -> Batch:
        rows = torch.from_numpy(indices)
        places = torch.arange(self._context + 1)
        tokens = (self._begins[rows, None] + self._strides[rows, None] * places) % self._vocabulary
        return tokens[:, :-1], tokens[:, 1:]


class _OwnData:
    """A user's data, sample by sample."""

    def __init__(self, data: Any) -> None:
        self.num_samples = len(data)
        if not self.num_samples:
            raise ValueError("data: has no samples")
        self._data = data

    def batch(self, indices: np.ndarray) -> Batch:
        pairs = [self._data[int(index)] for index in indices]
        return torch.stack([torch.as_tensor(x) for x, _ in pairs]), torch.stack([torch.as_tensor(y) for _, y in pairs])
