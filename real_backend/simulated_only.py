"""What only a simulation has: a live run that is asked for it says so, before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from real_backend.errors import BackendError
from simulator.pools import PoolSpec
from simulator.serving.settings import has_services

_OF_POOLS = {  # options of a pool, and how it is with real nodes
    "startup": "real nodes take the time they take",
    "warm": "there are no machines but the pool's nodes",
    "failures": "real nodes fail by themselves; tests kill agents",
    "spot": "nobody reclaims agents",
    "replaces": "lost nodes are always replaced",
}
_SAYS_NOTHING = ("source",)  # options that change nothing in a run


def refuse_what_is_simulated_only(settings: Mapping[str, Any]) -> None:
    """Looks at the settings of a live run.

    Raises:
        BackendError: by the name of the setting.
    """
    _refuse_services(settings)
    if settings.get("export"):
        raise BackendError(f"export={settings['export']}: manifests are written of simulations (python -m simulator)")
    pools = settings.get("pools") or {}
    if len(pools) > 1:
        raise BackendError(f"pools: {', '.join(pools)}: live runs have one pool; several are simulated only")
    _refuse_options(settings.get("cluster") or {}, "cluster")
    for name, own in pools.items():
        _refuse_options(own if isinstance(own, Mapping) else {}, f"pools.{name}")


def _refuse_services(settings: Mapping[str, Any]) -> None:
    requests, services = settings.get("requests") or {}, settings.get("services") or {}
    if has_services(requests, services):
        given = f"services.{next(iter(services))}" if services else f"requests={requests['name']}"
        raise BackendError(f"{given}: services are simulated only (python -m simulator); live runs have training jobs")


def _refuse_options(pool: Mapping[str, Any], prefix: str) -> None:
    defaults = asdict(PoolSpec())
    for name, why in _OF_POOLS.items():
        usual, given = defaults[name], pool.get(name)
        if isinstance(given, Mapping):
            changed = {key: value for key, value in given.items() if key in usual and value != usual[key]}
            told = [f"{name}.{key}={value}" for key, value in changed.items() if key not in _SAYS_NOTHING]
        else:
            told = [f"{name}={given}"] if given is not None and given != usual else []
        if told:
            raise BackendError(f"{prefix}.{told[0]}: is simulated only (python -m simulator): {why}")
