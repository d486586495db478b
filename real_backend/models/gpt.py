"""A small decoder-only transformer (Radford et al., 2019): `layers` blocks of `width` with `heads` heads."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Causal attention and a feed-forward layer, each behind a norm and with a way around."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        # Without a bias: the softmax cancels that of the keys, so its gradient is rounding errors, which AdamW would
        # scale up to whole steps, other ones for each number of workers.
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, width) -> the same shape."""
        batch, length, width = x.shape
        parts = self.query_key_value(self.attention_norm(x)).view(batch, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.feed_forward(self.norm(x))


class Gpt(nn.Module):
    """Tokens to logits of the next token."""

    def __init__(self, layers: int, width: int, heads: int, context: int, vocabulary: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T) -> (B, T, vocabulary)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        logits: torch.Tensor = self.head(self.norm(self.blocks(self.tokens(tokens) + self.places(places))))
        return logits


def build(
    layers: int = 2, width: int = 64, heads: int = 4, context: int = 64, vocabulary: int = 256
) -> tuple[nn.Module, object]:
    """(module, loss); inputs and labels (B, context) of tokens. `width` is a multiple of `heads`."""
    if width % heads:
        raise ValueError(f"model_options.width={width}: must be a multiple of heads={heads}")
    return Gpt(layers, width, heads, context, vocabulary), loss


def loss(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the next token."""
    return functional.cross_entropy(module(x).flatten(0, 1), y.flatten())
