"""The cluster in simulated time: jobs get on by a closed form, one alarm rings for all that finish."""

from __future__ import annotations

import math
from dataclasses import replace
from heapq import heapify, heappop, heappush

from policies import ClusterView, Controller, Placement
from simulator.clock import COMPLETION, Call, Clock
from simulator.cluster import Cluster, DecideOptions
from simulator.errors import SimulationError
from simulator.overheads import MoveCosts, Overheads
from simulator.progress import SimJob
from simulator.records import Recorder
from simulator.speeds import Speeds
from workloads import JobTable

STARTS = 256  # of gangs, after which somebody looks whether they get anywhere


class SimulatedCluster(Cluster):
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
        super().__init__(clock, view, controller, table, recorder, decide)
        self._speeds = speeds
        self._costs: list[MoveCosts] = [overheads.of(name) for name in table.model.names]
        self._one_cost = self._costs[0] if all(c == self._costs[0] for c in self._costs) else None
        self._one_model = table.model.names[0] if len(table.model.names) == 1 else None
        self._max_idle_moves = max_idle_moves
        self._finishes: list[tuple[float, int, SimJob]] = []
        self.num_running = 0
        self.num_replicas = 0  # of the active jobs
        self._record_allocation = recorder.allocations.numbers.extend
        self._record_placement = recorder.allocations.placements.append
        self._record_finish = recorder.finish
        self._rates_differ = speeds.place_matters
        self._completion = Call(self._complete)
        self._next_ring_s = math.inf  # when `_complete` is called next

    def _changed(self) -> None:
        finishes = self._finishes
        if len(finishes) > 2 * self.num_running + 64:  # most entries are stale
            finishes[:] = [entry for entry in finishes if entry[2].finish_s == entry[0]]
            heapify(finishes)
        if finishes and finishes[0][0] < self._next_ring_s:
            self._ring_at(finishes[0][0])

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
            if len(self._jobs) == self.num_replicas:
                self.on_empty()
            if not self._clock.stopped:  # else the run is over, and nothing is decided any more
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
        if self.usage is not None:
            self.usage.move(job, (held, job.nodes), (0, ()))
        if job.nodes:
            self._hold(job, job.nodes, -1)
            job.nodes = ()
        job.gpus_held = 0
        job.finish_s = math.inf
        self._jobs.drop(job)
        row = job.row
        self._record_allocation((now_s, job.record, 0, 0.0, 0.0, 0.0))
        self._record_placement(())
        self._record_finish(job, now_s, job.service_at_since_gpu_s + held * (now_s - since_s))
        self.num_running -= 1
        self.num_finished += 1
        self.num_idle = 0
        self.got_on_s = now_s
        if self.learn:
            self.learn(row)

    def _change(self, job: SimJob, gpus: int, placement: Placement) -> None:
        """What a job holds becomes `gpus` GPUs on these nodes."""
        self.got_on_s = now_s = self._clock._now
        held = job.gpus_held
        if held and job.is_replica:
            gpus, placement = 0, ()  # nobody moves one that serves: it is killed, and its service asks for another
        costs = self._one_cost or self._costs[self._table.model.codes[job.row]]
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
            if (self._rates_differ and not job.is_replica) or gpus != job.num_gpus:
                name = self._table.model[job.row] if self._one_model is None else self._one_model
                rate = self._speeds.rate(name, job.num_gpus, gpus, len(placement))
            if held:
                pause_s = job.rescale(now_s, rate, gpus, placement, costs)
            else:
                pause_s = job.start(now_s, rate, gpus, costs)
                self._pending.remove(job)
                self.num_running += 1
            self.num_starts = pushed = self.num_starts + 1
            if not pushed % STARTS:
                self.on_starts()
            if job.finish_s < math.inf:
                heappush(self._finishes, (job.finish_s, pushed, job))
        else:
            self._take_all(job, costs)
        self._book_gang(job, gpus, placement)
        self._record_allocation((now_s, job.record, gpus, job.rate, pause_s, job.left_s))
        self._record_placement(placement)

    def lose(self, job: SimJob) -> None:
        """Takes all GPUs from a job whose node went, with the work that it had not saved."""
        idle_moves = job.idle_moves
        self.got_on_s = self._clock._now
        job.settle(self._clock._now)
        job.idle_moves = min(idle_moves, job.idle_moves)  # no plan moved it
        self._take_all(job, replace(self._costs[self._table.model.codes[job.row]], preempt="lose"))
        self._book_gang(job, 0, ())
        self._record_allocation((self._clock._now, job.record, 0, job.rate, 0.0, job.left_s))
        self._record_placement(())
        self.num_idle = 0

    def _take_all(self, job: SimJob, costs: MoveCosts) -> None:
        job.preempt(self._clock._now, self._table.checkpoint_interval_s[job.row], costs)
        self._pending.add(job)
        self.num_running -= 1

    # ---- replicas of services
    def submit_replica(self, replica: SimJob) -> None:
        """A replica asks for GPUs; whoever submits it requests a decision."""
        self.num_replicas += 1
        self.submit(replica)

    def withdraw(self, replica: SimJob) -> None:
        """A replica is no longer wanted: it gives back what it holds, or no longer waits."""
        now_s = self._clock._now
        if replica.gpus_held:
            replica.settle(now_s)
            replica.stop(now_s)
            self._book_gang(replica, 0, ())
            self.num_running -= 1
            self._record_allocation((now_s, replica.record, 0, 0.0, 0.0, math.inf))
            self._record_placement(())
        else:
            self._pending.remove(replica)
        self._jobs.drop(replica)
        self.num_replicas -= 1
        self.num_idle = 0
