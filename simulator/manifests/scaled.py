"""What the manifests of a run scale: their bounds go to the services and pools that have none, and what is odd is told.

| set by the user | the bounds of the service or pool | held to |
|---|---|---|
| neither bound | the manifest's; the number at the start is brought within them, and told | the manifest's |
| one or both | those, and for the other one the manifest's | what both allow; where that is nothing, the user's; told |

A pool that is committed has one size and keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simulator.manifests import aws
from simulator.manifests.beside import not_taken
from simulator.manifests.choice import Chosen, expanded
from simulator.manifests.command import command_of
from simulator.manifests.scaling import OF_NODES
from simulator.pools import PoolSpec
from simulator.serving.settings import NONE, has_services
from simulator.serving.spec import ServiceSpec


@dataclass(frozen=True)
class _Kind:
    """Options of what can be scaled."""

    name: str
    units: str
    count: str
    low: str
    high: str
    default: int  # of the count


_SERVICE = _Kind("service", "replicas", "replicas", "min_replicas", "max_replicas", ServiceSpec.replicas)
_POOL = _Kind("pool", "nodes", "num_nodes", "min_nodes", "max_nodes", PoolSpec.num_nodes)


@dataclass(frozen=True)
class _Scaled:
    """A service or a pool."""

    kind: _Kind
    name: str
    at: tuple[str, ...]  # where its settings stand
    options: Mapping[str, Any]  # what holds for it: its own and what it has from `service` or `cluster`
    by: Chosen | None  # None: no manifest

    @property
    def sizes(self) -> dict[str, Any]:
        """The number at the start and the bounds; None: not set."""
        count = self.options.get(self.kind.count)
        sizes = {self.kind.count: self.kind.default if count is None else count}
        return {**sizes, **{option: self.options.get(option) for option in (self.kind.low, self.kind.high)}}

    @property
    def is_bound(self) -> bool:
        return self.kind is _POOL and str(self.options.get("purchase")).startswith("committed")


def described(settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(settings that say all by themselves, what to tell of the manifests that they came from).

    Raises:
        ConfigError, WorkloadError: see `chosen`.
    """
    choices: dict[str, Chosen] = {}
    whole = expanded(settings, choices)
    if not choices:
        return whole, []
    all_scaled = list(_all_scaled(whole, choices))
    told = _of_nodes(all_scaled, serves=_serves(whole))
    beside: list[str] = []
    changed: dict[tuple[str, ...], dict[str, Any]] = {}
    for each in all_scaled:
        changed[each.at], notes = _bounded(each)
        told += notes
        if each.by and each.kind is _SERVICE:
            beside += not_taken(each.by, each.at, {**each.options, **changed[each.at]})
    inherit = any(changes for at, changes in changed.items() if at[0] == "service")
    for each in all_scaled:
        kept = each.sizes if inherit and each.at[0] == "services" else {}  # not what became of `service`
        _put(whole, each.at, {**kept, **changed[each.at]})
    read = [f"{one.found.place}: {note}" for one in choices.values() for note in one.found.notes]
    return whole, [*told, *dict.fromkeys((*beside, *read))]


def _serves(settings: Mapping[str, Any]) -> bool:
    return has_services(settings.get("requests") or {}, settings.get("services") or {})


def _all_scaled(settings: Mapping[str, Any], choices: Mapping[str, Chosen]) -> Iterator[_Scaled]:
    cluster, pools = settings.get("cluster") or {}, settings.get("pools") or {}
    of_nodes = choices.get("node_scaling" if _serves(settings) else "scaling")
    if not pools:
        yield _Scaled(_POOL, PoolSpec.name, ("cluster",), cluster, of_nodes)
    for name, own in _mappings(pools):
        by = choices.get(f"pools.{name}.scaling") if own.get("scaling") else of_nodes
        yield _Scaled(_POOL, name, ("pools", name), {**cluster, **own}, by)
    service, common = settings.get("service") or {}, choices.get("scaling")
    if (settings.get("requests") or {}).get("name", NONE) != NONE:
        name = str(service.get("name", ServiceSpec.name))
        yield from _of_service(name, ("service",), service, choices, common)
    for name, own in _mappings(settings.get("services") or {}):
        by = choices.get(f"services.{name}.scaling") if own.get("scaling") else common
        yield from _of_service(name, ("services", name), {**service, **own}, choices, by)


