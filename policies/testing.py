"""What any policy must keep to, as tests that an author applies to their own with one fixture.

    # test_mine.py
    import pytest
    from policies.testing import AllocationPolicyContract
    from mine import Mine

    class TestMine(AllocationPolicyContract):
        @pytest.fixture
        def policy(self):
            return Mine(threshold=0.7)

`pytest test_mine.py` then decides on random clusters, under every placement, and says of a failure how to see it
again: `random_cluster(seed, placement)`. `PlacementPolicyContract` and `ScalingPolicyContract` are used in the same
way, and `ForecasterContract` for a forecaster. Clusters made by hand are in `policies.fake_cluster`.
"""

from __future__ import annotations

import copy
import json
import math
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from policies.controller import Controller
from policies.errors import PolicyError
from policies.fake_cluster import FakeCluster, FakeJob, random_cluster
from policies.forecasting import Clairvoyant, Forecaster
from policies.job import Job, Placement
from policies.metrics_view import METRICS
from policies.nodes import Space
from policies.placement.consolidate import Consolidate
from policies.placement.pooled import Pooled
from policies.placement.spread import Spread
from policies.plan import Draft, Plan
from policies.protocols import AllocationPolicy, PlacementPolicy, QuietPolicy, ScalingPolicy, SleepyPolicy
from policies.quiet import Band, Quiet
from policies.reasons import Reasons
from policies.view import ClusterView, ServiceView, Target

try:
    import pytest
except ImportError as error:  # pragma: no cover
    raise ImportError("policies.testing needs pytest: pip install 'elastic-gpu-simulator[dev]'") from error

PLACEMENTS: dict[str, PlacementPolicy] = {
    "pooled": Pooled(),
    "consolidate": Consolidate(strict=False),
    "consolidate strict": Consolidate(strict=True),
    "spread": Spread(),
}
_CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep")

every_placement = pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=list(PLACEMENTS))


# ---- what must hold of a plan
def violations(view: ClusterView, plan: Plan) -> list[str]:
    """What a plan asks for that the jobs or the cluster rule out; empty if it is sound."""
    found = [] if plan.wake_at_s > view.now_s else [f"wake_at_s={plan.wake_at_s}, but it is {view.now_s} already"]
    active = {job.seq: job for job in view.jobs}
    for job, (gpus, nodes) in plan.allocations.items():
        if active.get(job.seq) is not job:
            found.append(f"{job!r} is not active")
        if gpus and not job.min_gpus <= gpus <= job.max_gpus:
            found.append(f"{job!r} is to run on {gpus} GPUs")
        if nodes and sum(count for _, count in nodes) != gpus:
            found.append(f"{job!r} is to have {gpus} GPUs, but nodes {nodes}")
        if len({node for node, _ in nodes}) < len(nodes) or any(count < 1 for _, count in nodes):
            found.append(f"{job!r}: nodes {nodes} are not each there once, with a GPU or more")
    after = {job: plan.allocations.get(job, (job.gpus_held, job.nodes)) for job in active.values()}
    found += _node_violations(view, after)
    held, wanted = sum(job.gpus_held for job in after), sum(gpus for gpus, _ in after.values())
    limit = view.capacity_gpus + view.nodes.closed_held_gpus
    if wanted > max(held, limit):  # pooled: more is held than open nodes have while others drain
        found.append(f"{wanted} GPUs are to be held of {limit}")
    for name, count in (*plan.nodes.items(), *plan.replicas.items()):
        target = view.target(name)
        if not target.min_units <= count <= target.max_units:
            found.append(f"{name} is to have {count} units, not {target.min_units}..{target.max_units}")
    found += [f"{job!r} is to lose GPUs at {at_s}, which is now" for job, at_s in plan.notices.items() if
              at_s <= view.now_s]  # fmt: skip
    return found


def _node_violations(view: ClusterView, after: dict[Job, tuple[int, Placement]]) -> Iterator[str]:
    nodes = view.nodes
    gpus, cpus, memory = ([0.0] * len(nodes.sizes) for _ in range(3))
    for job, (_, placement) in after.items():
        had = dict(job.nodes)
        for node, count in placement:
            if not 0 <= node < len(nodes.sizes):
                yield f"{job!r}: there is no node {node}"
                continue
            if count > had.get(node, 0) and not nodes.open_mask >> node & 1:
                yield f"{job!r} is to get GPUs on node {node}, which takes no new gangs"
            gpus[node] += count
            cpus[node] += count * job.cpus_per_gpu
            memory[node] += count * job.memory_gib_per_gpu
    for node, size in enumerate(nodes.sizes):
        for used, have, what in (
            (gpus[node], size.num_gpus, "GPUs"),
            (cpus[node], size.num_cpus, "CPUs"),
            (memory[node], size.memory_gib, "GiB of memory"),
        ):
            if used > have + 1e-6:
                yield f"node {node} is to give {used:g} of {have:g} {what}"


