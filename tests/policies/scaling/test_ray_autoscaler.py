"""ray_autoscaler: packing, the launch limit, idle nodes."""

from __future__ import annotations

from typing import Any

import pytest

from policies import NodeSize, PolicyError
from policies.fake_cluster import FakeCluster, FakeJob
from policies.scaling.packing import Pod, Room
from policies.scaling.ray_autoscaler import RayAutoscaler, demands, launch_limit, missing_nodes
from tests.policies.scaling.play import cluster_of


def gang(*gpus: int) -> list[Pod]:
    return [Pod(0, count) for count in gpus]


@pytest.mark.parametrize(
    ("speed", "running", "limit"), [(1.0, 0, 1), (1.0, 5, 5), (0.5, 5, 3), (0.0, 5, 1), (2.0, 3, 6), (0.1, 5, 1)]
)
def test_the_launch_limit(speed: float, running: int, limit: int) -> None:
    assert launch_limit(speed, running) == limit


def test_gangs_before_tasks_the_largest_first() -> None:
    given = [gang(1), gang(8, 2), gang(4), gang(8, 8)]
    assert demands(given) == [gang(8, 8), gang(8, 2), gang(4), gang(1)]


@pytest.mark.parametrize(
    ("gangs", "at_most", "nodes"),
    [
        ([gang(8, 8), gang(4), gang(4)], 9, 3),
        ([gang(8, 4), gang(4)], 9, 2),  # the 4 fits beside the rest of the gang
        ([gang(8, 8, 8), gang(4)], 2, 1),  # the gang never fits: passed over
        ([gang(5), gang(5), gang(5)], 2, 2),
        ([gang(9)], 5, 0),
        ([], 5, 0),
    ],
)
def test_missing_nodes(gangs: list[list[Pod]], at_most: int, nodes: int) -> None:
    assert missing_nodes(gangs, [], Room.empty(NodeSize(8)), at_most) == nodes


def test_gangs_use_what_is_there_too() -> None:
    there = [Room.empty(NodeSize(8)), Room.empty(NodeSize(4))]
    assert missing_nodes([gang(8, 8), gang(4)], there, Room.empty(NodeSize(8)), 9) == 1


def cluster(**gpus: int) -> FakeCluster:
    jobs = {name: FakeJob(num_gpus=count) for name, count in gpus.items()}
    jobs["running"] = FakeJob(num_gpus=8, held=8, nodes=((0, 8),))
    return FakeCluster(jobs, nodes=[8, 8], max_nodes=10)


def test_what_fits_where_something_is_free_takes_no_node() -> None:
    policy, view = RayAutoscaler(), cluster(a=4, b=4).view()
    assert policy.desired(view.pools["default"], view) == 2


def test_nodes_for_the_rest_within_the_limit() -> None:
    view = cluster(a=8, b=8, c=20).view()
    pool = view.pools["default"]
    assert RayAutoscaler().desired(pool, view) == 4  # 3 + 1 - 1 missing, twice what runs would be 2
    assert RayAutoscaler(upscaling_speed=5.0).desired(pool, view) == 6
    pool.num_starting = 4
    assert RayAutoscaler(upscaling_speed=5.0).desired(pool, view) == 6  # on their way


def test_idle_nodes_go_once_they_have_been_for_longer_than_the_timeout() -> None:
    policy, busy = RayAutoscaler(), cluster()
    pool, told = busy.view().pools["default"], {}
    for now_s in (0.0, 5.0, 300.0, 305.0):
        busy.now_s = now_s
        told[now_s] = policy.desired(pool, busy.view())
    assert told == {0.0: 2, 5.0: 2, 300.0: 2, 305.0: 1}


def test_work_on_a_node_starts_its_timer_anew() -> None:
    policy, busy = RayAutoscaler(), cluster()
    pool = busy.view().pools["default"]
    assert policy.desired(pool, busy.view()) == 2
    busy.now_s = 100.0
    busy.submit("a", FakeJob(num_gpus=1, held=1, nodes=((1, 1),)))
    assert policy.desired(pool, busy.view()) == 2
    busy.finish("a")
    for now_s, wanted in ((105.0, 2), (305.0, 2), (405.0, 2), (410.0, 1)):
        busy.now_s = now_s
        assert policy.desired(pool, busy.view()) == wanted


def test_an_idle_node_that_what_waits_fits_on_stays() -> None:
    policy, busy = RayAutoscaler(), cluster()
    pool = busy.view().pools["default"]
    policy.desired(pool, busy.view())
    busy.now_s = 400.0
    busy.submit("a", FakeJob(num_gpus=2, submit_s=400.0))
    assert policy.desired(pool, busy.view()) == 2


def test_bounds() -> None:
    view = cluster(a=80).view()
    pool = view.pools["default"]
    assert RayAutoscaler(upscaling_speed=9.0).desired(pool, view) == 2  # 80 GPUs are 10 nodes, and one is taken
    assert RayAutoscaler(upscaling_speed=9.0).desired(pool, cluster(a=72).view()) == 10
    assert RayAutoscaler(upscaling_speed=9.0, max_units=4).desired(pool, cluster(a=8, b=8, c=8, d=8).view()) == 4


def test_it_scales_pools_only() -> None:
    each, chat = cluster_of(2, service=True)
    with pytest.raises(PolicyError, match="ray_autoscaler: 'chat' is a service: it scales node pools"):
        RayAutoscaler().desired(chat, each.view())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"upscaling_speed": -1.0}, "ray_autoscaler: upscaling_speed=-1.0: must be 0 or more"),
        ({"idle_timeout_s": -1.0}, "ray_autoscaler: idle_timeout_s=-1.0: must be 0 or more"),
        ({"period_s": 0.0}, "ray_autoscaler: period_s=0.0: must be more than 0"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        RayAutoscaler(**options)
