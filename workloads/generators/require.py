"""The one way a generator refuses a parameter."""

from __future__ import annotations

from workloads.errors import WorkloadError


def require(ok: bool, option: str, value: object, rule: str) -> None:
    """Raises WorkloadError `option=value: rule` unless `ok`."""
    if not ok:
        raise WorkloadError(f"{option}={value}: {rule}")
