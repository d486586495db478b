"""Packages that only some forecasters need, and that an installation may lack."""

from __future__ import annotations

from importlib.util import find_spec

from policies.errors import PolicyError

_EXTRAS = {"sklearn": ("scikit-learn", "forecast"), "statsmodels": ("statsmodels", "forecast"), "torch": ("torch",) * 2}


def needed(module: str, forecaster: str) -> None:
    """Refuses to make a forecaster without the package that it is going to import.

    Raises:
        PolicyError: the package is not there; says how to install it.
    """
    if find_spec(module) is None:
        package, extra = _EXTRAS[module]
        raise PolicyError(f"forecaster={forecaster}: needs {package}: pip install 'elastic-gpu-simulator[{extra}]'")
