"""Sia's measured step times: a folder or tar with APPLICATION/placements-GPU.csv and scalability-GPU.csv."""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.errors import TraceError, WorkloadError
from workloads.fitting import StepRows
from workloads.measurements.source import Measurements, MeasurementSource, number

# suffix of a file: type of GPU; machines as the release's simulator_config.py has them
GPU_TYPES = {
    "aws": "t4",
    "azure": "v100",
    "dgx-ext": "a100",
    "dgx": "a100_dgx",
    "quad": "quadro_rtx_6000",
    "rtx": "rtx_2080_ti",
}
_MACHINES = {
    "t4": "g4dn.12xlarge, 4 GPUs a node",
    "v100": "ND40rs_v2, 8 GPUs a node",
    "a100": "DGX A100 40 GB, 8 GPUs a node",
    "a100_dgx": "DGX A100 40 GB, 8 GPUs a node; fewer batch sizes than a100",
    "quadro_rtx_6000": "one node of 4 GPUs",
    "rtx_2080_ti": "8 GPUs a node",
}
_PLACEMENTS, _SCALABILITY = "placements", "scalability"
_COLUMNS = {
    _PLACEMENTS: ("placement", "local_bsz", "step_time", "sync_time"),
    _SCALABILITY: ("num_nodes", "num_replicas", "local_bsz", "step_time", "sync_time"),
}
_STAGES = "gpt_pmp"


