"""threshold and static, to the second; and what monitoring keeps."""

from __future__ import annotations

from typing import Any

import pytest

from policies import Controller, MetricsView, PolicyError
from policies.fake_cluster import FakeCluster, FakeJob
from policies.metrics_view import METRICS
from policies.placement.pooled import Pooled
from policies.scaling.static import Static
from policies.scaling.threshold import Threshold


def wishes(policy: Threshold, samples: list[tuple[float, float]], ask_s: list[float], nodes: int = 4) -> list[int]:
    """What the policy wants at each time, if what it wants is there at once; samples are (time, share of GPUs held)."""
    cluster = FakeCluster({}, nodes=[8] * nodes, max_nodes=9)
    pool, told, coming = cluster.view().pools["default"], [], sorted(samples)
    for now_s in ask_s:
        while coming and coming[0][0] <= now_s:
            time_s, value = coming.pop(0)
            cluster.measure(time_s, gpu_allocation_frac=value)
        cluster.now_s = now_s
        told.append(policy.desired(pool, cluster.view()))
        pool.num_ready = told[-1]
    return told


def every_minute(*values: float) -> list[tuple[float, float]]:
    return [(60.0 * i, value) for i, value in enumerate(values)]


def test_a_bound_must_be_crossed_for_as_long_as_asked() -> None:
    policy = Threshold(upper=0.8, lower=0.4, sustained_s=120.0)
    samples = every_minute(0.5, 0.9, 0.9, 0.9, 0.9)
    assert wishes(policy, samples, [60.0, 120.0, 179.0, 180.0]) == [4, 4, 4, 5]


def test_one_sample_between_the_bounds_starts_it_again() -> None:
    policy = Threshold(upper=0.8, lower=0.4, sustained_s=120.0)
    samples = every_minute(0.9, 0.9, 0.8, 0.9, 0.9, 0.9)  # 0.8 is not above 0.8
    assert wishes(policy, samples, [120.0, 180.0, 240.0, 300.0]) == [4, 4, 4, 5]


def test_nothing_happens_before_it_has_been_measured_for_so_long() -> None:
    policy = Threshold(upper=0.8, lower=0.4, sustained_s=120.0)
    assert wishes(policy, [], [0.0, 500.0]) == [4, 4]
    assert wishes(policy, [(50.0, 1.0)], [100.0, 169.0, 170.0]) == [4, 4, 5]  # a sample stands until the next


def test_late_samples_count_too() -> None:
    """Monitoring that is 90 s late: the last sample known is what there is to go by, even with nothing sustained."""
    assert wishes(Threshold(sustained_s=0.0), [(10.0, 1.0)], [100.0]) == [5]


def test_cooldown_out() -> None:
    policy = Threshold(sustained_s=0.0, cooldown_out_s=300.0, step_out=2)
    samples = every_minute(*[1.0] * 20)
    assert wishes(policy, samples, [0.0, 60.0, 299.0, 300.0, 360.0, 600.0]) == [6, 6, 6, 8, 8, 9]  # 9: the most


def test_cooldown_in_counts_from_any_step() -> None:
    policy = Threshold(sustained_s=0.0, cooldown_out_s=0.0, cooldown_in_s=600.0)
    samples = [(0.0, 1.0), *[(60.0 * i, 0.1) for i in range(1, 40)]]
    assert wishes(policy, samples, [0.0, 60.0, 540.0, 600.0, 660.0, 1200.0]) == [5, 5, 5, 4, 4, 3]


def test_a_step_in_does_not_hold_back_a_step_out() -> None:
    policy = Threshold(sustained_s=0.0, cooldown_out_s=300.0, cooldown_in_s=600.0)
    assert wishes(policy, [(0.0, 0.1), (60.0, 1.0)], [0.0, 60.0]) == [3, 4]


@pytest.mark.parametrize(("load", "bounds"), [(1.0, [5, 6, 6]), (0.0, [3, 2, 2])])
def test_bounds_narrower_than_the_pools(load: float, bounds: list[int]) -> None:
    policy = Threshold(sustained_s=0.0, cooldown_out_s=0.0, cooldown_in_s=0.0, min_units=2, max_units=6)
    assert wishes(policy, [(0.0, load)], [0.0, 1.0, 2.0]) == bounds


