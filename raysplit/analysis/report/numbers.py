"""Numbers as a reader wants them: few digits, a unit, and an en dash for what is not known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

NONE = "–"


def percent(fraction: float | None) -> str:
    """A fraction as a percentage with one decimal, without the sign: 0.6305 → ``63.1``, halves away from zero."""
    return NONE if fraction is None else _decimal(100 * fraction)


def points(fraction: float | None) -> str:
    """A difference of fractions in percentage points, one decimal: 0.0905 → ``9.1``, negative with a true minus."""
    return percent(fraction)


def spread(fractions: Sequence[float]) -> str:
    """Mean and, of several, standard deviation (n − 1), in per cent: ``63.1``, ``63.1 ± 0.4``; nothing gives a dash."""
    if not fractions:
        return NONE
    if len(fractions) == 1:
        return percent(fractions[0])
    return f"{percent(statistics.fmean(fractions))} ± {percent(statistics.stdev(fractions))}"


def spread_note(seeds: Iterable[int]) -> str:
    """What ± means in a table whose cells hold so many seeds each; an empty text where ``spread`` writes none."""
    counts = set(seeds) - {0}
    several = counts - {1}
    if not several:
        return ""
    low, high = min(several), max(several)
    over = f"{low} seeds" if low == high else f"{low} to {high} seeds"
    return f"±: mean and standard deviation (n − 1) over {over}" + (
        "; cells without ± hold one." if 1 in counts else "."
    )


def count(value: int | None) -> str:
    """An integer with narrow no-break spaces between thousands: ``848 382``."""
    return NONE if value is None else f"{value:,}".replace(",", "\u202f").replace("-", "−")


def significant(value: float | None, digits: int = 3) -> str:
    """A number with ``digits`` significant digits; very large and very small ones as 1.2×10⁻⁵."""
    if value is None:
        return NONE
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    power = int(exponent)
    if -4 < power < 6:
        text = f"{float(f'{value:.{digits}g}'):,.{max(digits - 1 - power, 0)}f}".replace(",", "\u202f")
    else:
        text = f"{mantissa}×10{str(power).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return text.replace("-", "−")


def size(value: float | None) -> str:
    """Bytes in decimal units, three digits: ``3.27 MB`` (1 MB = 10⁶ B)."""
    if value is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} B" if unit == "B" else f"{significant(value)} {unit}"


def seconds(value: float | None) -> str:
    """A duration: ``84 ms``, ``3.20 s``, ``2 min 5 s``, ``3 h 12 min``."""
    if value is None or not math.isfinite(value):
        return NONE
    if value < 0.9995:
        return f"{significant(1000 * value)} ms"
    if value < 119.5:
        return f"{significant(value)} s"
    whole = round(value)
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _decimal(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    # A float such as 63.05 lies just beside the half; the nudge makes it round as a reader would.
    rounded = math.floor(abs(value) * 10 + 0.5 + 1e-9) / 10
    return f"−{rounded:.1f}" if value < 0 and rounded else f"{rounded:.1f}"
