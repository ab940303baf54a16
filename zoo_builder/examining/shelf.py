"""What was measured of networks, kept under a name that follows from all that the numbers depend on."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mdbench import files
from mdbench.paths import cache_home
from mdbench.version import __version__
from zoo_builder.examining.identity import identity, of_tensor
from zoo_builder.landscape import FAMILIES, Data, Measurements, Settings, named

_FILES: Final = ("models.parquet", "together.json", "layers.parquet")


def shelf_of(
    networks: Sequence[nn.Module],
    train: Data,
    test: Data | None,
    loss: Any,
    settings: Settings,
    computed: Sequence[Tensor],
) -> Path:
    """Return the folder for what is measured of these networks, with these data and this loss, by this version.

    Parameters
    ----------
    networks, train, test, loss, settings : what is measured.
    computed : what the networks and the loss give on some examples. Code may call whatever it likes, so that what it
        computes is not read off it alone.
    """
    digest = hashlib.sha256(f"{__version__} {torch.__version__} {settings}".encode())
    digest.update(repr([(name, family.edition) for name, family in FAMILIES.items()]).encode())
    for said in identity((loss, list(networks))):
        digest.update(said)
    for part in (train, test):
        for name, value in ({} if part is None else {**named(part.inputs), "targets": part.targets}).items():
            digest.update(of_tensor(name, value))
    for value in computed:
        digest.update(of_tensor("computed", value))
    return cache_home() / "examined" / digest.hexdigest()[:32]


def keep(shelf: Path, found: Measurements) -> None:
    """Keep what was measured; a cache that cannot be written costs time alone."""
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        together = {name: value if isinstance(value, str) else _number(value) for name, value in found.together.items()}
        said = json.dumps({"together": together, "way": found.way, "notes": found.notes})
        contents = (files.parquet(found.models), said.encode(), files.parquet(found.layers))
        files.replace({shelf / name: content for name, content in zip(_FILES, contents, strict=True)})
    except OSError:
        return


def _number(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def kept(shelf: Path) -> Measurements | None:
    """Return what was measured before; None where there is nothing, or what is there cannot be read."""
    try:
        models, layers = (pd.read_parquet(shelf / name) for name in (_FILES[0], _FILES[2]))
        said = json.loads((shelf / _FILES[1]).read_text(encoding="utf-8"))
        together = pd.Series({name: np.nan if value is None else value for name, value in said["together"].items()})
        return Measurements(models.rename_axis("model"), together, layers, said["way"], tuple(said["notes"]))
    except Exception:  # noqa: BLE001 - damage shows in many ways, and what is damaged is measured anew
        return None
