"""A whisker: a score and its interval as a line of a table, drawn as SVG without any style of its own."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from mdbench.scoring import Interval

#: Its size, in units of the drawing.
WIDTH: Final = 180
HEIGHT: Final = 14
_MIDDLE: Final = HEIGHT // 2
#: Room at the ends, for dots.
_RIM: Final = 4


@dataclass(frozen=True)
class Scale:
    """What the ends of the whiskers of a table stand for, in %."""

    low: int
    high: int

    @classmethod
    def over(cls, intervals: Iterable[Interval]) -> "Scale":
        """Return the narrowest scale from ten to ten that holds some intervals; 0 to 100 where there are none."""
        ends = [end for interval in intervals for end in (interval.low, interval.high)]
        if not ends:
            return cls(0, 100)
        low = min(90, max(0, 10 * math.floor(min(ends) / 10)))
        return cls(low, min(100, max(low + 10, 10 * math.ceil(max(ends) / 10))))

    def at(self, value: float) -> float:
        """Return where a value stands in the drawing."""
        low, high = self.low, self.high
        inside = low if value < low else min(value, high)
        return _RIM + (inside - low) / (high - low) * (WIDTH - 2 * _RIM)

    def draw(self, value: float, interval: Interval, mark: float | None = None) -> Markup:
        """Draw a whisker.

        Parameters
        ----------
        value : the score.
        interval : of the score.
        mark : something to compare it with, drawn as a thin line.
        """
        return Markup(self.drawn(value, interval.low, interval.high, mark))  # noqa: S704 - numbers alone

    def drawn(self, value: float, low: float, high: float, mark: float | None = None) -> str:
        """Draw a whisker, for those who need thousands: the same as text."""
        at = self.at
        start, end = f"{at(low):.1f}", f"{at(high):.1f}"
        marked = "" if mark is None else f'<path class="mark" d="M{at(mark):.1f} 1v{HEIGHT - 2}"/>'
        return (
            f'<svg class="whisker" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{marked}'
            f'<path d="M{start} {_MIDDLE}H{end}M{start} 4v6M{end} 4v6"/>'
            f'<circle cx="{at(value):.1f}" cy="{_MIDDLE}" r="3"/></svg>'
        )