def told(plan: Plan) -> tuple[Any, ...]:
    """A plan as plain values, to compare."""
    return {job.seq: gang for job, gang in plan.allocations.items()}, dict(plan.nodes), plan.wake_at_s


def state(view: ClusterView) -> dict[str, Any]:
    """Everything that a policy can see, as plain values: to find out whether it has changed any of it."""
    nodes = view.nodes
    job_fields = [name for name in Job.__slots__ if name != "_jobs"]
    columns = (
        "gpus_held",
        "num_gpus",
        "min_gpus",
        "max_gpus",
        "weight",
        "priority",
        "submit_s",
        "last_change_s",
        "is_replica",
    )
    return {
        "free_gpus": view.free_gpus,
        "jobs": [[getattr(job, name) for name in job_fields] for job in view.jobs],
        "columns": {name: getattr(view.jobs, name).tolist() for name in columns},
        "pending": [job.seq for job in view.pending],
        "nodes": copy.deepcopy((nodes.free, nodes.masks, nodes.open_mask, nodes.cpus_free, nodes.memory_free_gib)),
        "pools": copy.deepcopy(view.pools),
        "services": copy.deepcopy(view.services),
        "metrics": copy.deepcopy(view.metrics.__dict__),
    }


@contextmanager
def _no_clocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wall clocks raise meanwhile."""

    def forbidden(*_: object) -> None:
        raise AssertionError("a policy must not read a clock: the time is view.now_s")

    with monkeypatch.context() as patch:
        for name in _CLOCKS:
            patch.setattr(time, name, forbidden)
        yield


def _again(seed: int, placement: PlacementPolicy) -> str:
    return f"see it again: policies.fake_cluster.random_cluster({seed}, {placement!r})"


class _Contract:
    num_clusters = 40

    @pytest.fixture
    def policy(self) -> Any:
        """A fresh policy."""
        raise NotImplementedError(f"{type(self).__name__} must override the fixture `policy`")


class AllocationPolicyContract(_Contract):
    """For an allocation policy.

    `settles`: whether deciding again at once, with the plan applied, comes to rest. A policy that improves its plan
    step by step may say False.
    """

    settles = True

    def test_it_has_the_protocol(self, policy: AllocationPolicy) -> None:
        assert isinstance(policy, AllocationPolicy)

    @every_placement
    def test_plans_are_sound_and_the_view_is_left_alone(
        self, policy: AllocationPolicy, placement: PlacementPolicy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for seed in range(self.num_clusters):
            cluster = random_cluster(seed, placement)
            before = state(cluster.view())
            with _no_clocks(monkeypatch):
                plan = cluster.decide(copy.deepcopy(policy), placement)
            assert state(cluster.view()) == before, f"the view has changed; {_again(seed, placement)}"
            assert not violations(cluster.view(), plan), _again(seed, placement)

    @every_placement
    def test_the_same_view_gives_the_same_plan(self, policy: AllocationPolicy, placement: PlacementPolicy) -> None:
        for seed in range(self.num_clusters):
            plans = [random_cluster(seed, placement).decide(copy.deepcopy(policy), placement) for _ in range(2)]
            assert told(plans[0]) == told(plans[1]), _again(seed, placement)

    @every_placement
    def test_plans_stay_sound_while_jobs_come_and_go(
        self, policy: AllocationPolicy, placement: PlacementPolicy
    ) -> None:
        for seed in range(0, self.num_clusters, 4):
            cluster, mine = random_cluster(seed, placement), copy.deepcopy(policy)
            rng = np.random.default_rng(seed)
            for step in range(12):
                plan = cluster.decide(mine, placement)
                assert not violations(cluster.view(), plan), f"step {step}; {_again(seed, placement)}"
                cluster.apply(plan)
                wait_s = float(rng.integers(1, 300))
                cluster.advance(min(wait_s, plan.wake_at_s - cluster.now_s))
                if rng.random() < 0.5:
                    size = int(rng.choice([1, 2, 4]))
                    cluster.submit(f"n{step}", FakeJob(num_gpus=size, max_gpus=2 * size, submit_s=cluster.now_s))

    @every_placement
    def test_deciding_again_comes_to_rest(self, policy: AllocationPolicy, placement: PlacementPolicy) -> None:
        if not self.settles:
            pytest.skip(f"{type(self).__name__} says settles = False")
        for seed in range(self.num_clusters):
            cluster, mine = random_cluster(seed, placement), copy.deepcopy(policy)
            changes = [len(cluster.step(mine, placement)) for _ in range(6)]
            assert changes[-1] == 0, f"changes in decisions one after the other: {changes}; {_again(seed, placement)}"

    @every_placement
    def test_idle_without_pending_is_true(self, policy: AllocationPolicy, placement: PlacementPolicy) -> None:
        if not getattr(policy, "idle_without_pending", False):
            pytest.skip("not declared")
        for seed in range(self.num_clusters):
            cluster = random_cluster(seed, placement)
            for job in list(cluster.view().pending):
                cluster.finish(job.job_id)
            draft = Draft(cluster.view(), placement)
            copy.deepcopy(policy).allocate(cluster.view(), draft)
            plan = draft.plan()
            assert not plan.allocations, f"nothing waits, yet {plan.allocations}; {_again(seed, placement)}"

    @every_placement
    def test_a_cluster_without_jobs_or_nodes(self, policy: AllocationPolicy, placement: PlacementPolicy) -> None:
        for cluster in (FakeCluster({}), FakeCluster({"a": FakeJob()}, nodes=[]), FakeCluster({}, nodes=[])):
            draft = Draft(cluster.view(), placement)
            copy.deepcopy(policy).allocate(cluster.view(), draft)
            assert not draft.plan().allocations


class PlacementPolicyContract(_Contract):
    """For a placement policy."""

    def test_it_has_the_protocol(self, policy: PlacementPolicy) -> None:
        assert isinstance(policy, PlacementPolicy)

    def _places(self, policy: PlacementPolicy, found: Callable[[ClusterView, Job, int, Any], None]) -> None:
        """Asks for a few sizes for each job of each random cluster, where what runs was placed by another policy."""
        for seed in range(self.num_clusters):
            view = random_cluster(seed, Consolidate(strict=False)).view()
            rng = np.random.default_rng(seed)
            for job in view.jobs:
                if job.gpus_held < job.max_gpus:
                    more = int(rng.integers(max(1, job.min_gpus - job.gpus_held), job.max_gpus - job.gpus_held + 1))
                    if more <= view.free_gpus:
                        space = Space(view.nodes)
                        before = [space.free(node) for node in range(len(view.nodes.sizes))]
                        placed = policy.place(job, more, space)
                        again = f"{more} GPUs more for {job!r}; {_again(seed, Consolidate(strict=False))}"
                        assert [space.free(node) for node in range(len(before))] == before, f"kept some; {again}"
                        assert policy.place(job, more, space) == placed, f"another answer the second time; {again}"
                        try:
                            found(view, job, more, placed)
                        except AssertionError as error:
                            error.add_note(again)
                            raise

    def test_places_are_sound(self, policy: PlacementPolicy) -> None:
        def found(view: ClusterView, job: Job, more: int, placed: Placement | None) -> None:
            if placed:
                assert sum(count for _, count in placed) == more
                assert all(count <= Space(view.nodes).room(job, node) for node, count in placed)
                assert len({node for node, _ in placed}) == len(placed)

        self._places(policy, found)

    def test_fits_by_count_is_true(self, policy: PlacementPolicy) -> None:
        if not policy.fits_by_count:
            pytest.skip("not declared")

        def found(view: ClusterView, job: Job, more: int, placed: Placement | None) -> None:
            assert placed is not None or view.nodes.has_limits

        self._places(policy, found)


class ScalingPolicyContract(_Contract):
    """For a scaling policy.

    `scales`: what it can scale, of the pool `default` and the service `chat`: which metrics it reads decides.
    """

    scales: tuple[str, ...] = ("default",)

    def test_it_has_the_protocol(self, policy: ScalingPolicy) -> None:
        assert isinstance(policy, ScalingPolicy)
        assert policy.period_s > 0

    def test_wishes_are_whole_and_the_view_is_left_alone(
        self, policy: ScalingPolicy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for seed in range(self.num_clusters):
            view = random_cluster(seed, Pooled()).view()
            before = state(view)
            for target in self._targets(view):
                with _no_clocks(monkeypatch):
                    wanted = copy.deepcopy(policy).desired(target, view)
                assert state(view) == before, f"the view has changed; {_again(seed, Pooled())}"
                assert isinstance(wanted, int | np.integer), f"{wanted!r} units; {_again(seed, Pooled())}"
                assert wanted == copy.deepcopy(policy).desired(target, view), _again(seed, Pooled())

    def _targets(self, view: ClusterView) -> list[Target]:
        return [view.target(name) for name in ("default", "chat") if name in self.scales]

    def test_plans_keep_to_the_bounds_and_the_period(self, policy: ScalingPolicy) -> None:
        for seed in range(self.num_clusters):
            view = random_cluster(seed, Pooled()).view()
            controller = Controller(_Nothing(), Pooled(), {self.scales[0]: copy.deepcopy(policy)})
            plan = controller.decide(view)
            assert not violations(view, plan), _again(seed, Pooled())
            assert plan.wake_at_s == view.now_s + policy.period_s or policy.period_s == math.inf

    def test_saying_why_changes_nothing(self, policy: ScalingPolicy) -> None:
        """What it wants, decision after decision, is the same whether or not anybody wants to know why."""
        for seed in range(0, self.num_clusters, 4):
            wanted: list[list[Any]] = []
            for explain in (False, True):
                view, mine = random_cluster(seed, Pooled()).view(), copy.deepcopy(policy)
                view.explain = Reasons() if explain else None
                controller = Controller(_Nothing(), Pooled(), {self.scales[0]: mine})
                wanted.append([])
                for turn in range(5):
                    plan = controller.decide(view)
                    wanted[-1].append((dict(plan.nodes), dict(plan.replicas)))
                    told = view.explain.take() if view.explain else ""
                    assert told or turn or not explain, "asked, and nothing was recorded"
                    for chain in json.loads(told or "[]"):
                        self.check_reasons(chain, _again(seed, Pooled()))
                    view.now_s += policy.period_s if policy.period_s < math.inf else 60.0
            assert wanted[0] == wanted[1], _again(seed, Pooled())

    def check_reasons(self, chain: dict[str, Any], again: str) -> None:
        """What must hold of what it said at one decision; `again` says how to see it again."""
        assert chain["steps"], again

    def test_quiet_is_kept(self, policy: ScalingPolicy) -> None:
        """At its ticks until then it wants what there is; later on one that was asked answers as one that was not."""
        if not isinstance(policy, QuietPolicy):
            pytest.skip("it promises nothing")
        if "default" not in self.scales:
            pytest.skip("it does not scale pools")
        for seed in range(0, self.num_clusters, 5):
            played = _Played(random_cluster(seed, Pooled()), copy.deepcopy(policy), np.random.default_rng(seed))
            for _ in range(15):
                played.ask_all()
                promise = played.promise()
                if promise is not None and promise.until_s > played.next_tick_s:
                    played.sleep_through(promise, seed)
                played.tick()

    def test_without_measurements(self, policy: ScalingPolicy) -> None:
        service = ServiceView(name="chat", gpus_per_unit=1, min_units=0, max_units=9)
        view = FakeCluster({"a": FakeJob()}, nodes=[8, 8], max_nodes=4, services=[service]).view()
        for target in self._targets(view):
            assert policy.desired(target, view) >= 0


class _Played:
    """A policy and its pool, which gets at once what it wants; samples come at an interval, jobs stay as they are."""

    interval_s = 60.0
    most_ticks = 25  # that are slept through

    def __init__(self, cluster: FakeCluster, policy: QuietPolicy, rng: np.random.Generator) -> None:
        self.cluster, self.rng = cluster, rng
        self.policies = [policy]
        self.target = cluster.view().pools["default"]
        self.values = {name: float(rng.random() * 2) for name in METRICS}
        self.sample_s = cluster.now_s + self.interval_s
        self.next_tick_s = cluster.now_s + policy.period_s

    def ask_all(self, why: str = "") -> None:
        """Asks; where there are several, they must agree."""
        answers = [policy.desired(self.target, self.cluster.view()) for policy in self.policies]
        assert len(set(answers)) == 1, f"at {self.cluster.now_s} asked {answers[0]}, unasked {answers[1]}; {why}"
        count = min(max(answers[0], self.target.min_units), self.target.max_units)
        self.was_quiet = count == self.target.num_units
        self.target.num_ready = count - self.target.num_starting

    def promise(self) -> Quiet | None:
        return self.policies[0].quiet(self.target, self.cluster.view()) if self.was_quiet else None

    def tick(self, bands: Mapping[str, Band] | None = None) -> None:
        """Goes on to the next tick; samples until then keep to the bands."""
        while self.sample_s <= self.next_tick_s:
            for name in METRICS:
                if self.rng.random() < 0.5:
                    self.values[name] = float(self.rng.choice([0.0, 1.0, self.rng.random() * 3]))
            if bands is not None:
                for name, (low, high) in bands.items():
                    self.values[name] = min(max(self.values[name], low), high)
            self.cluster.view().metrics.add("default", self.sample_s, dict(self.values))
            self.sample_s += self.interval_s
        self.cluster.now_s = self.next_tick_s
        self.cluster.view()
        self.next_tick_s += self.policies[0].period_s

    def sleep_through(self, promise: Quiet, seed: int) -> None:
        """One is asked at each tick and one is not; then both are, for a while."""
        why = f"after it promised at {self.cluster.now_s} {promise}; {_again(seed, Pooled())}"
        asked = self.policies[0]
        unasked = copy.deepcopy(asked)
        count, slept_s = self.target.num_units, None
        for _ in range(self.most_ticks):
            if self.next_tick_s >= promise.until_s:
                break
            self.tick(promise.bands)
            slept_s = self.cluster.now_s
            wanted = asked.desired(self.target, self.cluster.view())
            wanted = min(max(wanted, self.target.min_units), self.target.max_units)
            assert wanted == count, f"at {slept_s} it wants {wanted}; {why}"
        if slept_s is not None and isinstance(unasked, SleepyPolicy):
            unasked.slept(slept_s)
        self.policies.append(unasked)
        for _ in range(12):
            self.tick()
            self.ask_all(why)
        self.policies.pop()


class _Nothing:
    def allocate(self, view: ClusterView, draft: Draft) -> None:
        pass


class ForecasterContract:
    """For a forecaster: the fixture gives a function that makes a fresh one, each alike.

    `num_samples` of a noisy wave are told, `step_s` apart; the forecaster must have said something by `speaks_after`.
    """

    num_samples = 360
    speaks_after = 240
    step_s = 60.0
    lead_s = 300.0
    rel = 1e-6  # for what may be computed in another order

    @pytest.fixture
    def make(self) -> Callable[[], Forecaster]:
        """What makes a fresh forecaster."""
        raise NotImplementedError(f"{type(self).__name__} must override the fixture `make`")

    def series(self, seed: int = 0) -> list[tuple[float, float]]:
        """(time, value) of a wave with a period of 40 steps, and noise."""
        noise, steps = np.random.default_rng(seed).normal(0.0, 3.0, self.num_samples), np.arange(self.num_samples)
        values = 100.0 + 20.0 * np.sin(2 * np.pi * steps / 40.0) + noise
        return list(zip((steps * self.step_s).tolist(), values.tolist(), strict=True))

    def told(
        self, forecaster: Forecaster, samples: list[tuple[float, float]], ask_from: int = 0, quantile: float = 0.9
    ) -> list[float | None]:
        """What it forecasts after each sample from `ask_from` on."""
        if isinstance(forecaster, Clairvoyant) and forecaster.knows_future:
            forecaster.reveal(*zip(*samples, strict=True))
        answers = []
        for i, (time_s, value) in enumerate(samples):
            forecaster.observe(time_s, value)
            if i >= ask_from:
                answers.append(forecaster.forecast(time_s + self.lead_s, quantile))
        return answers

    def test_it_has_the_protocol(self, make: Callable[[], Forecaster]) -> None:
        assert isinstance(make(), Forecaster)
        assert isinstance(make(), Clairvoyant) == make().knows_future

    def test_it_knows_nothing_at_first(self, make: Callable[[], Forecaster]) -> None:
        if not make().knows_future:
            assert make().forecast(0.0, 0.5) is None

    def test_it_speaks(self, make: Callable[[], Forecaster]) -> None:
        (said,) = self.told(make(), self.series()[: self.speaks_after + 1], self.speaks_after)
        assert said is not None or make().knows_future
        assert said is None or math.isfinite(said)

    def test_the_future_does_not_matter(self, make: Callable[[], Forecaster]) -> None:
        """What was forecast until a time is the same whatever came after; for who knows the future it is not."""
        known, ask_from = self.speaks_after + 15, self.speaks_after - 15
        as_it_came, other = self.series(), self.series()
        other[known:] = [(time_s, 1000.0 - 3.0 * value) for time_s, value in other[known:]]
        asked = slice(0, known - ask_from)
        one, two = self.told(make(), as_it_came, ask_from)[asked], self.told(make(), other, ask_from)[asked]
        assert (one != two) == make().knows_future

    def test_the_same_past_gives_the_same_forecast(self, make: Callable[[], Forecaster]) -> None:
        samples = self.series(1)[: self.speaks_after + 20]
        assert self.told(make(), samples, self.speaks_after) == self.told(make(), samples, self.speaks_after)

    def test_asking_changes_nothing(self, make: Callable[[], Forecaster]) -> None:
        samples = self.series(2)[: self.speaks_after + 40]
        often = self.told(make(), samples, self.speaks_after)[-1]
        once = self.told(make(), samples, len(samples) - 1)[-1]
        assert once == (often and pytest.approx(often, rel=self.rel))

    def test_larger_quantiles_are_no_smaller(self, make: Callable[[], Forecaster]) -> None:
        forecaster, samples = make(), self.series(3)[: self.speaks_after + 1]
        self.told(forecaster, samples, len(samples))
        for lead in (0.2, 1.0, 2.5, 7.0):
            at_s = samples[-1][0] + lead * self.step_s
            said = [forecaster.forecast(at_s, quantile) for quantile in (0.01, 0.1, 0.5, 0.75, 0.9, 0.99)]
            numbers = [number for number in said if number is not None]
            assert numbers == sorted(numbers)

    def test_a_series_that_stands_still(self, make: Callable[[], Forecaster]) -> None:
        (said,) = self.told(make(), [(t, 7.0) for t, _ in self.series()][: self.speaks_after + 1], self.speaks_after)
        assert said is None or said == pytest.approx(7.0, abs=1e-3)

    def test_memory_is_bounded(self, make: Callable[[], Forecaster]) -> None:
        """The third time as many samples add nothing to what it keeps; what was revealed is not counted."""
        if make().knows_future:
            pytest.skip("it holds the future that it was given")
        forecaster, sizes = make(), []
        for turn in range(3):
            for time_s, value in self.series(turn):
                forecaster.observe(time_s + turn * self.num_samples * self.step_s, value)
            last_s = ((turn + 1) * self.num_samples - 1) * self.step_s
            forecaster.forecast(last_s + self.lead_s, 0.9)
            sizes.append(len(pickle.dumps(forecaster)))
        assert sizes[2] <= 1.2 * sizes[1]  # 1.5 if it kept all

    @pytest.mark.parametrize(
        ("time_s", "value", "message"),
        [
            (59.0, 1.0, "sample at 59.0 s: is before the last sample, at 60.0 s"),
            (120.0, math.nan, "sample at 120.0 s: value=nan: must be finite"),
            (120.0, math.inf, "sample at 120.0 s: value=inf: must be finite"),
        ],
    )
    def test_samples_that_can_not_be(
        self, make: Callable[[], Forecaster], time_s: float, value: float, message: str
    ) -> None:
        forecaster = make()
        for i in range(2):
            forecaster.observe(60.0 * i, 1.0)
        with pytest.raises(PolicyError, match=message):
            forecaster.observe(time_s, value)

    @pytest.mark.parametrize("quantile", [0.0, 1.0, -0.1, math.nan])
    def test_quantiles_that_can_not_be(self, make: Callable[[], Forecaster], quantile: float) -> None:
        with pytest.raises(PolicyError, match="must lie between 0 and 1, both excluded"):
            make().forecast(0.0, quantile)

    def test_the_past_is_not_forecast(self, make: Callable[[], Forecaster]) -> None:
        forecaster = make()
        for i in range(2):
            forecaster.observe(60.0 * i, 1.0)
        with pytest.raises(PolicyError, match=r"at_s=59.0: is before the last sample, at 60.0 s"):
            forecaster.forecast(59.0, 0.5)
