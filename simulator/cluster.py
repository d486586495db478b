"""The cluster in simulated time: what it is (`view`), and how a plan changes it (`apply`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from policies import NOTHING, ClusterView, Controller, Job, JobsView, Nodes, Placement, Plan, PlanError
from simulator.clock import COMPLETION, DECISION, Alarm, Call, Clock
from simulator.errors import ConfigError, SimulationError
from simulator.overheads import MoveCosts, Overheads
from simulator.progress import SimJob
from simulator.records import PENDING, RUNNING, Recorder
from simulator.speeds import Speeds
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


class SimulatedCluster:
    """Jobs on GPUs in simulated time. One alarm drives the progress of all of them; one decision ends an instant."""

    def __init__(
        self,
        clock: Clock,
        view: ClusterView,
        controller: Controller,
        table: JobTable,
        speeds: Speeds,
        overheads: Overheads,
        recorder: Recorder,
        decide: DecideOptions,
        max_idle_moves: int = 100,
    ) -> None:
        self._clock, self._view, self._controller = clock, view, controller
        self._table, self._speeds, self._recorder = table, speeds, recorder
        self._jobs: JobsView = view.jobs
        self._nodes: Nodes = view.nodes
        self._costs: list[MoveCosts] = [overheads.of(name) for name in table.model.names]
        self._one_cost = self._costs[0] if all(c == self._costs[0] for c in self._costs) else None
        self._one_model = table.model.names[0] if len(table.model.names) == 1 else None
        self._has_moldable = bool((table.elasticity == Elasticity.MOLDABLE).any())
        self._max_idle_moves = max_idle_moves
        self._decide_options = decide
        self._events_decide = decide == DecideOptions()
        self._may_idle = controller.idle_without_pending
        self._finishes: list[tuple[float, int, SimJob]] = []
        self._num_running = 0
        self._record_allocation = recorder.allocations.numbers.extend
        self._record_placement = recorder.allocations.placements.append
        self._record_decision = recorder.decisions.numbers.extend
        self._record_finish = recorder.finish
        self._hold = view.nodes.hold
        self._pending = view.pending
        self._rates_differ = speeds.place_matters
        self._completion = Call(self._complete)
        self._next_ring_s = math.inf  # when `_complete` is called next
        self._decision = Alarm(clock, self._decide, DECISION)
        self._last_decision_s = -math.inf
        self.num_idle = 0  # decisions since something last changed
        self.held_gpus = 0
        self.num_decisions = 0
        self.num_finished = 0
        self.num_starts = 0  # and rescales
        # Set by the simulation: what scales pools, and what is to be told.
        self.scale: Callable[[str, int], None] = _no_pools
        self.draining: Sequence[object] = ()  # nodes that wait for their jobs to go ...
        self.release_drained: Callable[[], None] = _nothing  # ... and what lets them go
        self.learn: Callable[[int], None] | None = None  # from a finished job
        self.on_empty: Callable[[], None] = _nothing  # no job is active
        self.on_idle: Callable[[], None] = _nothing  # after a decision that leaves no job running
        self.on_tick: Callable[[], None] = _nothing  # every so many decisions

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
            finishes = self._finishes
            if len(finishes) > 2 * self._num_running + 64:  # most entries are stale
                finishes[:] = [entry for entry in finishes if entry[2].finish_s == entry[0]]
                heapify(finishes)
            if finishes and finishes[0][0] < self._next_ring_s:
                self._ring_at(finishes[0][0])
        if plan.nodes:
            for pool, count in plan.nodes.items():
                self.scale(pool, count)

    # ---- what happens
    def submit(self, job: SimJob) -> None:
        """A job arrives; a decision is due."""
        self._jobs.add(job)
        self._pending.add(job)

    def request_decision(self, freed: bool = False) -> None:
        """Something changed: one decision follows, at the end of this instant or when the options allow."""
        if self._may_idle and not self._pending.num and not self.draining:
            return  # nothing waits, and nobody would change anything
        clock = self._clock
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

    def preempt(self, job: Job) -> None:
        """Takes a job's GPUs away, outside any decision (a node goes)."""
        self._change(job, 0, ())  # type: ignore[arg-type]

    def book_unfinished(self) -> None:
        """Books the jobs that are still there when the run ends."""
        now_s = self._clock._now
        for job in self._jobs:
            running = job.is_running
            job.settle(now_s)  # type: ignore[attr-defined]
            self._recorder.leave(job, RUNNING if running else PENDING)  # type: ignore[arg-type]

    def _allowed_from(self, now_s: float, freed: bool) -> float:
        options = self._decide_options
        time_s = max(now_s, self._last_decision_s + options.min_interval_s)
        if options.interval_s and not (freed and options.on_free == "decision"):
            time_s = max(time_s, self._round_of(now_s))
        return time_s

    def _round_of(self, time_s: float) -> float:
        """The first time from `time_s` on at which rounds allow a decision."""
        interval_s = self._decide_options.interval_s
        return max(time_s, math.ceil(time_s / interval_s) * interval_s) if interval_s else time_s

    def _decide(self) -> None:
        view = self.view()
        now_s = self._last_decision_s = view.now_s
        self.num_decisions = number = self.num_decisions + 1
        plan = self._controller.decide(view)
        self._decision.time_s = math.inf
        if plan is NOTHING:
            self.num_idle += 1
        else:
            if plan.wake_at_s < math.inf:
                if not plan.wake_at_s > now_s:
                    raise PlanError(f"wake_at_s={plan.wake_at_s}: must lie in the future (now {now_s:g} s)")
                self._decision.set(self._round_of(plan.wake_at_s))
            if plan.allocations or plan.nodes:
                self.num_idle = 0
                self.apply(plan)
                self._record_decision(
                    (now_s, len(plan.allocations), self._pending.num, self.held_gpus, self._nodes.capacity_gpus)
                )
            else:
                self.num_idle += 1
        if self.draining:
            self.release_drained()
        if not self.held_gpus:
            self.on_idle()
        if not number % TICK:
            self.on_tick()

    def _complete(self) -> None:
        """Finishes every job that is due, and sees to the next."""
        now_s, heap = self._clock._now, self._finishes
        if now_s < self._next_ring_s:
            return  # an earlier ring, for a finish that has moved
        freed = False
        while heap and heap[0][0] <= now_s:
            finish_s, _, job = heappop(heap)
            if job.finish_s == finish_s:  # else it has moved since: there is another entry
                self._finish(job, now_s)
                freed = True
        self._next_ring_s = math.inf
        while heap:
            if heap[0][2].finish_s == heap[0][0]:
                self._ring_at(heap[0][0])
                break
            heappop(heap)
        if freed:
            if self._jobs.is_empty:
                self.on_empty()
            self.request_decision(freed=True)

    def _ring_at(self, time_s: float) -> None:
        """Sees to completions at `time_s`. Nothing is ever cancelled: a ring that comes early finds nothing due."""
        self._next_ring_s = time_s
        self._clock.call_at(time_s, self._completion, COMPLETION)

    def _finish(self, job: SimJob, now_s: float) -> None:
        held, since_s, anchor_s = job.gpus_held, job.since_s, job.anchor_s
        if anchor_s > since_s:
            job.overhead_gpu_s += job.paused_gpus * (anchor_s - since_s)
        self.held_gpus -= held
        if job.nodes:
            self._hold(job, job.nodes, -1)
            job.nodes = ()
        job.gpus_held = 0
        job.finish_s = math.inf
        self._jobs.drop(job)
        seq = job.seq
        self._record_allocation((now_s, seq, 0, 0.0, 0.0, 0.0))
        self._record_placement(())
        self._record_finish(job, now_s, job.service_at_since_gpu_s + held * (now_s - since_s))
        self._num_running -= 1
        self.num_finished += 1
        self.num_idle = 0
        if self.learn:
            self.learn(seq)

    def _change(self, job: SimJob, gpus: int, placement: Placement) -> None:
        """What a job holds becomes `gpus` GPUs on these nodes."""
        now_s, held, old = self._clock._now, job.gpus_held, job.nodes
        costs = self._one_cost or self._costs[self._table.model.codes[job.seq]]
        if held:
            job.settle(now_s)
            if job.idle_moves > self._max_idle_moves:
                raise SimulationError(
                    f"job {job.job_id} was moved {job.idle_moves} times in a row without getting any work done: "
                    "the policy thrashes (a move costs more time than it leaves before the next)"
                )
        pause_s = 0.0
        if gpus:
            rate = 1.0
            if self._rates_differ or gpus != job.num_gpus:
                name = self._table.model[job.seq] if self._one_model is None else self._one_model
                rate = self._speeds.rate(name, job.num_gpus, gpus, len(placement))
            if held:
                pause_s = job.rescale(now_s, rate, gpus, placement, costs)
            else:
                pause_s = job.start(now_s, rate, gpus, costs)
                self._pending.remove(job)
                self._num_running += 1
            self.num_starts = pushed = self.num_starts + 1
            heappush(self._finishes, (job.finish_s, pushed, job))
        else:
            job.preempt(now_s, self._table.checkpoint_interval_s[job.seq], costs)
            self._pending.add(job)
            self._num_running -= 1
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
        self._record_allocation((now_s, job.seq, gpus, job.rate, pause_s, job.left_s))
        self._record_placement(placement)

    def _set_bounds(self, job: SimJob) -> None:
        """A moldable job can't change its size while it runs."""
        table, seq = self._table, job.seq
        if table.elasticity[seq] == Elasticity.MOLDABLE:
            job.min_gpus = job.gpus_held or int(table.min_gpus[seq])
            job.max_gpus = job.gpus_held or int(table.max_gpus[seq])


def _no_pools(pool: str, count: int) -> None:
    raise SimulationError(f"a plan scales pool {pool!r}, but this cluster has no pools to scale")


def _nothing(*_: object) -> None:
    pass
