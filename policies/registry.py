"""Names for policies: a class registered here is an option on the command line, its dataclass fields the settings.

    @register("allocation", "mine")
    @dataclass
    class Mine:
        threshold: float = 0.5

is `allocation=mine allocation.threshold=0.7`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

from policies.errors import PolicyError

_PACKAGES = {
    "allocation": "policies.allocation",
    "placement": "policies.placement",
    "scaling": "policies.scaling",
    "forecaster": "policies.forecasting",
}
KINDS = tuple(_PACKAGES)
_Class = TypeVar("_Class", bound=type)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a message: the nearest known names, then all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{hint}known: {', '.join(names)}"


class Registry:
    """Policy classes by kind and name."""

    def __init__(self) -> None:
        self._classes: dict[str, dict[str, type]] = {kind: {} for kind in KINDS}
        self._loaded = False

    def register(self, kind: str, name: str) -> Callable[[_Class], _Class]:
        """A decorator that gives a dataclass a name among the policies of a kind.

        Raises:
            PolicyError: an unknown kind, a name that is taken by another class, a class that isn't a dataclass.
        """
        if kind not in self._classes:
            raise PolicyError(f"unknown kind of policy {kind!r}: {nearest(kind, KINDS)}")

        def add(cls: _Class) -> _Class:
            if not is_dataclass(cls):
                raise PolicyError(f"{kind} policy {name!r}: {cls.__qualname__} must be a dataclass (fields = options)")
            taken = self._classes[kind].get(name)
            if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
                raise PolicyError(f"{kind} policy {name!r} is taken by {taken.__module__}.{taken.__qualname__}")
            self._classes[kind][name] = cls
            return cls

        return add

    def names(self, kind: str) -> list[str]:
        self._load()
        return sorted(self._classes[kind])

    def get(self, kind: str, name: str) -> type:
        """The class of a name.

        Raises:
            PolicyError: an unknown name, with the nearest known ones.
        """
        self._load()
        if name not in self._classes[kind]:
            raise PolicyError(f"unknown {kind} policy {name!r}: {nearest(name, self._classes[kind])}")
        return self._classes[kind][name]

    def create(self, kind: str, name: str, **options: Any) -> Any:
        """An instance of a policy with these options.

        Raises:
            PolicyError: an unknown name or option, or a value that the policy rejects.
        """
        cls = self.get(kind, name)
        known = [field.name for field in fields(cls) if field.init]
        for option in options:
            if option not in known:
                raise PolicyError(f"{kind}={name} has no option {option!r}: {nearest(option, known) or 'none'}")
        return cls(**options)

    def _load(self) -> None:
        """Imports every module of every kind's package, which registers what is there."""
        if not self._loaded:
            self._loaded = True
            for package in _PACKAGES.values():
                for module in iter_modules(import_module(package).__path__, f"{package}."):
                    if not module.name.endswith(".__main__"):
                        import_module(module.name)


registry = Registry()
register = registry.register
