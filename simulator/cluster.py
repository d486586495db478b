"""A cluster, whatever its time: what it is (`view`), how a plan changes it (`apply`), when decisions are made."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from policies import NOTHING, ClusterView, Controller, Job, JobsView, Nodes, Placement, Plan, PlanError
from simulator.clock import DECISION, Alarm, Clock
from simulator.errors import ConfigError, SimulationError
from simulator.progress import SimJob
from simulator.records import PENDING, RUNNING, ExplainedWriter, Recorder
from simulator.usage import Usage
from workloads import Elasticity, JobTable

TICK = 1024


@dataclass(frozen=True, slots=True)
class DecideOptions:
    """When decisions are made.

    Args:
        interval_s: 0 decides at every event; else at multiples of it only, in rounds, as published systems do.
        min_interval_s: the least time between two decisions that follow events.
        on_free: with rounds, whether GPUs freed inside one are `idle` to its end, or a `decision` follows at once.
    """

    interval_s: float = 0.0
    min_interval_s: float = 0.0
    on_free: str = "idle"

    def __post_init__(self) -> None:
        for name in ("interval_s", "min_interval_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"decide.{name}={getattr(self, name)}: must be a number of seconds, 0 or more")
        if self.on_free not in ("idle", "decision"):
            raise ConfigError(f"decide.on_free={self.on_free!r}: must be idle or decision")


class Cluster(ABC):
    """What clusters of both worlds share: the view, how a plan is applied, and when decisions are made."""

    def __init__(
        self,
        clock: Clock,
        view: ClusterView,
        controller: Controller,
        table: JobTable,
        recorder: Recorder,
        decide: DecideOptions,
    ) -> None:
        self._clock, self._view, self._controller = clock, view, controller
        self._table, self._recorder = table, recorder
        self._jobs: JobsView = view.jobs
        self._nodes: Nodes = view.nodes
        self._has_moldable = bool((table.elasticity == Elasticity.MOLDABLE).any())
        self._decide_options = decide
        self._events_decide = decide == DecideOptions()
        self._may_idle = controller.idle_without_pending
        self._loops = controller.loops
        self._record_decision = recorder.decisions.numbers.extend
        if isinstance(recorder.decisions, ExplainedWriter):
            self._record_text = recorder.decisions.reasons.append
        self._hold = view.nodes.hold
        self._pending = view.pending
        self._decision = Alarm(clock, self._decide, DECISION)
        self._has_changed = False  # since the last decision
        self.last_decision_s = -math.inf
        self._num_submitted = 0
        self.num_idle = 0  # decisions since something last changed
        self.held_gpus = 0
        self.num_decisions = 0
        self.num_finished = 0
        self.num_starts = 0  # and rescales
        self.got_on_s = 0.0  # when a job last started, stopped or finished
        # Set by whoever puts the parts together: what scales pools, and what is to be told.
        self.scale: Callable[[str, int, Sequence[int]], None] = _no_pools
        self.scale_service: Callable[[str, int], None] = _no_services
        self.draining: Sequence[object] = ()  # nodes that wait for their jobs to go ...
        self.release_drained: Callable[[], None] = _nothing  # ... and what lets them go
        self.learn: Callable[[int], None] | None = None  # from a finished job
        self.usage: Usage | None = None  # is told of all that jobs hold, where somebody measures it
        self.on_ask: Callable[[], None] = _nothing  # before a decision, if the clock's `pass_s` has come
        self.on_empty: Callable[[], None] = _nothing  # no job is active
        self.on_idle: Callable[[], None] = _nothing  # after a decision that leaves no job running
        self.on_tick: Callable[[], None] = _nothing  # every so many decisions
        self.on_starts: Callable[[], None] = _nothing  # every so many starts

    # ---- the seam
    def view(self) -> ClusterView:
        """The state now; the same live object each time."""
        view, now_s = self._view, self._clock._now
        view.now_s = view.jobs.now_s = now_s
        view.free_gpus = self._nodes.capacity_gpus + self._nodes.closed_held_gpus - self.held_gpus
        return view

    def apply(self, plan: Plan) -> None:
        """Brings the cluster to the plan's state; shrinking gangs first. What is so already stays untouched."""
        if plan.allocations:
            for job, gang in plan.allocations.items():
                if gang[0] != job.gpus_held or gang[1] != job.nodes:
                    self._change(job, *gang)  # type: ignore[arg-type]
            self._changed()
        if plan.nodes:
            capacity_gpus = self._nodes.capacity_gpus
            for pool, count in plan.nodes.items():
                self.scale(pool, count, plan.drains.get(pool, ()))
            if self._nodes.capacity_gpus != capacity_gpus:  # jobs may have fewer GPUs now, or more
                self._has_changed = True
                if self._events_decide:
                    self._decision.set(self._clock._now)
        if plan.replicas:
            for service, count in plan.replicas.items():
                self.scale_service(service, count)
        for job, at_s in plan.notices.items() if plan.notices else ():
            if job.gpus_held and at_s > self._clock._now:
                job.tell(self._clock._now, at_s)  # type: ignore[attr-defined]

    # ---- what happens
    def submit(self, job: SimJob) -> None:
        """A job arrives; a decision is due."""
        job.seq = self._num_submitted
        self._num_submitted += 1
        self._jobs.add(job)
        self._pending.add(job)

    def request_decision(self, freed: bool = False) -> None:
        """Something changed: one decision follows, at the end of this instant or when the options allow."""
        clock = self._clock
        if self._may_idle and not self._pending.num and not self.draining and clock._now < self._loops.due_s:
            return  # nothing waits, and nobody would change anything
        self._has_changed = True
        if not self._events_decide:
            time_s = self._allowed_from(clock._now, freed)
            if time_s > clock._now:
                self._decision.set(time_s)
                return
        queue = clock._queue
        if not queue or queue[0][0] > clock._now:  # nothing else is due now: no need to go through the queue
            self._decide()
        else:
            self._decision.set(clock._now)

    @property
    def version(self) -> Hashable:
        """Another value whenever a job or a node has come, gone or changed."""
        return (
            *(self._num_submitted, self.num_starts, self.num_finished, self._pending.num, self.held_gpus),
            *(self._nodes.open_mask, len(self._nodes.sizes)),
        )

    def decide_at(self, time_s: float) -> None:
        """A decision follows at `time_s`, or before."""
        self._decision.set(max(time_s, self._clock._now))

    def preempt(self, job: Job) -> None:
        """Takes a job's GPUs away, outside any decision (a node goes)."""
        self._change(job, 0, ())  # type: ignore[arg-type]

    def book_unfinished(self) -> None:
        """Books the jobs that are still there when the run ends."""
        now_s = self._clock._now
        for job in self._jobs:
            if job.is_replica:
                continue  # its service does
            running = job.is_running
            job.settle(now_s)  # type: ignore[attr-defined]
            self._recorder.leave(job, RUNNING if running else PENDING)  # type: ignore[arg-type]

    def _allowed_from(self, now_s: float, freed: bool) -> float:
        options = self._decide_options
        time_s = max(now_s, self.last_decision_s + options.min_interval_s)
        if options.interval_s and not (freed and options.on_free == "decision"):
            time_s = max(time_s, self._round_of(now_s))
        return time_s

    def _round_of(self, time_s: float) -> float:
        """The first time from `time_s` on at which rounds allow a decision."""
        interval_s = self._decide_options.interval_s
        return max(time_s, math.ceil(time_s / interval_s) * interval_s) if interval_s else time_s

    def _decide(self) -> None:
        view = self.view()
        now_s = view.now_s
        self.num_decisions = number = self.num_decisions + 1
        clock = self._clock
        if clock.pass_s <= now_s:
            self.on_ask()
        self.last_decision_s = now_s
        has_changed, self._has_changed = self._has_changed, False
        asks_loops = now_s >= self._loops.due_s
        plan = self._controller.decide(view, has_changed, self.version if asks_loops else None)
        self._decision.time_s = math.inf
        if plan is NOTHING:
            self.num_idle += 1
        else:
            if plan.wake_at_s < math.inf:
                if not plan.wake_at_s > now_s:
                    raise PlanError(f"wake_at_s={plan.wake_at_s}: must lie in the future (now {now_s:g} s)")
                self._decision.set(self._round_of(plan.wake_at_s))
            if plan.allocations or plan.nodes or plan.replicas or plan.notices:
                self.num_idle = 0
                self.apply(plan)
                self._record_decision(
                    (now_s, len(plan.allocations), self._pending.num, self.held_gpus, self._nodes.capacity_gpus)
                )
            else:
                self.num_idle += 1
        if view.explain:
            self._record_reasons(now_s, plan, view.explain.take())
        if asks_loops or self.draining:
            clock.stir()  # some may sleep now, and by other counts than those there are
        if self.draining:
            self.release_drained()
        if not self.held_gpus:
            self.on_idle()
        if not number % TICK:
            self.on_tick()

    def _record_reasons(self, now_s: float, plan: Plan, reasons: str) -> None:
        """Puts what was said beside the decision; one that changed nothing is recorded for its sake."""
        if not plan and reasons:
            self._record_decision((now_s, 0, self._pending.num, self.held_gpus, self._nodes.capacity_gpus))
        if plan or reasons:
            self._record_text(reasons)

    def _book_gang(self, job: SimJob, gpus: int, placement: Placement) -> None:
        """From now on the job holds this gang, and the nodes and the view say so."""
        held, old = job.gpus_held, job.nodes
        if self.usage is not None:
            self.usage.move(job, (held, old), (gpus, placement))
        if len(old) == len(placement) == 1 and old[0][0] == placement[0][0]:  # on the same node: one move for two
            self._hold(job, ((old[0][0], gpus - held),))
        else:
            if old:
                self._hold(job, old, -1)
            if placement:
                self._hold(job, placement)
        self.held_gpus += gpus - held
        job.gpus_held = gpus
        job.nodes = placement
        if self._has_moldable:
            self._set_bounds(job)
            self._jobs.update(job)
        elif self._jobs.has_columns:
            self._jobs.update_gpus(job)

    def _set_bounds(self, job: SimJob) -> None:
        """A moldable job can't change its size while it runs."""
        table, row = self._table, job.row
        if table.elasticity[row] == Elasticity.MOLDABLE:
            job.min_gpus = job.gpus_held or int(table.min_gpus[row])
            job.max_gpus = job.gpus_held or int(table.max_gpus[row])

    # ---- what a world does its own way
    @abstractmethod
    def _change(self, job: SimJob, gpus: int, placement: Placement) -> None:
        """What a job holds becomes `gpus` GPUs on these nodes."""

    @abstractmethod
    def _changed(self) -> None:
        """All gangs of a plan have been changed."""


def _no_pools(pool: str, count: int, first: Sequence[int] = ()) -> None:
    raise SimulationError(f"a plan scales pool {pool!r}, but this cluster has no pools to scale")


def _no_services(service: str, count: int) -> None:
    raise SimulationError(f"a plan scales service {service!r}, but this cluster has no services")


def _nothing(*_: object) -> None:
    pass
