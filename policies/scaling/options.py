"""What the scaling policies have in common: checks of their options, and bounds that narrow the target's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from policies.errors import PolicyError
from policies.metrics_view import METRICS, SERVICE_METRICS
from policies.reasons import Reasons
from policies.registry import nearest
from policies.view import Target

_Class = TypeVar("_Class")
Rules = Mapping[str, tuple[Any, bool, str]]  # option -> (its value, whether its rule holds, the rule)


def require(policy: str, rules: Rules) -> None:
    """Raises PolicyError for the first option whose rule does not hold."""
    for name, (value, holds, rule) in rules.items():
        if not holds:
            raise PolicyError(f"{policy}: {name}={value}: {rule}")


def require_metric(policy: str, metric: str) -> None:
    """Raises PolicyError unless pools or services have a metric of that name."""
    known = {**METRICS, **SERVICE_METRICS}
    if metric not in known:
        raise PolicyError(f"{policy}: unknown metric {metric!r}: {nearest(metric, known)}")


def require_bounds(policy: str, min_units: int, max_units: int | None) -> None:
    """Raises PolicyError for bounds that leave nothing."""
    require(policy, {"min_units": (min_units, min_units >= 0, "must be 0 or more")})
    if max_units is not None:
        require(policy, {"max_units": (max_units, max_units >= min_units, "must not be less than min_units")})


def bounds(target: Target, min_units: int = 0, max_units: int | None = None) -> tuple[int, int]:
    """(fewest, most) units: the target's bounds, narrowed; where the two leave nothing, the target's upper one wins."""
    most = target.max_units if max_units is None else min(max_units, target.max_units)
    return min(max(min_units, target.min_units), most), most


def bounded(
    wanted: int, target: Target, min_units: int = 0, max_units: int | None = None, why: Reasons | None = None
) -> int:
    """The number nearest to `wanted` that lies within the bounds."""
    fewest, most = bounds(target, min_units, max_units)
    count = min(max(wanted, fewest), most)
    if why:
        say_bound(why, target, wanted, fewest, most, count)
    return count


def say_bound(why: Reasons, target: Target, wanted: int, fewest: int, most: int, count: int) -> None:
    """Says which bounds `wanted` was held against, and what came of it."""
    why.say("bound", of=target.name, wanted=wanted, least=fewest, most=most, count=count, holds=count != wanted)


def made(cls: type[_Class], given: Any, where: str) -> _Class:
    """`given`, or where it is a mapping an instance of the dataclass with those fields; `where` begins messages.

    Raises:
        PolicyError: something else, an unknown field, or one that is missing.
    """
    if isinstance(given, cls):
        return given
    known = [field.name for field in fields(cls) if field.init]  # type: ignore[arg-type]
    if not isinstance(given, Mapping):
        raise PolicyError(f"{where}={given}: must be a mapping of {', '.join(known)}")
    for name in given:
        if name not in known:
            raise PolicyError(f"{where}: unknown setting {name!r}: {nearest(str(name), known)}")
    try:
        return cls(**given)
    except TypeError as error:
        raise PolicyError(f"{where}={dict(given)}: {str(error).partition(' ')[2]}") from None
