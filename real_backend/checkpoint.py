"""Checkpoints by torch.distributed.checkpoint: whole or not at all, and nothing in them but tensors.

One process writes (the workers of a data-parallel gang have the same state) into a folder of another name, which gets
its own when all is on disk. Tensors are read with `weights_only`; what torch unpickles is the index that it wrote
beside them (`.metadata`), so load checkpoints of your own runs only.

| in the folder | what it is |
|---|---|
| step-00000123 | a checkpoint, complete |
| .old-step-00000123 | the one that is being replaced by another of the same step; counts if the other isn't there |
| .part-… | half-written, or half-deleted |
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException

_NAME = re.compile(r"step-(\d+)")
_PART, _OLD = ".part-", ".old-"


def save(state: Mapping[str, torch.Tensor], folder: Path, step: int, keep: int = 2) -> Path:
    """Writes a checkpoint, and deletes all but the newest `keep` (1 or more); returns its folder."""
    assert keep >= 1, keep
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step:08}"
    part = folder / f"{_PART}{target.name}-{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    with _as_one_process():
        dcp.save(dict(state), storage_writer=dcp.FileSystemWriter(part), no_dist=True)  # syncs its files
    _sync(part)
    old = folder / f"{_OLD}{target.name}"
    if target.exists():
        if old.exists():
            _delete(old)
        os.rename(target, old)  # a folder can't be renamed to one that has files
    os.rename(part, target)
    _sync(folder)
    if old.exists():
        _delete(old)
    for _, path in _complete(folder)[:-keep]:
        _delete(path)
    return target


def latest(folder: Path) -> tuple[int, Path] | None:
    """(step, folder) of the newest checkpoint; None if there is none. What a crash left half-written is deleted.

    Not to be called while another process saves there.
    """
    if not folder.is_dir():
        return None
    for old in folder.glob(f"{_OLD}*"):
        target = folder / old.name.removeprefix(_OLD)
        if target.exists():
            _delete(old)
        else:
            os.rename(old, target)
    for path in folder.glob(f"{_PART}*"):
        shutil.rmtree(path, ignore_errors=True)
    complete = _complete(folder)
    return complete[-1] if complete else None


def load(template: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """The state in a checkpoint, in the shapes, types and devices of a template, which is left alone.

    Raises:
        ValueError: another shape than in the template.
        RuntimeError: something of the template is missing.
    """
    state = {name: torch.empty_like(value) for name, value in template.items()}
    with _as_one_process():
        dcp.load(state, checkpoint_id=path, no_dist=True)
    return state


@contextmanager
def _as_one_process() -> Iterator[None]:
    """Without the warning that one process saves or loads, which is meant; errors as they were raised.

    torch's own wrapping of them is a `BaseException`, with a traceback for a message.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            yield
    except CheckpointException as error:
        causes = [cause for cause, _ in error.failures.values()]
        raise causes[0] from None


def _complete(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of each, the newest last."""
    return sorted(
        (int(match.group(1)), path)
        for path in folder.iterdir()
        if (match := _NAME.fullmatch(path.name)) and (path / ".metadata").is_file()
    )


def _delete(path: Path) -> None:
    """Under another name, for a half-deleted checkpoint could pass for a complete one."""
    part = path.with_name(f"{_PART}{path.name}-{os.getpid()}-deleted")
    os.rename(path, part)
    shutil.rmtree(part, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Has what was made and renamed in a folder reach the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
