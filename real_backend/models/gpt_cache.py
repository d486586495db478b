"""Inference with a small GPT: keys and values of what has been read are kept, so that a token costs one pass of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch.nn import functional

from real_backend.models.gpt import Block, Gpt


@dataclass(slots=True)
class Cache:
    """Keys and values by layer; each (B, heads, capacity, width / heads), of which `length` places are in use."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    length: int = 0

    @classmethod
    def empty(cls, module: Gpt, batch: int, capacity: int) -> Cache:
        """For `batch` sequences of up to `capacity` tokens."""
        blocks = [cast(Block, block) for block in module.blocks]
        width = module.tokens.embedding_dim

        def room() -> list[torch.Tensor]:
            return [
                module.tokens.weight.new_zeros(batch, block.heads, capacity, width // block.heads) for block in blocks
            ]

        return cls(room(), room())


@torch.inference_mode()
def read(module: Gpt, tokens: torch.Tensor, cache: Cache) -> torch.Tensor:
    """Reads tokens (B, T) behind what the cache holds; returns the logits of the token after the last (B, vocabulary).

    T is 1, or the cache is empty: a prompt is read at once.
    """
    begin, end = cache.length, cache.length + tokens.shape[1]
    assert begin == 0 or tokens.shape[1] == 1
    places = torch.arange(begin, end, device=tokens.device)
    x = module.tokens(tokens) + module.places(places)
    for layer, block in enumerate(module.blocks):
        x = _block(cast(Block, block), x, cache.keys[layer], cache.values[layer], begin, end)
    cache.length = end
    logits: torch.Tensor = module.head(module.norm(x[:, -1]))
    return logits


def _block(
    block: Block, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, begin: int, end: int
) -> torch.Tensor:
    """`Block.forward` for places begin .. end, which it writes into `keys` and `values`."""
    batch, length, width = x.shape
    parts = block.query_key_value(block.attention_norm(x)).view(batch, length, 3, block.heads, -1)
    query, key, value = parts.permute(2, 0, 3, 1, 4)
    keys[:, :, begin:end], values[:, :, begin:end] = key, value
    mixed = functional.scaled_dot_product_attention(query, keys[:, :, :end], values[:, :, :end], is_causal=length > 1)
    x = x + block.out(mixed.transpose(1, 2).reshape(batch, length, width))
    return x + block.feed_forward(block.norm(x))
