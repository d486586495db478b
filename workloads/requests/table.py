"""Some requests of a stream, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests in order of arrival; arrays of shape (N,), the tokens None where a stream has none."""

    arrival_s: np.ndarray  # float64, ascending
    prompt_tokens: np.ndarray | None = None  # int64, 1 or more
    output_tokens: np.ndarray | None = None  # int64, 1 or more: the first comes with the prefill

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def has_tokens(self) -> bool:
        return self.prompt_tokens is not None

    def take(self, rows: np.ndarray | slice) -> Requests:
        """Some of them."""
        prompt, output = (None if column is None else column[rows] for column in self._tokens)
        return Requests(self.arrival_s[rows], prompt, output)

    def at(self, arrival_s: np.ndarray) -> Requests:
        """The same requests at other times."""
        return Requests(arrival_s, self.prompt_tokens, self.output_tokens)

    @property
    def _tokens(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        return self.prompt_tokens, self.output_tokens

    @classmethod
    def concat(cls, parts: Sequence[Requests]) -> Requests:
        """One after the other; all with tokens, or none."""
        columns = zip(*(part._tokens for part in parts), strict=True)
        prompt, output = (None if column[0] is None else np.concatenate(column) for column in columns)
        return cls(np.concatenate([part.arrival_s for part in parts]), prompt, output)
