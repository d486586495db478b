"""A request to an LLM on its way through a replica."""

from __future__ import annotations


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
