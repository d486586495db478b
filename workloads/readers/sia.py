"""Sia's and Pollux's submission lists: name, time, application, num_replicas, batch_size[, category]."""

from __future__ import annotations

import math
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from workloads.errors import TraceError, WorkloadError
from workloads.readers.files import FileSource, near
from workloads.readers.rows import Rows, read_rows
from workloads.trace import Trace

_MEASURED = ("step_time", "sync_time")


@dataclass(kw_only=True)
class SiaReader(FileSource):
    """What was submitted and when; how long a job runs the lists don't say. Durations come from one of two options.

    `profiles`: the release's profiles.tar.gz. A job trains at its own batch size on its own number of GPUs to the end
    of the measured run, so duration_s = steps · step time, where
    - steps is `iteration` in the last row of validation-BATCH.csv (the run that the authors trained to the end);
    - the step time is that of placements-GPU.csv at the densest placement on nodes of `gpus_per_node` (12 GPUs on 8s:
      48) and batch_size / num_replicas samples a GPU, linear between the two nearest measured local batch sizes. Where
      that is more than the largest measured, it takes k passes of 1/k of it, all but one without `sync_time`.
    There is no extrapolation: what wasn't measured is an error. That is the time of Sia's jobs at a fixed size and
    batch; its own simulator adapts both as it goes. The lists were made for 8-GPU nodes of type rtx.

    `duration_s`: seconds by application, where no profiles are at hand. Jayaram Subramanya et al., SOSP '23.
    """

    profiles: str = ""
    gpu_type: str = "rtx"  # the suffix of a placements file: rtx | aws | dgx-ext | quad | …
    gpus_per_node: int = 8
    duration_s: Mapping[str, float] = field(default_factory=dict)

    def read(self, rng: np.random.Generator) -> Trace:
        names = {"job_id": "name", "submit_s": "time", "num_gpus": "num_replicas", "model": "application"}
        rows = read_rows(self.file(), text=["name", "application", "category"])
        rows.need(*names.values(), "batch_size")
        if bool(self.profiles) == bool(self.duration_s):
            raise WorkloadError(
                f"{rows.path}: the lists carry no durations; set one of profiles= (the release's profiles.tar.gz) and "
                "duration_s= (seconds by application)"
            )
        rows.parse_numbers("time", "num_replicas", "batch_size")
        for column in ("num_replicas", "batch_size"):
            bad = ~(rows[column] >= 1) | (rows[column] % 1 != 0)
            rows.reject(column, bad, "must be a whole number, 1 or more")
        lookup = self._measured(rows) if self.profiles else self._stated(rows)
        keys = list(zip(rows["application"], rows["num_replicas"], rows["batch_size"], strict=True))
        columns = {name: rows[column] for name, column in names.items()}
        columns["duration_s"] = pd.Series([lookup[key] for key in keys], index=rows.frame.index)
        return rows.trace(columns, names | {"duration_s": "application"})

    def _stated(self, rows: Rows) -> dict[tuple[str, float, float], float]:
        known = rows["application"].isin(list(self.duration_s))
        rows.reject("application", ~known, f"has no duration: duration_s names {', '.join(self.duration_s)}")
        rows.report.notes.append("duration_s is the stated one of each application, whatever the size and batch")
        return {key: float(self.duration_s[key[0]]) for key in _kinds(rows)}

    def _measured(self, rows: Rows) -> dict[tuple[str, float, float], float]:
        if self.gpus_per_node < 1:
            raise WorkloadError(f"gpus_per_node={self.gpus_per_node}: must be 1 or more")
        path = self.file(self.profiles, "profiles")
        profiles = Profiles(path, self.gpu_type, self.gpus_per_node)
        lookup = {}
        for key in _kinds(rows):
            same = (rows["application"] == key[0]) & (rows["num_replicas"] == key[1]) & (rows["batch_size"] == key[2])
            try:
                lookup[key] = profiles.duration_s(key[0], int(key[1]), int(key[2]))
            except LookupError as error:
                rows.reject("application", same, f"has no measured duration: {error.args[0]}")
        rows.report.notes.append(
            f"duration_s is steps to the end times the step time measured on {self.gpu_type} with {self.gpus_per_node} "
            "GPUs a node, at the batch size and number of GPUs asked for"
        )
        return lookup


