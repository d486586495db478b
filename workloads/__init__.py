"""What arrives: jobs, step-time models, estimates, trace readers and generators. A leaf: numpy and pandas only."""

from workloads.errors import TraceError, WorkloadError
from workloads.job_spec import Elasticity, JobSpec
from workloads.source import SOURCES, WorkloadSource, source_class
from workloads.step_time import Amdahl, Linear, StepTimeModel, Table
from workloads.trace import JobTable, ReadReport, Trace

__all__ = [
    "SOURCES",
    "Amdahl",
    "Elasticity",
    "JobSpec",
    "JobTable",
    "Linear",
    "ReadReport",
    "StepTimeModel",
    "Table",
    "Trace",
    "TraceError",
    "WorkloadError",
    "WorkloadSource",
    "source_class",
]
