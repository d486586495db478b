"""Opening what a user points at: plain or gzip files, with errors that say what to do."""

from __future__ import annotations

import difflib
import gzip
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.errors import TraceError, WorkloadError
from workloads.source import WorkloadSource

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(kw_only=True)
class FileSource(WorkloadSource):
    """A source that reads a file (or, where its docstring says so, a folder)."""

    path: str = ""  # required

    def file(self, value: str | None = None, option: str = "path") -> Path:
        """The existing file that an option names (by default `path`).

        Raises:
            WorkloadError: the option is empty, or names nothing, or a folder.
        """
        path = self._existing(self.path if value is None else value, option)
        if path.is_dir():
            raise WorkloadError(f"{path}: is a folder; {option} must name a file")
        return path

    def folder(self) -> Path:
        """The existing folder that `path` names.

        Raises:
            WorkloadError: `path` is empty, or names nothing, or a file.
        """
        path = self._existing(self.path, "path")
        if not path.is_dir():
            raise WorkloadError(f"{path}: is a file; path must name the folder that holds the tables")
        return path

    def _existing(self, value: str, option: str) -> Path:
        if not value:
            raise WorkloadError(
                f"{type(self).__name__}: {option} is not set; give the file to read: workload.{option}=…"
            )
        path = Path(value).expanduser()
        if not path.exists():
            raise WorkloadError(f"{path}: no such file; {option} is read from {Path.cwd()}")
        return path

    def choice(self, option: str, *allowed: str) -> str:
        """The value of an option that must be one of a few words."""
        value: str = getattr(self, option)
        if value not in allowed:
            raise WorkloadError(f"{option}={value!r}: must be one of {', '.join(allowed)}{near(value, allowed)}")
        return value


def refuse_pointer(data: bytes, path: Path) -> None:
    """Raises a TraceError where a file begins as a git-LFS pointer does."""
    if data.startswith(_LFS_POINTER):
        raise TraceError("is a git-LFS pointer, not the data: run `git lfs pull` in its repository", path=path)


def read_bytes(path: Path) -> bytes:
    """A file's bytes, unpacked where it is gzip (told by its first bytes, not by its name).

    Raises:
        TraceError: a git-LFS pointer in place of the data, or damaged gzip.
    """
    data = path.read_bytes()
    refuse_pointer(data, path)
    if data.startswith(_GZIP_MAGIC):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise TraceError(f"is damaged or cut-off gzip ({error}): fetch it again", path=path) from error
    return data


def read_text(path: Path) -> str:
    """A file's text, unpacked where it is gzip.

    Raises:
        TraceError: as `read_bytes`, or the first line that isn't UTF-8.
    """
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TraceError("is not UTF-8 text", path=path, line=line, value=data[error.start : error.end]) from error


def near(name: Any, known: Iterable[Any]) -> str:
    """`; did you mean 'x'?`, or nothing where nothing is near."""
    lower = {str(word).lower(): str(word) for word in known}
    found = [repr(lower[word]) for word in difflib.get_close_matches(str(name).lower(), lower, 3)]
    return f"; did you mean {' or '.join(found)}?" if found else ""
