"""Karpenter's packing, batches, and what it would take away."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import NodeSize
from policies.scaling import karpenter_disruption
from policies.scaling.karpenter_disruption import (
    Cluster,
    Command,
    budget,
    consolidation,
    emptiness,
    first_command,
    multi_node,
    single_node,
)
from policies.scaling.karpenter_scheduling import Batch, InstanceType, by_size, launched, schedule
from policies.scaling.packing import Pod, Room

SMALL, LARGE = (
    InstanceType("small", NodeSize(4, 48.0, 400.0), 3.0),
    InstanceType("large", NodeSize(8, 96.0, 800.0), 5.0),
)
BOTH = [LARGE, SMALL]
PLENTY = {"small": 99, "large": 99}


def pods(*gpus: int, cpus: float = 0.0) -> list[Pod]:
    return [Pod(seq, count, cpus) for seq, count in enumerate(gpus)]


def room(index: int, *gpus: int, of: InstanceType = LARGE) -> Room:
    made = Room.empty(of.size, index, of.name)
    for seq, count in enumerate(gpus):
        made.put(Pod(100 * index + seq, count))
    return made


# ---- provisioning
def test_order_is_cpu_then_memory_then_age() -> None:
    given = [Pod(0, 8), Pod(1, 1, 2.0, 5.0, 9.0), Pod(2, 1, 2.0, 7.0), Pod(3, 1, 2.0, 5.0, 1.0), Pod(4, 1, 3.0)]
    assert [pod.seq for pod in by_size(given)] == [4, 2, 3, 1, 0]


@pytest.mark.parametrize(
    ("gpus", "launches"),
    [
        ([4], {"small": 1}),
        ([4, 4], {"large": 1}),  # the first claim takes both: cheaper than two small ones
        ([8], {"large": 1}),
        ([8, 4], {"large": 1, "small": 1}),
        ([4, 4, 4], {"large": 1, "small": 1}),
        ([3, 3, 3], {"large": 1, "small": 1}),
        ([9], {}),
        ([], {}),
    ],
)
def test_the_cheapest_type_that_holds_all(gpus: list[int], launches: dict[str, int]) -> None:
    found = schedule(pods(*gpus), [], BOTH, PLENTY)
    assert launched(found.claims) == launches
    assert [pod.gpus for pod in found.unplaced] == [count for count in gpus if count > 8]


def test_what_is_there_comes_first_then_the_claim_with_the_fewest_pods() -> None:
    there = room(0, 6)
    found = schedule(pods(2, 5, 6, 1, 1, 1), [there], [LARGE], PLENTY)
    assert there.gpus == 0
    assert [[pod.seq for pod in claim.pods] for claim in found.claims] == [[1, 3, 5], [2, 4]]


def test_types_that_may_be_used_up_are_left_out() -> None:
    found = schedule(pods(4, 8, 8), [], BOTH, {"small": 9, "large": 2})
    assert launched(found.claims) == {"small": 1, "large": 1}
    assert [pod.gpus for pod in found.unplaced] == [8]  # the 4 might have been on a large one
    assert schedule(pods(8), [], BOTH, {"small": 9, "large": 0}).unplaced == pods(8)


@given(st.lists(st.integers(1, 8), max_size=20))
def test_claims_hold_their_pods(gpus: list[int]) -> None:
    found = schedule(pods(*gpus), [], BOTH, PLENTY)
    assert all(
        sum(pod.gpus for pod in claim.pods) <= each.size.num_gpus for claim in found.claims for each in claim.types
    )
    assert sum(len(claim.pods) for claim in found.claims) == len(gpus)


def test_a_batch_ends_a_second_after_the_last_or_ten_after_the_first() -> None:
    batch = Batch()
    first = [Pod(0, 1, since_s=0.0)]
    assert [batch.is_over(0.9, first), batch.is_over(1.0, first)] == [False, True]
    late = [Pod(seq, 1, since_s=100.0 + 0.7 * seq) for seq in range(1, 20)]
    told = [batch.is_over(100.0 + t, [pod for pod in late if pod.since_s <= 100.0 + t]) for t in range(1, 12)]
    assert told == [False] * 10 + [True]  # 0.7 s apart: never idle; the first came at 100.7


def test_what_could_not_be_had_is_tried_again() -> None:
    batch, left = Batch(), [Pod(0, 9)]
    assert [batch.is_over(now_s, left) for now_s in (1.0, 2.0, 10.9, 11.0, 12.0, 21.0)] == [
        *(True, False, False),
        *(True, False, True),
    ]
    assert not batch.is_over(31.0, [])


# ---- disruption
@pytest.mark.parametrize(
    ("nodes", "disrupted", "left"), [(1, 0, 1), (10, 0, 1), (11, 0, 2), (30, 0, 3), (30, 2, 1), (30, 5, 0), (0, 0, 0)]
)
def test_the_budget_is_a_tenth_rounded_up(nodes: int, disrupted: int, left: int) -> None:
    assert budget(0.1, nodes, disrupted) == left


def cluster(
    *rooms: Room, waiting: list[Pod] | None = None, coming: list[Room] | None = None, **headroom: int
) -> Cluster:
    types = {each.name: each for each in BOTH}
    return Cluster(rooms, coming or [], waiting or [], types, PLENTY | headroom)


def of(method: str, there: Cluster, *nodes: int, **budgets: int) -> Command | None:
    chosen = [each for each in there.rooms if each.index in nodes]
    allowed = {"small": 9, "large": 9} | budgets
    return {
        "consolidation": lambda: consolidation(chosen, there, "x"),
        "emptiness": lambda: emptiness(there.rooms, allowed),
        "multi": lambda: multi_node(there.rooms, allowed, there),
        "single": lambda: single_node(there.rooms, allowed, there),
        "first": lambda: first_command(there.rooms, allowed, there, when_empty_only=False),
    }[method]()


@pytest.mark.parametrize(
    ("rooms", "nodes", "outcome"),
    [
        ([room(0, 4), room(1, 4)], (0,), Command("x", (0,))),  # fits elsewhere: delete
        ([room(0, 4), room(1, 5)], (0,), Command("x", (0,), "small")),  # 3 USD for 5
        ([room(0, 5), room(1, 5)], (0,), None),  # a large one for a large one is not cheaper
        ([room(0, 4, of=SMALL), room(1, 8)], (0,), None),  # the cheapest already
        ([room(0, 4), room(1, 4), room(2, 8)], (0, 1), None),  # one large for two large: just delete one of them
        ([room(0, 2), room(1, 2), room(2, 8)], (0, 1), Command("x", (0, 1), "small")),
        ([room(0, 8), room(1, 8)], (0, 1), None),  # needs two
        ([room(0, 4, of=SMALL), room(1, 4, of=SMALL)], (0, 1), Command("x", (0, 1), "large")),  # 5 USD for 6
        ([room(0, 4, of=SMALL), room(1, 2), room(2, 8)], (0, 1), None),  # 5 for 8, but that kind is there already
    ],
)
def test_consolidation(rooms: list[Room], nodes: tuple[int, ...], outcome: Command | None) -> None:
    assert of("consolidation", cluster(*rooms), *nodes) == outcome


def test_what_waits_is_reckoned_with() -> None:
    there = [room(0, 4), room(1, 4)]
    assert of("consolidation", cluster(*there, waiting=pods(4)), 0) == Command("x", (0,), "small")
    assert of("consolidation", cluster(*there, waiting=pods(8)), 0) is None


def test_nodes_that_have_not_come_are_no_place_for_what_runs() -> None:
    assert of("consolidation", cluster(room(0, 4), room(1, 8), coming=[room(-1)]), 0) is None


def test_a_type_that_can_t_be_had_replaces_nothing() -> None:
    assert of("consolidation", cluster(room(0, 4), room(1, 8), small=0), 0) is None


@given(
    held=st.lists(st.lists(st.integers(1, 4), max_size=3), min_size=2, max_size=5),
    waits=st.lists(st.integers(1, 8), max_size=3),
    chosen=st.sets(st.integers(0, 4), min_size=1),
    headroom=st.integers(0, 1),
    kinds=st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_what_is_not_simulated_would_have_come_to_nothing(
    held: list[list[int]], waits: list[int], chosen: set[int], headroom: int, kinds: list[bool]
) -> None:
    """Where nothing cheaper can replace nodes, what fits nowhere is told without a simulation."""
    rooms = [room(i, *gpus, of=SMALL if small and sum(gpus) <= 4 else LARGE)
             for i, (gpus, small) in enumerate(zip(held, kinds, strict=False)) if sum(gpus) <= 8]  # fmt: skip
    there = cluster(*rooms, waiting=pods(*waits), small=headroom, large=headroom)
    taken = [each for each in rooms if each.index in chosen]
    if taken:
        quick = consolidation(taken, there, "x")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(karpenter_disruption, "_may_be_replaced", lambda *_: True)
            assert consolidation(taken, there, "x") == quick


def test_emptiness_takes_all_that_the_budget_allows() -> None:
    there = cluster(room(0), room(1, 1), room(2), room(3, of=SMALL), room(4))
    assert of("emptiness", there, large=2) == Command("emptiness", (0, 2, 3))
    assert of("emptiness", there, large=0, small=0) is None


def test_several_the_cheapest_to_disrupt_first_as_many_as_go() -> None:
    there = cluster(room(0, 1, 1, 1), room(1, 2), room(2, 1), room(3, 5), room(4, 1, 1))
    assert of("multi", there) == Command("multi_node", (1, 2, 3))  # 8 GPUs fit on 0 and 4, 10 not on 0
    assert of("multi", there, large=2) == Command("multi_node", (1, 2))
    assert of("multi", cluster(room(0, 1), room(1, 8))) is None


def test_one_the_first_that_can_go() -> None:
    there = cluster(room(0, 8), room(1, 6), room(2, 1, 1, 1))
    assert of("single", there) == Command("single_node", (2,), "small")  # two of its three fit on 1
    assert of("single", cluster(room(0, 4, 4), room(1, 6), room(2, 1, 1))) == Command("single_node", (1,))
    assert of("single", there, large=0) is None


def test_the_first_method_that_has_something_to_do() -> None:
    assert of("first", cluster(room(0), room(1, 1), room(2, 1))) == Command("emptiness", (0,))
    assert of("first", cluster(room(0, 1), room(1, 1), room(2, 1))) == Command("multi_node", (0, 1, 2), "small")
    assert of("first", cluster(room(0, 1), room(1, 8))) == Command("single_node", (0,), "small")
    budgets: Any = {"small": 9, "large": 9}
    full = cluster(room(0, 1), room(1, 1))
    assert first_command(full.rooms, budgets, full, when_empty_only=True) is None
