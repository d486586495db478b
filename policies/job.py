"""A job as policies see it: one live, read-only row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from policies.jobs_view import JobsView

Placement = tuple[tuple[int, int], ...]  # ((node, GPUs held on it), ...); empty where placement is pooled


class Job:
    """One active job. Policies read it; only the cluster that owns it writes.

    Progress is linear between two changes of what the job holds, so a few numbers at the time of the last change say
    everything: `..._at_since_...` values hold at `since_s`, `left_at_anchor_s` at `anchor_s` (which lies ahead of
    `since_s`, and for a while of now, while a restart or rescale lasts). A cluster adds its private state in a
    subclass.

    A replica of a service is a job too, one that never ends by itself: rigid, and without an estimate (inf).
    """

    is_replica: ClassVar[bool] = False

    __slots__ = (
        "_jobs",
        "anchor_s",
        "executed_at_since_s",
        "gpus_held",
        "left_at_anchor_s",
        "max_gpus",
        "min_gpus",
        "nodes",
        "num_gpus",
        "num_preemptions",
        "rate",
        "row",
        "seq",
        "service_at_since_gpu_s",
        "since_s",
        "submit_s",
    )

    def __init__(
        self,
        jobs: JobsView,
        row: int,
        submit_s: float,
        num_gpus: int,
        min_gpus: int,
        max_gpus: int,
        estimate_s: float,
    ) -> None:
        self._jobs = jobs
        self.row = row  # in the table of its static columns
        self.seq = row  # ascending in the order in which jobs came; whoever submits it says
        self.submit_s = submit_s
        self.num_gpus = num_gpus  # what it asks for, and the size at which its work is stated
        self.min_gpus = min_gpus  # what a plan may give it now; a running moldable job's are what it holds
        self.max_gpus = max_gpus
        self.gpus_held = 0
        self.nodes: Placement = ()
        self.num_preemptions = 0
        self.since_s = submit_s  # when gpus_held last changed
        self.service_at_since_gpu_s = 0.0
        self.executed_at_since_s = 0.0
        self.left_at_anchor_s = estimate_s  # estimated work left, in seconds on num_gpus GPUs
        self.anchor_s = submit_s
        self.rate = 0.0  # work per second: 1 on num_gpus GPUs, 0 while pending

    @property
    def job_id(self) -> str:
        return str(self._jobs.static.job_id[self.row])

    @property
    def service(self) -> str:
        """Of a replica: whose it is."""
        return ""

    @property
    def pool(self) -> str:
        """Whose nodes it may be on; empty: any."""
        return self._jobs.training_pool

    @property
    def is_running(self) -> bool:
        return self.gpus_held > 0

    @property
    def attained_service_gpu_s(self) -> float:
        """GPU-seconds held so far, moves included."""
        return self.service_at_since_gpu_s + self.gpus_held * (self._jobs.now_s - self.since_s)

    @property
    def executed_s(self) -> float:
        """Seconds for which it has held GPUs so far."""
        return self.executed_at_since_s + (self._jobs.now_s - self.since_s if self.gpus_held else 0.0)

    @property
    def remaining_s(self) -> float:
        """Estimated run time left on `num_gpus` GPUs, never below 0; nan for a job without an estimate.

        Raises:
            PolicyError: the run gives no estimates (`estimates=none`).
        """
        self._jobs.require_estimates()
        ran_s = self._jobs.now_s - self.anchor_s
        left_s = self.left_at_anchor_s - self.rate * ran_s if ran_s > 0 else self.left_at_anchor_s
        return 0.0 if left_s < 0.0 else left_s

    @property
    def priority(self) -> int:
        """The larger the more important."""
        return int(self._static("priority"))

    @property
    def weight(self) -> float:
        return float(self._static("weight"))

    @property
    def deadline_s(self) -> float:
        return float(self._static("deadline_s"))

    @property
    def tenant(self) -> str:
        return str(self._static("tenant"))

    @property
    def model(self) -> str:
        return str(self._static("model"))

    @property
    def cpus_per_gpu(self) -> float:
        return float(self._static("cpus_per_gpu"))

    @property
    def memory_gib_per_gpu(self) -> float:
        return float(self._static("memory_gib_per_gpu"))

    def _static(self, name: str) -> Any:
        return getattr(self._jobs.static, name)[self.row]

    def __repr__(self) -> str:
        return f"<job {self.job_id}: {self.gpus_held} of {self.num_gpus} GPUs ({self.min_gpus}..{self.max_gpus})>"
