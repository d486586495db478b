"""Mappings of a YAML file that know on which lines they stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from workloads.profile_file import StrictLoader


class Lined(dict[Any, Any]):
    """A mapping, and where it stands in its file: its own line and those of its keys, from 1."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[Any, int] = {}


class LineLoader(StrictLoader):
    """`StrictLoader`, whose mappings are `Lined`."""


def _construct_map(loader: LineLoader, node: yaml.MappingNode) -> Iterator[Lined]:
    lined = Lined(node.start_mark.line + 1)
    yield lined  # before its values, which may refer to it
    lines = {key.value: key.start_mark.line + 1 for key, _ in node.value if isinstance(key, yaml.ScalarNode)}
    lined.update(loader.construct_mapping(node))
    lined.lines = lines


def line_of(content: Any, key: Any = None) -> int | None:
    """The line of a key, or of the mapping where it lacks that key; None where nobody knows."""
    return content.lines.get(str(key), content.line) if isinstance(content, Lined) else None


LineLoader.add_constructor("tag:yaml.org,2002:map", _construct_map)
