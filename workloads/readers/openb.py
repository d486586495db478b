"""Alibaba openb 2023 pods (cluster-trace-gpu-v2023): openb_pod_list_*.csv."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workloads.errors import TraceError
from workloads.readers.files import FileSource
from workloads.readers.rows import read_rows
from workloads.trace import Trace

_TIMES = ("creation_time", "scheduled_time", "deletion_time")


@dataclass(kw_only=True)
class OpenbReader(FileSource):
    """Pods with GPUs as jobs: submitted at creation_time, running from scheduled_time to deletion_time (s).

    Dropped and counted: pods without a GPU, pods that were never scheduled (Pending), and by option fractional ones
    (one GPU, gpu_milli < 1000) and censored ones. A pod is censored if it is Running and its deletion_time is the
    file's last: the trace ended, not the pod. Other Running pods have a deletion_time of their own (5,159 of 5,193 in
    the default list): deleted while they ran, so that is their duration. A fractional pod that is kept takes a whole
    GPU and keeps `gpu_utilisation_frac` = its share of it busy. Weng et al., ATC '23, and the release's README.
    """

    fractional: str = "round_up"  # round_up: to a whole GPU | drop
    censored: str = "drop"  # drop | keep: with the time that was seen
    tenant: str = "qos"  # qos | none

    def read(self, rng: np.random.Generator) -> Trace:
        self.choice("fractional", "round_up", "drop")
        self.choice("censored", "drop", "keep")
        self.choice("tenant", "qos", "none")
        rows = read_rows(self.file(), text=["name", "gpu_spec", "qos", "pod_phase"])
        rows.need("name", "num_gpu", "gpu_milli", "cpu_milli", "memory_mib")
        without = [name for name in _TIMES if name not in rows.frame]
        if without:
            rule = (
                "is missing: sampled lists (multigpu*, cpu*, gpushare*) come without times, so they say what arrives "
                "but not when or for how long; take openb_pod_list_default.csv or a gpuspec list"
            )
            raise TraceError(rule, path=rows.path, line=1, column=without[0])
        rows.need("qos", "pod_phase")
        rows.parse_numbers("num_gpu", "gpu_milli", "cpu_milli", "memory_mib", *_TIMES)
        trace_end_s = rows["deletion_time"].max()

        rows.drop(rows["num_gpu"] == 0, "asks for no GPU")
        rows.drop(rows["scheduled_time"].isna(), "never scheduled (Pending)")
        rows.reject("gpu_milli", ~rows["gpu_milli"].between(1, 1000), "must lie in 1..1000")
        share = (rows["num_gpu"] == 1) & (rows["gpu_milli"] < 1000)
        if self.fractional == "drop":
            rows.drop(share, "asks for part of a GPU (fractional=drop)")
        elif share.any():
            rows.report.notes.append(f"rounded up to a whole GPU: {int(share.sum()):,} pods that ask for part of one")
        censored = (rows["pod_phase"] == "Running") & (rows["deletion_time"] == trace_end_s)
        if self.censored == "drop":
            rows.drop(censored, "still running at the trace's end (censored=drop)")
        elif censored.any():
            rows.report.notes.append(f"cut short by the trace's end: {int(censored.sum()):,} pods (censored=keep)")
        rows.drop(rows["deletion_time"] <= rows["scheduled_time"], "ran for 0 s or less")

        columns = {
            "job_id": rows["name"],
            "submit_s": rows["creation_time"],
            "duration_s": rows["deletion_time"] - rows["scheduled_time"],
            "num_gpus": rows["num_gpu"],
            "cpus_per_gpu": rows["cpu_milli"] / 1000 / rows["num_gpu"],
            "memory_gib_per_gpu": rows["memory_mib"] / 1024 / rows["num_gpu"],
            "gpu_utilisation_frac": rows["gpu_milli"] / 1000,
        }
        if self.tenant == "qos":
            columns["tenant"] = rows["qos"]
        names = {"job_id": "name", "submit_s": "creation_time", "duration_s": "deletion_time", "num_gpus": "num_gpu"}
        return rows.trace(columns, names)
