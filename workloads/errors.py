"""What a reader says of input that it can't take."""

from __future__ import annotations

from pathlib import Path


class WorkloadError(ValueError):
    """A workload that can't be used: an empty one, a wrong option, a missing file."""


class TraceError(WorkloadError):
    """A file, or a place in one, that breaks a rule; the message reads `path:line: column 'c': value: rule`.

    Args:
        rule: what would have been right, as a sentence fragment.
        path: the file.
        line: 1-based line in the file, header included.
        column: the column (or JSON field) as the file names it.
        value: the offending value.
    """

    def __init__(
        self,
        rule: str,
        *,
        path: str | Path | None = None,
        line: int | None = None,
        column: str | None = None,
        value: object = None,
    ) -> None:
        self.rule, self.path, self.line, self.column, self.value = rule, path, line, column, value
        where = ":".join(str(part) for part in (path, line) if part is not None)
        parts = [where, f"column {column!r}" if column else "", repr(value) if value is not None else "", rule]
        super().__init__(": ".join(part for part in parts if part))
