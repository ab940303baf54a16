"""How much of a zoo lies beyond the bounds of MD tree's thresholds, and which way its questions point there."""

from collections.abc import Sequence
from typing import Final

from mdbench.showing.markdown import code, table
from mdbench.tables import Zoo

#: Column → what MD tree's thresholds on it are bounded by, as published.
BOUNDS: Final = {
    "train_error": (0.0, 1.0),
    "mode_connectivity_peak": (-30.0, 0.0),
    "log_hessian_trace": (4.0, 9.0),
}


def out_of_bounds(zoos: Sequence[Zoo]) -> list[str]:
    """Return the paragraphs and the table that say it of some zoos; those without a column are left out of it."""
    rows = []
    for zoo in zoos:
        for column, (low, high) in BOUNDS.items():
            values = zoo.configurations.get(column)
            if values is None or not values.notna().any():
                continue
            known = values.dropna()
            shares = ((known < low).mean(), known.between(low, high).mean(), (known > high).mean())
            larger = larger_where_too_low(zoo, column)
            said = "–" if larger is None else f"{100 * larger:.0f} %"
            rows.append((code(zoo.name), code(column), *(f"{100 * share:.0f} %" for share in shares), said))
    bounds = ", ".join(f"`{column}` {low:g} to {high:g}" for column, (low, high) in BOUNDS.items())
    return [
        "## `md_tree` out of its bounds",
        f"Its thresholds are bounded by what was seen on CIFAR-10 ({bounds}), and stay so here, to the letter. Rows below or "
        "above the bounds are on one side of every threshold that it can choose. `md_tree_exact`, whose thresholds have no "
        "bounds, and `md_tree_quantile` are the fair versions. The last column is how often, of all pairs of a row whose "
        "temperature is too low with one where it is too high, the former has the larger value: above 50 % on one zoo and "
        "below on another, the same question has opposite answers.",
        table(("zoo", "column", "below", "within", "above", "larger where too low"), rows, "llrrrr"),
    ]


def larger_where_too_low(zoo: Zoo, column: str) -> float | None:
    """Return how often a too low temperature has the larger value, of all pairs with a too high one; ties count half.

    None where there are no such pairs.
    """
    whole = zoo.configurations
    if "optimizer" not in whole:
        return None
    low, high = (
        whole.loc[whole["optimizer"] == verdict, column].dropna().to_numpy(dtype=float)
        for verdict in ("temperature_too_low", "temperature_too_high")
    )
    if not len(low) or not len(high):
        return None
    return float(((low[:, None] > high).mean() + (low[:, None] >= high).mean()) / 2)
