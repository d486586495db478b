"""One policy for several pools at once: node autoscalers choose between kinds of nodes.

The controller asks for each pool on its own. The members of a joint policy share it: the first one asked at an instant
has it decide for all of them, and the others pass on what it said.

    scaling = jointly(ClusterAutoscaler(expander=["price"]), ["small", "large"])  # pool -> policy, for a controller
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from policies.errors import PolicyError
from policies.protocols import ScalingPolicy
from policies.quiet import Quiet
from policies.view import ClusterView, PoolView, Target


class JointPolicy(Protocol):
    """Decides for several pools."""

    @property
    def period_s(self) -> float: ...

    def decide(self, view: ClusterView, pools: Sequence[PoolView]) -> dict[str, int]:
        """How many nodes each of these pools should have, by name."""
        ...


@runtime_checkable
class RestingPolicy(JointPolicy, Protocol):
    """One that need not be asked while it would change nothing; see `policies.quiet`."""

    def rests(self, view: ClusterView, pools: Sequence[PoolView]) -> Quiet | None:
        """For how long it would change no pool, if it has just been asked and changed none; None: it can't say."""
        ...

    def slept(self, last_tick_s: float) -> None:
        """It was not asked at its ticks until then; may be told twice."""
        ...


@dataclass
class _Shared:
    policy: JointPolicy
    pools: tuple[str, ...]
    decided_s: float = field(default=-math.inf)
    answers: dict[str, int] = field(default_factory=dict)


@dataclass
class Member:
    """The policy of one of the pools."""

    shared: _Shared

    @property
    def period_s(self) -> float:
        return self.shared.policy.period_s

    def desired(self, target: Target, view: ClusterView) -> int:
        shared = self.shared
        if shared.decided_s != view.now_s or target.name not in shared.answers:
            shared.answers = shared.policy.decide(view, [view.pools[name] for name in shared.pools])
            shared.decided_s = view.now_s
        return shared.answers.pop(target.name)

    def quiet(self, target: Target, view: ClusterView) -> Quiet | None:
        policy = self.shared.policy
        if not isinstance(policy, RestingPolicy):
            return None
        return policy.rests(view, [view.pools[name] for name in self.shared.pools])

    def slept(self, last_tick_s: float) -> None:
        policy = self.shared.policy
        if isinstance(policy, RestingPolicy):
            policy.slept(last_tick_s)


def jointly(policy: JointPolicy, pools: Iterable[str]) -> dict[str, ScalingPolicy]:
    """A policy for each of these pools, of which `policy` decides for all."""
    shared = _Shared(policy, tuple(pools))
    return {name: Member(shared) for name in shared.pools}


def a_pool(policy: str, target: Target) -> PoolView:
    """The target as a node pool.

    Raises:
        PolicyError: it is a service.
    """
    if not isinstance(target, PoolView):
        raise PolicyError(f"{policy}: {target.name!r} is a service: it scales node pools")
    return target
