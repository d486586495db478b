"""Numbers as a person would write them."""

from __future__ import annotations

from workloads.statistics import DAY_S, HOUR_S


def spell_usd(usd: float) -> str:
    """An amount of money, short; three figures where it is less than a dollar."""
    for unit, name in ((1e6, "M"), (1e4, "k")):
        if usd >= unit:
            return f"${usd / (1e6 if name == 'M' else 1e3):,.3g}{name}"
    if 0 < usd < 1:
        return f"${usd:.3g}" if usd >= 1e-4 else f"${usd:.1e}"
    return f"${usd:,.2f}" if 0 < usd < 100 else f"${usd:,.0f}"


def spell_s(seconds: float) -> str:
    """A duration in the unit that suits it."""
    for unit_s, unit in ((DAY_S, "days"), (HOUR_S, "h"), (60.0, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:,.3g} {unit}"
    return f"{1e3 * seconds:,.3g} ms" if 0 < seconds < 0.9995 else f"{seconds:,.3g} s"


def spell_bucket(width_s: float) -> str:
    """The width of a bucket, short."""
    unit_s, unit = next((u for u in ((DAY_S, "days"), (HOUR_S, "h"), (60.0, "min")) if width_s >= u[0]), (1.0, "s"))
    return f"{width_s / unit_s:.2g} {unit}"


def per_cent(share: float) -> str:
    """Never 100% of what isn't all, nor 0% of what is something."""
    digits = 0 if share in (0.0, 1.0) or 0.01 <= share <= 0.99 else 1 if 0.001 <= share <= 0.999 else 2
    return f"{share:.{digits}%}"
