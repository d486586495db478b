"""What one wants to know of a stream of requests before simulating it; gathered chunk by chunk."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from workloads.requests.table import Requests
from workloads.statistics import spell_s

MINUTE_S = 60.0
_BINS_PER_E = 50.0  # of the histograms of tokens: 2% wide


@dataclass
class TokenCounts:
    """A histogram of numbers of tokens, in bins 2% wide."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    total: int = 0
    most: int = 0

    def add(self, tokens: np.ndarray) -> None:
        """Takes more in."""
        bins = np.rint(np.log(tokens) * _BINS_PER_E).astype(np.int64)
        more = np.bincount(bins, minlength=len(self.counts))
        more[: len(self.counts)] += self.counts
        self.counts = more
        self.total += int(tokens.sum())
        self.most = max(self.most, int(tokens.max()))

    def quantile(self, share: float) -> float:
        """Tokens that this share of requests has at most, to 1%."""
        at = int(np.searchsorted(self.counts.cumsum(), share * self.counts.sum()))
        return min(math.exp(min(at, len(self.counts) - 1) / _BINS_PER_E), float(self.most))

    @property
    def tokens(self) -> np.ndarray:
        """The middle of each bin."""
        return np.exp(np.arange(len(self.counts)) / _BINS_PER_E)


class StreamStatistics:
    """Counts of a stream: by minute, gaps between arrivals, tokens."""

    def __init__(self) -> None:
        self.num = 0
        self.first_s, self.last_s = math.inf, -math.inf
        self.per_minute = np.zeros(0, np.int64)
        self.prompt, self.output = TokenCounts(), TokenCounts()
        self._gaps2_s2 = 0.0  # sum of squares

    def add(self, chunk: Requests) -> None:
        """Takes the next chunk in."""
        before = chunk.arrival_s[0] if not self.num else self.last_s
        gaps_s = np.diff(chunk.arrival_s, prepend=before)
        self._gaps2_s2 += float(gaps_s @ gaps_s)
        minutes = np.bincount((chunk.arrival_s / MINUTE_S).astype(np.int64), minlength=len(self.per_minute))
        minutes[: len(self.per_minute)] += self.per_minute
        self.per_minute = minutes
        self.num += len(chunk)
        self.first_s, self.last_s = min(self.first_s, float(chunk.arrival_s[0])), float(chunk.arrival_s[-1])
        if chunk.prompt_tokens is not None and chunk.output_tokens is not None:
            self.prompt.add(chunk.prompt_tokens)
            self.output.add(chunk.output_tokens)

    @property
    def span_s(self) -> float:
        """First arrival to last."""
        return self.last_s - self.first_s

    @property
    def gap_cv(self) -> float:
        """Coefficient of variation of the gaps: 1 in a Poisson process; nan of fewer than three requests."""
        if self.num < 3 or not self.span_s:
            return math.nan
        mean_s = self.span_s / (self.num - 1)
        return math.sqrt(max(0.0, self._gaps2_s2 / (self.num - 1) / mean_s**2 - 1.0))

    @property
    def dispersion(self) -> float:
        """Variance over mean of the counts of whole minutes: 1 in a Poisson process; nan of fewer than two minutes."""
        whole = self.per_minute[:-1]
        return float(whole.var() / whole.mean()) if len(whole) > 1 and whole.any() else math.nan

    def table(self) -> list[tuple[str, str]]:
        """(what, how much) in the order to print them."""
        rows = [
            ("requests", f"{self.num:,}"),
            ("arriving over", spell_s(self.span_s)),
            ("mean rate", f"{(self.num - 1) / self.span_s:,.4g} requests/s" if self.span_s else "all at once"),
            ("busiest minute", f"{self.per_minute.max() / MINUTE_S:,.4g} requests/s"),
            ("gaps, coefficient of variation", f"{self.gap_cv:.3g} (Poisson: 1)"),
            ("counts a minute, variance over mean", f"{self.dispersion:.3g} (Poisson: 1)"),
        ]
        for what, of in (("prompt", self.prompt), ("output", self.output)):
            if of.total:
                quantiles = ", ".join(f"{of.quantile(q):,.0f}" for q in (0.5, 0.95, 0.99))
                rows.append((f"{what} tokens, median, p95, p99, max", f"{quantiles}, {of.most:,}"))
                rows.append((f"{what} tokens, mean", f"{of.total / self.num:,.4g}"))
        return rows