def test_outside_its_bounds_it_goes_there_at_once() -> None:
    assert wishes(Threshold(min_units=7), [], [0.0]) == [7]
    assert wishes(Threshold(max_units=3), [], [0.0]) == [3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"metric": "gpu_alocation_frac"},
            "threshold: unknown metric 'gpu_alocation_frac': did you mean gpu_allocation",
        ),
        ({"lower": 0.8, "upper": 0.8}, "threshold: lower=0.8: must be less than upper"),
        ({"step_out": -1}, "threshold: step_out=-1: must be 0 or more"),
        ({"sustained_s": -1.0}, "threshold: sustained_s=-1.0: must lie in 0..3600"),
        ({"sustained_s": 3601.0}, "sustained_s=3601.0: must lie in 0..3600, as long as samples are kept"),
        ({"period_s": 0.0}, "threshold: period_s=0.0: must be more than 0"),
        ({"min_units": 3, "max_units": 2}, "threshold: max_units=2: must not be less than min_units"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Threshold(**options)


def test_static_keeps_what_there_is() -> None:
    cluster = FakeCluster({}, nodes=[8] * 3)
    assert Static().desired(cluster.view().pools["default"], cluster.view()) == 3
    assert Static().keeps_size


@pytest.mark.parametrize(("share", "wanted"), [(0.0, 0), (0.5, 5), (0.51, 6), (0.7, 7), (1.0, 10)])
def test_static_may_be_a_share_of_the_most(share: float, wanted: int) -> None:
    cluster = FakeCluster({}, nodes=[8] * 3, max_nodes=10)
    policy = Static(of_max_frac=share)
    assert policy.desired(cluster.view().pools["default"], cluster.view()) == wanted
    assert not policy.keeps_size
    with pytest.raises(PolicyError, match=r"static: of_max_frac=1.5: must lie in 0\.\.1"):
        Static(of_max_frac=1.5)


class Always:
    """Wants a number, every 10 s."""

    period_s = 10.0

    def __init__(self, count: int) -> None:
        self.count, self.asked_s = count, []

    def desired(self, target: Any, view: Any) -> int:
        self.asked_s.append(view.now_s)
        return self.count


class Nothing:
    def allocate(self, view: Any, draft: Any) -> None:
        pass


@pytest.mark.parametrize(("wish", "plan"), [(99, {"default": 5}), (-3, {"default": 0}), (2, {})])
def test_the_controller_keeps_to_the_pools_bounds(wish: int, plan: dict[str, int]) -> None:
    view = FakeCluster({}, nodes=[8, 8], max_nodes=5).view()
    assert Controller(Nothing(), Pooled(), {"default": Always(wish)}).decide(view).nodes == plan


def test_the_controller_asks_on_the_policys_own_period() -> None:
    policy, cluster = Always(1), FakeCluster({"a": FakeJob()}, nodes=[8])
    controller = Controller(Nothing(), Pooled(), {"default": policy})
    wakes = []
    for now_s in (0.0, 3.0, 9.0, 10.0, 15.0, 27.0):
        cluster.now_s = now_s
        wakes.append(controller.decide(cluster.view()).wake_at_s)
    assert policy.asked_s == [0.0, 10.0, 27.0]
    assert wakes == [10.0, 10.0, 10.0, 20.0, 20.0, 37.0]


# ---- metrics
def samples(*pairs: tuple[float, float], keep_s: float = 3600.0) -> MetricsView:
    view = MetricsView(keep_s)
    for time_s, value in pairs:
        view.add("pool", time_s, dict.fromkeys(METRICS, value))
    return view


def test_windows() -> None:
    view = samples((0, 1.0), (10, 5.0), (20, 3.0))
    assert view.latest("pool", "queue_length") == 3.0
    assert view.mean("pool", "queue_length", 0.0) == 4.0  # after 0, exclusive
    assert view.mean("pool", "queue_length", 20.0) is None
    assert view.extremes("pool", "queue_length", 10.0) == (3.0, 5.0)
    assert view.extremes("pool", "queue_length", 9.0) == (1.0, 5.0)  # at 9 the first one stands
    assert view.extremes("pool", "queue_length", -1.0) == (None, None)  # not measured then


def test_what_was_never_measured() -> None:
    view = samples((0, 1.0))
    assert view.latest("other", "queue_length") is None
    assert view.mean("other", "queue_length", 0.0) is None
    assert view.extremes("other", "queue_length", 0.0) == (None, None)


def test_old_samples_go_but_the_one_that_stands() -> None:
    view = samples(*[(7.0 * i, float(i)) for i in range(10)], keep_s=20.0)
    assert view.extremes("pool", "queue_length", 63.0 - 20.0) == (6.0, 9.0)  # 42 s: still there, and stands at 43
    assert view.extremes("pool", "queue_length", 41.0) == (None, None)