def _of_service(
    name: str, at: tuple[str, ...], options: Mapping[str, Any], choices: Mapping[str, Chosen], by: Chosen | None
) -> Iterator[_Scaled]:
    """It, or each of its sites."""
    sites = options.get("sites") or {}
    if not sites:
        yield _Scaled(_SERVICE, name, at, options, by)
    for site, own in _mappings(sites):
        inside = (*at, "sites", site)
        of_site = choices.get(f"{'.'.join(inside)}.scaling") if own.get("scaling") else by
        yield _Scaled(_SERVICE, f"{name}@{site}", inside, {**options, **own}, of_site)


def _mappings(content: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """What isn't one is refused elsewhere."""
    items = content.items() if isinstance(content, Mapping) else ()
    return [(str(name), own) for name, own in items if isinstance(own, Mapping)]


def _bounded(scaled: _Scaled) -> tuple[dict[str, Any], list[str]]:
    """(what of its sizes changes, what is told of that)."""
    if scaled.by is None or scaled.by.bounds is None or scaled.is_bound:
        return {}, []
    count, own_low, own_high = scaled.sizes.values()
    if not all(isinstance(size, int | None) for size in (count, own_low, own_high)):
        return {}, []  # is refused elsewhere
    kind, (low, high) = scaled.kind, scaled.by.bounds
    most = own_high if own_high is not None else max(high, own_low or 0)
    fewest = own_low if own_low is not None else min(low, most)
    begins = count
    if own_low is None:
        begins = max(begins, fewest)
    if own_high is None:
        begins = min(begins, most)
    sizes = {kind.count: begins, kind.low: fewest, kind.high: most}
    said, told = f"{scaled.by.label} says {low}..{high} {kind.units}", []
    given = ((kind.low, own_low, low), (kind.high, own_high, high))
    differing = [f"{option}={own}" for option, own, its in given if own not in (None, its)]
    if differing:
        held_most = max(min(high, most), fewest)
        held = f"{min(max(low, fewest), held_most)}..{held_most}"
        told.append(
            f"{kind.name} {scaled.name!r} is held to {held} {kind.units}: {said}, {' and '.join(differing)} is set"
        )
    if begins != count:
        told.append(f"{kind.name} {scaled.name!r} begins with {begins} {kind.units}, not {kind.count}={count}: {said}")
    return {option: size for option, size in sizes.items() if size != scaled.sizes[option]}, told


def _put(settings: dict[str, Any], at: tuple[str, ...], changes: Mapping[str, Any]) -> None:
    if changes:
        for key in at:
            settings = settings.setdefault(key, {})
        settings.update(changes)


def _of_nodes(all_scaled: list[_Scaled], *, serves: bool) -> list[str]:
    """Of manifests that are for the replicas of a service, and scale nodes here: which, how many, and what to do."""
    pools: dict[int, list[_Scaled]] = {}
    for each in all_scaled:
        if each.by and each.kind is _POOL and each.by.found.kind not in (*OF_NODES, aws.KIND):
            pools.setdefault(id(each.by), []).append(each)
    told = []
    for scaled in pools.values():
        by = scaled[0].by
        assert by is not None
        why = "it is set to scale nodes" if serves else "this run has no service"
        which = f"pool{'s' * (len(scaled) > 1)} {', '.join(repr(each.name) for each in scaled)}"
        within = "{}..{}".format(*by.bounds) if by.bounds else "as many as there may be"
        told.append(
            f"{by.label} is for the replicas of {by.found.target or 'a service'}, but {why}: it scales the nodes of "
            f"{which}, {within}; to scale replicas: {command_of(by)}"
        )
    return told
