"""The first chapter of a data report: what the zoo is, and how its networks were trained."""

from collections.abc import Iterable, Mapping

import numpy as np

from mdbench.showing import escape, table
from mdbench.tables import COLUMNS, Zoo, level_text
from zoo_builder.reporting import summary
from zoo_builder.reporting.quantities import span
from zoo_builder.specification import ZooSpec


def about(zoo: Zoo, spec: ZooSpec | None) -> list[str]:
    """Return the first chapter: blocks of Markdown."""
    size = summary.size_of(zoo)
    said = [("configurations", f"{size.configurations:,}")]
    if size.networks is None or size.seeds is None:
        said.append(("networks", "not known: the tables hold means only"))
    else:
        few, many = size.seeds
        each = f"{few}" if few == many else f"{few} to {many}"
        said.append(("networks", f"{size.networks:,}, {each} at a grid point"))
        if size.diverged is not None:
            share = 100 * size.diverged / size.networks
            said.append(("diverged", f"{size.diverged:,} networks ({share:.1f} %)"))
    if "parameter_count" in zoo.configurations:
        said.append(("parameters", span(zoo.configurations["parameter_count"])))
    if "data_amount" in zoo.configurations:
        said.append(("training examples", span(zoo.configurations["data_amount"])))
    said.append(("test error", span(zoo.configurations["test_error"], ".1f", " %")))
    said.append(("what it is", escape(zoo.predicted.error)))
    if not zoo.predicted.bounded:
        said.append(("losses", zoo.predicted.loss))
    said += _made(spec) if spec else []
    origin = zoo.provenance
    said += [("source", origin.source), ("licence", origin.license or "not stated"), ("citation", origin.citation)]
    said += [("made by", origin.made_by), *((f"from `{one.path}`", f"SHA-256 `{one.sha256}`") for one in origin.inputs)]
    said.append(("digest", f"SHA-256 `{zoo.digest}`"))
    grid = [
        (spoken(knob), unit_of(knob), str(len(zoo.levels(knob))), ", ".join(map(level_text, zoo.levels(knob))))
        for knob in zoo.knobs
    ]
    points = int(np.prod([len(zoo.levels(knob)) for knob in zoo.knobs]))
    gaps = points - len(zoo.configurations)
    return [
        "## What it is",
        table(("", ""), [line for line in said if line[1]]),
        table(("knob", "unit", "levels", "values"), grid, "llrl"),
        f"{gaps:,} of the grid's {points:,} points are missing." if gaps else "Every point of the grid is there.",
    ]


def _made(spec: ZooSpec) -> list[tuple[str, str]]:
    """Return how networks were trained, without what is an axis of the grid."""
    first = next(spec.points())
    names = next((axis.values for axis in spec.axes if axis.knob == "optimizer"), [None])
    ways = [spec.training.at({**first, "optimizer": name} if name is not None else first) for name in names]
    unsaid = {*first, *frozenset.intersection(*(how.idle for how in ways))}
    of_data, of_network, training = (
        {
            key: value
            for key, value in part.model_dump().items()
            if value not in (None, "", (), {}) and key not in unsaid
        }
        for part in (spec.dataset, spec.architecture, spec.training)
    )
    return [
        ("data set", _settings(of_data)),
        ("architecture", _settings(of_network)),
        ("training", _settings(training)),
        ("seeds", ", ".join(map(str, spec.seeds))),
    ]


def _settings(given: Mapping[str, object]) -> str:
    said = [f"{_value(value)}" if key == "name" else f"{spoken(key)} {_value(value)}" for key, value in given.items()]
    return "; ".join(said)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return f"({_settings(value)})"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, str) or not isinstance(value, Iterable) else ", ".join(map(_value, value))


def spoken(name: str) -> str:
    """Return a knob's or setting's name in words."""
    return name.replace("_", " ")


def unit_of(knob: str) -> str:
    """Return a knob's unit."""
    unit = COLUMNS[knob].unit
    return unit if unit != "1" else ""
