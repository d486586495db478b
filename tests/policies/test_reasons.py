"""How reasons are collected, whoever says them; and who opens and closes them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies import Controller, PolicyError, Reasons, Target
from policies.fake_cluster import FakeCluster
from policies.placement.pooled import Pooled
from policies.reasons import STEPS

ROOT = Path(__file__).parents[2]


@dataclass
class Wants:
    """A policy of a user's own, that says what it is told to, if anything."""

    count: int
    said: Any = None
    period_s: float = 60.0

    def desired(self, target: Target, view: Any) -> int:
        if view.explain and self.said:
            self.said(view.explain)
        return self.count


class Nothing:
    def allocate(self, view: Any, draft: Any) -> None:
        pass


def decided(policy: Any, *, explain: bool = True, nodes: int = 2, most: int = 4) -> tuple[Any, str]:
    """(the plan, the reasons) of one decision about the pool `default`."""
    view = FakeCluster({}, nodes=[8] * nodes, max_nodes=most).view()
    view.explain = Reasons() if explain else None
    plan = Controller(Nothing(), Pooled(), {"default": policy}).decide(view)
    return plan, view.explain.take() if view.explain else ""


def test_a_policy_that_says_nothing_has_a_chain_all_the_same() -> None:
    plan, told = decided(Wants(9))
    assert dict(plan.nodes) == {"default": 4}
    assert json.loads(told) == [
        {
            "target": "default",
            "ready": 2,
            "starting": 0,
            "draining": 0,
            "wanted": 9,
            "count": 4,
            "steps": [{"step": "bound", "wanted": 9, "least": 0, "most": 4, "count": 4, "holds": True}],
        }
    ]


def test_nothing_is_said_where_nobody_wants_to_know() -> None:
    plan, told = decided(Wants(3, lambda why: pytest.fail("asked to say something")), explain=False)
    assert (dict(plan.nodes), told) == ({"default": 3}, "")


def test_an_ask_that_changes_nothing_is_told_too() -> None:
    plan, told = decided(Wants(2, lambda why: why.say("note", text="enough", holds=True)))
    assert not plan.nodes
    assert json.loads(told)[0]["steps"][0] == {"step": "note", "text": "enough", "holds": True}


def test_a_decision_at_which_nobody_is_asked_says_nothing() -> None:
    view = FakeCluster({}, nodes=[8]).view()
    view.explain = Reasons()
    controller = Controller(Nothing(), Pooled(), {"default": Wants(1)})
    controller.decide(view)
    assert view.explain.take()
    view.now_s = 59.0
    controller.decide(view)
    assert view.explain.take() == ""


def test_it_does_not_keep_what_was_taken() -> None:
    why, target = Reasons(), FakeCluster({}).view().target("default")
    why.open(target)
    why.close(target, 1, 1)
    assert why.take()
    assert why.take() == ""


def test_steps_have_names_of_the_vocabulary() -> None:
    with pytest.raises(PolicyError, match="unknown step 'cooldown' of an explanation: did you mean cool_down"):
        decided(Wants(2, lambda why: why.say("cooldown")))


def test_numbers_of_all_kinds() -> None:
    def say(why: Reasons) -> None:
        why.say(
            "note", text=Path("a"), one=np.int64(3), two=np.float64(0.5), three=[math.inf, 1.0], four=np.float32(0.5)
        )
        why.say("note", text="", five=math.nan, six=(True, None))

    _, told = decided(Wants(2, say))
    first, second = json.loads(told)[0]["steps"][:2]
    assert first == {"step": "note", "text": "a", "one": 3, "two": 0.5, "three": ["inf", 1.0], "four": 0.5}
    assert second == {"step": "note", "text": "", "five": "nan", "six": [True, None]}


def test_the_age_is_that_of_the_newest_sample() -> None:
    cluster = FakeCluster({}, now_s=100.0)
    why = Reasons()
    why.measured(cluster.view(), "default", "queue_length", None)
    cluster.measure(70.0, queue_length=3.0)
    why.measured(cluster.view(), "default", "queue_length", 3.0, window_s=60.0)
    assert why.steps == [
        {"step": "metric", "metric": "queue_length", "value": None},
        {"step": "metric", "metric": "queue_length", "value": 3.0, "age_s": 30.0, "window_s": 60.0},
    ]


def test_the_vocabulary_is_documented() -> None:
    """The table of docs/explain.md has the steps, in their order."""
    lines = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8").splitlines()
    told = [line.split("|")[1].strip(" `") for line in lines if line.startswith("| `")]
    assert [name for name in told if name in STEPS] == list(STEPS)
