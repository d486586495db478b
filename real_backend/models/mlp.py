"""A multilayer perceptron: `depth` layers of `width`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def build(width: int = 256, depth: int = 3, features: int = 64, classes: int = 10) -> tuple[nn.Module, object]:
    """(module, loss); inputs (B, features), labels (B,)."""
    layers: list[nn.Module] = []
    size = features
    for _ in range(depth):
        layers += [nn.Linear(size, width), nn.ReLU()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, classes)), loss


def loss(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross entropy."""
    return functional.cross_entropy(module(x), y)
