"""Tables that grow row by row while a run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_FLUSH_NUMBERS = 1 << 18
PARQUET: dict[str, Any] = {"compression": "zstd", "use_dictionary": False}


class RowWriter:
    """Rows of numbers laid end to end, turned into columns a batch at a time.

    `numbers.extend((...))` of a row is what the engine can do fastest, and nothing stays that the garbage collector
    would look at (tests/benchmarks/test_fifo.py). Batches go to a parquet file, or are kept where no path is given.
    """

    def __init__(self, schema: pa.Schema, path: Path | None) -> None:
        self._schema = schema
        self._fields = [field for field in schema if not pa.types.is_list(field.type)]
        self.numbers: list[float] = []  # in the schema's order, lists left out
        self._batches: list[pa.RecordBatch] = []
        self._writer = pq.ParquetWriter(path, schema, **PARQUET) if path else None

    @property
    def is_full(self) -> bool:
        return len(self.numbers) >= _FLUSH_NUMBERS

    def flush(self) -> None:
        """Turns the rows so far into a batch."""
        if self.numbers:
            self._keep(pa.RecordBatch.from_arrays(self._columns(), schema=self._schema))

    def _keep(self, batch: pa.RecordBatch) -> None:
        if self._writer:
            self._writer.write_batch(batch)
        else:
            self._batches.append(batch)

    def write(self, columns: Sequence[np.ndarray]) -> None:
        """Many rows at once, as columns, behind those there are."""
        self.flush()
        arrays = [
            pa.array(column.astype(field.type.to_pandas_dtype(), copy=False))
            for column, field in zip(columns, self._fields, strict=True)
        ]
        self._keep(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def close(self) -> pa.Table | None:
        """Ends the file; the table where there is none."""
        self.flush()
        if self._writer:
            self._writer.close()
            return None
        return pa.Table.from_batches(self._batches, schema=self._schema)

    def _columns(self) -> list[pa.Array]:
        rows = np.array(self.numbers, np.float64).reshape(-1, len(self._fields))  # exact up to 2^53
        self.numbers.clear()
        return [pa.array(rows[:, i].astype(f.type.to_pandas_dtype())) for i, f in enumerate(self._fields)]
