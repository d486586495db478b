"""Node autoscalers that choose between pools, from settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from policies.scaling.joint import Member
from simulator.checks import check
from simulator.config import Setup, read_config
from simulator.scenario import Scenario
from simulator.simulation import simulate
from tests.simulator.small_runs import jobs_of
from workloads import Trace

CHEAPEST = {"name": "cluster_autoscaler", "expander": ["price"]}
POOLS: Mapping[str, Mapping[str, Any]] = {"dear": {"usd_per_node_h": 30.0}, "cheap": {"usd_per_node_h": 10.0}}


def scenario(scaling: Mapping[str, Any], pools: Mapping[str, Any] = POOLS) -> Scenario:
    """Three jobs of a node each, and two pools of different prices that are empty."""
    settings = {
        "allocation": {"name": "fifo"},
        "placement": {"name": "consolidate"},
        "scaling": scaling,
        "workload": {"name": "synthetic"},
        "cluster": {"num_nodes": 0, "min_nodes": 0, "max_nodes": 5},
        "step_time": {"name": "linear"},
        "overheads": {},
        "estimates": {"name": "oracle"},
        "decide": {},
        "pools": pools,
    }
    setup = Setup(read_config(settings))
    jobs = jobs_of((10.0, 8, 600.0), (20.0, 8, 600.0), (30.0, 8, 600.0))
    return setup.scenario(Trace(jobs, setup.load().report))


def ordered(scaling: Mapping[str, Any], pools: Mapping[str, Any] = POOLS) -> dict[str, int]:
    """Nodes that were ordered, by pool."""
    run = simulate(scenario(scaling, pools))
    check(run)
    return run.table("nodes").to_pandas().groupby("pool", observed=True).size().to_dict()


@pytest.mark.parametrize("scaling", [CHEAPEST, {"name": "karpenter"}])
def test_pools_of_one_choice_are_scaled_by_one_policy(scaling: Mapping[str, Any]) -> None:
    assert ordered(scaling) == {"cheap": 3}


def test_with_choices_of_their_own_each_orders_for_all_that_waits() -> None:
    """Nobody knows of what the other pool has on its way."""
    pools = {**POOLS, "dear": {**POOLS["dear"], "scaling": {**CHEAPEST, "unneeded_s": 700.0}}}
    assert ordered(CHEAPEST, pools) == {"cheap": 3, "dear": 3}


def test_who_shares() -> None:
    """Pools with the same choice, their own or not; policies that don't join pools never do."""
    own = {"name": "karpenter"}
    pools = {**POOLS, "a": {"scaling": own}, "b": {"scaling": dict(own)}, "c": {"scaling": {"name": "threshold"}}}
    of = scenario(CHEAPEST, pools).scaling
    shared = {name: policy.shared for name, policy in of.items() if isinstance(policy, Member)}
    assert shared.keys() == {"dear", "cheap", "a", "b"}
    assert shared["dear"] is shared["cheap"] is not shared["a"] is shared["b"]
    apart = scenario({"name": "threshold"}).scaling
    assert apart["dear"] is not apart["cheap"]
