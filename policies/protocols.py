"""The three things that a policy can decide; one method each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from policies.job import Job, Placement
from policies.nodes import Space
from policies.plan import Draft
from policies.quiet import Quiet
from policies.view import ClusterView, Target


@runtime_checkable
class AllocationPolicy(Protocol):
    """Which job gets how many GPUs.

    A class may say `idle_without_pending = True`: it changes nothing while no job waits, and need not be asked then.
    """

    def allocate(self, view: ClusterView, draft: Draft) -> None:
        """Writes into `draft` what is to change; what it leaves alone stays as it is."""
        ...


@runtime_checkable
class PlacementPolicy(Protocol):
    """On which nodes a job's GPUs are."""

    @property
    def fits_by_count(self) -> bool:
        """True if `place` succeeds whenever enough GPUs are free (CPU and memory aside)."""
        ...

    def place(self, job: Job, num_gpus: int, space: Space) -> Placement | None:
        """Nodes for `num_gpus` more GPUs of a job, which may hold some already; None if they can't be had now."""
        ...


@runtime_checkable
class ScalingPolicy(Protocol):
    """How many units (nodes, replicas) a target should have. One instance scales one target and may keep state.

    It may say `wants_pods = True`: it looks at the replicas of a service one by one (`ServiceView.pods`). One with a
    method `drains(target, view)` is asked just after it wanted fewer nodes, which are to go: their indices, first the
    first; where it names too few the cluster drains the emptiest. One that says `joins_pools = True` is a
    `policies.scaling.joint.JointPolicy` too: pools that choose it alike share one. One that says `keeps_size = True`
    never wants another number than there is at the start. One that is a `QuietPolicy` need not be asked while it would
    change nothing.
    """

    @property
    def period_s(self) -> float:
        """How often it is asked; inf: only once, at the start."""
        ...

    def desired(self, target: Target, view: ClusterView) -> int:
        """The wanted number of units; the controller keeps it within the target's bounds.

        It may say why to `view.explain`, where that isn't None; what it wants doesn't depend on it.
        """
        ...


@runtime_checkable
class QuietPolicy(ScalingPolicy, Protocol):
    """A scaling policy that says when it need not be asked."""

    def quiet(self, target: Target, view: ClusterView) -> Quiet | None:
        """For how long it would change nothing, if it has just been asked and changed nothing; None: it can't say."""
        ...


@runtime_checkable
class SleepyPolicy(QuietPolicy, Protocol):
    """One that remembers when it was asked, and so has to know of the ticks that it slept through."""

    def slept(self, last_tick_s: float) -> None:
        """It was not asked at its ticks until that one: each time it would have found what it found last."""
        ...


@runtime_checkable
class ShortSightedPolicy(ScalingPolicy, Protocol):
    """A scaling policy that goes by no sample older than so: where monitoring is later it does nothing."""

    @property
    def sees_back_s(self) -> float: ...


@runtime_checkable
class ClairvoyantPolicy(ScalingPolicy, Protocol):
    """A scaling policy that may have to be told the future, before it is first asked."""

    def foresees(self, target: Target) -> str:
        """What it has to be told of: a metric of a service, of a pool `scaling.foresight.DEMAND`; empty: nothing."""
        ...

    def reveal(self, times_s: Sequence[float], values: Sequence[float]) -> None:
        """The whole true course of that, by ascending time; a value stands until the next one."""
        ...
