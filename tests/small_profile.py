"""A profile by hand, whose step times and moves are easily worked out."""

from __future__ import annotations

from pathlib import Path

TEXT = """
name: small
provenance: {source: by hand, date: 2026-11-24, versions: {python: 3.11}}
provision_s: 2.5
models:
  resnet:  # a sample takes 10 ms and a step 20 ms more; synchronisation 100 ms, and on several nodes 300 ms
    device: cpu
    sync: allreduce
    global_batch: 256
    max_batch_per_gpu: 64
    step_time: {form: linear, compute_fixed_s: 0.02, compute_variable_s: 0.01, local_sync_s: 0.1, nodes_sync_s: 0.3}
    range: {gpus: [1, 8], nodes: [1, 4], batch_per_gpu: [8, 256]}
    num_rows: 120
    holdout: {num_rows: 36, median_error_frac: 0.03, p90_error_frac: 0.08}
    moves:
      restart: {spawn_s: 1, import_s: 2, rendezvous_s: 4, restore_s: 8, first_step_s: 16, save_s: 32, teardown_s: 64}
      in_place: {spawn_s: 1, import_s: 2, rendezvous_s: 4, restore_s: 3, first_step_s: 5}
  bert:
    device: cpu
    global_batch: 64
    max_batch_per_gpu: 64
    step_time: {form: table, table_batch_per_gpu: [8, 16, 32], table_compute_s: [0.1, 0.3, 0.2]}
    range: {gpus: [1, 4], nodes: [1, 1], batch_per_gpu: [8, 32]}
    num_rows: 12
"""


def write_small(folder: Path, text: str = TEXT) -> str:
    """Writes it into a folder; returns its path."""
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)
