"""How the cluster-autoscaler adds nodes: waiting, estimates, expanders, backing off, what hangs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import NodeSize
from policies.scaling.ca_scale_up import (
    Backoff,
    NodeGroup,
    Option,
    Orders,
    chosen,
    estimate,
    least_waste,
    oldest,
    price,
    too_new,
)
from policies.scaling.packing import Pod

SIZE = NodeSize(8, 96.0, 1000.0)


def group(name: str = "a", size: NodeSize = SIZE, headroom: int = 100, usd: float = 1.0) -> NodeGroup:
    return NodeGroup(name, size, headroom, usd)


def pod(gpus: int, cpus: float = 0.0, memory_gib: float = 0.0, since_s: float = 0.0) -> Pod:
    return Pod(0, gpus, cpus, memory_gib, since_s)


@pytest.mark.parametrize(
    ("pods", "waits"),
    [
        ([pod(0, since_s=98.1)], True),  # 1.9 s
        ([pod(0, since_s=98.0)], False),
        ([pod(0, since_s=99.0), pod(0, since_s=0.0)], False),  # the oldest counts
        ([pod(1, since_s=70.1)], True),
        ([pod(1, since_s=70.0)], False),
        ([pod(0, since_s=0.0), pod(1, since_s=71.0)], True),  # the oldest with a GPU
        ([pod(1, since_s=99.0), pod(1, since_s=60.0)], False),
    ],
)
def test_what_is_too_new(pods: list[Pod], waits: bool) -> None:
    """At 100 s."""
    assert too_new(*oldest(pods), 100.0) == waits


@pytest.mark.parametrize(
    ("pods", "nodes", "served"),
    [
        ([pod(8)] * 3, 3, 3),
        ([pod(5), pod(5), pod(3), pod(3)], 2, 4),
        ([pod(3), pod(5), pod(8)], 2, 3),
        ([pod(9), pod(1)], 1, 1),  # the first fits on no node
        ([pod(1, 60.0), pod(1, 60.0), pod(1, 30.0), pod(1, 30.0)], 2, 4),
        ([pod(1, 30.0), pod(1, 60.0), pod(1, 30.0), pod(1, 60.0)], 2, 4),  # the largest first, else it takes three
        ([pod(1, 0.0, 600.0), pod(1, 0.0, 600.0)], 2, 2),
    ],
)
def test_estimates(pods: list[Pod], nodes: int, served: int) -> None:
    option = estimate(pods, group())
    assert option is not None
    assert (option.num_nodes, len(option.pods)) == (nodes, served)


def test_a_group_that_can_grow_no_further_serves_the_first() -> None:
    option = estimate([pod(8, 10.0), pod(8, 30.0), pod(8, 20.0)], group(headroom=2))
    assert option is not None
    assert [each.cpus for each in option.pods] == [30.0, 20.0]
    assert estimate([pod(9)], group()) is None


@given(st.lists(st.integers(1, 8), min_size=1, max_size=30), st.integers(1, 40))
def test_an_estimate_has_room_for_what_it_serves(gpus: list[int], headroom: int) -> None:
    option = estimate([pod(count) for count in gpus], group(headroom=headroom))
    assert option is not None
    served = sum(each.gpus for each in option.pods)
    assert 1 <= option.num_nodes <= headroom
    assert served <= 8 * option.num_nodes < 2 * served + 8  # first fit: at most one node half empty
    assert len(option.pods) == len(gpus) or option.num_nodes == headroom


def option(name: str, nodes: int, pods: list[Pod], **more: Any) -> Option:
    return Option(group(name, **more), nodes, tuple(pods))


SMALL = option("small", 3, [pod(2, 20.0, 100.0)] * 3, size=NodeSize(2, 24.0, 200.0), usd=2.0)
LARGE = option("large", 1, [pod(2, 20.0, 100.0)] * 4, size=NodeSize(8, 96.0, 1000.0), usd=7.0)


def test_scores() -> None:
    assert least_waste(SMALL) == pytest.approx((1 - 60 / 72) + (1 - 300 / 600))
    assert least_waste(LARGE) == pytest.approx((1 - 80 / 96) + (1 - 400 / 1000))
    assert price(SMALL) == 1.0
    assert price(LARGE) == 0.875


@pytest.mark.parametrize(
    ("chain", "wins"),
    [
        (["least-waste"], SMALL),
        (["most-pods"], LARGE),
        (["least-nodes"], LARGE),
        (["price"], LARGE),
        (["priority"], SMALL),
        (["priority", "price"], SMALL),
    ],
)
def test_expanders(chain: list[str], wins: Option) -> None:
    assert chosen([SMALL, LARGE], chain, {"small": 10.0, "large": 5.0}, np.random.default_rng(0)) is wins


def test_where_one_ties_the_next_decides_and_at_the_end_chance() -> None:
    cheap = option("cheap", 1, [pod(2)], usd=1.0)
    dear = option("dear", 1, [pod(2)], usd=2.0)
    rng = np.random.default_rng(0)
    assert chosen([dear, cheap], ["least-nodes", "price"], {}, rng) is cheap
    drawn = {chosen([dear, cheap], ["least-nodes"], {}, rng).group.name for _ in range(50)}
    assert drawn == {"cheap", "dear"}
    assert {chosen([SMALL, LARGE], ["random"], {}, rng).group.name for _ in range(50)} == {"small", "large"}


def test_waste_does_not_count_gpus() -> None:
    """Nodes of which no CPU or memory is known waste all of it, and tie."""
    bare = [option(name, 1, [pod(1)], size=NodeSize(count)) for name, count in (("a", 1), ("b", 8))]
    assert [least_waste(each) for each in bare] == [2.0, 2.0]


def test_backing_off() -> None:
    backoff = Backoff()
    assert not backoff.is_on(0.0)
    backoff.fail(0.0)
    assert [backoff.is_on(now_s) for now_s in (0.0, 299.0, 300.0)] == [True, True, False]
    backoff.fail(100.0)  # while it is on: no longer than before
    assert [backoff.is_on(now_s) for now_s in (399.0, 400.0)] == [True, False]
    ends = []
    for _ in range(4):
        now_s = backoff._until_s + 1.0
        backoff.fail(now_s)
        ends.append(backoff._until_s - now_s)
    assert ends == [600.0, 1200.0, 1800.0, 1800.0]
    backoff.fail(backoff._until_s + 10801.0)
    assert backoff._duration_s == 300.0  # forgotten
    backoff.succeed()
    assert not backoff.is_on(backoff._until_s)


def test_orders_the_oldest_come_first() -> None:
    orders = Orders()
    orders.add(0.0, 3)
    orders.add(100.0, 2)
    orders.update(200.0, 4)
    assert (orders.num, orders.overdue(900.0, 900.0)) == (4, 0)
    assert (orders.overdue(900.1, 900.0), orders.num) == (2, 2)
    orders.update(950.0, 5)  # three more, by somebody else
    assert (orders.overdue(1000.1, 900.0), orders.overdue(1850.1, 900.0)) == (2, 3)
    orders.update(2000.0, 0)
    assert orders.num == 0
