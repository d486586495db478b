"""Checkpoints by torch.distributed.checkpoint: whole or not at all, and nothing in them but tensors.

One process writes (the workers of a data-parallel gang have the same state) into a folder of another name, which gets
its own when all is on disk. `torch.distributed.checkpoint` reads tensors with `weights_only`; what it unpickles is the
index that it wrote itself (`.metadata`), so load checkpoints of your own runs only.
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

_NAME = re.compile(r"step-(\d+)$")
_PART = ".part-"


def save(state: Mapping[str, torch.Tensor], folder: Path, step: int, keep: int = 2) -> Path:
    """Writes a checkpoint, and deletes all but the newest `keep`; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step:010}"
    part = folder / f"{_PART}{target.name}-{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    with _as_one_process():
        dcp.save(dict(state), storage_writer=dcp.FileSystemWriter(part, single_file_per_rank=True), no_dist=True)
    if target.exists():  # of a run that fell back to before it
        shutil.rmtree(target)
    os.rename(part, target)
    _sync(folder)
    for old in sorted(_complete(folder))[:-keep]:
        shutil.rmtree(old[1], ignore_errors=True)
    return target


def latest(folder: Path) -> tuple[int, Path] | None:
    """(step, folder) of the newest checkpoint; None if there is none. What a crash left half-written is deleted."""
    if not folder.is_dir():
        return None
    for path in folder.glob(f"{_PART}*"):
        shutil.rmtree(path, ignore_errors=True)
    return max(_complete(folder), default=None)


def load(template: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """The state in a checkpoint, in the shapes, types and devices of a template."""
    state = {name: torch.empty_like(value) for name, value in template.items()}
    with _as_one_process():
        dcp.load(state, checkpoint_id=path, no_dist=True)
    return state


@contextmanager
def _as_one_process() -> Iterator[None]:
    """Without the warning that one process saves or loads, which is what is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _complete(folder: Path) -> list[tuple[int, Path]]:
    return [
        (int(match.group(1)), path)
        for path in folder.iterdir()
        if (match := _NAME.match(path.name)) and (path / ".metadata").is_file()
    ]


def _sync(folder: Path) -> None:
    """Has the renaming reach the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
