"""When a run ends: all is done, or nothing gets on any more.

What ends it is what happened and when, never how often policies were asked meanwhile: loops may sleep
(`policies.loops`), and that makes no difference.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from policies import JobsView, Nodes
from simulator.arrivals import Arrivals
from simulator.clock import LAST, Alarm, Clock
from simulator.cluster import TICK
from simulator.errors import SimulationError
from simulator.pools import NodePools
from simulator.serving.services import Services
from simulator.simulated_cluster import SimulatedCluster

_MAX_IDLE_DECISIONS = 1_000_000  # in a row that change nothing, with no job running
_MAX_IDLE_IN_A_SECOND = 100_000  # of simulated time, whatever runs
_MAX_FUTILE_STARTS = 10_000  # in a row, with no job finished, none submitted and no work done in all
_MANY_FUTILE_STARTS = 100  # of jobs whose nodes are lost: as many are enough once `starve_after_s` has passed
_MAX_FUTILE_NODES = 100_000  # ordered in a row, with none of the jobs that wait started


class Ending:
    """Stops the clock when a run is over, or can get nowhere.

    Args:
        periods_s: of the loops; where there are any an alarm looks, else each decision that leaves the cluster idle.
        starve_after_s: see `Scenario`.
        note: takes what the user is to be told.
        look: called before the end, at its time; it may be later than whatever happened last.
    """

    def __init__(
        self,
        clock: Clock,
        cluster: SimulatedCluster,
        jobs: JobsView,
        nodes: Nodes,
        pools: NodePools,
        arrivals: Arrivals,
        services: Services,
        periods_s: Sequence[float],
        starve_after_s: float,
        note: Callable[[str], None],
        look: Callable[[], object],
    ) -> None:
        self._clock, self._cluster, self._jobs, self._nodes, self._pools = clock, cluster, jobs, nodes, pools
        self._arrivals, self._services, self._note, self._look = arrivals, services, note, look
        self._starve_after_s = starve_after_s
        self._has_loops = bool(periods_s)
        self._patience_s = min(starve_after_s, _MAX_IDLE_DECISIONS * min(periods_s, default=math.inf))
        self._num_gpus = self._most_gpus = nodes.capacity_gpus  # now; at most since something last got on
        self._resized_s = self._grew_s = self._served_s = self._changed_s = 0.0
        self._num_settled = 0
        self._passed, self._least_left_s, self._got_on_s = (0, 0, 0), math.inf, 0.0  # at the last look with progress
        self._num_starts = self._num_lost = 0  # until then
        self._alarm = Alarm(clock, self._ring, LAST)
        if self._has_loops:
            self._alarm.set(self._patience_s)

    # ---- what happens
    def on_empty(self) -> None:
        """No job is active, or all requests have been answered."""
        if self._arrivals.is_over and self._services.are_over and len(self._jobs) == self._cluster.num_replicas:
            self._clock.stop()

    def on_idle(self) -> None:
        """A decision leaves no job running: are those that wait waiting for ever?"""
        if not self._is_all_here:
            return
        self._check()
        is_asked_in_vain = self._cluster.num_idle > _MAX_IDLE_DECISIONS and not self._has_loops
        if is_asked_in_vain and not self._pools.are_coming(math.inf):
            self._clock.stop()

    def on_sample(self) -> None:
        """Services have been sampled: where no job runs, does what waits wait for ever, beside idle replicas?"""
        services = self._services
        if services.are_streaming or services.num_settled != self._num_settled:
            self._num_settled, self._served_s = services.num_settled, self._clock._now
        if self._is_all_here and not self._jobs_run:
            self._check()

    def on_resize(self) -> None:
        """There are more GPUs than before, or fewer."""
        num_gpus = self._nodes.capacity_gpus
        if self._cluster.got_on_s >= self._resized_s:
            self._most_gpus = self._num_gpus
        if num_gpus > self._most_gpus:
            self._most_gpus, self._grew_s = num_gpus, self._clock._now
        self._num_gpus, self._resized_s = num_gpus, self._clock._now

    def on_tick(self) -> None:
        """So many decisions have been made."""
        cluster, now_s = self._cluster, self._clock._now
        if cluster.num_idle < TICK:
            self._changed_s = now_s
        elif cluster.num_idle > _MAX_IDLE_IN_A_SECOND and now_s - self._changed_s < 1.0:
            raise SimulationError(
                f"{cluster.num_idle:,} decisions in a row changed nothing, all within a second: "
                "the policy keeps asking to be woken (wake_at_s)"
            )

    def on_starts(self) -> None:
        """So many gangs have been started: are they started again and again, and lose all that they do?"""
        cluster, now_s = self._cluster, self._clock._now
        passed = (cluster.num_finished, self._arrivals.num_submitted, self._services.num_settled)
        if passed != self._passed:
            self._passed, self._least_left_s = passed, math.inf
            return
        left_s = sum(job.left_now_s(now_s) for job in self._jobs if not job.is_replica)  # type: ignore[attr-defined]
        num_starts, num_lost = cluster.num_starts - self._num_starts, self._pools.num_lost - self._num_lost
        if left_s < self._least_left_s:
            self._least_left_s, self._got_on_s = left_s, now_s
            self._num_starts, self._num_lost = cluster.num_starts, self._pools.num_lost
            return
        is_long = now_s - self._got_on_s > self._starve_after_s
        if num_starts > (_MANY_FUTILE_STARTS if num_lost and is_long else _MAX_FUTILE_STARTS):
            self._end_futile(num_starts, num_lost)

    def _end_futile(self, num_starts: int, num_lost: int) -> None:
        names = ", ".join(job.job_id for job, _ in zip(self._jobs, range(5), strict=False))
        told = f"jobs were started {num_starts:,} times in a row without getting any work done in all"
        if not num_lost:
            raise SimulationError(f"{told}: each time they lost it again (overheads.preempt=lose); active: {names}")
        self._note(
            f"the run was ended at {self._clock._now:g} s: {told}, while {num_lost:,} nodes failed or were reclaimed "
            f"under them, sooner than they saved their work (checkpoint_interval_s, spot.notice_s, overheads.save_s); "
            f"active: {names}"
        )
        self._clock.stop()

    # ---- since when nothing gets on
    @property
    def _is_all_here(self) -> bool:
        """No job and no request is to come."""
        return self._arrivals.is_over and not self._services.are_streaming

    @property
    def _jobs_run(self) -> bool:
        return self._cluster.num_running > self._services.num_holding

    @property
    def _since_s(self) -> float:
        """When a job last came, started or stopped, requests were answered, or there were more GPUs than before."""
        return max(self._cluster.got_on_s, self._arrivals.last_s, self._served_s, self._grew_s)

    def _check(self) -> None:
        """Ends a run in which nothing is to come, no job runs, and nothing has got on for long."""
        since_s, log = self._since_s, self._pools.log
        if len(log) > _MAX_FUTILE_NODES:
            num_nodes = len(log) - bisect_right(log, since_s, key=lambda node: node.ordered_s)
            if num_nodes > _MAX_FUTILE_NODES:
                self._note(
                    f"the run was ended at {self._clock._now:g} s: {num_nodes:,} nodes were ordered in a row, and "
                    "nothing could start on them"
                )
                self._clock.stop()
                return
        until_s = since_s + self._patience_s
        if not self._has_loops and self._clock._now > until_s and not self._pools.are_coming(until_s):
            self._clock.stop()

    def _ring(self) -> None:
        now_s, until_s = self._clock._now, self._since_s + self._patience_s
        if self._jobs_run or not self._is_all_here:  # they have an end, which is later than now
            self._alarm.set(now_s + self._patience_s)
        elif now_s < until_s:
            self._alarm.set(until_s)
        elif self._pools.are_coming(until_s):
            self._alarm.set(now_s + self._patience_s)
        else:
            self._look()
            self._clock.stop()
