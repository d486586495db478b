"""report.html: one page that needs nothing else, with its figures inside."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from real_backend.report.compared import PARTS
from real_backend.report.figures import Drawn
from real_backend.report.pairs import About
from real_backend.report.verdict import lead, listed, per_cent

_FINE_FRAC, _FAIR_FRAC = 0.05, 0.10


def render(content: Mapping[str, Any], about: About, figures: Mapping[str, Any], run_notes: Sequence[str]) -> str:
    """The page of what fidelity.json holds."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "frac": per_cent,
        "interval": _interval,
        "seconds": _seconds,
        "number": _number,
        "usd": _usd,
        "grade": _grade,
        "figure": inline,
        "listed": listed,
        "span": _span,
    }
    template = environment.get_template("report.html")
    return template.render(
        content, about=about, lead=lead(about), figures=figures, parts=PARTS, run_notes=run_notes,
        tables=fact_tables(about.facts),
    )  # fmt: skip


def fact_tables(facts: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(heading, rows of name and value): a table for each mapping in `facts`, after one of the rest."""
    plain = {name: value for name, value in facts.items() if not isinstance(value, Mapping)}
    tables = [("General", _flat(plain))] if plain else []
    nested = {name: value for name, value in facts.items() if isinstance(value, Mapping)}
    return tables + [(str(name).replace("_", " ").capitalize(), _flat(value)) for name, value in nested.items()]


def inline(figure: Drawn) -> Markup:
    """A figure's SVG as part of a page: its ids made its own, and nothing in it that points elsewhere."""
    svg = figure.path.read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    own = figure.path.stem
    svg = re.sub(r'\sid="([^"]+)"', rf' id="{own}-\1"', svg)
    svg = re.sub(r'\s(?:xlink:)?href="#([^"]+)"', rf' href="#{own}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{own}-\1)", svg)
    label = Markup.escape(figure.title)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))


def _flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", _spelt(value)))
    return rows


def _spelt(value: Any) -> str:
    if isinstance(value, list | tuple) and not any(isinstance(item, Mapping | list | tuple) for item in value):
        return ", ".join(map(_spelt, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"{per_cent(ends[0])} to {per_cent(ends[1])}"


def _seconds(value: float | None, signed: bool = False) -> str:
    """Three digits or all before the point."""
    if value is None:
        return "–"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if abs(value) >= 0.001 else 3
    text = f"{value:{'+' if signed else ''},.{min(digits, 3)}f}"
    return "0" if not text.strip("+-0.,") else text.replace("-", "−")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.10g}" if value == int(value) else f"{value:,.1f}"


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _usd(value: float | None) -> str:
    return "–" if value is None else f"${value:,.4f}" if abs(value) < 1 else f"${value:,.2f}"


def _grade(error_frac: float | None) -> str:
    """A class of the style sheet."""
    if error_frac is None:
        return "none"
    return "fine" if abs(error_frac) <= _FINE_FRAC else "fair" if abs(error_frac) <= _FAIR_FRAC else "off"
