"""Pools that only a simulation has: a live run that is asked for one says so, before anything starts."""

from __future__ import annotations

import pytest

from real_backend.commands import composed
from real_backend.errors import BackendError
from real_backend.running import make_plan

SMALL = ("workload=live_tiny", "compute=paced", "device=cpu")
ONLY = "is simulated only (python -m simulator)"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("cluster.startup.boot_s=90",), f"cluster.startup.boot_s=90: {ONLY}: real nodes take the time they take"),
        (("cluster.startup.registers=booted",), f"cluster.startup.registers=booted: {ONLY}: real nodes take the time"),
        (("cluster.startup.stockout_frac=0.5",), f"cluster.startup.stockout_frac=0.5: {ONLY}: real nodes take the"),
        (("cluster.warm.nodes=1",), f"cluster.warm.nodes=1: {ONLY}: there are no machines but the pool's nodes"),
        (("cluster.failures.mtbf_s=1e6",), f"cluster.failures.mtbf_s=1000000.0: {ONLY}: real nodes fail by themselves"),
        (("cluster.failures.trace=f.csv",), f"cluster.failures.trace=f.csv: {ONLY}: real nodes fail by themselves"),
        (
            ("cluster.purchase=spot", "cluster.spot.mean_life_s=600"),
            f"cluster.spot.mean_life_s=600: {ONLY}: nobody reclaims agents",
        ),
        (("cluster.replaces=false",), f"cluster.replaces=False: {ONLY}: lost nodes are always replaced"),
        (
            ("+pools.a.num_nodes=1", "+pools.b.num_nodes=1"),
            "pools: a, b: live runs have one pool; several are simulated only",
        ),
        (("+pools.a.warm.nodes=1",), f"pools.a.warm.nodes=1: {ONLY}"),
    ],
)
def test_a_live_run_refuses_what_a_real_pool_can_not_be_told(overrides: tuple[str, ...], message: str) -> None:
    settings, _ = composed([*SMALL, *overrides])
    with pytest.raises(BackendError) as error:
        make_plan(settings)
    assert str(error.value).startswith(message)


def test_how_a_live_pool_is_bought_and_billed_is_its_price_alone() -> None:
    """And where a start-up is from says nothing of how long it takes."""
    given = ("cluster.purchase=spot", "cluster.billing_minimum_s=60", "cluster.startup.source=nowhere")
    settings, _ = composed([*SMALL, *given])
    pool = make_plan(settings).scenario.pools[0]
    assert (pool.purchase, pool.billing_minimum_s) == ("spot", 60.0)
