"""Kubernetes' quantities ("500m", "4Gi") and Go's durations ("1m30s"), read and written exactly.

Source: the Kubernetes API's Quantity, and Go's time.ParseDuration, as of autumn 2026.
"""

from __future__ import annotations

import re
from fractions import Fraction

GIB = 2**30
_SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    **{suffix: Fraction(1000**power) for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(1024**power) for power, suffix in enumerate("KMGTPE", 1)},
}
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i|))")
_UNITS_S = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)"


def parse_quantity(text: str | int | float) -> Fraction:
    """What a quantity says, exactly.

    Raises:
        ValueError: something else.
    """
    found = _QUANTITY.fullmatch(str(text))
    if found is None:
        raise ValueError(f"{text} is no quantity such as 2, 500m or 4Gi")
    number, exponent, suffix = found.groups()
    return Fraction(f"{number.removesuffix('.')}{exponent or ''}") * _SUFFIXES[suffix or ""]


def format_quantity(value: Fraction | float) -> str:
    """The shortest of 5, 500m, 5u, 5n.

    Raises:
        ValueError: more than nine places, which no quantity has.
    """
    exact = value if isinstance(value, Fraction) else Fraction(str(value))
    for suffix in ("", "m", "u", "n"):
        scaled = exact / _SUFFIXES[suffix]
        if scaled.denominator == 1:
            return f"{scaled.numerator}{suffix}"
    raise ValueError(f"{float(exact)} has more than the nine places of a quantity")


def format_bytes(value: int) -> str:
    """The shortest of 4Gi, 500Mi, 3Ki, 7."""
    for suffix in ("Ti", "Gi", "Mi", "Ki"):
        if value and value % _SUFFIXES[suffix] == 0:
            return f"{value // int(_SUFFIXES[suffix])}{suffix}"
    return str(value)


def parse_seconds(text: str) -> float:
    """What a duration such as 5m or 1h30m says, in seconds.

    Raises:
        ValueError: something else; a negative one too.
    """
    if text == "0":
        return 0.0
    if not re.fullmatch(f"(?:{_PART})+", text):
        raise ValueError(f"{text} is no duration such as 30s or 1h30m")
    return float(sum(Fraction(number.rstrip(".")) * _UNITS_S[unit] for number, unit in re.findall(_PART, text)))


def format_seconds(value: float) -> str:
    """Whole seconds as 90s, else 1500ms.

    Raises:
        ValueError: a fraction of a millisecond.
    """
    exact = Fraction(str(value))
    if exact.denominator == 1:
        return f"{exact.numerator}s"
    if (exact * 1000).denominator == 1:
        return f"{(exact * 1000).numerator}ms"
    raise ValueError(f"{value} s is not a whole number of milliseconds")
