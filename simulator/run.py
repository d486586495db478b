"""A run's records, from memory or from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


class Run:
    """Tables and facts of one run; metrics, figures and comparisons read only this.

    Args:
        facts: what the tables don't say: when it ended, seed, estimates, decisions.
        tables: by name, where the run was kept in memory.
        folder: where its parquet files are, else.
        why_unfinished: empty for a run that came to its end.
    """

    def __init__(
        self,
        facts: Mapping[str, Any],
        tables: Mapping[str, pa.Table],
        folder: Path | None = None,
        why_unfinished: str = "",
    ) -> None:
        self.facts, self.folder, self.why_unfinished = facts, folder, why_unfinished
        self._tables = tables

    def table(self, name: str) -> pa.Table:
        """A table as Arrow has it."""
        if name in self._tables:
            return self._tables[name]
        assert self.folder is not None
        return pq.read_table(self.folder / f"{name}.parquet")

    @cached_property
    def jobs(self) -> pd.DataFrame:
        return self.table("jobs").to_pandas()

    @cached_property
    def allocations(self) -> pd.DataFrame:
        return self.table("allocations").to_pandas()

    @cached_property
    def nodes(self) -> pd.DataFrame:
        return self.table("nodes").to_pandas()

    @cached_property
    def decisions(self) -> pd.DataFrame:
        return self.table("decisions").to_pandas()

    @cached_property
    def metrics(self) -> pd.DataFrame:
        return self.table("metrics").to_pandas()
