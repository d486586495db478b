"""Names of policies: what is there, and what is said of a name or an option that is not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from policies import PolicyError, registry
from policies.registry import Registry, nearest


def test_every_policy_of_the_package_is_there() -> None:
    assert {"fair_share", "fifo", "greedy", "las", "priority", "sjf", "srtf"} <= set(registry.names("allocation"))
    assert {"consolidate", "pooled", "spread"} <= set(registry.names("placement"))
    assert {"static", "threshold"} <= set(registry.names("scaling"))


@pytest.mark.parametrize(
    ("kind", "name", "options", "message"),
    [
        ("allocation", "srft", {}, "unknown allocation policy 'srft': did you mean srtf"),
        ("allocation", "zzz", {}, "unknown allocation policy 'zzz': known: fair_share, fifo"),
        ("allocation", "fifo", {"backfil": 1}, "allocation=fifo has no option 'backfil': did you mean backfill"),
        ("allocation", "las", {"_order": 1}, "allocation=las has no option '_order'"),
        ("placement", "pooled", {"strict": True}, "placement=pooled has no option 'strict'"),
    ],
)
def test_unknown_names(kind: str, name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        registry.create(kind, name, **options)


def test_nearest() -> None:
    assert nearest("fif", ["fifo", "sjf"]) == "did you mean fifo? known: fifo, sjf"
    assert nearest("x", ["fifo"]) == "known: fifo"


def test_own_policies() -> None:
    mine = Registry()

    @mine.register("allocation", "mine")
    @dataclass
    class Mine:
        threshold: float = 0.5

    assert mine.create("allocation", "mine", threshold=0.7).threshold == 0.7
    assert mine.register("allocation", "mine")(Mine) is Mine  # the same class again, as when a module is reloaded

    with pytest.raises(PolicyError, match=r"allocation policy 'mine' is taken by .*Mine"):

        @mine.register("allocation", "mine")
        @dataclass
        class Other:
            pass


def test_kinds_and_classes_that_can_not_be() -> None:
    with pytest.raises(PolicyError, match="unknown kind of policy 'alocation': did you mean allocation"):
        Registry().register("alocation", "mine")
    with pytest.raises(PolicyError, match=r"allocation policy 'mine': .*Plain must be a dataclass"):

        @Registry().register("allocation", "mine")
        class Plain:
            pass
