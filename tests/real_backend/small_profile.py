"""A profile of a model that takes 10 ms a step on any number of workers."""

from __future__ import annotations

from pathlib import Path

_TEXT = """\
name: small
provenance: {source: made up for tests}
provision_s: 3.0
models:
  mlp:
    device: cpu
    global_batch: 256
    max_batch_per_gpu: 256
    step_time: {form: linear, compute_fixed_s: 0.012, compute_variable_s: 0.0}
    range: {gpus: [1, 8], nodes: [1, 2], batch_per_gpu: [8, 256]}
    num_rows: 10
    moves:
      restart: {spawn_s: 0.1}
      in_place: {spawn_s: 0.1}
"""


def write_profile_file(folder: Path) -> Path:
    """Writes it; returns where."""
    path = folder / "small.yaml"
    path.write_text(_TEXT)
    return path
