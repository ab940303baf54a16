"""The families of landscape metrics, and what each of them measures. Columns are described in `mdbench.tables.schema`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from mdbench.errors import MdbenchError, reason
from zoo_builder.landscape import (
    connectivity,
    generation,
    hessian,
    memorization,
    performance,
    prunability,
    sharpness,
    similarity,
    spectra,
    topology,
    weights,
)
from zoo_builder.landscape.metric import Measured, Metric, Subject


@dataclass(frozen=True)
class Family:
    """Metrics that are measured together.

    Attributes
    ----------
    name : of the family; ``NAME_reason`` is the column that says what could not be measured, and why.
    metrics : what is measured.
    measure : measures it.
    edition : counts up whenever the same network would get another number: what was measured before is measured anew.
        Topology looks along the Hessian's eigenvectors, and prunability is guided by Hill's exponents: where those change,
        so do these.
    of_tokens : whether it is of networks alone that say which token is next; others are not asked.
    """

    name: str
    metrics: tuple[Metric, ...]
    measure: Callable[[Subject], Measured]
    edition: int = 1
    of_tokens: bool = False

    @property
    def reason(self) -> str:
        """The column that says what could not be measured, and why."""
        return f"{self.name}_reason"

    def measured(self, subject: Subject) -> Measured:
        """Measure a subject. What the family raises is why all its columns are missing: other families' numbers stay."""
        try:
            return self.measure(subject)
        except Exception as error:  # noqa: BLE001 - whatever a network of somebody's does in it
            why = f"{', '.join(self.columns('checkpoint', 'configuration'))}: {_said(error)}"
            size, groups = len(subject.surface), len(subject.groups)
            return Measured(
                networks={column: np.full(size, np.nan) for column in self.columns("checkpoint")},
                configurations={column: np.full(groups, np.nan) for column in self.columns("configuration")},
                network_reasons=dict.fromkeys(range(size), why),
                configuration_reasons=dict.fromkeys(range(groups), why),
            )

    def columns(self, *of: str) -> list[str]:
        """Return the columns of a checkpoint, a configuration or a layer."""
        return [metric.column for metric in self.metrics if metric.of in of]


def _said(error: Exception) -> str:
    """Return in one line why a family was not measured."""
    return reason(error) if isinstance(error, MdbenchError) else f"{type(error).__name__}: {reason(error)}"


#: Name → family, in the order in which they are measured.
FAMILIES: Final[dict[str, Family]] = {
    family.name: family
    for family in (
        Family("performance", performance.METRICS, performance.measure),
        Family("hessian", hessian.METRICS, hessian.measure),
        Family("connectivity", connectivity.METRICS, connectivity.measure, edition=2),
        Family("similarity", similarity.METRICS, similarity.measure, edition=2),
        Family("sharpness", sharpness.METRICS, sharpness.measure, edition=3),
        Family("spectra", spectra.METRICS, spectra.measure, edition=2),
        Family("topology", topology.METRICS, topology.measure, edition=2),
        Family("memorization", memorization.METRICS, memorization.measure),
        Family("prunability", prunability.METRICS, prunability.measure, edition=2),
        Family("weights", weights.METRICS, weights.measure),
        Family("generation", generation.METRICS, generation.measure, of_tokens=True),
    )
}


def chosen(names: Iterable[str] | None, *, tokens: bool = False) -> list[Family]:
    """Return families by name, in their order; without names, all that are of such networks, `tokens` or not.

    Raises
    ------
    MdbenchError
        There is no such family.
    """
    fitting = (name for name, family in FAMILIES.items() if tokens or not family.of_tokens)
    wanted = set(fitting if names is None else names)
    unknown = sorted(wanted - set(FAMILIES))
    if unknown:
        raise MdbenchError(f"there is no family {unknown[0]!r}; there are: {', '.join(FAMILIES)}")
    return [family for name, family in FAMILIES.items() if name in wanted]
