"""Nodes and spaces against a plain list of numbers, in random orders of things that happen."""

from __future__ import annotations

import numpy as np
import pytest

from policies import Nodes, NodeSize
from policies.fake_cluster import FakeCluster, FakeJob
from policies.nodes import bits, lowest_bit

JOB = FakeCluster({"a": FakeJob(cpus_per_gpu=2.0)}).jobs["a"]


def best_fit(free: list[int], is_open: list[bool], num_gpus: int, without: set[int]) -> int:
    """By definition."""
    able = [n for n in range(len(free)) if is_open[n] and n not in without and free[n] >= num_gpus]
    return min(able, key=lambda n: (free[n], n), default=-1)


def emptiest(free: list[int], is_open: list[bool], without: set[int]) -> int:
    able = [n for n in range(len(free)) if is_open[n] and n not in without and free[n] > 0]
    return min(able, key=lambda n: (-free[n], n), default=-1)


@pytest.mark.parametrize("seed", range(20))
def test_against_a_list(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limited = seed % 4 == 0
    nodes = Nodes(has_demands=limited)
    size, free, is_open = [], [], []
    for _ in range(150):
        what = rng.choice(["add", "hold", "hold", "hold", "free", "free", "close", "reopen"])
        node = int(rng.integers(len(free))) if free else -1
        if what == "add" and len(free) < 12:
            size.append(int(rng.integers(1, 9)))
            free.append(size[-1])
            is_open.append(True)
            assert nodes.add(NodeSize(size[-1], num_cpus=2.0 * size[-1] if limited else float("inf"))) == len(free) - 1
        elif what == "hold" and node >= 0 and free[node]:
            gpus = int(rng.integers(1, free[node] + 1))
            free[node] -= gpus
            nodes.hold(JOB, ((node, gpus),))
        elif what == "free" and node >= 0 and free[node] < size[node]:
            gpus = int(rng.integers(1, size[node] - free[node] + 1))
            free[node] += gpus
            nodes.hold(JOB, ((node, gpus),), -1)
        elif what == "close" and node >= 0:
            is_open[node] = False
            nodes.close(node)
        elif what == "reopen" and node >= 0:
            is_open[node] = True
            nodes.reopen(node)

        assert nodes.free == free
        assert nodes.capacity_gpus == sum(s for s, o in zip(size, is_open, strict=True) if o)
        held_closed = sum(s - f for s, f, o in zip(size, free, is_open, strict=True) if not o)
        assert nodes.closed_held_gpus == held_closed
        for count, mask in enumerate(nodes.masks):
            assert list(bits(mask)) == [n for n in range(len(free)) if is_open[n] and free[n] == count]
        space = nodes.space if rng.random() < 0.5 else nodes.space.copy()
        without = {n for n in range(len(free)) if rng.random() < 0.2}
        mask = sum(1 << n for n in without)
        for num_gpus in range(1, 10):
            assert space.best_fit(JOB, num_gpus, mask) == best_fit(free, is_open, num_gpus, without)
        assert space.emptiest(JOB, mask) == emptiest(free, is_open, without)
        for n in range(len(free)):
            assert space.room(JOB, n) == (free[n] if is_open[n] else 0)


def test_a_copy_of_the_space_leaves_the_nodes_as_they_are_and_so_does_its_copy() -> None:
    nodes = Nodes()
    for _ in range(3):
        nodes.add(NodeSize(8, num_cpus=16.0))
    trial = nodes.space.copy()
    trial.hold(JOB, ((0, 5), (2, 1)))
    second = trial.copy()
    second.hold(JOB, ((0, 3),))
    assert [nodes.space.free(n) for n in range(3)] == [8, 8, 8]
    assert [trial.free(n) for n in range(3)] == [3, 8, 7]
    assert [second.free(n) for n in range(3)] == [0, 8, 7]
    assert (trial.room(JOB, 0), second.room(JOB, 0), second.room(JOB, 2)) == (3, 0, 7)
    assert second.emptiest(JOB) == 1
    second.hold(JOB, ((0, 3),), -1)
    assert second.best_fit(JOB, 3) == 0


def test_the_space_as_it_is_can_not_be_written_to() -> None:
    nodes = Nodes()
    nodes.add(NodeSize(8))
    with pytest.raises(AssertionError, match="a placement policy tried to write to the free GPUs as they are"):
        nodes.space.hold(JOB, ((0, 1),))


def test_masks() -> None:
    assert lowest_bit(0b101000) == 3
    assert list(bits(0b101001)) == [0, 3, 5]
    assert list(bits(0)) == []
