"""A user's own model and data, as a task names them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

from real_backend.worker import Worker
from tests.real_backend.dawdling import dawdle_by_thirds


class Odd(nn.Module):
    """Weights of two types, one that no gradient reaches, and a buffer that isn't a number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, width), nn.Linear(width, 1).double()
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("mask", torch.tensor([True, False, True]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(functional.relu(self.first(x * self.mask)).double())
        return y.squeeze(1)


def model(width: int = 4) -> tuple[nn.Module, object]:
    return Odd(width), lambda module, x, y: functional.mse_loss(module(x), y)


class Points:
    """Not tensors but what becomes one; 23 of them."""

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> tuple[list[float], torch.Tensor]:
        return [index / 23, 1.0, -index / 46], torch.tensor(index / 11.0, dtype=torch.float64)


def no_points() -> list[object]:
    return []


class Halving:
    """The least that can be trained: a weight that a step halves; its loss is what it was."""

    def __init__(self) -> None:
        self.step, self.weight = 0, torch.ones(1, dtype=torch.float64)

    def join(self, source: int | None) -> None:
        if source is not None:
            state = torch.cat([self.weight, torch.tensor([float(self.step)], dtype=torch.float64)])
            dist.broadcast(state, source)
            self.weight, self.step = state[:1], int(state[1])

    def leave(self) -> None:
        pass

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"weight": self.weight, "step": torch.tensor(float(self.step))}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        self.weight, self.step = state["weight"], int(state["step"])


def train(worker: Worker) -> None:
    """A training function of one's own."""
    mine = worker.recall(Halving)
    worker.restore(mine)
    while mine.step < worker.num_steps:
        dawdle_by_thirds(worker, mine.step)
        loss_part = float(mine.weight) / worker.world_size
        mine.weight = mine.weight / 2
        mine.step += 1
        if not worker.step_done(mine, loss_part):
            break
    mine.leave()