@dataclass(kw_only=True)
class SiaMeasurements(MeasurementSource):
    """One setting a row. A placement is the GPUs on each node, a digit a node: 44 is two nodes of four.

    A scalability file has larger gangs, of which it gives only nodes and GPUs: taken as spread evenly. Where it repeats
    a setting of the placements file (for dgx-ext and quad all do), the row is left out. Files without a suffix
    repeat those of aws. A profile's global batch is the middle one of those that the authors trained with
    (validation-BATCH.csv). `gpt_pmp` has constructed times of a pipeline's stage, not of steps: fitted as they are,
    and in no profile. Jayaram Subramanya et al., SOSP 2023.
    """

    scalability: bool = False  # fit the scalability files too; else they are asked for, as larger gangs

    def read(self) -> list[Measurements]:
        texts = dict(self._texts())
        batches: dict[str, list[int]] = {}
        for application, name in texts:
            kind, _, rest = name.removesuffix(".csv").partition("-")
            if kind == "validation" and rest.isdigit():
                batches.setdefault(application, []).append(int(rest))
        found = []
        for (application, name), text in sorted(texts.items()):
            kind, _, suffix = name.removesuffix(".csv").partition("-")
            if kind != _PLACEMENTS or not suffix:
                continue
            more = texts.get((application, f"{_SCALABILITY}-{suffix}.csv"), "")
            found.append(self._measurements(application, suffix, text, more, batches.get(application, [])))
        if not found:
            raise TraceError("holds no APPLICATION/placements-GPU.csv", path=self.path)
        return sorted(found, key=lambda each: (each.application, each.gpu_type))

    def provenance(self, gpu_type: str) -> dict[str, Any]:
        return {
            "source": "Sia artifact, profiles; Jayaram Subramanya et al., SOSP 2023; github.com/siasosp23/artifacts",
            "files": f"{_PLACEMENTS}-*.csv" + (f", {_SCALABILITY}-*.csv" if self.scalability else ""),
            "machine": _MACHINES.get(gpu_type, "not known"),
            "notes": "global_batch: the middle one of those that the authors trained with (validation-BATCH.csv)",
        }

    def _texts(self) -> Iterator[tuple[tuple[str, str], str]]:
        """(application, file name), and what is in the file."""
        if self.path.is_dir():
            for path in sorted(self.path.rglob("*.csv")):
                yield (path.parent.name, path.name), path.read_text(encoding="utf-8")
            return
        try:
            with tarfile.open(self.path) as tar:
                for member in tar:
                    file = tar.extractfile(member) if member.isfile() and member.name.endswith(".csv") else None
                    if file is not None:
                        name = Path(member.name)
                        yield (name.parent.name, name.name), file.read().decode("utf-8")
        except FileNotFoundError:
            raise WorkloadError(f"source.path={self.path}: no such file or folder") from None
        except (tarfile.TarError, OSError, EOFError, UnicodeDecodeError) as error:
            raise TraceError(f"can't be read as a tar of CSV files: {error}", path=self.path) from None

    def _measurements(self, application: str, suffix: str, text: str, more: str, batches: list[int]) -> Measurements:
        settings = self._settings(application, f"{_PLACEMENTS}-{suffix}.csv", text)
        larger = self._settings(application, f"{_SCALABILITY}-{suffix}.csv", more)
        if not settings:
            raise TraceError("has no row but its header", path=self._name(application, f"{_PLACEMENTS}-{suffix}.csv"))
        measured = {(tuple(sorted(placement)), batch) for placement, batch, _, _ in settings}
        beyond = [each for each in larger if (tuple(sorted(each[0])), each[1]) not in measured]
        again = len(larger) - len(beyond)
        if self.scalability:
            settings, beyond = settings + beyond, []
        largest = max(batch for _, batch, _, _ in settings)
        return Measurements(
            application=application,
            gpu_type=GPU_TYPES.get(suffix, suffix),
            rows=StepRows.from_placements(*zip(*settings, strict=True)),
            larger=StepRows.from_placements(*zip(*beyond, strict=True)) if beyond else None,
            global_batch=sorted(batches)[len(batches) // 2] if batches else 4 * largest,
            left_out={f"settings of a {_PLACEMENTS} file again, in a {_SCALABILITY} file": again} if again else {},
            why_no_profile="constructed times of a pipeline's stage, not of steps" if application == _STAGES else "",
        )

    def _name(self, application: str, name: str) -> str:
        """A file in messages."""
        return f"{self.path / application / name}" if self.path.is_dir() else f"{self.path}:{application}/{name}"

    def _settings(self, application: str, name: str, text: str) -> list[tuple[tuple[int, ...], int, float, float]]:
        """A row each: placement, batch a GPU, step and synchronisation in seconds."""
        kind = name.partition("-")[0]
        return [
            (
                _placement(record, where) if kind == _PLACEMENTS else _even(record, where),
                int(number(record, "local_bsz", where, whole=True)),
                number(record, "step_time", where),
                number(record, "sync_time", where),
            )
            for record, where in self._records(application, name, text, _COLUMNS[kind])
        ]

    def _records(
        self, application: str, name: str, text: str, columns: tuple[str, ...]
    ) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
        """Rows, each with where it is."""
        if not text:
            return
        path = self._name(application, name)
        reader = csv.DictReader(io.StringIO(text))
        for column in columns:
            if column not in (reader.fieldnames or ()):
                has = ", ".join(reader.fieldnames or ())
                raise TraceError(f"is not in the file (it has {has})", path=path, line=1, column=column)
        for record in reader:
            yield record, {"path": path, "line": reader.line_num}


def _placement(record: dict[str, str], where: dict[str, Any]) -> tuple[int, ...]:
    text = record["placement"] or ""
    if not text.isascii() or not text.isdigit() or "0" in text:
        rule = "must be the GPUs on each node, a digit from 1 to 9 a node, as in 44"
        raise TraceError(rule, column="placement", value=text, **where)
    return tuple(int(digit) for digit in text)


def _even(record: dict[str, str], where: dict[str, Any]) -> tuple[int, ...]:
    num_nodes = int(number(record, "num_nodes", where, whole=True))
    num_gpus = int(number(record, "num_replicas", where, whole=True))
    if num_gpus < num_nodes:
        rule = f"must be num_nodes ({num_nodes}) or more: each node has a GPU"
        raise TraceError(rule, column="num_replicas", value=record["num_replicas"], **where)
    return tuple(num_gpus // num_nodes + (node < num_gpus % num_nodes) for node in range(num_nodes))
