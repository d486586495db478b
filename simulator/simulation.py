"""One run, put together: a scenario in, records out."""

from __future__ import annotations

import copy
import gc
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from policies import (
    ClusterView,
    Controller,
    JobsView,
    Nodes,
    Reasons,
)
from policies.loops import Loops
from simulator import notes
from simulator.arrivals import Arrivals
from simulator.clock import Clock
from simulator.cluster import DecideOptions
from simulator.ending import Ending
from simulator.errors import ConfigError
from simulator.future import reveal
from simulator.metrics import json_safe
from simulator.monitor import Monitor, MonitorOptions
from simulator.overheads import Overheads
from simulator.pools import NodePools
from simulator.pools.faults import FaultInjector
from simulator.progress import SimJob
from simulator.quiet_monitor import QuietMonitor
from simulator.records import Recorder
from simulator.run import UNFINISHED, Run
from simulator.scenario import Scenario
from simulator.serving.services import Services, views_of, with_replicas
from simulator.simulated_cluster import SimulatedCluster
from simulator.speeds import Speeds
from simulator.summary import write_json
from simulator.watch import Watch
from workloads import JobTable
from workloads.estimates import make_estimator

Progress = Callable[[int, int, float], None]  # jobs finished, jobs in all, simulated seconds
_GC_THRESHOLD = 50_000  # objects; Python's 700 costs 5% (tests/benchmarks/test_fifo.py)


def stream(seed: int, name: str) -> np.random.Generator:
    """The random stream of a purpose: the same seed and name give the same draws, whatever else is drawn."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),)))


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
            raise ConfigError(notes.of_rejected(scenario, rejected))
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._clock = Clock()
        self._recorder = Recorder(jobs, folder, scenario.explain)
        self._recorder.reject(rejected.tolist())
        self._notes = notes.of_setup(scenario, rejected)

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
        self._view, self._nodes = view, nodes
        FaultInjector(
            self._clock, self._pools, specs, lambda name: stream(scenario.seed, name), self._cluster.request_decision
        )
        delay_s = scenario.monitor.delay_s
        self._services = Services(
            scenario.services, len(jobs), self._clock, self._cluster, view_of_jobs, view.services, view.metrics,
            lambda name: stream(scenario.seed, name), delay_s, folder, lambda: self._ending.on_empty(), self._on_sample,
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
        self._monitor = self._make_monitor(table, controller.loops)
        self._ending = ending = self._make_ending()
        self._cluster.on_empty, self._cluster.on_idle = ending.on_empty, ending.on_idle
        self._cluster.on_tick, self._cluster.on_starts = self._on_tick, ending.on_starts
        self._pools.on_resize = ending.on_resize
        self._why_unfinished = ""
        if scenario.scaling:
            self._cluster.decide_at(0.0)  # nodes that nothing needs yet go before the first job comes

    def _make_monitor(self, table: JobTable, loops: Loops) -> Monitor | None:
        """Monitoring, where anybody wants it: by events, unless it is plain and quiet time may be skipped."""
        scenario, options = self._scenario, self._scenario.monitor
        if not (scenario.periods_s or options.nodes or options.jobs):
            return None
        is_plain = options == MonitorOptions(options.interval_s, options.delay_s) and not scenario.services
        cls = QuietMonitor if scenario.skip_quiet and is_plain else Monitor
        specs = {pool.name: pool for pool in scenario.pools}
        monitor = cls(self._clock, self._cluster, table, specs, self._recorder, options)
        Watch(self._clock, self._cluster, loops, monitor, list(specs))
        return monitor

    def _make_ending(self) -> Ending:
        scenario = self._scenario
        return Ending(
            self._clock, self._cluster, self._view.jobs, self._nodes, self._pools, self._arrivals, self._services,
            scenario.periods_s, scenario.starve_after_s, self._notes.append,
            lambda: self._monitor and self._monitor.look(),
        )  # fmt: skip

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
        starving = [job for job in self._view.pending if not job.is_replica]
        num_gpus = self._nodes.capacity_gpus
        orders = {name: self._pools.num_waiting(name) for name in self._pools.views}
        self._cluster.book_unfinished()
        self._pools.close(end_s)
        tables = self._monitor.close(end_s) if self._monitor else {}
        tables |= {**self._recorder.close(self._pools.log, self._pools.bill_of), **self._services.close(end_s)}
        if not why_unfinished and self._scenario.horizon_s == math.inf:
            in_flight = self._services.in_flight()
            self._notes += notes.of_waiting(self._scenario, starving, num_gpus, in_flight, orders)
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

    def _on_sample(self) -> None:
        self._ending.on_sample()
        self._on_some()

    def _on_tick(self) -> None:
        self._ending.on_tick()
        self._on_some()

    def _on_some(self) -> None:
        """Some of the run is over."""
        self._recorder.flush_if_full()
        if self._progress:
            self._progress(self._cluster.num_finished, len(self._scenario.jobs), self._clock._now)

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
