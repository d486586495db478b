"""Packages that only some forecasters need, and that an installation may lack."""

from __future__ import annotations

from importlib.util import find_spec

from policies.errors import PolicyError

_INSTALL = {  # module -> package, extra of ours
    "sklearn": ("scikit-learn", "forecast"),
    "statsmodels": ("statsmodels", "forecast"),
    "torch": ("torch", "torch"),
}


def is_installed(module: str) -> bool:
    return find_spec(module) is not None


def require_module(module: str, who: str) -> None:
    """Refuses to make a forecaster without what it is going to import.

    Raises:
        PolicyError: the module is not there; says how to install it.
    """
    if not is_installed(module):
        package, extra = _INSTALL[module]
        raise PolicyError(f"{who}: needs {package}: pip install 'elastic-gpu-simulator[{extra}]'")
