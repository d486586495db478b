"""What a controller has decided and heard, line by line on disk, for one that comes after it.

| entry | says |
|---|---|
| begin | second 0 in Unix time, and the address |
| taken_over | another controller has come, and so many gangs had gone on |
| ordered, ready, draining, undrained, terminated | a node's life |
| change | from `time_s` on the job is to hold these GPUs on these nodes, in which generation |
| moved | a move is over, how long it took |
| broken | a job fell back to its last checkpoint |
| finished, failed | a job's end |
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

from real_backend.errors import BackendError

Entry = dict[str, Any]


class Journal:
    """An append-only file of JSON lines. Each is with the operating system when `write` returns."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def write(self, entry: str, **fields: Any) -> None:
        """Adds an entry."""
        self._file.write(json.dumps({"entry": entry, **fields}) + "\n")

    def close(self) -> None:
        """No more entries."""
        self._file.close()


def read_journal(path: Path) -> list[Entry]:
    """The entries; a last line that was cut short is left out.

    Raises:
        BackendError: a line in the middle that isn't one.
    """
    entries: list[Entry] = []
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            entry = json.loads(line)
            entry["entry"]
        except (ValueError, TypeError, KeyError):
            if number >= len(lines) - 1:
                break
            raise BackendError(f"{path}:{number}: not an entry of a journal: {line[:80]!r}") from None
        entries.append(entry)
    return entries
