"""One inference service in simulated time: requests come, replicas come and go, metrics are measured.

Between two events of a service nothing has to be simulated: its model is advanced when a replica comes or goes, and at
every sample of monitoring. All that happens to requests in between is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from policies import MetricsView, ServiceView
from simulator.clock import NODE, SAMPLE, Alarm, Call, Clock
from simulator.serving.feed import RequestFeed
from simulator.serving.measures import Measures
from simulator.serving.model import ServingModel
from simulator.serving.outcome import Counts, Served
from simulator.serving.pods import Pods
from simulator.serving.replica import Replica
from simulator.serving.spec import ServiceSpec
from simulator.serving.statistics import ServiceStatistics
from simulator.simulated_cluster import SimulatedCluster

MOST_ROWS = 100_000  # requests that are kept one by one unless told otherwise
NewReplica = Callable[[str, float, bool, Callable[[Replica], None]], Replica]


class Service:
    """A service being run.

    Args:
        model: without replicas.
        new_replica: makes one, of a service at a time, warm or not, that says when its GPUs come or go.
        on_over: called once, when the last request of the stream has been answered or given up.
        on_sample: called at every sample, with the row for the records.
        wants_pods: whether whoever scales it looks at its replicas one by one.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        feed: RequestFeed,
        model: ServingModel,
        view: ServiceView,
        clock: Clock,
        cluster: SimulatedCluster,
        metrics: MetricsView,
        startup_rng: np.random.Generator,
        new_replica: NewReplica,
        delay_s: float,
        on_over: Callable[[], None],
        on_sample: Callable[[Service, tuple[float, ...]], None],
        wants_pods: bool = False,
    ) -> None:
        self.spec, self.view = spec, view
        self._feed, self._model, self._clock, self._cluster = feed, model, clock, cluster
        self._metrics, self._rng, self._delay_s = metrics, startup_rng, delay_s
        self._new_replica, self._on_over, self._on_sample = new_replica, on_over, on_sample
        self.statistics = ServiceStatistics(spec.slo, spec.has_tokens)
        self._measures = Measures(spec.slo, spec.has_tokens)
        self._reached_s = 0.0
        self._active: dict[int, Replica] = {}  # by record, in the order in which they were asked for
        self._pods = Pods(self._active, spec.sample_s, lambda: clock.now) if wants_pods else None
        view.pods = () if self._pods is None else self._pods
        self.log: list[Replica] = []
        self._draining: list[Replica] = []
        self._cached: set[int] = set()  # nodes that have the image
        self._rows: list[Served] | None = [] if spec.keep_requests is not False else None
        self._num_rows = 0
        self._uncounted: list[Served] = []
        self.is_over = False
        self._let_go_alarm = Alarm(clock, self._let_go, NODE)
        self._arrival_alarm = Alarm(clock, self._activate, NODE)
        self._ask_alarm = Alarm(clock, cluster.request_decision, NODE)
        self._tick = Call(self._sample)
        self._num_ticks = 0
        for _ in range(spec.replicas):
            self._request(is_warm=True)
        self._ask()  # scaling is asked from time 0 on, whatever else there is
        self._watch_arrivals()
        clock.call_at(0.0, self._tick, SAMPLE)

    # ---- scaling
    def scale(self, count: int) -> None:
        """Asks for replicas, or lets the latest go: first those that wait, then those that start, then ready ones.

        With `activation` one stays while a request waits: it would be asked for again at once.
        """
        if not count and self.spec.activation:
            self._advance(self._clock.now)
            count = min(self._model.num_waiting, 1)
        more = count - self.view.num_units
        for _ in range(more):
            self._request()
        if more < 0:
            wanted = [replica for replica in self._active.values() if replica.drain_s != replica.drain_s]
            wanted.sort(key=lambda replica: (replica.is_ready, replica.is_running, -replica.record))
            for replica in wanted[:-more]:
                self._remove(replica)
        self._watch_arrivals()

    def move_off(self, node: int) -> None:
        """A node drains: its replicas are replaced elsewhere, and finish what they have."""
        for replica in list(self._active.values()):
            if replica.drain_s != replica.drain_s and any(node == each for each, _ in replica.nodes):
                self._remove(replica)
                self._request()

    def _request(self, is_warm: bool = False) -> None:
        replica = self._new_replica(self.spec.name, self._clock.now, is_warm, self._on_change)
        self._active[replica.record] = replica
        self.log.append(replica)
        self.view.num_starting += 1
        self.view.num_pending += 1
        self._cluster.submit_replica(replica)
        self._ask()

    def _remove(self, replica: Replica) -> None:
        now_s = self._clock.now
        if not replica.is_ready:
            self.view.num_starting -= 1
            self.view.num_pending -= not replica.is_running
            self._leave(replica, "cancelled")
            return
        self._advance(now_s)
        self._model.drain(replica.record, now_s)
        replica.drain_s = now_s
        self.view.num_ready -= 1
        self.view.num_draining += 1
        self._draining.append(replica)
        self._let_go_alarm.set(now_s)
        if self.spec.drain_timeout_s < math.inf:
            self._clock.call_at(now_s + self.spec.drain_timeout_s, Call(partial(self._time_out, replica)), NODE)

    def _leave(self, replica: Replica, how: str) -> None:
        replica.end, replica.end_s = how, self._clock.now
        del self._active[replica.record]
        self._cluster.withdraw(replica)
        self._ask()

    def _ask(self) -> None:
        """Asks for a decision once this one, if any, is carried out."""
        self._ask_alarm.set(self._clock.now)

    # ---- replicas come and go
    def _on_change(self, replica: Replica) -> None:
        """GPUs were given to a replica, or taken from it; what follows is done after the decision that did so."""
        follow = self._lost if replica.num_preemptions else self._begin
        self._clock.call_at(self._clock.now, Call(partial(follow, replica)), NODE)

    def _begin(self, replica: Replica) -> None:
        self.view.num_pending -= 1
        if replica.end_s == replica.end_s or replica.num_preemptions:
            return  # it is gone again
        nodes = {node for node, _ in replica.nodes}
        now_s = self._clock.now
        has_image = bool(nodes) and nodes <= self._cached  # pooled: nobody knows where it is
        runs_s, starts_s = (0.0, 0.0) if replica.is_warm else self.spec.startup.draw_s(self._rng, has_image)
        replica.started_s = now_s + runs_s
        if starts_s:
            self._clock.call_at(now_s + starts_s, Call(partial(self._ready, replica)), NODE)
        else:
            self._ready(replica)

    def _ready(self, replica: Replica) -> None:
        if replica.end_s == replica.end_s or replica.num_preemptions:
            return
        now_s = self._clock.now
        self._advance(now_s)
        replica.ready_s = now_s
        self._cached |= {node for node, _ in replica.nodes}
        self.view.num_starting -= 1
        self.view.num_ready += 1
        self._model.add(replica.record, now_s)

    def _lost(self, replica: Replica) -> None:
        """Its GPUs were taken: what it had is tried again or lost, and another takes its place."""
        if replica.end_s == replica.end_s:
            return
        was_wanted = replica.drain_s != replica.drain_s
        if replica.ready_s == replica.ready_s:
            self._kill(replica)
        else:
            self.view.num_starting -= 1
            self.view.num_failed += 1
        self._leave(replica, "killed")
        if was_wanted:
            self._request()

    def _kill(self, replica: Replica) -> None:
        now_s = self._clock.now
        self._advance(now_s)
        self._model.kill(replica.record, now_s)
        self.statistics.book_failures(self._model.counts, now_s)
        if replica in self._draining:
            self._draining.remove(replica)
            self.view.num_draining -= 1
        else:
            self.view.num_ready -= 1

    def _time_out(self, replica: Replica) -> None:
        self._let_go()  # unless it is done just now
        if replica in self._draining:
            self._kill(replica)
            self._leave(replica, "timed_out")

    def _let_go(self) -> None:
        """Lets draining replicas go that have served all they had."""
        now_s = self._clock.now
        self._advance(now_s)
        gone = set(self._model.drained(now_s))
        for replica in [replica for replica in self._draining if replica.record in gone]:
            self._draining.remove(replica)
            self.view.num_draining -= 1
            self._leave(replica, "drained")
        for replica in self._draining:
            self._let_go_alarm.set(max(self._model.idle_from_s(replica.record), math.nextafter(now_s, math.inf)))

    # ---- from nothing to one
    def _watch_arrivals(self) -> None:
        """Without any replica, a request that waits is seen to: the next one when it comes."""
        if self.spec.activation and not self.view.num_units:
            next_s = -math.inf if self._model.num_waiting else self._feed.next_s
            self._arrival_alarm.set(max(next_s, self._clock.now))

    def _activate(self) -> None:
        if self.view.num_units:
            return
        self._advance(math.nextafter(self._clock.now, math.inf))
        if self._model.num_waiting and self.view.max_units:
            self._request()
        else:
            self._watch_arrivals()

    # ---- time
    def _advance(self, now_s: float) -> None:
        """Serves up to now."""
        if now_s <= self._reached_s:
            return
        self._feed.prepare(now_s)  # which may advance this service to times before
        self._reached_s = now_s
        served = self._model.advance(self._feed.until(now_s), now_s)
        if self.spec.network_s and len(served):
            served.first_s += self.spec.network_s
            served.finish_s += self.spec.network_s
        self.statistics.book_failures(self._model.counts, now_s)
        if len(served):
            self._uncounted.append(served)

    def _count(self) -> None:
        """Takes the answers since the last sample into the statistics, all at once."""
        if not self._uncounted:
            return
        served, self._uncounted = Served.concat(self._uncounted), []
        self.statistics.add(served)
        self._measures.add(served)
        if self._rows is not None:
            self._rows.append(served)
            self._num_rows += len(served)
            if self.spec.keep_requests is None and self._num_rows > MOST_ROWS:
                self._rows = None

    def load_at(self, time_s: float) -> int:
        """Requests in flight at a time before which all has happened."""
        self._advance(time_s)
        return self._model.counts.in_flight

    def _sample(self) -> None:
        now_s, view = self._clock.now, self.view
        self._advance(now_s)
        self._count()
        values = self._measures.sample(now_s, self._model, view)
        row = (view.num_ready, view.num_starting, view.num_pending, view.num_draining, *values.values())
        self._on_sample(self, (now_s, *row))
        if not self.spec.has_tokens:
            del values["ttft_p99_s"]  # which policy asks for it is told that it isn't measured
        deliver = partial(self._deliver, now_s, values, view.num_ready)
        if self._delay_s:
            self._clock.call_at(now_s + self._delay_s, Call(deliver), SAMPLE)
        else:
            deliver()
        self._num_ticks += 1  # a product, not a running sum: no drift
        self._clock.call_at(self._num_ticks * self.spec.sample_s, self._tick, SAMPLE)
        self._watch_arrivals()  # of those that are tried again nobody else knows
        if not self.is_over and self._feed.is_over and not self._model.counts.in_flight:
            self.is_over = True
            self._on_over()

    def _deliver(self, time_s: float, values: Mapping[str, float], num_ready: int) -> None:
        """A sample reaches those who look."""
        self._metrics.add(self.spec.name, time_s, values)
        if self._pods is not None:
            self._pods.measure(time_s, values, num_ready)

    def finish(self, now_s: float) -> None:
        """The run is over."""
        self._advance(now_s)
        self._count()
        for replica in self._active.values():
            replica.settle(now_s)

    # ---- what it came to
    @property
    def counts(self) -> Counts:
        return self._model.counts

    @property
    def num_settled(self) -> int:
        """Requests whose fate is known."""
        return self._model.counts.arrived - self._model.counts.in_flight

    @property
    def num_holding(self) -> int:
        """Replicas that hold GPUs."""
        return sum(replica.is_running for replica in self._active.values())

    @property
    def is_streaming(self) -> bool:
        """Whether requests are still to come."""
        return not self._feed.is_over

    def rows(self) -> Iterator[Served]:
        """The requests that were answered, where they were kept."""
        yield from self._rows or ()

    def summary(self) -> dict[str, Any]:
        """What summary.json says of its requests and replicas."""
        cold_s = [each.ready_s - each.requested_s for each in self.log if not each.is_warm]
        cold_s = [each for each in cold_s if each == each]
        return {
            "model": self.spec.model,
            "gpus_per_replica": self.spec.gpus_per_replica,
            "slo": asdict(self.spec.slo),
            "purchase": asdict(self.spec.purchase),
            **self.statistics.summary(self._model.counts),
            "num_cold_starts": len(cold_s),
            "cold_start_mean_s": sum(cold_s) / len(cold_s) if cold_s else math.nan,
            "cold_start_total_s": sum(cold_s),
            "num_replicas_killed": sum(each.end in ("killed", "timed_out") for each in self.log),
        }
