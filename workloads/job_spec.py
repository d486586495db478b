"""One job as its user submits it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import IntEnum


class Elasticity(IntEnum):
    """Who may change a job's size, and when (Feitelson and Rudolph's terms)."""

    RIGID = 0  # always num_gpus
    MOLDABLE = 1  # min_gpus..max_gpus, chosen at each start, then fixed while it runs
    MALLEABLE = 2  # min_gpus..max_gpus, at any time


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A training job: a gang of GPUs and an amount of work.

    The work is stated as `duration_s`, the time the job takes on the `num_gpus` GPUs that it asks for, moves and
    waiting left out; on other numbers of GPUs the step-time model of `model` says how much faster or slower it goes.
    """

    job_id: str
    submit_s: float
    num_gpus: int
    duration_s: float
    min_gpus: int | None = None  # None: num_gpus
    max_gpus: int | None = None  # None: num_gpus
    elasticity: Elasticity | None = None  # None: rigid where min = max, else malleable
    model: str = ""
    tenant: str = ""
    priority: int = 0  # the larger the more important
    weight: float = 1.0  # share in weighted fairness
    deadline_s: float = math.inf  # on the clock of submit_s
    cpus_per_gpu: float = 0.0
    memory_gib_per_gpu: float = 0.0
    gpu_memory_gib_per_gpu: float = 0.0  # that it uses of each; 0: not known
    network_gib_per_s_per_gpu: float = 0.0
    gpu_utilisation_frac: float = 1.0  # how busy it keeps a GPU that it holds
    checkpoint_interval_s: float = math.inf  # running time between its own checkpoints; inf: none
    user_estimate_s: float = math.nan  # what the user says of duration_s; nan: nothing
    batch_size: float = 0.0  # of all its GPUs; 0, here and below: not known; only predictions look at it
    num_parameters: float = 0.0  # of the model
    num_samples: float = 0.0  # to be trained on, again in each epoch

    @property
    def size_range(self) -> tuple[int, int]:
        """(min_gpus, max_gpus) with the defaults filled in."""
        low = self.num_gpus if self.min_gpus is None else self.min_gpus
        return low, self.num_gpus if self.max_gpus is None else self.max_gpus

    @property
    def kind(self) -> Elasticity:
        """`elasticity` with the default filled in."""
        if self.elasticity is not None:
            return self.elasticity
        low, high = self.size_range
        return Elasticity.RIGID if low == high else Elasticity.MALLEABLE


SPEC_FIELDS = tuple(field.name for field in fields(JobSpec))
