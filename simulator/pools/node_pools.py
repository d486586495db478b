"""Node pools at work: what plans ask for, what providers deliver, and what is lost on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np

from policies import Nodes, PoolView
from policies.nodes import bits
from simulator.clock import Clock
from simulator.pools.bill import Bill
from simulator.pools.node import CANCELLED, DRAINED, FAILED, RECLAIMED, RESUMED, STOCK_OUT, Node
from simulator.pools.spec import PoolSpec
from simulator.pools.startup import StageTimes


class NodePools:
    """Moves pools towards the numbers that plans ask for.

    Args:
        streams: gives the random stream of a purpose.
        on_change: called when capacity has changed, so that a decision follows.
        on_timeout: called with the index of a node whose drain has timed out.
        on_drain: called with the index of a node that begins to drain.
        on_notice: called with the index of a node that will be reclaimed, and when.
        on_lost: called with the index of a node that has just gone with all that ran on it.
    """

    def __init__(
        self,
        clock: Clock,
        nodes: Nodes,
        specs: Mapping[str, PoolSpec],
        streams: Callable[[str], np.random.Generator],
        on_change: Callable[[], None],
        on_timeout: Callable[[int], None],
        on_drain: Callable[[int], None] = lambda index: None,
        on_notice: Callable[[int, float], None] = lambda index, at_s: None,
        on_lost: Callable[[int], None] = lambda index: None,
    ) -> None:
        self._clock, self._nodes, self._specs, self._streams = clock, nodes, specs, streams
        self._on_change, self._on_timeout, self._on_drain = on_change, on_timeout, on_drain
        self._on_notice, self._on_lost = on_notice, on_lost
        self.log: list[Node] = []
        self.draining: list[Node] = []
        self._starting: dict[str, list[Node]] = {name: [] for name in specs}
        self._warm: dict[str, list[Node]] = {name: [] for name in specs}  # being prepared, or prepared
        self._wanted = {name: spec.num_nodes for name, spec in specs.items()}
        self.num_lost = 0  # nodes that took jobs, and failed or were told of their reclaim
        self._there: dict[str, list[Node]] = {name: [] for name in specs}  # launched and not gone, by age
        self._rngs: dict[str, np.random.Generator] = {}
        self._ready: dict[int, Node] = {}  # by index
        self._bills = {name: Bill(spec) for name, spec in specs.items()}
        self.on_launch: Callable[[Node], None] = _nothing
        self.on_ready: Callable[[Node], None] = _nothing
        self.on_resize: Callable[[], None] = _nothing_changed  # after nodes that take jobs have come or gone
        self.views = {
            name: PoolView(
                name=name,
                gpus_per_unit=spec.gpus_per_node,
                min_units=spec.fewest,
                max_units=spec.most,
                usd_per_unit_h=spec.usd_per_node_h,
                lead_s=spec.lead_s,
            )
            for name, spec in specs.items()
        }
        self._begin()

    def _begin(self) -> None:
        """Makes the nodes that are there from the start."""
        for name, spec in self._specs.items():
            for _ in range(spec.num_nodes):
                node = self._order(name)
                self._launch(node)
                self._make_ready(node)
            for _ in range(spec.warm.nodes):
                self._launch_warm(name)

    def are_coming(self, since_s: float) -> bool:
        """Whether nodes that were ordered by then are on their way, without those that no machine was found for."""
        return any(
            node.ordered_s <= since_s and (node.is_launched or not node.num_stockouts)
            for nodes in self._starting.values()
            for node in nodes
        )

    def num_waiting(self, name: str) -> int:
        """Orders of a pool that no machine has been found for so far."""
        return sum(node.num_stockouts > 0 and not node.is_launched for node in self._starting[name])

    def there(self, name: str) -> list[Node]:
        """The machines of a pool that have been launched and aren't gone, by age."""
        return self._there[name]

    # ---- what plans ask for
    def scale(self, name: str, count: int, first: Sequence[int] = ()) -> None:
        """Orders, cancels or drains nodes until ready and starting ones make `count`.

        Args:
            first: indices of nodes to drain before any other, and before any that is on its way is cancelled.
        """
        self._wanted[name] = count
        missing = count - self.views[name].num_units
        if missing > 0:
            back = [node for node in self.draining if node.pool.name == name and not node.is_told]
            for node in back[::-1][:missing]:
                self._undrain(node)
                missing -= 1
                self._clock.until(self._clock.now, lambda _: self._on_change())  # there is room now
            for _ in range(missing):
                self._provision(self._order(name))
            self._refill(name)
        elif missing < 0:
            surplus = -missing
            for node in self._named(name, first)[:surplus]:
                self._drain(node)
                surplus -= 1
            starting = self._starting[name]
            for node in starting[len(starting) - min(surplus, len(starting)) :]:  # the last ordered
                self._leave_starting(node)
                self._terminate(node, CANCELLED)
                surplus -= 1
            for node in self._emptiest(name, surplus):
                self._drain(node)

    def release_drained(self, held_gpus: int, is_pooled: bool) -> None:
        """Lets go of draining nodes that run nothing any more."""
        spare = self._nodes.capacity_gpus + sum(node.pool.gpus_per_node for node in self.draining) - held_gpus
        for node in list(self.draining):
            size = node.pool.gpus_per_node
            if spare >= size if is_pooled else self._nodes.free[node.index] == size:
                spare -= size
                self.draining.remove(node)
                self.views[node.pool.name].num_draining -= 1
                self._terminate(node, RECLAIMED if node.is_told else DRAINED)
                if node.pool.warm.reuses and not node.is_told:
                    self._take_back(node.pool.name)

    def close(self, now_s: float) -> None:
        """Ends every node's bill: the run is over."""
        for node in self.log:
            node.terminated_s = min(node.terminated_s, now_s)

    def bill_of(self, node: Node) -> tuple[float, float, float]:
        """(seconds billed, USD, of which in the warm pool) of a node that is gone."""
        return self._bills[node.pool.name].of(node)

    # ---- how nodes come
    def _order(self, name: str) -> Node:
        node = Node(len(self.log), self._specs[name], self._clock.now)
        self.log.append(node)
        self._starting[name].append(node)
        self.views[name].num_starting += 1
        return node

    def _provision(self, node: Node) -> None:
        """Sees to it that an ordered node comes, in time."""
        if self._take_warm(node.pool.name):
            self._arrive_after(node, node.pool.warm.draw_s(self._rng("warm", node)))
        else:
            self._clock.process(self._start(node))

    def _start(self, node: Node) -> Generator[Any, Any, None]:
        spec, times = node.pool, self._times(node)
        if spec.is_committed:
            self._launch(node)  # it is paid for while its machine is looked for, too
        yield from self._allocate(node, times.allocation)
        if not node.is_here:
            return
        if not node.is_launched:
            self._launch(node)
        yield self._clock.timeout(times.boot)
        if spec.startup.registers == "booted" and self._is_coming(node):
            self._see(node)
        yield self._clock.timeout(times.driver + times.image)
        self._arrive(node)

    def _arrive_after(self, node: Node, delay_s: float) -> None:
        """Its machine is there; it takes jobs after so long."""
        self._launch(node)
        self._clock.until(self._clock.now + delay_s, lambda _: self._arrive(node))

    def _allocate(self, node: Node, takes_s: float) -> Generator[Any, Any, None]:
        """Until the provider has a machine for an order; or the order is given up, or no longer wanted."""
        startup = node.pool.startup
        while True:
            yield self._clock.timeout(takes_s)
            if not node.is_here or self._finds_machine(node):
                return
            node.num_stockouts += 1
            if not node.is_spare:
                self.views[node.pool.name].num_failed += 1
            if startup.retry_s == math.inf:
                self._give_up(node)
                return
            self._on_change()
            yield self._clock.timeout(startup.retry_s)

    def _give_up(self, node: Node) -> None:
        """No machine is looked for any more; whoever wants one has to order anew."""
        if node.is_spare:
            self._warm[node.pool.name].remove(node)
        else:
            self._leave_starting(node)
            self._wanted[node.pool.name] -= 1
        self._terminate(node, STOCK_OUT)
        self._on_change()

    def _finds_machine(self, node: Node) -> bool:
        spec = node.pool
        if spec.startup.stockout_frac and self._rng("stockout", node).random() < spec.startup.stockout_frac:
            return False
        market = self._bills[spec.name].market
        if market is None:
            return True
        return sum(not node.is_told for node in self._there[spec.name]) + 1 <= market.available_at(self._clock.now)

    def _times(self, node: Node) -> StageTimes:
        """How long its stages take. Without any, all is one: the time to provision it, billed from the order on."""
        spec, rng = node.pool, self._rng("provision", node)
        if spec.startup.has_stages:
            return spec.startup.draw(rng)
        delay_s = spec.provision_s
        if spec.provision_cv and delay_s:
            sigma = math.sqrt(math.log1p(spec.provision_cv**2))
            delay_s *= math.exp(rng.normal(-sigma * sigma / 2, sigma))
        return StageTimes(boot=delay_s)

    def _launch(self, node: Node) -> None:
        """The machine is there: its bill begins, and it may be taken away."""
        node.launched_s = self._clock.now
        self._there[node.pool.name].append(node)
        self.on_launch(node)

    def _see(self, node: Node) -> None:
        """Policies count it as ready, whether or not it takes jobs."""
        if not node.is_seen:
            view = self.views[node.pool.name]
            node.is_seen = True
            view.num_starting -= 1
            view.num_ready += 1
            view.num_without_gpus += 1

    def _is_coming(self, node: Node) -> bool:
        """It is still wanted, and will not be taken away before it is there."""
        return node.is_here and not node.is_told

    def _arrive(self, node: Node) -> None:
        if self._is_coming(node):
            self._make_ready(node)
            self._on_change()

    def _make_ready(self, node: Node) -> None:
        self._see(node)
        self.views[node.pool.name].num_without_gpus -= 1
        self._starting[node.pool.name].remove(node)
        node.ready_s = self._clock.now
        node.index = self._nodes.add(node.pool.size, node.pool.name)
        self._ready[node.index] = node
        self.on_resize()
        self.on_ready(node)

    # ---- the warm pool
    def _take_warm(self, name: str) -> bool:
        """Whether a prepared machine can take the place of one that is ordered."""
        prepared = next((spare for spare in self._warm[name] if spare.warm_s < math.inf), None)
        if prepared is None:
            return False
        self._warm[name].remove(prepared)
        self._terminate(prepared, RESUMED)
        return True

    def _take_back(self, name: str) -> None:
        """A machine that is let go waits in the warm pool, in place of one that is still being prepared for it."""
        spares = self._warm[name]
        if len(spares) >= self._specs[name].warm.nodes:
            unready = [spare for spare in spares if spare.warm_s == math.inf]
            if not unready:
                return
            spares.remove(unready[-1])
            self._terminate(unready[-1], CANCELLED)
        self._launch_warm(name)

    def _refill(self, name: str) -> None:
        """Prepares as many as are missing, since they were taken or their orders given up."""
        for _ in range(self._specs[name].warm.nodes - len(self._warm[name])):
            self._clock.process(self._prepare(self._order_warm(name)))

    def _order_warm(self, name: str) -> Node:
        node = Node(len(self.log), self._specs[name], self._clock.now, is_spare=True)
        self.log.append(node)
        self._warm[name].append(node)
        return node

    def _launch_warm(self, name: str) -> None:
        """One that is prepared already."""
        node = self._order_warm(name)
        self._launch(node)
        node.warm_s = self._clock.now

    def _prepare(self, node: Node) -> Generator[Any, Any, None]:
        """Brings a node of the warm pool through all stages."""
        times = self._times(node)
        yield from self._allocate(node, times.allocation)
        if not node.is_here:
            return
        self._launch(node)
        yield self._clock.timeout(times.boot + times.driver + times.image)
        if self._is_coming(node):
            node.warm_s = self._clock.now

    # ---- how nodes go
    def _terminate(self, node: Node, end: str) -> None:
        """Lets a node go; its bill ends."""
        node.terminated_s, node.end = self._clock.now, end
        if node.is_launched:
            self._there[node.pool.name].remove(node)

    def _leave_starting(self, node: Node) -> None:
        """It will not come."""
        view = self.views[node.pool.name]
        self._starting[node.pool.name].remove(node)
        if node.is_seen:
            view.num_ready -= 1
            view.num_without_gpus -= 1
        else:
            view.num_starting -= 1

    def _emptiest(self, name: str, count: int) -> list[Node]:
        """The nodes to drain: those that run the least, the youngest first."""
        mine = [node for i in bits(self._nodes.open_mask) if (node := self._ready[i]).pool.name == name]
        mine.sort(key=lambda node: (-self._nodes.free[node.index], -node.index))
        return mine[:count]

    def _named(self, name: str, indices: Sequence[int]) -> list[Node]:
        """Of the nodes that a plan names, those that are open."""
        return [self._ready[i] for i in indices if self._nodes.open_mask >> i & 1 and self._ready[i].pool.name == name]

    def _drain(self, node: Node) -> None:
        self._nodes.close(node.index)
        self.on_resize()
        node.drain_s = self._clock.now
        self.draining.append(node)
        view = self.views[node.pool.name]
        view.num_ready -= 1
        view.num_draining += 1
        self._on_drain(node.index)
        if node.pool.drain_timeout_s < math.inf:
            self._clock.process(self._time_out(node, node.drain_s))

    def _undrain(self, node: Node) -> None:
        self._nodes.reopen(node.index)
        self.on_resize()
        node.drain_s = math.inf
        self.draining.remove(node)
        view = self.views[node.pool.name]
        view.num_ready += 1
        view.num_draining -= 1

    def _time_out(self, node: Node, drain_s: float) -> Generator[Any, Any, None]:
        yield self._clock.timeout(node.pool.drain_timeout_s)
        if node.drain_s == drain_s and node.is_here:
            self._on_timeout(node.index)

    # ---- how nodes are lost
    def fail(self, node: Node) -> None:
        """A node is gone, without notice."""
        self._lose(node, FAILED)

    def warn(self, nodes: Sequence[Node]) -> None:
        """Their provider will take nodes back, after its notice. Meanwhile they take nothing new."""
        told = [node for node in nodes if self._is_coming(node)]
        for node in told:
            self._tell(node)
        for name in {node.pool.name: None for node in told}:
            self._replace(name)
        if told:
            self._on_change()

    def _tell(self, node: Node) -> None:
        node.is_told = True
        name, at_s = node.pool.name, self._clock.now + node.pool.spot.warning_s
        if node.is_spare:
            self._warm[name].remove(node)
        elif node.index < 0:
            self._leave_starting(node)
            self.views[name].num_failed += 1
        else:
            self.num_lost += 1
            if node.drain_s == math.inf:
                self._drain(node)
            self._on_notice(node.index, at_s)
        self._clock.until(at_s, lambda _: self._lose(node, RECLAIMED))

    def _lose(self, node: Node, end: str) -> None:
        """Takes a node out, with all that runs on it."""
        if not node.is_here:
            return
        if node.index < 0:  # it was told before it took jobs: nobody counts on it
            self._terminate(node, end)
            return
        view, name = self.views[node.pool.name], node.pool.name
        if node in self.draining:
            self.draining.remove(node)
            view.num_draining -= 1
        else:
            self._nodes.close(node.index)
            self.on_resize()
            view.num_ready -= 1
        self._terminate(node, end)
        self.num_lost += not node.is_told
        self._on_lost(node.index)
        self._replace(name, node.pool.failures.repair_s if end == FAILED else None)
        self._on_change()

    def _replace(self, name: str, repair_s: float | None = None) -> None:
        """Orders anew what is missing since something was lost; what takes jobs before what waits for it."""
        spec = self._specs[name]
        while spec.replaces and self.views[name].num_units < self._wanted[name]:
            node = self._order(name)
            if repair_s is None:
                self._provision(node)
            else:
                self._arrive_after(node, repair_s)
        self._refill(name)

    def _rng(self, purpose: str, node: Node) -> np.random.Generator:
        """The pool's stream for a purpose, made when it is first needed."""
        name = f"{purpose} {node.pool.name}"
        rng = self._rngs.get(name)
        if rng is None:
            rng = self._rngs[name] = self._streams(name)
        return rng


def _nothing(node: Node) -> None:
    pass


def _nothing_changed() -> None:
    pass
