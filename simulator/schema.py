"""The types of settings, for whoever composes them: a dataclass's options as a dataclass that OmegaConf can hold.

OmegaConf knows numbers, texts, truth values, and lists and mappings of them; what is of another type is checked only
when the object is built (`simulator.config`).
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, field, fields, is_dataclass, make_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from policies import registry
from policies.registry import KINDS
from simulator.catalogue.pool import CHOICE, OF_INSTANCE
from simulator.cluster import DecideOptions
from simulator.config import GROUPS, CompareOptions, RunConfig
from simulator.errors import ConfigError
from simulator.monitor import MonitorOptions
from simulator.pools import PoolSpec
from simulator.serving.buying import Purchase
from simulator.serving.router import RoutingOptions
from simulator.serving.spec import ServiceSpec

_OPEN = "???"  # how OmegaConf writes a value that the user has to fill in
_PLAIN = (int, float, str, bool)


def root_schema() -> type:
    """All settings of a run."""
    nested = {
        "cluster": cluster_schema(),
        "decide": schema_of(DecideOptions),
        "monitor": schema_of(MonitorOptions),
        "compare": schema_of(CompareOptions),
        "service": make_dataclass(
            "Service",
            [
                ("profile", str, field(default="")),
                ("llm", dict[str, Any], field(default_factory=dict)),
                ("sites", dict[str, Any], field(default_factory=dict)),
            ],
            bases=(
                schema_of(Purchase),
                schema_of(RoutingOptions),
                schema_of(ServiceSpec, without=("llm", "purchase")),
            ),
        ),
    }
    rows = []
    for name, hint, default in _rows(RunConfig):
        cls = nested.get(name)
        rows.append((name, cls or hint, field(default_factory=cls) if cls else default))
    return make_dataclass("Run", rows)


def cluster_schema() -> type:
    """The options of a pool: an instance, how it is bought, and `PoolSpec`'s; what an instance settles is open."""
    rows: list[tuple[str, Any, Any]] = [(name, str, field(default=default)) for name, default in CHOICE.items()]
    for name, hint, default in _rows(PoolSpec):
        if name in OF_INSTANCE:
            hint, default = hint | None, field(default=None)  # None: the instance's, or else PoolSpec's own default
        if name != "name":
            rows.append((name, hint, default))
    return make_dataclass(PoolSpec.__name__, rows)


def policy_schemas() -> Iterator[tuple[str, str, type]]:
    """(kind, name, schema) of every registered policy that a group of settings chooses, not of parts of policies."""
    for kind in (kind for kind in KINDS if kind in GROUPS):
        for name in registry.names(kind):
            yield kind, name, schema_of(registry.get(kind, name), name=name)


def schema_of(cls: type, *, name: str | None = None, without: Sequence[str] = ()) -> type:
    """The options of the dataclass `cls` (its init fields), ahead of them `name` as a setting of that value.

    Raises:
        ConfigError: a default that no config file can hold.
    """
    rows = [] if name is None else [("name", str, field(default=name))]
    return make_dataclass(cls.__name__, rows + [row for row in _rows(cls) if row[0] not in without])


def _rows(cls: type) -> list[tuple[str, Any, Any]]:
    try:
        hints = get_type_hints(cls)
    except NameError:  # of a name that is imported for type checkers only
        hints = {}
    return [
        (option.name, _plain(hints.get(option.name, Any)), _default(cls, option))
        for option in fields(cls)
        if option.init
    ]


def _default(cls: type, option: Field[Any]) -> Any:
    value: Any = _OPEN
    if option.default is not MISSING:
        value = option.default
    elif option.default_factory is not MISSING:
        value = option.default_factory()
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, tuple):
        value = list(value)
    if not (value is None or isinstance(value, (*_PLAIN, list, dict))):
        raise ConfigError(
            f"{cls.__qualname__}.{option.name}: a default of type {type(value).__name__} can't be a setting; "
            f"use numbers, texts, lists or mappings, or keep it from the settings by field(init=False)"
        )
    return field(default_factory=lambda: value) if isinstance(value, list | dict) else field(default=value)


def _plain(hint: Any) -> Any:
    """`hint` where OmegaConf can check it, else Any."""
    origin, arms = get_origin(hint), get_args(hint)
    if hint in _PLAIN:
        return hint
    if origin in (Union, types.UnionType) and len(arms) == 2 and type(None) in arms:
        inner = next(arm for arm in arms if arm is not type(None))
        return inner | None if inner in _PLAIN else Any
    if origin is list and arms[0] in _PLAIN:
        return hint
    if isinstance(origin, type) and issubclass(origin, Mapping) and arms[0] is str and arms[1] in _PLAIN:
        return dict[str, arms[1]]  # type: ignore[valid-type]
    return Any
