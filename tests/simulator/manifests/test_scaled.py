"""The bounds of manifests, taken over by what they scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from simulator.manifests.scaled import described

SPEC = {"target_ongoing_requests": 2, "min_replicas": 2, "max_replicas": 10}
POISSON = {"name": "poisson"}


@pytest.fixture
def choice(tmp_path: Path):
    def of(name: str = "a", **config: Any) -> dict[str, Any]:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"deployments": [{"name": name, "autoscaling_config": {**SPEC, **config}}]}))
        return {"name": "kubernetes", "manifest": str(path)}

    return of


def sizes(options: dict[str, Any], units: str = "replicas") -> tuple[Any, ...]:
    return tuple(options.get(key) for key in (units.replace("nodes", "num_nodes"), f"min_{units}", f"max_{units}"))


@pytest.mark.parametrize(
    ("service", "expected", "told"),
    [
        ({"replicas": 4}, (4, 2, 10), []),
        ({}, (2, 2, 10), ["begins with 2 replicas, not replicas=1: "]),
        ({"replicas": 12}, (10, 2, 10), ["begins with 10 replicas, not replicas=12: "]),
        ({"replicas": 2, "max_replicas": 28}, (2, 2, 28), ["is held to 2..10 replicas: ", "max_replicas=28 is set"]),
        ({"replicas": 4, "max_replicas": 6}, (4, 2, 6), ["is held to 2..6 replicas: ", "max_replicas=6 is set"]),
        ({"replicas": 4, "min_replicas": 3}, (4, 3, 10), ["is held to 3..10 replicas: ", "min_replicas=3 is set"]),
        ({"replicas": 1, "max_replicas": 1}, (1, 1, 1), ["is held to 1..1 replicas: ", "max_replicas=1 is set"]),
        (
            {"replicas": 12, "min_replicas": 12},
            (12, 12, 12),
            ["is held to 12..12 replicas: ", "min_replicas=12 is set"],
        ),
        ({"replicas": 4, "min_replicas": 2, "max_replicas": 10}, (4, 2, 10), []),
        (
            {"replicas": 4, "min_replicas": 0, "max_replicas": 9},
            (4, 0, 9),
            ["is held to 2..9", "min_replicas=0 and max"],
        ),
        ({"replicas": 1, "min_replicas": 3}, (1, 3, 10), ["is held to 3..10"]),  # refused by the service itself
    ],
)
def test_a_service_takes_the_bounds_that_it_lacks(choice, service, expected, told):
    scaling = choice()
    settings, notes = described({"requests": POISSON, "service": service, "scaling": scaling})
    assert sizes(settings["service"]) == expected
    assert settings["scaling"]["name"] == "ray_serve"
    assert len(notes) == bool(told)
    for words in told:
        assert words in notes[0]
    if told:
        assert "service 'service' " in notes[0]
        assert f"{scaling['manifest']}: autoscaling_config a says 2..10 replicas" in notes[0]


def test_options_beside_the_manifest_go_first(choice):
    scaling = {**choice(), "options": {"max_units": 5}}
    settings, notes = described({"requests": POISSON, "service": {"replicas": 2}, "scaling": scaling})
    assert (sizes(settings["service"]), notes) == ((2, 2, 5), [])


def test_each_service_takes_those_of_its_own_manifest(choice):
    """`services` inherit what was said of `service`, not what a manifest has made of it."""
    services = {
        "own": {"requests": POISSON, "scaling": choice("own", max_replicas=3)},
        "fixed": {"requests": POISSON, "scaling": {"name": "static"}},
        "same": {"requests": POISSON, "max_replicas": 6},
        "near": {"requests": POISSON, "sites": {"x": {"pool": "edge", "replicas": 3}, "y": {"pool": "far"}}},
    }
    given = {"requests": POISSON, "service": {"replicas": 1}, "services": services, "scaling": choice()}
    settings, notes = described(given)
    assert sizes(settings["service"]) == (2, 2, 10)
    found = settings["services"]
    assert sizes(found["own"]) == (2, 2, 3)
    assert sizes(found["fixed"]) == (1, None, None)
    assert sizes(found["same"]) == (2, 2, 6)
    assert sizes(found["near"]["sites"]["x"]) == (3, 2, 10)
    assert sizes(found["near"]["sites"]["y"]) == (2, 2, 10)
    assert found["near"]["sites"]["x"]["pool"] == "edge"
    assert [note.split(" ", 2)[1] for note in notes] == ["'service'", "'own'", "'same'", "'same'", "'near@y'"]
    assert services["fixed"] == {"requests": POISSON, "scaling": {"name": "static"}}  # what was given is as it was


def test_each_pool_takes_them(choice):
    pools = {
        "a": {},
        "b": {"num_nodes": 30, "max_nodes": 40, "min_nodes": 1},
        "c": {"scaling": {"name": "static"}},
        "d": {"purchase": "committed_1y"},
    }
    given = {"cluster": {"num_nodes": 4, "min_nodes": None}, "pools": pools, "scaling": choice()}
    settings, notes = described(given)
    found = settings["pools"]
    assert sizes(found["a"], "nodes") == (None, 2, 10)
    assert sizes(found["b"], "nodes") == (30, 1, 40)
    assert sizes(found["c"], "nodes") == sizes(found["d"], "nodes") == (None, None, None)
    assert (
        "deployment a, but this run has no service: it scales the nodes of pools 'a', 'b', 'd', 2..10; to " in notes[0]
    )
    assert notes[1].startswith("pool 'b' is held to 2..10 nodes: ")
    assert len(notes) == 2


def test_the_command_that_is_told_has_the_options_beside_the_manifest(choice):
    scaling = {**choice(), "options": {"max_units": 5}}
    _, notes = described({"cluster": {"num_nodes": 4}, "scaling": scaling})
    assert "it scales the nodes of pool 'default', 2..5; to scale replicas: " in notes[0]
    assert "service.min_replicas=2 service.max_replicas=5 scaling=kubernetes" in notes[0]
    assert notes[0].endswith("scaling.options.max_units=5")


def test_replicas_as_node_scaling_are_told(choice):
    given = {"requests": POISSON, "scaling": {"name": "static"}, "node_scaling": choice(), "cluster": {"num_nodes": 4}}
    settings, notes = described(given)
    assert sizes(settings["cluster"], "nodes") == (4, 2, 10)
    assert "but it is set to scale nodes: it scales the nodes of pool 'default', 2..10; to scale" in notes[0]


def test_without_a_manifest_settings_are_as_they_were():
    given = {"scaling": {"name": "ray_serve", "max_units": 9}, "requests": POISSON, "service": {"replicas": 1}}
    assert described(given) == (given, [])
