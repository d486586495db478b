"""Reading with keys and values kept says the same as the module's plain forward."""

# ruff: noqa: E402

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from real_backend.models.gpt import Gpt
from real_backend.models.gpt_cache import Cache, read

LENGTH, VOCABULARY = 9, 19


@pytest.fixture(scope="module")
def module() -> Gpt:
    torch.manual_seed(0)
    return Gpt(layers=3, width=16, heads=4, context=12, vocabulary=VOCABULARY).eval()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("prompt", [1, 4, LENGTH])
def test_a_prompt_then_token_by_token(module: Gpt, batch: int, prompt: int) -> None:
    tokens = torch.randint(VOCABULARY, (batch, LENGTH))
    with torch.inference_mode():
        expected = module(tokens)  # (B, T, vocabulary)
    cache = Cache.empty(module, batch, LENGTH + 2)
    for each in (*cache.keys, *cache.values):
        each.fill_(float("nan"))  # what was not read must not be looked at
    told = [read(module, tokens[:, :prompt], cache)]
    assert cache.length == prompt
    told += [read(module, tokens[:, place : place + 1], cache) for place in range(prompt, LENGTH)]
    assert cache.length == LENGTH
    torch.testing.assert_close(torch.stack(told, dim=1), expected[:, prompt - 1 :], rtol=1e-5, atol=1e-5)


def test_other_tokens_before_change_what_is_said(module: Gpt) -> None:
    """So equal logits aren't those of the last token alone."""
    tokens = torch.arange(LENGTH)[None]
    other = tokens.clone()
    other[0, 0] = 7
    told = []
    for each in (tokens, other):
        cache = Cache.empty(module, 1, LENGTH)
        read(module, each[:, :-1], cache)
        told.append(read(module, each[:, -1:], cache))
    assert (told[0] - told[1]).abs().max() > 1e-3


def test_an_emptied_cache_begins_anew(module: Gpt) -> None:
    tokens = torch.arange(LENGTH)[None]
    cache = Cache.empty(module, 1, LENGTH)
    first = read(module, tokens, cache)
    cache.length = 0
    assert torch.equal(read(module, tokens, cache), first)


def test_a_cache_is_of_the_weights_type(module: Gpt) -> None:
    half = Gpt(layers=2, width=16, heads=4, context=12, vocabulary=VOCABULARY).to(torch.bfloat16)
    cache = Cache.empty(half, 2, 5)
    assert len(cache.keys) == len(cache.values) == 2
    assert cache.keys[0].shape == (2, 4, 5, 4)
    assert cache.keys[0].dtype == torch.bfloat16
    assert read(half, torch.zeros(2, 3, dtype=torch.long), cache).shape == (2, VOCABULARY)
