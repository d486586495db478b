"""What goes wrong in a simulation, other than in a policy or a trace."""

from __future__ import annotations


class SimulationError(RuntimeError):
    """A run that can't go on, or whose books don't balance."""


class ConfigError(ValueError):
    """A setting that can't be; names the setting, the value and the rule."""


class RunError(ValueError):
    """A folder that can't be read as a run; names the folder, what is wrong and what to do."""
