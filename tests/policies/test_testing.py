"""The contract as an author of a policy uses it, and that it finds what is wrong."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from policies import testing
from policies.fake_cluster import FakeCluster, FakeJob
from policies.placement.consolidate import Consolidate
from policies.placement.pooled import Pooled
from policies.plan import Plan
from policies.quiet import Quiet
from policies.testing import AllocationPolicyContract, PlacementPolicyContract, ScalingPolicyContract, violations
from policies.view import ClusterView, Target


class StartsAll:
    """A sound policy: starts in submit order what fits."""

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold

    def allocate(self, view: Any, draft: Any) -> None:
        for job in view.pending:
            draft.give(job, job.num_gpus)


def test_the_example_of_the_module_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the docstring shows, as a file, with a policy `Mine` in a module `mine`."""
    shown = (testing.__doc__ or "").split("\n\n")
    example = "\n\n".join(part for part in shown if part.startswith("    "))
    assert "class TestMine(AllocationPolicyContract)" in example
    mine = ModuleType("mine")
    mine.Mine = StartsAll  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mine", mine)
    (tmp_path / "test_mine.py").write_text(textwrap.dedent(example))
    counted = Counter()
    code = pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)], plugins=[counted])
    assert code == 0
    assert counted.passed > 15


class Counter:
    passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed


class Bad:
    """A policy with a fault."""

    def __init__(self, allocate: Callable[[Any, Any], None], **more: Any) -> None:
        self.allocate = allocate
        self.__dict__.update(more)


def contract(test: str, policy: Any, *more: Any, suite: Any = AllocationPolicyContract) -> None:
    getattr(suite(), test)(policy, *more)


SOUND = "test_plans_are_sound_and_the_view_is_left_alone"


def test_writing_into_the_view_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(view: Any, draft: Any) -> None:
        for job in view.pending:
            job.min_gpus = 1

    with pytest.raises(AssertionError, match=r"the view has changed; see it again: .*random_cluster\(\d+, Pooled"):
        contract(SOUND, Bad(write), Pooled(), monkeypatch)


def test_reading_a_clock_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="a policy must not read a clock"):
        contract(SOUND, Bad(lambda view, draft: draft.wake_at(time.time())), Pooled(), monkeypatch)


def test_waking_in_the_past_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="see it again"):
        contract(SOUND, Bad(lambda view, draft: draft.wake_at(1.0)), Pooled(), monkeypatch)


def test_chance_is_found() -> None:
    rng = np.random.default_rng()

    def pick(view: Any, draft: Any) -> None:
        for job in view.pending:
            if rng.random() < 0.5:
                draft.give(job, job.num_gpus)

    with pytest.raises(AssertionError, match="see it again"):
        contract("test_the_same_view_gives_the_same_plan", Bad(pick), Pooled())


def test_flapping_is_found() -> None:
    def swap(view: Any, draft: Any) -> None:
        for job in view.jobs:
            draft.give(job, 0 if job.is_running else job.num_gpus)

    with pytest.raises(AssertionError, match=r"changes in decisions one after the other: \["):
        contract("test_deciding_again_comes_to_rest", Bad(swap), Pooled())


def test_a_false_promise_to_be_idle_is_found() -> None:
    def stop(view: Any, draft: Any) -> None:
        for job in view.jobs:
            draft.give(job, 0)

    with pytest.raises(AssertionError, match="nothing waits, yet"):
        contract("test_idle_without_pending_is_true", Bad(stop, idle_without_pending=True), Pooled())


class BadPlacement:
    """Puts every gang on node 0."""

    fits_by_count = True

    def place(self, job: Any, num_gpus: int, space: Any) -> Any:
        return ((0, num_gpus),)


def test_a_placement_that_gives_what_is_not_there_is_found() -> None:
    with pytest.raises(AssertionError) as error:
        contract("test_places_are_sound", BadPlacement(), suite=PlacementPolicyContract)
    assert "see it again" in error.value.__notes__[0]


