"""Tables of requests read in parts, with the line of what can't be read."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workloads.errors import TraceError, WorkloadError
from workloads.readers.rows import Rows
from workloads.requests.source import RequestSource

_ROWS = 1 << 18  # at a time
_MAGIC = b"\x1f\x8b"


@dataclass(kw_only=True)
class FileRequests(RequestSource):
    """A source that reads a file, plain or gzip."""

    path: str = ""  # required

    def file(self) -> Path:
        """The existing file that `path` names.

        Raises:
            WorkloadError: it is empty, or names nothing, or a folder.
        """
        if not self.path:
            raise WorkloadError("requests.path: is needed; set requests.path=FILE")
        path = Path(self.path).expanduser()
        if not path.is_file():
            what = "is a folder; it must name a file" if path.is_dir() else f"no such file (read from {Path.cwd()})"
            raise WorkloadError(f"requests.path={path}: {what}")
        return path


def is_gzip(path: Path) -> bool:
    """By its first bytes, not by its name."""
    with path.open("rb") as file:
        return file.read(2) == _MAGIC


def header_of(path: Path) -> list[str]:
    """The names in a file's first line."""
    try:
        frame = pd.read_csv(path, nrows=0, compression="gzip" if is_gzip(path) else None, encoding="utf-8-sig")
    except pd.errors.EmptyDataError:
        raise TraceError("holds no requests: the file is empty", path=path) from None
    except (UnicodeDecodeError, pd.errors.ParserError, OSError, EOFError, zlib.error) as error:
        raise TraceError(f"is not a table of text: {error}", path=path, line=1) from None
    return [str(name).strip() for name in frame.columns]


def tables(path: Path, columns: Sequence[str], text: Sequence[str] = ()) -> Iterator[Rows]:
    """The named columns of a CSV file, in parts; those in `text` are left as text.

    Raises:
        TraceError: a column that isn't there, a row of another length, damaged gzip, bytes that aren't UTF-8.
    """
    names = header_of(path)
    for column in columns:
        if column not in names:
            raise TraceError(f"is not in the file (it has {', '.join(names)})", path=path, line=1, column=column)
    line = 2
    try:
        with pd.read_csv(
            path,
            header=0,
            names=names,
            dtype=dict.fromkeys(text, str),
            skip_blank_lines=False,
            compression="gzip" if is_gzip(path) else None,
            encoding="utf-8-sig",
            chunksize=_ROWS,
            low_memory=False,
        ) as reader:
            for frame in reader:
                if not isinstance(frame.index, pd.RangeIndex):
                    raise TraceError(f"has more fields than the {len(names)} of the header", path=path, line=line)
                yield Rows(path, frame, np.arange(line, line + len(frame)))
                line += len(frame)
    except pd.errors.ParserError as error:
        raise TraceError(" ".join(str(error).split()), path=path) from None
    except UnicodeDecodeError as error:
        raise TraceError(f"is not UTF-8 text: {error.reason}", path=path) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TraceError(f"is damaged or cut-off gzip ({error}): fetch it again", path=path) from None
