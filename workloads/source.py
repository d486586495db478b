"""Where jobs come from: the base of every trace reader and generator, and the names they go by."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from importlib import import_module

import numpy as np

from workloads.errors import WorkloadError
from workloads.job_spec import Elasticity
from workloads.resampling import resample_days
from workloads.trace import JobTable, Trace

# name -> module:class. A name is the last part of `workload=NAME`; the module is imported when it is asked for.
SOURCES = {
    "csv": "workloads.readers.csv:CsvReader",
    "philly": "workloads.readers.philly:PhillyReader",
    "itp": "workloads.readers.itp:ItpReader",
    "helios": "workloads.readers.helios:HeliosReader",
    "pai": "workloads.readers.pai:PaiReader",
    "openb": "workloads.readers.openb:OpenbReader",
    "gavel": "workloads.readers.gavel:GavelReader",
    "sia": "workloads.readers.sia:SiaReader",
    "swf": "workloads.readers.swf:SwfReader",
    "sacct": "workloads.readers.sacct:SacctReader",
    "kubeflow": "workloads.readers.kubeflow:KubeflowReader",
    "none": "workloads.nothing:Nothing",
    "synthetic": "workloads.synthetic:SyntheticSource",
}
_FOR_EVERY_JOB = ("cpus_per_gpu", "memory_gib_per_gpu", "checkpoint_interval_s")


def source_class(name: str) -> type[WorkloadSource]:
    """The class behind a name.

    Raises:
        WorkloadError: an unknown name, with the nearest known ones.
    """
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, 3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise WorkloadError(f"unknown workload {name!r}{hint} Known: {', '.join(sorted(SOURCES))}")
    module, _, attribute = SOURCES[name].partition(":")
    cls: type[WorkloadSource] = getattr(import_module(module), attribute)
    return cls


@dataclass(kw_only=True)
class WorkloadSource(ABC):
    """A source of jobs; its dataclass fields are its options on the command line (`workload.limit=1000`).

    A subclass implements `read`. The options here reshape whatever was read, in this order: window, limit, days drawn
    anew, time scale, elasticity.
    """

    from_s: float = 0.0  # keep jobs submitted from here on (then counted from here) ...
    to_s: float = float("inf")  # ... and before here
    limit: int | None = None  # keep the first so many jobs
    resample_days: int | None = None  # so many days, drawn anew from those of the trace, differently with each seed ...
    resample_block_days: int = 1  # ... in stretches of so many that follow each other
    time_scale: float = 1.0  # multiplies submit times: 0.5 doubles the load
    elastic_frac: float = 0.0  # this share of the jobs, drawn at random, becomes elastic
    elastic_kind: str = "malleable"  # malleable | moldable
    elastic_min_frac: float = 0.25  # of num_gpus, rounded up, at least 1 GPU
    elastic_max_factor: float = 2.0  # of num_gpus, rounded down
    cpus_per_gpu: float | None = None  # None: as the trace says, else for every job
    memory_gib_per_gpu: float | None = None
    checkpoint_interval_s: float | None = None  # running time between a job's own checkpoints; likewise

    @abstractmethod
    def read(self, rng: np.random.Generator) -> Trace:
        """The jobs as the source has them; `rng` is for sources that draw.

        Raises:
            TraceError: input that breaks a rule.
        """

    def load(self, rng: np.random.Generator) -> Trace:
        """`read`, then the options above."""
        draws, elastic_draws, day_draws = rng.spawn(3)
        trace = self.read(draws)
        jobs, report = self._cut(trace), trace.report
        if self.resample_days is not None:
            jobs = resample_days(jobs, self.resample_days, self.resample_block_days, day_draws)
            stretches = f"in stretches of {self.resample_block_days}" if self.resample_block_days > 1 else "one by one"
            report.notes.append(f"{self.resample_days} days drawn anew from these, {stretches}: {len(jobs):,} jobs")
        if self.time_scale <= 0:
            raise WorkloadError(f"time_scale={self.time_scale}: must be more than 0")
        if self.time_scale != 1.0:
            due_in = jobs.deadline_s - jobs.submit_s
            submit_s = jobs.submit_s * self.time_scale
            jobs = jobs.with_columns(submit_s=submit_s, deadline_s=submit_s + due_in)
        if self.elastic_frac:
            jobs = self._elastic(jobs, elastic_draws)
        given = {name: getattr(self, name) for name in _FOR_EVERY_JOB}
        filled = {name: np.full(len(jobs), value) for name, value in given.items() if value is not None}
        if filled:
            jobs = jobs.with_columns(**filled)
        return Trace(jobs, replace(report, rows_kept=len(jobs)))

    def _cut(self, trace: Trace) -> JobTable:
        jobs = trace.jobs
        if not self.from_s >= 0:
            raise WorkloadError(f"from_s={self.from_s}: must be 0 or more")
        if self.from_s > 0 or self.to_s < float("inf"):
            keep = (jobs.submit_s >= self.from_s) & (jobs.submit_s < self.to_s)
            if not keep.any():
                raise WorkloadError(
                    f"no job is submitted in [{self.from_s:g}, {self.to_s:g}) s; "
                    f"the trace spans [{jobs.submit_s[0]:g}, {jobs.submit_s[-1]:g}]"
                )
            trace.report.drop(f"submitted outside [{self.from_s:g}, {self.to_s:g}) s", int((~keep).sum()))
            jobs = jobs.take(keep)
            if self.from_s:
                jobs = jobs.with_columns(
                    submit_s=jobs.submit_s - self.from_s, deadline_s=np.maximum(jobs.deadline_s - self.from_s, 0.0)
                )
        if self.limit is not None:
            if self.limit < 1:
                raise WorkloadError(f"limit={self.limit}: must be 1 or more")
            trace.report.drop(f"after the first {self.limit:,} (limit)", max(0, len(jobs) - self.limit))
            jobs = jobs.take(slice(self.limit))
        return jobs

    def _elastic(self, jobs: JobTable, rng: np.random.Generator) -> JobTable:
        kinds = {"malleable": Elasticity.MALLEABLE, "moldable": Elasticity.MOLDABLE}
        if self.elastic_kind not in kinds:
            raise WorkloadError(f"elastic_kind={self.elastic_kind!r}: must be one of {', '.join(kinds)}")
        for name, value, low, high in (
            ("elastic_frac", self.elastic_frac, 0.0, 1.0),
            ("elastic_min_frac", self.elastic_min_frac, 0.0, 1.0),
            ("elastic_max_factor", self.elastic_max_factor, 1.0, float("inf")),
        ):
            if not low <= value <= high:
                raise WorkloadError(f"{name}={value}: must lie in {low:g}..{high:g}")
        chosen = rng.random(len(jobs)) < self.elastic_frac
        low_gpus = np.maximum(1, np.ceil(jobs.num_gpus * self.elastic_min_frac)).astype(np.int64)
        high_gpus = np.floor(jobs.num_gpus * self.elastic_max_factor).astype(np.int64)
        return jobs.with_columns(
            min_gpus=np.where(chosen, low_gpus, jobs.min_gpus),
            max_gpus=np.where(chosen, high_gpus, jobs.max_gpus),
            elasticity=np.where(chosen, int(kinds[self.elastic_kind]), jobs.elasticity),
        )
