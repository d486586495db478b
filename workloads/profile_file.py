"""Profiles as YAML files: found by name or path, read with the place of what is wrong, written whole or not at all."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from workloads.errors import WorkloadError
from workloads.options import nearest


def read_named(name_or_path: str | Path, package: str, folder: str) -> tuple[Mapping[str, Any], str]:
    """(content, where it stands) of PACKAGE/FOLDER/NAME.yaml, or of a file (what has a suffix or a folder).

    Raises:
        WorkloadError: no such profile, with the nearest; a file that can't be read or isn't a mapping.
    """
    given = str(name_or_path)
    if Path(given).suffix in (".yaml", ".yml") or os.sep in given:
        text, where = _read(Path(given)), given
    else:
        place = files(package).joinpath(folder)
        known = sorted(Path(each.name).stem for each in place.iterdir() if each.name.endswith(".yaml"))
        if given not in known:
            raise WorkloadError(f"profile={given}: no such profile{nearest(given, known)}; or a file, NAME.yaml")
        where = f"{package.replace('.', '/')}/{folder}/{given}.yaml"
        text = place.joinpath(f"{given}.yaml").read_text(encoding="utf-8")
    try:
        content = yaml.load(text, StrictLoader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise WorkloadError(f"{where}{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise WorkloadError(f"{where}: is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, Mapping):
        raise WorkloadError(f"{where}: holds {type(content).__name__}: must hold a mapping: name, provenance, …")
    return content, where


def write_yaml(profile: Any, path: str | Path) -> None:
    """Writes a dataclass, without what is at its default; whole or not at all."""
    text = yaml.safe_dump(_plain(profile), sort_keys=False, width=120, allow_unicode=True, default_flow_style=None)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


_MERGE = "tag:yaml.org,2002:merge"


class StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader; a key that comes twice is an error there, and dates stay texts."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue  # `<<`: its keys give way to those that stand here
            key = self.construct_object(key_node, deep=deep)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.MarkedYAMLError(problem=f"{key!r} is there twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _construct_date(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(node.value)


StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", _construct_date)


def _plain(value: Any) -> Any:
    """Mappings, lists, texts and numbers, without what is at its default."""
    if is_dataclass(value) and not isinstance(value, type):
        kept = {}
        for each in fields(value):
            item = getattr(value, each.name)
            default = each.default_factory() if each.default_factory is not MISSING else each.default
            if each.compare and (item != default or each.name == "sync"):
                kept[each.name] = _plain(item)
        return kept
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise WorkloadError(f"{path}: {reason}") from None


def need_numbers(value: Any, *, least: float) -> None:
    for each in fields(value):
        if not least <= getattr(value, each.name) < math.inf:
            raise WorkloadError(f"{each.name}={getattr(value, each.name)}: must be a number, {least:g} or more")
