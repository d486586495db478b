"""A table of offers as CSV: each row checked, with the place of what is wrong; written whole or not at all."""

from __future__ import annotations

import csv
import datetime
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from simulator.catalogue.offer import ManagedOffer, Offer
from simulator.errors import ConfigError
from workloads.errors import TraceError, WorkloadError
from workloads.options import coerce, nearest

Row = TypeVar("Row", Offer, ManagedOffer)


def read_offers(text: str, cls: type[Row], path: Path | str) -> list[Row]:
    """The rows of a CSV with a header of `cls`'s fields, in any order; those with a default may be left out.

    Args:
        path: stands in messages.

    Raises:
        TraceError: a column or a cell that can't be, or an offer that is there twice.
    """
    known = {each.name: each for each in fields(cls)}
    hints = get_type_hints(cls)
    offers: list[Row] = []
    lines: dict[str, int] = {}
    for line, cells in read_cells(text, path):
        for column in cells:
            if column not in known:
                raise TraceError(
                    f"is no column of this table{nearest(column, known)}", path=path, line=1, column=column
                )
        values = {}
        for column, each in known.items():
            cell = cells.get(column, "").strip()
            if cell:
                values[column] = _value(cell, hints[column], path, line, column)
            elif _is_required(each):
                raise TraceError("is needed", path=path, line=line, column=column)
        offer = cls(**values)
        for column, rule in offer.broken_rules().items():
            raise TraceError(rule, path=path, line=line, column=column, value=cells.get(column))
        if offer.id in lines:
            rule = f"is there already, in line {lines[offer.id]}"
            raise TraceError(rule, path=path, line=line, value=offer.id)
        lines[offer.id] = line
        offers.append(offer)
    return offers


def read_cells(text: str, path: Path | str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """(line, cells by column) of each row below the header; blank lines are passed over.

    Raises:
        TraceError: no header, a column that is there twice, a row of another length, or what is no CSV.
    """
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        yield from _cells(reader, path)
    except csv.Error as error:
        raise TraceError(f"is no CSV: {error}", path=path, line=reader.line_num) from None


def _cells(reader: Any, path: Path | str) -> Iterator[tuple[int, Mapping[str, str]]]:
    header = [name.strip() for name in next(reader, [])]
    if not header:
        raise TraceError("is empty: it must begin with a line of column names", path=path)
    for column in header:
        if header.count(column) > 1:
            raise TraceError("is there twice in the header", path=path, line=1, column=column)
    line = reader.line_num + 1
    for row in reader:
        if row and len(row) != len(header):
            rule = f"has {len(row)} fields where {len(header)} are due"
            raise TraceError(rule, path=path, line=line, value=",".join(row)[:80])
        if row:
            yield line, dict(zip(header, row, strict=True))
        line = reader.line_num + 1


def write_offers(offers: Iterable[Offer], path: Path) -> None:
    """Writes a table that `read_offers` reads; whole or not at all.

    Raises:
        ConfigError: an offer that breaks a rule.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    names = [each.name for each in fields(Offer)]
    writer.writerow(names)
    for offer in offers:
        for column, rule in offer.broken_rules().items():
            raise ConfigError(f"{offer.id}: {column}={getattr(offer, column)}: {rule}")
        writer.writerow([_cell(getattr(offer, name)) for name in names])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text.getvalue(), encoding="utf-8")
    os.replace(part, path)


def _value(cell: str, hint: Any, path: Path | str, line: int, column: str) -> Any:
    try:
        if hint is datetime.date:
            return datetime.date.fromisoformat(cell)
        return coerce(cell, hint, column)
    except WorkloadError as error:
        rule = str(error).rpartition(": ")[2].removesuffix(" or null")
        raise TraceError(rule, path=path, line=line, column=column, value=cell) from None
    except ValueError:
        raise TraceError("must be a day such as 2026-07-20", path=path, line=line, column=column, value=cell) from None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _is_required(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING
