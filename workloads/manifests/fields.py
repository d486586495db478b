"""The fields of a manifest: what nobody asked for is an error."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from types import TracebackType
from typing import Any

from workloads.errors import WorkloadError
from workloads.manifests.lines import line_of
from workloads.manifests.quantities import parse_quantity, parse_seconds
from workloads.options import nearest

_NEEDED: Any = object()  # a default that says that there is none
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class ManifestError(WorkloadError):
    """A manifest that can't be used: `FILE:LINE: document N: spec.field=value: rule`; JSON has no lines."""


class Fields:
    """A mapping in a manifest, read field by field; null is as good as absent.

        with document.fields() as fields, fields.section("spec") as spec:
            replicas = spec.whole("replicas", 1)

    At the end of `with` a field that was neither asked for nor ignored is refused by name. Each method gives the
    default where the field is absent, and without one the field is needed.

    Raises:
        ManifestError: an unsupported field; a value of the wrong type or range; a needed field that is absent.
    """

    def __init__(
        self, content: Mapping[Any, Any], place: str, at: str = "", notes: list[str] | None = None, path: str = ""
    ) -> None:
        self.content, self.place, self.at, self.file = content, place, at, path
        self.notes = [] if notes is None else notes
        self._known: list[str] = []

    def __enter__(self) -> Fields:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()

    def close(self) -> None:
        """Refuses what is left over."""
        for key in self.content:
            if key not in self._known:
                hint = nearest(str(key), dict.fromkeys(self._known)) if self._known else ""
                raise ManifestError(f"{self.where(key)}: {self.path(str(key))}: unsupported field{hint}")

    def path(self, key: str) -> str:
        """Where a field stands."""
        if not _PLAIN.fullmatch(key):
            return f"{self.at}[{key}]"
        return f"{self.at}.{key}" if self.at else key

    def where(self, key: Any = None) -> str:
        """What a message begins with: the file, the line of the field or else of this mapping, the document."""
        line = line_of(self.content, key)
        if line is None or not self.file:
            return self.place
        return f"{self.file}:{line}{self.place.removeprefix(self.file)}"

    def error(self, key: str, rule: str) -> ManifestError:
        """An error about the value of a field."""
        value = self.content.get(key)
        shown = f"={str(value).lower() if isinstance(value, bool) else value}" if key in self.content else ""
        return ManifestError(f"{self.where(key)}: {self.path(key)}{shown}: {rule}")

    def has(self, key: str) -> bool:
        return self.content.get(key) is not None

    def ignore(self, *keys: str) -> None:
        """Fields that say how something is called, or what runs, and nothing that matters here."""
        self._known += keys

    def note(self, why: str, *keys: str) -> None:
        """Fields that matter elsewhere, and have no effect here; `why` is told to whoever asks."""
        self._known += keys
        self.notes += [f"{self.path(key)}: {why}" for key in keys if self.has(key)]

    def refuse(self, key: str, why: str) -> None:
        """Refuses a field that may look supported, if it is there."""
        if self.has(key):
            raise self.error(key, f"unsupported field: {why}")

    def only(self, key: str, value: Any, why: str) -> None:
        """Refuses any other value: what it would change isn't simulated."""
        given = self.take(key, value)
        if given != value or isinstance(given, bool) != isinstance(value, bool):
            shown = str(value).lower() if isinstance(value, bool) else value
            raise self.error(key, f"unsupported value: must be {shown}: {why}")

    def take(self, key: str, default: Any = _NEEDED) -> Any:
        """The value, whatever it is."""
        self._known.append(key)
        value = self.content.get(key)
        if value is not None:
            return value
        if default is _NEEDED:
            near = difflib.get_close_matches(key, [str(each) for each in self.content if each not in self._known], 1)
            hint = f"; there is {self.path(near[0])}, misspelt?" if near else ""
            raise ManifestError(f"{self.where(*near)}: {self.path(key)}: is needed{hint}")
        return default

    def text(self, key: str, default: Any = _NEEDED, among: Collection[str] = ()) -> Any:
        value = self.take(key, default)
        if not self.has(key):
            return value
        if not isinstance(value, str):
            raise self.error(key, "must be a text, in quotes")
        if among and value not in among:
            raise self.error(key, f"must be one of {', '.join(among)}")
        return value

    def flag(self, key: str, default: Any = _NEEDED) -> Any:
        value = self.take(key, default)
        if self.has(key) and not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def whole(self, key: str, default: Any = _NEEDED, *, least: int = 0, most: float = math.inf) -> Any:
        value = self.take(key, default)
        if not self.has(key):
            return value
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            rule = f"{least} or more" if most == math.inf else f"in {least}..{most:g}"
            raise self.error(key, f"must be a whole number, {rule}")
        return value

    def number(self, key: str, default: Any = _NEEDED, *, least: float = -math.inf, most: float = math.inf) -> Any:
        value = self.take(key, default)
        if not self.has(key):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.error(key, "must be a number")
        if not least <= value <= most:
            rule = f"{least:g} or more" if most == math.inf else f"in {least:g}..{most:g}"
            raise self.error(key, f"must be {rule}")
        return float(value)

    def number_in_text(self, key: str, default: Any = _NEEDED) -> Any:
        """A number written as a text, as in annotations."""
        value = self.text(key, default)
        if not self.has(key):
            return value
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self.error(key, "must be a number in quotes")
        return number

    def quantity(self, key: str, default: Any = _NEEDED) -> Any:
        """As a Fraction, 0 or more."""
        return self._parsed(key, default, _quantity)

    def seconds(self, key: str, default: Any = _NEEDED) -> Any:
        """Of a duration such as 5m."""
        return self._parsed(key, default, lambda value: parse_seconds(str(value)))

    def _parsed(self, key: str, default: Any, parse: Callable[[Any], Any]) -> Any:
        value = self.take(key, default)
        if not self.has(key):
            return value
        try:
            return parse(value)
        except ValueError as error:
            raise self.error(key, str(error)) from None

    def ordered(self, low: str, high: str, least: int, most: int) -> None:
        """Refuses a lower bound above the upper one, by the names that both have here; a default is told as one."""
        if least > most:
            shown = f"{self.path(high)}={most}{'' if self.has(high) else ', the default'}"
            known = low if self.has(low) else high
            raise ManifestError(f"{self.where(known)}: {self.path(low)}={least}: must not be more than {shown}")

    def section(self, key: str, *, needed: bool = False) -> Fields:
        """A mapping inside; an empty one where it is absent, unless it is needed."""
        value = self.take(key, _NEEDED if needed else {})
        if not isinstance(value, Mapping):
            raise self.error(key, "must be a mapping")
        return Fields(value, self.place, self.path(key), self.notes, self.file)

    def items(self, key: str, *, needed: bool = False) -> list[Fields]:
        """The mappings of a list."""
        return [self._item(key, i, item) for i, item in enumerate(self._list(key, needed))]

    def texts(self, key: str) -> list[str]:
        """The texts of a list."""
        values = self._list(key, False)
        if not all(isinstance(value, str) for value in values):
            raise self.error(key, "must be a list of texts")
        return values

    def _list(self, key: str, needed: bool) -> list[Any]:
        value = self.take(key, _NEEDED if needed else [])
        if not isinstance(value, list) or (needed and not value):
            raise self.error(key, "must be a list, and not empty" if needed else "must be a list")
        return value

    def _item(self, key: str, i: int, item: Any) -> Fields:
        at = f"{self.path(key)}[{i}]"
        if not isinstance(item, Mapping):
            raise ManifestError(f"{self.where(key)}: {at}={item}: must be a mapping")
        return Fields(item, self.place, at, self.notes, self.file)


def _quantity(value: Any) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value} is no quantity such as 2, 500m or 4Gi")
    found = parse_quantity(value)
    if found < 0:
        raise ValueError(f"{value} is less than 0")
    return found
