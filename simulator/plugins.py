"""Modules of a user's own, imported by name so that the policies in them are registered."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from simulator.errors import ConfigError


def import_plugins(modules: Sequence[str]) -> None:
    """Imports modules, with the current folder among those that are searched.

    Raises:
        ConfigError: no such module. What a module itself raises stays as it is.
    """
    if modules and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in modules:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # found, and lacks something itself
            where = f"neither installed nor in {os.getcwd()}"
            hint = f"; a module's name has no ending: {name[:-3]}" if name.endswith(".py") else ""
            raise ConfigError(f"plugins=[{name}]: no module {error.name!r}: {where}{hint}") from None
