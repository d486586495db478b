"""One run, put together: a scenario in, records out."""

from __future__ import annotations

import copy
import gc
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from policies import (
    AllocationPolicy,
    ClusterView,
    Controller,
    JobsView,
    Nodes,
    PlacementPolicy,
    Reasons,
    ScalingPolicy,
)
from policies.loops import Loops
from simulator.arrivals import Arrivals
from simulator.clock import LAST, Alarm, Clock
from simulator.cluster import TICK, DecideOptions
from simulator.errors import ConfigError, SimulationError
from simulator.future import reveal
from simulator.metrics import json_safe
from simulator.monitor import Monitor, MonitorOptions
from simulator.overheads import Overheads
from simulator.pools import NodePools, PoolSpec
from simulator.pools.faults import FaultInjector
from simulator.progress import SimJob
from simulator.quiet_monitor import QuietMonitor
from simulator.records import Recorder
from simulator.run import UNFINISHED, Run
from simulator.serving.buying import NODES
from simulator.serving.services import ServicePlan, Services, views_of, with_replicas
from simulator.simulated_cluster import SimulatedCluster
from simulator.speeds import Speeds
from simulator.summary import write_json
from simulator.watch import Watch
from workloads import JobTable, Linear, StepTimeModel
from workloads.estimates import make_estimator
from workloads.options import nearest

Progress = Callable[[int, int, float], None]  # jobs finished, jobs in all, simulated seconds
_GC_THRESHOLD = 50_000  # objects; Python's 700 costs 5% (tests/benchmarks/test_fifo.py)
_MAX_IDLE_DECISIONS = 1_000_000  # in a row that change nothing, with no job running
_MAX_FUTILE_STARTS = 10_000  # in a row, with no job finished, none submitted and no work done in all
_MANY_FUTILE_STARTS = 100  # of jobs whose nodes are lost: as many are enough once `starve_after_s` has passed
_MAX_FUTILE_NODES = 100_000  # ordered in a row, with none of the jobs that wait started
_MAX_IDLE_IN_A_SECOND = 100_000  # of simulated time, whatever runs


