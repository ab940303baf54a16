"""Times, amounts and shares as people say them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def size(count: int) -> str:
    """Return a number of bytes as people say it."""
    amount, unit = float(count), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}"


def part_of(count: float, whole: float) -> str:
    """Return a number and, where there is a whole, its share of that: 3 (25.0 %)."""
    return f"{count:,.0f} ({100 * count / whole:.1f} %)" if whole else f"{count:,.0f}"


def signed(value: float) -> str:
    """Return a number between −1 and 1 with a sign of its own, and without one at zero."""
    text = f"{value:+.2f}".replace("-", "−")
    return "0.00" if text[1:] == "0.00" else text


def span(values: "pd.Series[float]", form: str = ",.0f", unit: str = "") -> str:
    """Return the smallest and the largest of some values, which may be one number, or not known."""
    known = values.dropna()
    if known.empty:
        return "not known"
    few, many = (f"{value:{form}}" for value in (known.min(), known.max()))
    return f"{few}{unit}" if few == many else f"{few} to {many}{unit}"