class Profiles:
    """Step times and lengths of training runs in the release's tar file."""

    def __init__(self, path: Path, gpu_type: str, gpus_per_node: int) -> None:
        self.gpu_type, self.gpus_per_node = gpu_type, gpus_per_node
        wanted = ("validation-", f"placements-{gpu_type}.csv")
        self._tables: dict[tuple[str, str], pd.DataFrame] = {}  # (application, file)
        suffixes = set()
        try:
            with tarfile.open(path) as tar:
                for member in tar:
                    application, _, name = member.name.rpartition("/")
                    if name.startswith("placements-"):
                        suffixes.add(name.removeprefix("placements-").removesuffix(".csv"))
                    opened = tar.extractfile(member) if name.startswith(wanted) else None
                    if opened is not None:
                        self._tables[application.rpartition("/")[2], name] = pd.read_csv(opened)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise TraceError(f"is not a whole tar file ({error})", path=path) from error
        if gpu_type not in suffixes:
            has = ", ".join(sorted(suffixes))
            raise WorkloadError(f"gpu_type={gpu_type!r}: {path} has placements of {has}{near(gpu_type, suffixes)}")

    def duration_s(self, application: str, num_gpus: int, batch_size: int) -> float:
        """Steps to the end times the step time.

        Raises:
            LookupError: what of it wasn't measured.
        """
        name = f"validation-{batch_size}.csv"
        if (application, name) not in self._tables:
            known = sorted(int(file[11:-4]) for app, file in self._tables if app == application and file[0] == "v")
            raise LookupError(f"no run at batch size {batch_size}; there are {', '.join(map(str, known)) or 'none'}")
        return int(self._tables[application, name]["iteration"].iloc[-1]) * self.step_s(
            application, num_gpus, batch_size
        )

    def step_s(self, application: str, num_gpus: int, batch_size: int) -> float:
        """Seconds a step takes.

        Raises:
            LookupError: the placement or the local batch size wasn't measured.
        """
        table = self._tables.get((application, f"placements-{self.gpu_type}.csv"))
        if table is None:
            raise LookupError(f"no step times on {self.gpu_type}")
        full, rest = divmod(num_gpus, self.gpus_per_node)
        placement = int(f"{rest or ''}{str(self.gpus_per_node) * full}")  # the files write the smaller node first
        at = table[table["placement"].astype(int) == placement].sort_values("local_bsz")
        if at.empty:
            widest = max(int(digit) for digit in "".join(table["placement"].astype(str)))
            hint = f"; nodes had {widest} GPUs: set gpus_per_node={widest}" if widest != self.gpus_per_node else ""
            raise LookupError(f"no step times on {self.gpu_type} at placement {placement}{hint}")
        local_batch, largest = math.ceil(batch_size / num_gpus), at["local_bsz"].max()
        passes = math.ceil(local_batch / largest)
        part = math.ceil(local_batch / passes)
        if part < at["local_bsz"].min():
            raise LookupError(f"{part} samples a GPU are fewer than the {at['local_bsz'].min()} measured")
        step_s, sync_s = (float(np.interp(part, at["local_bsz"], at[column])) for column in _MEASURED)
        return step_s + (passes - 1) * (step_s - sync_s)


def _kinds(rows: Rows) -> list[tuple[str, float, float]]:
    """The distinct (application, GPUs, batch size), in the file's order."""
    kinds = rows.frame[["application", "num_replicas", "batch_size"]].drop_duplicates()
    return list(kinds.itertuples(index=False, name=None))
