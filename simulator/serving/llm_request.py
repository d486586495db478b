"""A request to an LLM on its way through a replica."""

from __future__ import annotations

import math
from collections import deque


class LlmRequest:
    """One request; `generated` counts the tokens it has, also those of before it was preempted."""

    __slots__ = (
        "arrival_s",
        "base",
        "finish_s",
        "first_s",
        "generated",
        "joined_s",
        "number",
        "output",
        "prefilled",
        "prompt",
        "tries",
    )

    def __init__(self, number: int, arrival_s: float, prompt: int, output: int) -> None:
        self.number, self.arrival_s, self.prompt, self.output = number, arrival_s, prompt, output
        self.tries = 0
        self.joined_s = arrival_s
        self.generated = 0
        self.prefilled = 0  # tokens of this prefill that are done (chunked)
        self.base = 0  # the replica's count of decode steps at which it had no token; see `llm`
        self.first_s = self.finish_s = -1.0

    @property
    def context(self) -> int:
        """Tokens to be prefilled: the prompt, and what it had generated when it was preempted."""
        return self.prompt + self.generated

    def forget(self) -> None:
        """Begins anew: its replica is gone."""
        self.generated = self.prefilled = 0
        self.first_s = -1.0


def next_quit_s(waiting: deque[LlmRequest], patience_s: float) -> float:
    """When the first of those who wait for their first token gives up; inf where nobody does.

    They are in order, behind those who were preempted and have a token.
    """
    return next((request.joined_s + patience_s for request in waiting if request.first_s < 0), math.inf)


def take_impatient(waiting: deque[LlmRequest], patience_s: float, before_s: float) -> list[LlmRequest]:
    """Takes out those who wait for their first token and gave up before a time."""
    gone: list[LlmRequest] = []
    preempted: list[LlmRequest] = []
    while waiting and (waiting[0].first_s >= 0 or waiting[0].joined_s + patience_s < before_s):
        request = waiting.popleft()
        (gone if request.first_s < 0 else preempted).append(request)
    waiting.extendleft(reversed(preempted))
    return gone
