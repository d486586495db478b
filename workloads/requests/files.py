"""Tables of requests read in parts, with the line of what can't be read."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from workloads.errors import TraceError, WorkloadError
from workloads.readers.files import refuse_pointer
from workloads.readers.rows import Rows
from workloads.requests.source import RequestSource
from workloads.requests.table import Requests

_CELLS, _MOST_ROWS = 1 << 22, 1 << 17  # at a time
_MAGIC = b"\x1f\x8b"


@dataclass(kw_only=True)
class FileRequests(RequestSource):
    """A source that reads a file, plain or gzip."""

    path: str = ""  # required

    def file(self) -> Path:
        """The existing file that `path` names.

        Raises:
            WorkloadError: it is empty, or names nothing, a folder, or a git-LFS pointer in place of the data.
        """
        if not self.path:
            raise WorkloadError("requests.path: is needed; set requests.path=FILE")
        path = Path(self.path).expanduser()
        if not path.is_file():
            what = "is a folder; it must name a file" if path.is_dir() else f"no such file (read from {Path.cwd()})"
            raise WorkloadError(f"requests.path={path}: {what}")
        with path.open("rb") as file:
            refuse_pointer(file.read(100), path)
        return path

    def chunks(self, rng: np.random.Generator) -> Iterator[Requests]:
        is_empty = True
        for chunk in super().chunks(rng):
            is_empty = False
            yield chunk
        if is_empty:
            window = f"from_s={self.from_s:g} to to_s={self.to_s:g}"
            raise WorkloadError(f"requests.path={self.path}: has no request from {window}")


def is_gzip(path: Path) -> bool:
    """By its first bytes, not by its name."""
    with path.open("rb") as file:
        return file.read(2) == _MAGIC


def header_of(path: Path) -> list[str]:
    """The names in a file's first line.

    Raises:
        TraceError: an empty file, a name that is there twice, damaged gzip, or no text.
    """
    how: Literal["gzip"] | None = "gzip" if is_gzip(path) else None
    try:
        frame = pd.read_csv(
            path, header=None, nrows=1, dtype=str, keep_default_na=False, compression=how, encoding="utf-8-sig"
        )
    except pd.errors.EmptyDataError:
        raise TraceError("holds no requests: the file is empty", path=path) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _damaged(error, path) from None
    except (UnicodeDecodeError, pd.errors.ParserError) as error:
        raise TraceError(f"is not a table of text: {error}", path=path, line=1) from None
    names = [str(name).strip() for name in frame.iloc[0]]
    for name in names:
        if names.count(name) > 1:
            raise TraceError("is there twice in the header", path=path, line=1, column=name)
    return names


def _damaged(error: Exception, path: Path) -> TraceError:
    return TraceError(f"is damaged or cut-off gzip ({error}): fetch it again", path=path)


def tables(path: Path, columns: Sequence[str], text: Sequence[str] = ()) -> Iterator[Rows]:
    """A CSV file in parts, none of them empty; `columns` must be there, and those in `text` are left as text.

    Raises:
        TraceError: a column that isn't there, no rows, a row that is too long, damaged gzip, bytes that aren't UTF-8.
    """
    names = header_of(path)
    for column in columns:
        if column not in names:
            raise TraceError(f"is not in the file (it has {', '.join(names)})", path=path, line=1, column=column)
    line, held = 2, None
    try:
        with pd.read_csv(
            path,
            header=0,
            names=names,
            dtype=dict.fromkeys(text, str),
            skip_blank_lines=False,
            compression="gzip" if is_gzip(path) else None,
            encoding="utf-8-sig",
            chunksize=max(1, min(_CELLS // len(names), _MOST_ROWS)),
            low_memory=False,
        ) as reader:
            for frame in reader:
                if not isinstance(frame.index, pd.RangeIndex):
                    raise TraceError(f"has more fields than the {len(names)} of the header", path=path, line=line)
                if held is not None:
                    frame = pd.concat([held, frame])
                num = _num_before_blanks(frame)
                frame, held = frame.iloc[:num], frame.iloc[num:] if num < len(frame) else None
                if num:
                    yield Rows(path, frame, np.arange(line, line + num))
                line += num
    except pd.errors.ParserError as error:
        raise TraceError(" ".join(str(error).split()), path=path) from None
    except UnicodeDecodeError as error:
        raise TraceError(f"is not UTF-8 text: {error.reason}", path=path) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _damaged(error, path) from None
    if line == 2:
        raise TraceError("holds no requests: only a header line", path=path)


def _num_before_blanks(frame: pd.DataFrame) -> int:
    """How many rows there are up to the last that isn't blank: a file may end in blank lines."""
    num = len(frame)
    while num and frame.iloc[num - 1].isna().all():
        num -= 1
    return num
