"""From networks to a diagnosis, and its report as a folder."""

import os
import platform
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mdbench import files
from mdbench.diagnosing import (
    Diagnosis,
    Standing,
    Verdict,
    bundled_pool,
    experiment,
    headline,
    known,
    markdown,
    moves_of,
    nearest,
    outside,
    phase,
    verdicts_of,
)
from mdbench.errors import MdbenchError
from mdbench.tables import find_task
from mdbench.version import __version__, package_versions
from zoo_builder.examining.basins import Plane, plane_of
from zoo_builder.examining.between import Ways, ways_of
from zoo_builder.examining.drawing import densities
from zoo_builder.examining.examination import Examined, examine
from zoo_builder.examining.extent import EXTENTS, Extent
from zoo_builder.examining.layers import layers_of
from zoo_builder.examining.page import page


def check_folder(folder: Path) -> None:
    """Make sure that a report can be written, before anything is measured for it.

    Raises
    ------
    MdbenchError
        It is no folder, or cannot be written or made.
    """
    nearest_there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not nearest_there.is_dir():
        raise MdbenchError(f"cannot write the report to {folder}: {nearest_there} is a file; give a folder as --out")
    if not os.access(nearest_there, os.W_OK | os.X_OK):
        raise MdbenchError(f"cannot write the report to {folder}: {nearest_there} cannot be written; give --out FOLDER")


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosed:
    """What was found of networks.

    Attributes
    ----------
    diagnosis : all of it, typed, as ``diagnosis.json`` has it.
    examined : the networks with what was measured of them.
    standing : where it is among the zoos' networks, a phase plot each.
    plane : the loss around the first network, where the family `topology` was measured.
    ways : the loss between the first two, in a thorough extent.
    """

    diagnosis: Diagnosis
    examined: Examined
    standing: tuple[Standing, ...] = ()
    plane: Plane | None = None
    ways: Ways | None = None

    def __repr__(self) -> str:
        """Return what stands first, and where the rest is."""
        return (
            f"<Diagnosed: {headline(self.diagnosis)} .verdicts: each answer with its probabilities; .diagnosis: all that was "
            "found; .report(FOLDER): the same as a page>"
        )

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Task → probabilities, answered or not, and why not."""
        return {verdict.task: verdict for verdict in self.diagnosis.verdicts}

    def report(self, folder: str | Path) -> Path:
        """Write ``report.html``, ``report.md`` and ``diagnosis.json`` into a folder, and return it.

        Raises
        ------
        MdbenchError
            The folder cannot be written.
        """
        where = Path(folder)
        contents = {
            where / "report.html": page(
                self.diagnosis, self.standing, densities(self.examined.networks[0]), self.plane, self.ways
            ).encode(),
            where / "report.md": markdown(self.diagnosis).encode(),
            where / "diagnosis.json": (self.diagnosis.model_dump_json(indent=2) + "\n").encode(),
        }
        try:
            where.mkdir(parents=True, exist_ok=True)
            files.replace(contents)
        except OSError as error:
            raise MdbenchError(f"cannot write the report to {where}: {error.strerror or error}") from error
        return where


def diagnose(
    models: Any,
    loss: Any = "cross_entropy",
    *,
    train: Any,
    test: Any = None,
    configuration: Mapping[str, float] | None = None,
    extent: Extent = "default",
    memory: int | str | None = None,
    progress: bool = False,
    experts: int | None = None,
    said: Callable[[str], None] = lambda _: None,
    mixed: bool = False,
) -> Diagnosed:
    """Say what networks lack that were trained in one way, and how much to believe it.

    Parameters
    ----------
    models : a network, or several seeds of it; see `zoo_builder.landscape.measure`, as for `loss`, `train`, `test`, `memory`
        and `progress`.
    configuration : what is known of the training: ``epochs``, ``batch_size``, ``learning_rate``, ``momentum``,
        ``weight_decay``, ``dropout``.
    extent : how much is measured: ``quick`` (losses, the Hessian, spectra, and of several seeds how alike they are),
        ``default``, or ``thorough`` (all families).
    experts : adapters that are allotted over the layers by AlphaLoRA, in all; five a layer if left out.
    said : is called with what is being done, in words.
    mixed : whether training examples are in a random order already; others are put in one, for samples are beginnings.

    Raises
    ------
    MdbenchError
        Something that was given cannot be used, or too little could be measured.
    """
    if experts is not None and experts < 1:
        raise MdbenchError(f"experts is {experts}; it must be at least 1")
    examined = examine(
        models,
        loss,
        train=train,
        test=test,
        configuration=configuration,
        extent=extent,
        memory=memory,
        progress=progress,
        said=said,
        mixed=mixed,
    )
    several = len(examined.networks) > 1
    tested = None if examined.test is None else len(examined.test)
    verdicts = verdicts_of(examined.row, seeds=several, tested=tested, said=lambda task: said(f"asking: {task}"))
    row, pool = examined.row.iloc[0], bundled_pool(several)
    columns = known(examined.row, pool.rows)
    near = nearest(examined.row, pool, columns)
    diagnosis = Diagnosis(
        checkpoints=len(examined.networks),
        parameters=int(row["parameter_count"]),
        extent=extent,
        verdicts=verdicts,
        outside=outside(examined.row, pool.rows, columns),
        nearest=near,
        moves=moves_of(verdicts, near, pool, configuration or {}, len(examined.train)),
        experiment=experiment(verdicts),
        layers=layers_of(examined.found.layers, experts),
        measured={str(name): float(value) if np.isfinite(value) else None for name, value in row.items()},
        reasons=examined.reasons,
        configuration={name: float(value) for name, value in (configuration or {}).items()},
        notes=examined.notes,
        way=examined.found.way,
        versions={
            "mdbench": __version__,
            "Python": platform.python_version(),
            "torch": torch.__version__,
            **package_versions(),
        },
        command=shlex.join(["mdbench", *sys.argv[1:]]) if Path(sys.argv[0]).name == "mdbench" else "",
    )
    plots = tuple(phase(examined.row, pool, columns, find_task(verdict.task)) for verdict in verdicts)
    plane = plane_of(examined.networks[0], loss, examined.train) if "topology" in EXTENTS[extent] else None
    ways = ways_of(examined.networks, loss, examined.train) if extent == "thorough" else None
    return Diagnosed(diagnosis, examined, plots, plane, ways)
