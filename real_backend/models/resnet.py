"""A residual network for images of 3 × 32 × 32 (He et al., CVPR 2016): three stages of `blocks` blocks each.

Group normalisation (Wu and He, ECCV 2018) stands in place of batch normalisation: a sample's result must not depend on
which others a worker happens to have, or the weights would depend on the number of workers.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.GroupNorm(groups, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.GroupNorm(groups, outputs)
        is_same = stride == 1 and inputs == outputs
        self.around = nn.Identity() if is_same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y = functional.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return functional.relu(y + self.around(x))


def build(blocks: int = 1, width: int = 16, classes: int = 10, groups: int = 8) -> tuple[nn.Module, object]:
    """(module, loss); inputs (B, 3, 32, 32), labels (B,). The first stage has `width` channels, in `groups`."""
    if width % groups:
        raise ValueError(f"model_options.width={width}: must be a multiple of groups={groups}")
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.GroupNorm(groups, width), nn.ReLU()]
    channels = width
    for stage in range(3):
        for block in range(blocks):
            outputs = width * 2**stage
            layers.append(Block(channels, outputs, 2 if stage and not block else 1, groups))
            channels = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)), loss


def loss(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross entropy."""
    return functional.cross_entropy(module(x), y)