def test_a_placement_that_fails_though_it_fits_by_count_is_found() -> None:
    strict = Consolidate(strict=True)
    policy = BadPlacement()
    policy.place = strict.place  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        contract("test_fits_by_count_is_true", policy, suite=PlacementPolicyContract)


def test_a_scaling_policy_that_wants_half_a_node_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = StartsAll()
    policy.period_s, policy.desired = 60.0, lambda target, view: 1.5  # type: ignore[attr-defined]
    test = "test_wishes_are_whole_and_the_view_is_left_alone"
    with pytest.raises(AssertionError, match=r"1\.5 units"):
        contract(test, policy, monkeypatch, suite=ScalingPolicyContract)


def test_a_scaling_policy_that_decides_otherwise_when_it_is_explained_is_found() -> None:
    policy = StartsAll()
    policy.period_s, policy.desired = 60.0, lambda target, view: int(view.explain is None)  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match=r"see it again: .*random_cluster\(\d+, Pooled"):
        contract("test_saying_why_changes_nothing", policy, suite=ScalingPolicyContract)


@dataclass
class BadSleeper:
    """Wants one more every `every` times it is asked, and promises not to for `quiet_s`."""

    every: int
    quiet_s: float
    period_s: float = 10.0
    asked: int = 0

    def desired(self, target: Target, view: ClusterView) -> int:
        self.asked += 1
        return target.num_units + (self.asked % self.every == 0)

    def quiet(self, target: Target, view: ClusterView) -> Quiet:
        return Quiet(view.now_s + self.quiet_s)


def test_a_scaling_policy_that_breaks_its_promise_is_found() -> None:
    with pytest.raises(AssertionError, match=r"at 1\d+\.0 it wants \d; after it promised at 1\d+\.0 Quiet"):
        contract("test_quiet_is_kept", BadSleeper(every=5, quiet_s=300.0), suite=ScalingPolicyContract)


def test_a_scaling_policy_that_is_another_for_having_slept_is_found() -> None:
    with pytest.raises(AssertionError, match=r"asked \d, unasked \d; after it promised"):
        contract("test_quiet_is_kept", BadSleeper(every=9, quiet_s=35.0), suite=ScalingPolicyContract)


def test_violations_names_each() -> None:
    jobs = {"a": FakeJob(num_gpus=4), "b": FakeJob(num_gpus=2, cpus_per_gpu=1.0), "gone": FakeJob()}
    cluster = FakeCluster(jobs, nodes=[8, 8], draining=[1], now_s=10.0)
    a, b, gone = cluster.jobs.values()
    cluster.finish("gone")
    view = cluster.view()

    def said(plan: Plan) -> str:
        return "; ".join(violations(view, plan))

    assert said(Plan()) == ""
    assert "is to run on 3 GPUs" in said(Plan({a: (3, ())}))
    assert "is to have 4 GPUs, but nodes ((0, 3),)" in said(Plan({a: (4, ((0, 3),))}))
    assert "which takes no new gangs" in said(Plan({a: (4, ((1, 4),))}))
    assert "there is no node 7" in said(Plan({b: (2, ((7, 2),))}))
    assert "not each there once" in said(Plan({b: (2, ((0, 1), (0, 1)))}))
    assert "is not active" in said(Plan({gone: (1, ())}))
    assert "wake_at_s=9.0, but it is 10.0 already" in said(Plan(wake_at_s=9.0))
    assert "default is to have 3 units, not 0..2" in said(Plan(nodes={"default": 3}))
    full = FakeCluster({f"j{i}": FakeJob(num_gpus=4) for i in range(3)})
    everything = Plan(dict.fromkeys(full.jobs.values(), (4, ((0, 4),))))
    assert "node 0 is to give 12 of 8 GPUs" in "; ".join(violations(full.view(), everything))
