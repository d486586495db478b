"""Models in plain torch, in sizes by parameter. Each module has `build(**options)` -> (module, loss)."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch
from torch import nn

from real_backend.task import MODELS, Task

Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


def build(task: Task) -> tuple[nn.Module, Loss]:
    """The model of a task, with the same weights for the same seed, and its loss: the mean over samples."""
    torch.manual_seed(task.seed)
    if task.model in MODELS:
        made: tuple[nn.Module, Loss] = importlib.import_module(f"real_backend.models.{task.model}").build(
            **task.model_options
        )
        return made
    module, _, name = task.model.partition(":")
    own: tuple[nn.Module, Loss] = getattr(importlib.import_module(module), name)(**task.model_options)
    return own
