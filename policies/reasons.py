"""Why there are as many units as there are: what a scaling policy says while it decides, step by step.

A policy says it to `view.explain`, which is None unless somebody wants to know, so that saying nothing costs nothing:

    if why := view.explain:
        why.measured(view, target.name, "queue_length", waiting, window_s=60.0)
        why.say("recommendation", count=wanted)

What was said of the targets asked at one decision is one text, in JSON: a list with an object a target.

| of a target | is |
|---|---|
| `target`, `ready`, `starting`, `draining` | its name, and its units when it was asked |
| `pending` | of a service: of those starting, how many wait for GPUs |
| `wanted`, `count` | what the policy wanted, and what of it lies within the target's bounds |
| `steps` | what the policy said, in order: objects with `step`, a name in STEPS, and its facts |

A fact that is the same in all steps: `holds` is true where a step keeps the count from what was called for before it,
or from changing at all. `of` names the pool that a step is about, where a policy decides for several at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from policies.errors import PolicyError
from policies.registry import nearest

if TYPE_CHECKING:  # the view has a field of this type
    from policies.view import ClusterView, Target

# Steps, in about the order in which they come, and what they tell; facts that aren't there don't matter.
STEPS: Mapping[str, str] = {
    "metric": "what was measured: `metric`, `value` (null: it wasn't), over `window_s`, the newest sample `age_s` old",
    "forecast": "the `load` expected in `lead_s`, and the `units` that it takes",
    "demand": "what waits, in `jobs`, or in `pods` as large as a node, or of those the `unplaced`, that fit nowhere",
    "schedule": "what the clock sets: `units`, or bounds `least` and `most`",
    "ratio": "`ratio` of a metric to its `target`; `ready`, `unready`, `missing` pods, and how these count, `…_as`",
    "tolerance": "whether the ratio lies in `low`..`high`, where nothing is done",
    "alarm": "`on` or not: `breaching` of `points` beyond `bound`; of which `direction`",
    "recommendation": "the `count` that follows from what came before",
    "stabilisation": "of what was recommended in `window_s`, which `count` stands for `wanted`",
    "cool_down": "the time `left_s` until the next step in a `direction`, after the last one",
    "delay": "for how long, or how many times, something has been called for, `have`, and has to be, `need`",
    "idle": "`nodes` that could go, the longest for `have_s` of `need_s`",
    "rate_limit": "how far it may go now, `at_most` or `at_least`: `count` in place of `wanted`",
    "wait": "`what` has to come first, in `left_s` if that is known",
    "fixed": "nothing ever changes the count",
    "note": "anything else, as `text`",
    "bound": "`least` and `most`: `count` in place of `wanted`",
}


class Reasons:
    """What is said at one decision. A controller opens and closes what belongs to one target; policies say steps.

    With it in the view, a policy is to be asked whenever it is due, also where it is known that nothing will change.
    """

    __slots__ = ("_chains", "steps")

    def __init__(self) -> None:
        self._chains: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []  # of the target being asked

    def open(self, target: Target) -> None:
        """A policy is about to be asked for this target."""
        self.steps = []
        chain = {"target": target.name, "ready": target.num_ready, "starting": target.num_starting}
        chain["draining"] = target.num_draining
        if hasattr(target, "num_pending"):
            chain["pending"] = target.num_pending
        self._chains.append(chain)

    def say(self, step: str, /, *, holds: bool = False, **facts: Any) -> None:
        """One step: a name in STEPS, and facts by name: numbers, texts, truth values, None, lists of those.

        Raises:
            PolicyError: a step of an unknown name.
        """
        if step not in STEPS:
            raise PolicyError(f"unknown step {step!r} of an explanation: {nearest(step, STEPS)}")
        self.steps.append({"step": step, **facts, "holds": True} if holds else {"step": step, **facts})

    def measured(
        self, view: ClusterView, target: str, metric: str, value: float | None, *, holds: bool = False, **facts: Any
    ) -> None:
        """The step `metric`, with the age of the newest sample of a pool or service."""
        newest_s = view.metrics.newest_s(target)
        age = {} if newest_s is None else {"age_s": view.now_s - newest_s}
        self.say("metric", holds=holds, metric=metric, value=value, **age, **facts)

    def close(self, target: Target, wanted: int, count: int) -> None:
        """The policy has answered; `count` of it lies within the bounds of the target."""
        if count != wanted or not any(said["step"] == "bound" for said in self.steps):
            bounds = {"least": target.min_units, "most": target.max_units}
            self.say("bound", wanted=wanted, **bounds, count=count, holds=count != wanted)
        self._chains[-1] |= {"wanted": wanted, "count": count, "steps": self.steps}

    def take(self) -> str:
        """What was said since the last time, as JSON; empty where nobody was asked."""
        if not self._chains:
            return ""
        chains, self._chains, self.steps = self._chains, [], []
        try:
            return _json(chains)
        except ValueError:  # JSON has no infinity
            return _json(_finite(chains))


def _json(chains: Any) -> str:
    return json.dumps(chains, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's; anything else as a text."""
    return value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else str(value)


def _finite(value: Any) -> Any:
    """Infinities and what is no number as texts."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    number = _plain(value) if hasattr(value, "item") else value
    return str(number) if isinstance(number, float) and not math.isfinite(number) else number
