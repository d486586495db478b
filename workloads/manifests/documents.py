"""A file of manifests: the documents of YAML, or one of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from workloads.manifests.fields import Fields, ManifestError
from workloads.manifests.lines import LineLoader

LIST = "List"  # what `kubectl get -o yaml` gives for several


@dataclass(frozen=True)
class Document:
    """One document: where it stands, and what it holds."""

    place: str  # FILE: document N
    content: Any
    notes: list[str] = field(default_factory=list, compare=False)  # what is read otherwise than it says, or in vain
    path: str = ""  # FILE: its lines are told in messages

    @property
    def kind(self) -> str:
        """As it says; empty where it says none."""
        return str(self.content.get("kind") or "") if isinstance(self.content, Mapping) else ""

    @property
    def name(self) -> str:
        metadata = self.content.get("metadata") if isinstance(self.content, Mapping) else None
        return str(metadata.get("name") or "") if isinstance(metadata, Mapping) else ""

    def where(self, key: str = "") -> str:
        """What a message about it, or one of its fields, begins with; see `Fields.where`."""
        return Fields(self.content, self.place, path=self.path).where(key)

    def fields(self) -> Fields:
        """Its fields, to be read.

        Raises:
            ManifestError: a document that is no mapping.
        """
        if not isinstance(self.content, Mapping):
            raise ManifestError(f"{self.place}: holds {type(self.content).__name__}: must hold a mapping")
        return Fields(self.content, self.place, notes=self.notes, path=self.path)


def load_documents(path: str | Path) -> list[Document]:
    """The documents of a file, empty ones aside; of a List, its items. Numbers count from 1, as they stand there.

    Raises:
        ManifestError: no such file; what is neither YAML nor JSON, with its line; a key that comes twice; nothing.
    """
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ManifestError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: is not UTF-8 text") from None
    contents = [_json(path, text)] if path.suffix == ".json" else _yaml(path, text)
    documents = []
    for number, content in enumerate(contents, 1):
        place = f"{path}: document {number}"
        if isinstance(content, Mapping) and content.get("kind") == LIST:
            with Fields(content, place, path=str(path)) as fields:
                fields.ignore("apiVersion", "kind", "metadata")
                items = [each.content for each in fields.items("items")]
            documents += [Document(f"{place}: items[{i}]", item, path=str(path)) for i, item in enumerate(items)]
        elif content is not None:
            documents.append(Document(place, content, path=str(path)))
    if not documents:
        raise ManifestError(f"{path}: holds no document")
    return documents


def _yaml(path: Path, text: str) -> list[Any]:
    try:
        return list(yaml.load_all(text, LineLoader))  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ManifestError(f"{path}{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ManifestError(f"{path}: is no YAML: {' '.join(str(error).split())}") from None


def _json(path: Path, text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ManifestError(f"{path}: {key!r} is there twice")
            found[key] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ManifestError(f"{path}:{error.lineno}:{error.colno}: {error.msg}") from None