def stream(seed: int, name: str) -> np.random.Generator:
    """The random stream of a purpose: the same seed and name give the same draws, whatever else is drawn."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),)))


@dataclass(kw_only=True)
class Scenario:
    """Everything that a run depends on.

    Args:
        training_pool: whose nodes jobs may be on; empty: those of any.
        scaling: by the name of a pool or a service.
        oversized: what becomes of jobs that the cluster can never hold: `reject` them up front, or `error`.
        horizon_s: ends the run then; jobs still there are unfinished.
        starve_after_s: ends a run in which jobs wait, none runs and none is to come, when for so long none has started
            and there have not been more GPUs than before, nor are any to come of the nodes ordered in that time. Also
            one whose jobs lose their nodes, and with them their work, over and over, and in so long got no further.
        explain: records why, whenever a scaling policy is asked.
        skip_quiet: loops and monitoring cost nothing while nothing changes; False has each of their ticks be an event,
            to the same end.
    """

    jobs: JobTable
    allocation: AllocationPolicy
    placement: PlacementPolicy
    pools: Sequence[PoolSpec] = (PoolSpec(),)
    services: Sequence[ServicePlan] = ()
    training_pool: str = ""
    scaling: Mapping[str, ScalingPolicy] = field(default_factory=dict)
    step_time: StepTimeModel = field(default_factory=Linear)
    overheads: Overheads = field(default_factory=Overheads)
    estimates: str = "oracle"
    estimate_options: Mapping[str, Any] = field(default_factory=dict)
    decide: DecideOptions = field(default_factory=DecideOptions)
    monitor: MonitorOptions = field(default_factory=MonitorOptions)
    seed: int = 0
    oversized: str = "reject"
    horizon_s: float = math.inf
    starve_after_s: float = 7 * 86400.0
    max_idle_moves: int = 100
    explain: bool = False
    skip_quiet: bool = True

    def __post_init__(self) -> None:
        names = [pool.name for pool in self.pools]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"cluster pools {names}: there must be at least one, and names must differ")
        served = [plan.spec.name for plan in self.services]
        if len({*names, *served}) != len(names) + len(served):
            raise ConfigError(f"services {served}: names must differ from each other, and from those of pools: {names}")
        for name in self.scaling:
            if name not in names and name not in served:
                raise ConfigError(f"scaling of unknown pool or service {name!r}: known: {', '.join(names + served)}")
        if self.training_pool and self.training_pool not in names:
            raise ConfigError(f"training_pool={self.training_pool}: no such pool{nearest(self.training_pool, names)}")
        for plan in self.services:
            self._check_service(plan)
        if not len(self.jobs) and not self.services:
            raise ConfigError("nothing to run: no jobs and no service; set workload=… or requests=…")
        if self.oversized not in ("reject", "error"):
            raise ConfigError(f"oversized={self.oversized!r}: must be reject or error")
        if not self.horizon_s > 0:
            raise ConfigError(f"horizon_s={self.horizon_s}: must be more than 0")

    def _check_service(self, plan: ServicePlan) -> None:
        spec = plan.spec
        names = [pool.name for pool in self.pools]
        if spec.pool and spec.pool not in names:
            raise ConfigError(
                f"service {spec.name!r}: service.pool={spec.pool}: no such pool{nearest(spec.pool, names)}"
            )
        most_gpus = self.most_gpus_of(spec.pool)
        if spec.gpus_per_replica > most_gpus:
            raise ConfigError(
                f"service {spec.name!r}: service.gpus_per_replica={spec.gpus_per_replica}: "
                f"{f'pool {spec.pool!r}' if spec.pool else 'the cluster'} has {most_gpus} GPUs at most"
            )
        for name, has in (("cpus_per_gpu", "cpus_per_node"), ("memory_gib_per_gpu", "memory_gib_per_node")):
            most = max(getattr(pool, has) for pool in self._pools_of(spec.pool))
            if getattr(spec, name) > most:
                raise ConfigError(
                    f"service {spec.name!r}: service.{name}={getattr(spec, name):g}: nodes have {most:g} at most"
                )

        paid = next((pool for pool in self._pools_of(spec.pool) if pool.usd_per_node_h), None)
        if spec.purchase.buy != NODES and paid:
            raise ConfigError(
                f"service {spec.name!r}: service.buy={spec.purchase.buy}: its nodes are the provider's, but those of "
                f"pool {paid.name!r} cost {paid.usd_per_node_h:g} USD an hour; bind it to a pool with usd_per_node_h=0"
            )

    def most_gpus_of(self, pool: str) -> int:
        """GPUs that a pool, or for "" the cluster, can grow to."""
        return sum(self.most_nodes(of) * of.gpus_per_node for of in self._pools_of(pool))

    def most_nodes(self, pool: PoolSpec) -> int:
        """What a pool can grow to: its `max_nodes`, unless its policy never wants more than there are."""
        return pool.num_nodes if getattr(self.scaling.get(pool.name), "keeps_size", False) else pool.most

    def _pools_of(self, name: str) -> list[PoolSpec]:
        """The pool of a name; all for none."""
        return [pool for pool in self.pools if name in ("", pool.name)]

    @property
    def has_pools(self) -> bool:
        """Whether some jobs or replicas may be on the nodes of one pool only."""
        return len(self.pools) > 1 and bool(self.training_pool or any(plan.spec.pool for plan in self.services))

    @property
    def most_gpus(self) -> int:
        """GPUs that jobs may have when every pool is as large as it may be."""
        return self.most_gpus_of(self.training_pool)

    def too_large(self) -> np.ndarray:
        """Rows of the jobs that ask for what no state of the cluster has: GPUs, or CPU or memory a GPU; shape (R,).

        What counts is `num_gpus`, also of an elastic job that could do with fewer: most policies give what is asked,
        and would let it wait for ever, with all that waits behind it.
        """
        jobs = self.jobs
        fits = np.zeros(len(jobs), bool)
        for pool in self._pools_of(self.training_pool):
            fits |= (jobs.cpus_per_gpu <= pool.cpus_per_node) & (jobs.memory_gib_per_gpu <= pool.memory_gib_per_node)
        return ((jobs.num_gpus > self.most_gpus) | ~fits).nonzero()[0]


@dataclass(frozen=True, slots=True)
class _Quiet:
    """Since when nothing has got on, and what there was then."""

    state: tuple[int, int, int] = (0, 0, 0)  # jobs finished, gangs started, requests settled
    most_gpus: int = 0
    num_nodes: int = 0  # ordered
    since_s: float = 0.0


def simulate(scenario: Scenario, folder: Path | None = None, progress: Progress | None = None) -> Run:
    """Runs a scenario to its end.

    Args:
        folder: where the records go (made if need be); None keeps them in memory.
        progress: told now and then how far the run is.

    Raises:
        PolicyError, SimulationError: what a policy did that can't be carried out; what was recorded until then stays
            in `folder`, with `unfinished.json` in place of `summary.json`.
    """
    return Simulation(scenario, folder, progress).run()


class Simulation:
    """A scenario being run."""

    def __init__(self, scenario: Scenario, folder: Path | None = None, progress: Progress | None = None) -> None:
        self._scenario, self._folder, self._progress = scenario, folder, progress
        jobs, specs = scenario.jobs, {pool.name: pool for pool in scenario.pools}
        table = with_replicas(jobs, scenario.services)  # what policies see of jobs and replicas that never changes
        rejected = scenario.too_large()
        if rejected.size and scenario.oversized == "error":
            raise ConfigError(self._describe_rejected(rejected))
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._clock = Clock()
        self._recorder = Recorder(jobs, folder, scenario.explain)
        self._recorder.reject(rejected.tolist())
        self._notes = [self._describe_rejected(rejected)] if rejected.size else []
        self._notes += [*self._describe_unscalable(), *self._describe_too_many(), *self._describe_safe_spot()]

        view_of_jobs = JobsView(
            table,
            has_estimates=scenario.estimates != "none",
            are_rigid=bool((table.min_gpus == table.max_gpus).all()),
            weigh_alike=bool((table.weight == table.weight[0]).all()),
            may_pause=scenario.overheads != Overheads(),
            may_overrun=scenario.estimates != "oracle",
            training_pool=scenario.training_pool,
        )
        nodes = Nodes(
            has_demands=bool(table.cpus_per_gpu.any() or table.memory_gib_per_gpu.any()), has_pools=scenario.has_pools
        )
        self._pools = NodePools(
            self._clock,
            nodes,
            specs,
            lambda name: stream(scenario.seed, name),
            on_change=lambda: self._cluster.request_decision(),
            on_timeout=self._evict,
            on_drain=lambda node: self._services.move_off(node),
            on_notice=self._warn,
            on_lost=self._lose,
        )
        view = ClusterView(view_of_jobs, nodes, self._pools.views, views_of(scenario.services, scenario.pools))
        view.explain = Reasons() if scenario.explain else None
        self._speeds = Speeds(scenario.step_time, max(pool.gpus_per_node for pool in scenario.pools))
        policies = (scenario.allocation, scenario.placement, scenario.scaling)
        policies = copy.deepcopy(policies)  # what they remember ends with the run
        is_plain = scenario.decide == DecideOptions() and not (scenario.monitor.perfect or scenario.explain)
        controller = Controller(*policies, skips_quiet=scenario.skip_quiet and is_plain)
        kept = jobs.take(np.setdiff1d(np.arange(len(jobs)), rejected)) if rejected.size else jobs
        reveal(
            policies[2], view, scenario.services, kept, scenario.training_pool, scenario.horizon_s,
            lambda name: stream(scenario.seed, name),
        )  # fmt: skip
        self._cluster = SimulatedCluster(
            self._clock, view, controller, table, self._speeds, scenario.overheads, self._recorder, scenario.decide,
            scenario.max_idle_moves,
        )  # fmt: skip
        self._cluster.scale = self._pools.scale
        self._cluster.draining = self._pools.draining
        self._cluster.release_drained = self._release_drained
        self._cluster.on_empty = self._on_empty
        self._cluster.on_idle = self._on_idle
        self._cluster.on_tick = self._on_tick
        self._view, self._nodes = view, nodes
        FaultInjector(
            self._clock, self._pools, specs, lambda name: stream(scenario.seed, name), self._cluster.request_decision
        )
        delay_s = scenario.monitor.delay_s
        self._services = Services(
            scenario.services, len(jobs), self._clock, self._cluster, view_of_jobs, view.services, view.metrics,
            lambda name: stream(scenario.seed, name), delay_s, folder, self._on_empty, self._on_service_tick,
            [name for name, policy in scenario.scaling.items() if getattr(policy, "wants_pods", False)],
        )  # fmt: skip
        self._cluster.scale_service = self._services.scale
        self._estimator = make_estimator(
            scenario.estimates, stream(scenario.seed, "estimates"), **scenario.estimate_options
        )
        self._arrivals = Arrivals(
            self._clock, self._cluster, jobs, view_of_jobs, self._estimator, frozenset(rejected.tolist())
        )
        if self._arrivals.learns:
            self._cluster.learn = self._learn
        self._periods_s = [policy.period_s for policy in scenario.scaling.values() if policy.period_s < math.inf]
        self._monitor = self._make_monitor(table, controller.loops)
        self._changed_s = 0.0
        self._passed, self._least_left_s, self._got_on_s = (0, 0, 0), math.inf, 0.0  # at the last tick with progress
        self._starts = self._lost_nodes = 0  # until then
        self._quiet = _Quiet()
        self._end_alarm = Alarm(self._clock, self._give_up, LAST)
        self._why_unfinished = ""

    def _make_monitor(self, table: JobTable, loops: Loops) -> Monitor | None:
        """Monitoring, where anybody wants it: by events, unless it is plain and quiet time may be skipped."""
        scenario, options = self._scenario, self._scenario.monitor
        if not (self._periods_s or options.nodes or options.jobs):
            return None
        is_plain = options == MonitorOptions(options.interval_s, options.delay_s) and not scenario.services
        cls = QuietMonitor if scenario.skip_quiet and is_plain else Monitor
        specs = {pool.name: pool for pool in scenario.pools}
        monitor = cls(self._clock, self._cluster, table, specs, self._recorder, options)
        Watch(self._clock, self._cluster, loops, monitor, list(specs))
        return monitor

    def stop(self, why: str) -> None:
        """Ends the run after the event at hand and marks it unfinished; safe from a signal handler."""
        self._why_unfinished = why
        self._clock.stop()

    def run(self) -> Run:
        """Runs to the end; see `simulate`."""
        thresholds = gc.get_threshold()
        gc.set_threshold(_GC_THRESHOLD, *thresholds[1:])
        try:
            if not self._arrivals.is_over or self._services:  # all may have been rejected, and monitoring has no end
                self._clock.run_all(self._scenario.horizon_s)
        except BaseException as error:
            error.add_note(f"in the simulation at {self._clock.now:g} s, decision {self._cluster.num_decisions}")
            self._finish(f"{type(error).__name__}: {error}")
            raise
        finally:
            gc.set_threshold(*thresholds)
        return self._finish(self._why_unfinished)

    def _finish(self, why_unfinished: str) -> Run:
        end_s = float(self._clock.now)
        starving = [job.job_id for job in self._view.pending if not job.is_replica]
        short_of = [name for name in self._pools.views if self._pools.num_waiting(name)]
        self._cluster.book_unfinished()
        self._pools.close(end_s)
        tables = self._monitor.close(end_s) if self._monitor else {}
        tables |= {**self._recorder.close(self._pools.log, self._pools.bill_of), **self._services.close(end_s)}
        if not why_unfinished and self._scenario.horizon_s == math.inf:
            if starving:
                shown = ", ".join(starving[:5]) + (", ..." if len(starving) > 5 else "")
                self._notes.append(
                    f"{len(starving):,} jobs never got the GPUs they waited for when all else ended: {shown}"
                )
            self._notes += [
                f"service {name!r}: {count:,} requests had not been answered when all else ended"
                for name, count in self._services.in_flight().items()
                if count
            ]
            if starving or any(self._services.in_flight().values()):
                self._notes += [self._describe_stockout(name) for name in short_of]
        self._notes += self._speeds.notes()
        sources = {id(plan.requests): plan.requests for plan in self._scenario.services}  # sites share one
        self._notes += [note for source in sources.values() for note in source.notes()]
        facts = {
            "end_s": end_s,
            "seed": self._scenario.seed,
            "estimates": self._scenario.estimates,
            "num_decisions": self._cluster.num_decisions,
            "notes": self._notes,
        }
        if with_prices := [of.name for of in self._scenario.pools if (market := of.spot.market()) and market.usd_per_h]:
            facts["market_pools"] = with_prices  # what a node costs there is no price x time
        if self._services:
            facts["services"] = self._services.facts()
            facts["routed"] = self._services.routed()
        if any(self._scenario.overheads.of(name).stall_s for name in self._scenario.jobs.model.names):
            facts["may_stall"] = True
        if why_unfinished and self._folder is not None:
            write_json(self._folder / UNFINISHED, json_safe({"why": why_unfinished, **facts}))
        return Run(facts, tables, self._folder, why_unfinished)

    def _release_drained(self) -> None:
        self._pools.release_drained(self._cluster.held_gpus, is_pooled=not self._places_nodes())

    def _on_empty(self) -> None:
        if self._arrivals.is_over and self._services.are_over and len(self._view.jobs) == self._cluster.num_replicas:
            self._clock.stop()

    def _on_service_tick(self) -> None:
        """No training job runs: does what waits wait for ever, beside idle replicas?"""
        if self._cluster.num_running == self._services.num_holding:
            self._watch_for_the_end()
        self._recorder.flush_if_full()
        if self._progress:
            self._progress(self._cluster.num_finished, len(self._scenario.jobs), self._clock._now)

    def _on_idle(self) -> None:
        """No job runs: are those that wait waiting for ever?"""
        self._watch_for_the_end()
        is_idle = self._cluster.num_idle > _MAX_IDLE_DECISIONS and not self._periods_s
        if is_idle and self._is_all_here and not self._pools.are_coming(math.inf):
            self._clock.stop()

    @property
    def _is_all_here(self) -> bool:
        """No job and no request is to come."""
        return self._arrivals.is_over and not self._services.are_streaming

    def _watch_for_the_end(self) -> None:
        """Ends a run in which nothing is to come and nothing has got on for long; see `Scenario.starve_after_s`.

        With loops an alarm looks, since they may sleep, and how often they are asked must make no difference.
        """
        quiet, now_s, num_nodes = self._quiet, self._clock._now, len(self._pools.log)
        if self._has_got_on():
            self._quiet = _Quiet(self._so_far, self._nodes.capacity_gpus, num_nodes, now_s)
            if self._periods_s and self._is_all_here:
                self._end_alarm.set(now_s + self._patience_s)
        elif num_nodes - quiet.num_nodes > _MAX_FUTILE_NODES:
            self._notes.append(
                f"the run was ended at {now_s:g} s: {num_nodes - quiet.num_nodes:,} nodes were ordered in a row, and "
                "nothing could start on them"
            )
            self._clock.stop()
        else:
            until_s = quiet.since_s + self._patience_s
            if self._periods_s:
                self._end_alarm.set(max(until_s, now_s))
            elif now_s > until_s and not self._pools.are_coming(until_s):
                self._clock.stop()

    def _has_got_on(self) -> bool:
        quiet = self._quiet
        return not self._is_all_here or self._so_far != quiet.state or self._nodes.capacity_gpus > quiet.most_gpus

    @property
    def _so_far(self) -> tuple[int, int, int]:
        return self._cluster.num_finished, self._cluster.num_starts, self._services.num_settled

    @property
    def _patience_s(self) -> float:
        """How long nothing may happen while jobs wait; with loops there is an end to it in any case."""
        most_s = _MAX_IDLE_DECISIONS * min(self._periods_s, default=math.inf)
        return min(self._scenario.starve_after_s, most_s)

    def _give_up(self) -> None:
        """Ends the run if nothing has got on meanwhile."""
        if self._cluster.num_running > self._services.num_holding:
            return  # a decision after it sets the alarm anew
        now_s, until_s = self._clock._now, self._quiet.since_s + self._patience_s
        if self._has_got_on():
            self._watch_for_the_end()
        elif now_s < until_s or self._pools.are_coming(until_s):
            self._end_alarm.set(until_s if now_s < until_s else now_s + self._patience_s)
        else:
            if self._monitor:
                self._monitor.look()
            self._clock.stop()

    def _on_tick(self) -> None:
        cluster, now_s = self._cluster, self._clock._now
        if cluster.num_idle < TICK:
            self._changed_s = now_s
        elif cluster.num_idle > _MAX_IDLE_IN_A_SECOND and now_s - self._changed_s < 1.0:
            raise SimulationError(
                f"{cluster.num_idle:,} decisions in a row changed nothing, all within a second: "
                "the policy keeps asking to be woken (wake_at_s)"
            )
        self._watch_progress()
        self._recorder.flush_if_full()
        if self._progress:
            self._progress(self._cluster.num_finished, len(self._scenario.jobs), self._clock._now)

    def _watch_progress(self) -> None:
        """Ends a run in which jobs are started again and again and lose all that they do."""
        cluster, now_s = self._cluster, self._clock._now
        passed = (cluster.num_finished, self._arrivals.num_submitted, self._services.num_settled)
        if passed != self._passed:
            self._passed, self._least_left_s = passed, math.inf
            return
        left_s = sum(job.left_now_s(now_s) for job in self._view.jobs if not job.is_replica)  # type: ignore[attr-defined]
        num_starts, num_lost = cluster.num_starts - self._starts, self._pools.num_lost - self._lost_nodes
        if left_s < self._least_left_s:
            self._least_left_s, self._got_on_s = left_s, now_s
            self._starts, self._lost_nodes = cluster.num_starts, self._pools.num_lost
            return
        is_long = now_s - self._got_on_s > self._scenario.starve_after_s
        if num_starts > (_MANY_FUTILE_STARTS if num_lost and is_long else _MAX_FUTILE_STARTS):
            names = ", ".join(job.job_id for job, _ in zip(self._view.jobs, range(5), strict=False))
            told = f"jobs were started {num_starts:,} times in a row without getting any work done in all"
            if not num_lost:
                raise SimulationError(f"{told}: each time they lost it again (overheads.preempt=lose); active: {names}")
            self._notes.append(
                f"the run was ended at {now_s:g} s: {told}, while {num_lost:,} nodes failed or were reclaimed under "
                f"them, sooner than they saved their work (checkpoint_interval_s, spot.notice_s, overheads.save_s); "
                f"active: {names}"
            )
            self._clock.stop()

    def _learn(self, row: int) -> None:
        self._estimator.observe(self._scenario.jobs, row, float(self._scenario.jobs.duration_s[row]))

    def _places_nodes(self) -> bool:
        return any(job.nodes for job in self._view.jobs if job.is_running)

    def _evict(self, index: int) -> None:
        """Preempts what still runs on a node whose drain has timed out."""
        for job in self._on_node(index):
            self._cluster.preempt(job)
        self._cluster.request_decision()

    def _lose(self, index: int) -> None:
        """A node went, with what its jobs had not saved."""
        for job in self._on_node(index):
            self._cluster.lose(job)

    def _warn(self, index: int, at_s: float) -> None:
        """A node will go: what runs there may save, as far as the time allows."""
        now_s = self._clock._now
        for job in self._on_node(index) if at_s > now_s else ():
            job.tell(now_s, at_s)

    def _on_node(self, index: int) -> list[SimJob]:
        """The jobs on a node; where placement is pooled the latest, those first that were told, so many that without it
        the rest fits."""
        running: list[SimJob] = [job for job in self._view.jobs if job.is_running]  # type: ignore[misc]
        if any(job.nodes for job in running):
            return [job for job in running if any(node == index for node, _ in job.nodes)]
        running.sort(key=lambda job: job.notice is not None)
        others = sum(node.pool.gpus_per_node for node in self._pools.draining if node.index != index)
        excess, victims = self._cluster.held_gpus - self._nodes.capacity_gpus - others, []
        while excess > 0:
            victims.append(running.pop())
            excess -= victims[-1].gpus_held
        return victims

    def _describe_stockout(self, name: str) -> str:
        """Of a pool that had orders open at the end which no machine was found for."""
        spec = next(pool for pool in self._scenario.pools if pool.name == name)
        why = [f"startup.stockout_frac={spec.startup.stockout_frac:g}"] if spec.startup.stockout_frac else []
        why += [f"spot.trace={spec.spot.trace}"] if spec.spot.trace else []
        return (
            f"pool {name!r}: no machine had been found for {self._pools.num_waiting(name):,} of the nodes ordered when "
            f"the run ended ({', '.join(why)})"
        )

    def _describe_safe_spot(self) -> list[str]:
        """Of spot machines that nothing takes away."""
        return [
            f"pool {pool.name!r} has spot machines that are never reclaimed; set spot.mean_life_s or spot.trace"
            for pool in self._scenario.pools
            if pool.is_spot and not pool.spot.is_on
        ]

    def _describe_unscalable(self) -> list[str]:
        """Of pools and services that a policy is to scale, but that are as small and as large as they may be."""
        scenario = self._scenario
        bounds: dict[str, tuple[int, int, str]] = {
            **{pool.name: (pool.fewest, pool.most, "cluster.{}_nodes") for pool in scenario.pools},
            **{plan.spec.name: (plan.spec.fewest, plan.spec.most, "service.{}_replicas") for plan in scenario.services},
        }
        told = []
        for name, policy in scenario.scaling.items():
            fewest, most, option = bounds[name]
            if policy.period_s < math.inf and fewest == most:
                kind, units = ("pool", "nodes") if "nodes" in option else ("service", "replicas")
                told.append(
                    f"{kind} {name!r} can't be scaled: it has {fewest} {units} at least and at most; "
                    f"set {option.format('min')} and {option.format('max')}"
                )
        return told

    def _describe_too_many(self) -> list[str]:
        """Of services that begin with more replicas than there can be GPUs for."""
        told = []
        for plan in self._scenario.services:
            spec, most = plan.spec, self._scenario.most_gpus_of(plan.spec.pool)
            gpus = spec.replicas * spec.gpus_per_replica
            if gpus > most:
                where = f"pool {spec.pool!r}" if spec.pool else "the cluster"
                told.append(
                    f"service {spec.name!r}: service.replicas={spec.replicas} take {gpus} GPUs; "
                    f"{where} has {most} at most, the others wait"
                )
        return told

    def _describe_rejected(self, rows: np.ndarray) -> str:
        jobs = self._scenario.jobs
        row = int(rows[0])
        return (
            f"{rows.size:,} of {len(jobs):,} jobs can never run here and are rejected, the first {jobs.job_id[row]}: "
            f"it asks for {jobs.num_gpus[row]} GPUs, {jobs.cpus_per_gpu[row]:g} CPUs and "
            f"{jobs.memory_gib_per_gpu[row]:g} GiB a GPU; the cluster has {self._scenario.most_gpus} GPUs at most"
        )
