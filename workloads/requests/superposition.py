"""Several streams as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workloads.errors import WorkloadError
from workloads.requests.source import RequestSource, build_requests
from workloads.requests.table import Requests


@dataclass(kw_only=True)
class Superposition(RequestSource):
    """All requests of `parts`, each described as a source is: `{name: diurnal, rate_per_s: 5}`.

    Each part has its own random stream, so that adding one leaves the others' requests as they were.
    """

    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by a name of your own

    def __post_init__(self) -> None:
        if not self.parts:
            raise WorkloadError("parts={}: needs one part or more")
        self._sources = {
            name: build_requests(dict(options), prefix=f"requests.parts.{name}.")
            for name, options in self.parts.items()
        }
        with_tokens = [name for name, source in self._sources.items() if source.has_tokens]
        if with_tokens and len(with_tokens) < len(self._sources):
            without = next(name for name in self._sources if name not in with_tokens)
            raise WorkloadError(
                f"requests.parts: {with_tokens[0]} has tokens and {without} has none; all must, or none may"
            )

    @property
    def has_tokens(self) -> bool:
        return next(iter(self._sources.values())).has_tokens

    @property
    def reads_until_s(self) -> float:
        return max(source.until_s for source in self._sources.values())

    def notes(self) -> list[str]:
        return [note for source in self._sources.values() for note in source.notes()]

    def read(self, rng: np.random.Generator) -> Iterator[Requests]:
        streams = [
            source.chunks(draws)
            for source, draws in zip(self._sources.values(), rng.spawn(len(self._sources)), strict=True)
        ]
        heads = [(next(stream, None), stream) for stream in streams]
        open_ = [(head, stream) for head, stream in heads if head is not None]
        while open_:
            until_s = min(float(head.arrival_s[-1]) for head, _ in open_)
            ripe: list[Requests] = []
            rest: list[tuple[Requests, Iterator[Requests]]] = []
            for head, stream in open_:
                num = int(np.searchsorted(head.arrival_s, until_s, "right"))
                ripe.append(head.take(slice(num)))
                left = head.take(slice(num, None)) if num < len(head) else next(stream, None)
                if left is not None:
                    rest.append((left, stream))
            merged = Requests.concat(ripe)
            yield merged.take(np.argsort(merged.arrival_s, kind="stable"))
            open_ = rest
