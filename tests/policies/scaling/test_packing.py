"""Gangs cut into pods, and nodes with what runs on them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import NodeSize
from policies.fake_cluster import FakeCluster, FakeJob
from policies.scaling.packing import Pod, Room, first_fit, fits_whole, node_size, pods_of, rooms_of


def pods(*gpus: int, **more: Any) -> list[Pod]:
    return [Pod(seq, count, **more) for seq, count in enumerate(gpus)]


@pytest.mark.parametrize(("gpus", "parts"), [(1, [1]), (8, [8]), (12, [8, 4]), (16, [8, 8])])
def test_a_gang_is_cut_into_nodes_and_a_rest(gpus: int, parts: list[int]) -> None:
    cluster = FakeCluster({"a": FakeJob(num_gpus=gpus, cpus_per_gpu=2.0, submit_s=7.0)})
    cut = pods_of(cluster.jobs["a"], NodeSize(8))
    assert [(pod.gpus, pod.cpus, pod.since_s) for pod in cut] == [(part, 2.0 * part, 7.0) for part in parts]


def test_nodes_have_what_jobs_hold_there() -> None:
    jobs = {"a": FakeJob(num_gpus=12, held=12, nodes=((0, 8), (2, 4)), cpus_per_gpu=1.0), "b": FakeJob(num_gpus=4)}
    cluster = FakeCluster(jobs, nodes=[NodeSize(8, 16.0, 64.0)] * 4, draining=[3])
    rooms = rooms_of(cluster.view(), {"default"})
    assert [(room.index, room.gpus, room.cpus) for room in rooms] == [(0, 0, 8.0), (1, 8, 16.0), (2, 4, 12.0)]
    assert [room.gpus_used_frac for room in rooms] == [1.0, 0.0, 0.5]
    assert rooms_of(cluster.view(), {"other"}) == []


def test_pooled_jobs_fill_nodes_one_after_the_other() -> None:
    cluster = FakeCluster({"a": FakeJob(num_gpus=10, held=10)}, nodes=[8, 8, 8])
    assert [room.gpus for room in rooms_of(cluster.view(), {"default"})] == [0, 6, 8]


def test_the_size_of_a_node() -> None:
    cluster = FakeCluster({}, nodes=[NodeSize(4, 32.0)])
    assert node_size(cluster.view(), cluster.view().pools["default"]) == NodeSize(4, 32.0)
    bare = FakeCluster({}, nodes=[], max_nodes=3).view()
    assert node_size(bare, bare.pools["default"]) == NodeSize(8)


def test_first_fit() -> None:
    rooms = [Room.empty(NodeSize(4)), Room.empty(NodeSize(8))]
    assert first_fit(pods(3, 3, 4, 1, 2), rooms) == [Pod(4, 2)]
    assert [room.gpus for room in rooms] == [0, 1]


@pytest.mark.parametrize(
    ("pod", "fits"),
    [(Pod(0, 8), True), (Pod(0, 9), False), (Pod(0, 1, 17.0), False), (Pod(0, 1, 16.0, 65.0), False)],
)
def test_what_fits(pod: Pod, fits: bool) -> None:
    assert Room.empty(NodeSize(8, 16.0, 64.0)).fits(pod) == fits


@given(st.lists(st.lists(st.integers(1, 8), min_size=1, max_size=4), max_size=8), st.integers(0, 4))
def test_a_gang_fits_as_a_whole_or_leaves_all_as_it_was(gangs: list[list[int]], num_nodes: int) -> None:
    rooms = [Room.empty(NodeSize(8)) for _ in range(num_nodes)]
    for gang in gangs:
        before = [room.gpus for room in rooms]
        if fits_whole(pods(*gang), rooms):
            assert sum(before) - sum(room.gpus for room in rooms) == sum(gang)
        else:
            assert [room.gpus for room in rooms] == before
    assert all(0 <= room.gpus <= 8 for room in rooms)
