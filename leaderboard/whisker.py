"""A whisker: a score and its interval as a line of a table, drawn as SVG without any style of its own."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from mdbench.stats import Interval

#: Its size, in units of the drawing; ``board.js`` draws the same.
WIDTH: Final = 120
HEIGHT: Final = 14
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
        low = max(0, 10 * math.floor(min(ends) / 10))
        return cls(low, min(100, max(low + 10, 10 * math.ceil(max(ends) / 10))))

    def at(self, value: float) -> float:
        """Return where a value stands in the drawing."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(_RIM + share * (WIDTH - 2 * _RIM), 1)

    def draw(self, value: float, interval: Interval, mark: float | None = None) -> Markup:
        """Draw a whisker.

        Parameters
        ----------
        value : the score.
        interval : of the score.
        mark : something to compare it with, drawn as a thin line.
        """
        low, high, middle = self.at(interval.low), self.at(interval.high), HEIGHT // 2
        marked = "" if mark is None else f'<path class="mark" d="M{self.at(mark):g} 1V{HEIGHT - 1}"/>'
        return Markup(  # noqa: S704 - numbers alone
            f'<svg class="whisker" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{marked}'
            f'<path d="M{low:g} {middle}H{high:g}M{low:g} 4v6M{high:g} 4v6"/>'
            f'<circle cx="{self.at(value):g}" cy="{middle}" r="3"/></svg>'
        )
