"""What is wrong with the settings or with a policy, for a user to read: one line where one line says it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from workloads.options import nearest

_HERE = Path(__file__).resolve().parent
_OURS = (_HERE, _HERE.parent / "policies" / "controller.py")
_KINDS = {
    "Float": "a number",
    "Integer": "a whole number",
    "Boolean": "true or false",
    "bool": "true or false",
    "String": "a text",
    "Dict": "a mapping",
}
_EXTRAS = {
    "hydra/launcher/joblib": "sweep",
    "hydra/sweeper/filter": "sweep",
    "hydra/launcher/ray": "ray",
    "hydra/launcher/submitit_slurm": "slurm",
}


def of_composing(error: BaseException, groups: Iterable[str]) -> str:
    """Why the settings can't be composed, in one line.

    Args:
        error: what Hydra or OmegaConf raised.
        groups: names of the config groups.
    """
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    missing = getattr(error, "missing_cfg_file", None)
    if missing:
        return _no_choice(missing, list(getattr(error, "options", None) or ()))
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        return _no_key(cause)
    if group := re.search(r"Could not override '([\w/]+)'. No match in the defaults list", str(error)):
        return f"{group[1]}: unknown group{nearest(group[1], groups)}"
    if isinstance(cause, OmegaConfBaseException):
        given = re.match(r"Error merging override \+*(.*)", str(error))
        kind = re.search(r"(?:could not be converted to|is not a valid|Cannot assign \w+ to) (\w+)", str(cause))
        what = f"must be {_KINDS.get(kind[1], kind[1])}" if kind else str(cause).splitlines()[0]
        return f"{given[1] if given else cause.full_key}: {what}"
    override = getattr(error, "override", None)
    if override is not None:
        reason = [*str(error).splitlines(), "no value"][1]
        return f"{override!r} can't be read ({reason}): it must read OPTION=VALUE"
    return " ".join(str(error).split())


def _no_choice(missing: str, options: list[str]) -> str:
    if missing in _EXTRAS:
        extra = _EXTRAS[missing]
        return f"this needs the plugin {missing}: pip install -e '.[{extra}]'"
    group, _, name = missing.rpartition("/")
    return f"{group}={name}: unknown choice{nearest(name, options)}"


def _no_key(cause: OmegaConfBaseException) -> str:
    full_key = str(cause.full_key or cause.key)
    if full_key.startswith("requests.parts."):  # given as a whole, which would leave those that are there
        unwanted = ", ".join(f"'~requests.parts.{key}'" for key in cause.parent_node or ())
        return f"{full_key}: isn't there yet; set '{full_key}={{…}}', and take away what you don't want: {unwanted}"
    parent = cause.parent_node
    known = [str(key) for key in parent] if isinstance(parent, DictConfig) else []
    return f"{full_key}: unknown option{nearest(full_key.rpartition('.')[2], known)}"


def of_policy(error: BaseException) -> str:
    """What code of a policy raised: its traceback from the policy's own first line on, and when."""
    return "".join(traceback.format_exception(type(error), error, _theirs(error.__traceback__))).rstrip()


def in_one_line(error: BaseException) -> str:
    """A complaint that names all that is needed, when it was raised, and the policy's line that led to it."""
    parts = [str(error), *getattr(error, "__notes__", ())]
    at = _theirs(error.__traceback__)
    if at is not None:
        code = at.tb_frame.f_code
        parts.append(f"{Path(code.co_filename).name}:{at.tb_lineno} in {code.co_qualname}")
    return "; ".join(parts)


def _theirs(at: TracebackType | None) -> TracebackType | None:
    """The first frame that is not the engine's."""
    while at is not None:
        file = Path(at.tb_frame.f_code.co_filename).resolve()
        if not any(file == ours or ours in file.parents for ours in _OURS):
            return at
        at = at.tb_next
    return None
