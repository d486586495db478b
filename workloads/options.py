"""From named options, as a config file or a command line gives them, to a checked object.

A dataclass is the schema: its fields are the options, their type hints are the types. What is not there is an error
with the nearest names; what is of another type is an error with the type; nothing is dropped or guessed.
"""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from workloads.errors import WorkloadError
from workloads.source import WorkloadSource, source_class

T = TypeVar("T")
_OPEN = "???"  # how OmegaConf writes a value that the user has to fill in


def build_source(options: Mapping[str, Any], *, prefix: str = "workload.") -> WorkloadSource:
    """The source that `{"name": NAME, OPTION: VALUE, …}` describes.

    Args:
        options: plain values; `name` is a key of `workloads.SOURCES`.
        prefix: stands before an option in messages, as the user types it.

    Raises:
        WorkloadError: an unknown name or option, a missing option, or a value of the wrong type.
    """
    if options.get("name") is None or _is_open(options["name"]):
        raise WorkloadError(f"{prefix}name: is needed")
    given = {name: value for name, value in options.items() if name != "name"}
    return build(source_class(str(options["name"])), given, prefix=prefix)


def build(cls: type[T], options: Mapping[str, Any], *, prefix: str = "", **fixed: Any) -> T:
    """An instance of the dataclass `cls`, each value coerced to its field's type; `fixed` fields are no options.

    Raises:
        WorkloadError: as `build_source`; also what the class itself refuses.
    """
    assert is_dataclass(cls), cls
    known = {option.name: option for option in fields(cls) if option.init and option.name not in fixed}
    hints = get_type_hints(cls)
    for name in options:
        if name not in known:
            raise WorkloadError(f"{prefix}{name}: unknown option{nearest(str(name), known)}")
    values = {
        name: coerce(value, hints[name], f"{prefix}{name}") for name, value in options.items() if not _is_open(value)
    }
    for name, option in known.items():
        if name not in values and (name in options or _is_required(option)):
            raise WorkloadError(f"{prefix}{name}: is needed; set {prefix}{name}={_placeholder(name, hints[name])}")
    try:
        return cls(**values, **fixed)
    except WorkloadError as error:
        name = str(error).partition("=")[0].partition("[")[0]
        if not prefix or type(error) is not WorkloadError or name not in known:
            raise
        raise WorkloadError(f"{prefix}{error}") from None  # it named its field, not who has it


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not known: the nearest names, then all."""
    names = list(known)
    near = difflib.get_close_matches(name, names, 3)
    hint = f"; did you mean {' or '.join(near)}? Known" if near else "; known"
    return f"{hint}: {', '.join(sorted(names))}"


def coerce(value: Any, hint: Any, option: str) -> Any:
    """`value` as the type `hint`, where nothing is lost: 3.0 and "3" are the whole number 3, 3.5 is not.

    Raises:
        WorkloadError: `option=value: must be …`.
    """
    origin, arms = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        return value
    if origin in (Union, types.UnionType):
        return _coerce_union(value, arms, option)
    if origin is Literal:
        if value in arms:
            return value
        raise _refusal(value, f"one of {', '.join(map(str, arms))}", option)
    kind: Any = origin or hint
    if kind is bool:
        return _coerce_bool(value, option)
    if kind in (int, float):
        return _coerce_number(value, kind, option)
    if kind is str and isinstance(value, str | int | float | Path) and not isinstance(value, bool):
        return str(value)
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _coerce_enum(value, kind, option)
    if isinstance(kind, type) and issubclass(kind, Mapping) and isinstance(value, Mapping):
        of_key, of_value = arms or (Any, Any)
        return {coerce(key, of_key, option): coerce(item, of_value, f"{option}.{key}") for key, item in value.items()}
    if _is_list(kind) and isinstance(value, Sequence) and not isinstance(value, str):
        items = [coerce(item, arms[0] if arms else Any, f"{option}[{i}]") for i, item in enumerate(value)]
        return tuple(items) if kind is tuple else items
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
        return build(kind, value, prefix=f"{option}.")
    raise _refusal(value, _describe(hint), option)


def _coerce_union(value: Any, arms: tuple[Any, ...], option: str) -> Any:
    if value is None and type(None) in arms:
        return None
    rest = [arm for arm in arms if arm is not type(None)]
    for arm in rest:
        try:
            return coerce(value, arm, option)
        except WorkloadError:
            if len(arms) == 1 or (is_dataclass(arm) and isinstance(value, Mapping)):
                raise  # it knows better what is wrong
    raise _refusal(value, " or ".join(map(_describe, arms)), option)


def _coerce_bool(value: Any, option: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise _refusal(value, _describe(bool), option)


def _coerce_number(value: Any, kind: type, option: str) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _refusal(value, _describe(kind), option)
    if kind is int and isinstance(value, int):
        return value
    try:
        number = float(value)
    except ValueError:
        raise _refusal(value, _describe(kind), option) from None
    if kind is float:
        return number
    if not math.isfinite(number) or number != int(number):
        raise _refusal(value, _describe(kind), option)
    return int(number)


def _coerce_enum(value: Any, kind: type[Enum], option: str) -> Enum:
    if isinstance(value, kind):
        return value
    by_name = {member.name.lower(): member for member in kind}
    if isinstance(value, str) and value.lower() in by_name:
        return by_name[value.lower()]
    raise _refusal(value, f"one of {', '.join(by_name)}", option)


def _is_list(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Sequence) and kind is not str


def _refusal(value: Any, what: str, option: str) -> WorkloadError:
    return WorkloadError(f"{option}={value}: must be {what}")


def _describe(hint: Any) -> str:
    arms = get_args(hint)
    words: dict[Any, str] = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
        type(None): "null",
    }
    if hint in words:
        return words[hint]
    kind = get_origin(hint) or hint
    if kind in (Union, types.UnionType):
        return " or ".join(map(_describe, arms))
    if kind is Path:
        return "a path"
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return "a mapping such as {a: 1}"
    if is_dataclass(kind):
        return f"a mapping of {', '.join(option.name for option in fields(kind) if option.init)}"
    if _is_list(kind):
        examples: dict[Any, str] = {int: "[1, 2]", float: "[0.5, 1.0]", str: "[a, b]"}
        return f"a list such as {examples.get(arms[0] if arms else Any, '[…]')}"
    return f"a {getattr(kind, '__name__', kind)}"


def _is_open(value: Any) -> bool:
    return isinstance(value, str) and value == _OPEN


def _is_required(option: Field[Any]) -> bool:
    return option.default is MISSING and option.default_factory is MISSING


def _placeholder(name: str, hint: Any) -> str:
    if "path" in name or hint is Path or Path in get_args(hint):
        return "FILE"
    return "VALUE"
