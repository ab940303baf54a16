"""What was measured of a zoo, joined to its tables."""

import hashlib
import io
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from mdbench.errors import MdbenchError, reason
from mdbench.tables import Zoo
from zoo_builder.building.store import LANDSCAPE
from zoo_builder.building.tables import MEASURED
from zoo_builder.building.units import Units
from zoo_builder.landscape import FAMILIES, Family, joined_layers

#: The files of a unit: rows of networks, of configurations, of layers; and of layers at steps that were kept.
TABLES: Final = ("networks.parquet", "configurations.parquet", "layers.parquet")
TRAJECTORY: Final = "trajectory.parquet"
#: The family that the latter is measured with.
SPECTRA: Final = "spectra"
#: Why nothing is measured of a network.
DIVERGED: Final = "diverged"


class Manifest(BaseModel):
    """What a family was measured in: its edition, the networks (a digest of all of theirs), the units."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    edition: int
    networks: str
    units: tuple[str, ...]


def networks_digest(zoo: Zoo) -> str:
    """Return a digest of which networks a zoo has, and of all their numbers."""
    assert zoo.checkpoints is not None
    said = "\n".join(f"{name} {digest}" for name, digest in sorted(zoo.checkpoints["sha256"].items()))
    return hashlib.sha256(said.encode()).hexdigest()


def with_measurements(zoo: Zoo, folder: Path) -> Zoo:
    """Return a zoo with everything that was measured of it to the end, in the place of what it had before."""
    assert zoo.checkpoints is not None
    configurations, checkpoints, layers = zoo.configurations, zoo.checkpoints, []
    ways: list[pd.DataFrame] = []
    networks_there = networks_digest(zoo)
    for family in FAMILIES.values():
        found = _measured(family, folder, networks_there)
        stale = [
            name for name in (*family.columns("checkpoint", "configuration"), family.reason) if name not in MEASURED
        ]
        spread = [f"{name}_std" for name in stale]
        configurations = configurations.drop(columns=[*stale, *spread], errors="ignore")
        checkpoints = checkpoints.drop(columns=stale, errors="ignore")
        if found is None:
            continue
        own, together, of_layers, of_steps = found
        ways += [of_steps] if len(of_steps) else []
        own = own.set_index("checkpoint").reindex(checkpoints.index)
        own.loc[checkpoints["diverged"].astype(bool), family.reason] = DIVERGED
        checkpoints = checkpoints.join(own)
        numbers = own.drop(columns=family.reason).groupby(checkpoints["configuration"])
        means, spreads = (some.reindex(configurations.index) for some in (numbers.mean(), numbers.std(ddof=1)))
        together = together.set_index("configuration").reindex(configurations.index)
        together[family.reason] = _reasons(together[family.reason], checkpoints)
        configurations = pd.concat([configurations, means, spreads.add_suffix("_std"), together], axis=1)
        layers.append(of_layers)
    whole = joined_layers(layers)
    order = {name: at for at, name in enumerate(checkpoints.index)}
    whole = _sorted(whole, order)
    return Zoo.from_table(
        zoo.name,
        zoo.title,
        configurations.reset_index(),
        zoo.moves,
        zoo.provenance,
        checkpoints=checkpoints.reset_index(),
        layers=whole if len(whole) else None,
        predicted=zoo.predicted,
        trajectory=_sorted(pd.concat(ways), order) if ways else None,
    )


def _sorted(table: pd.DataFrame, order: dict[str, int]) -> pd.DataFrame:
    """Return rows of networks in the order of these."""
    return table.sort_values("checkpoint", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _reasons(of_configurations: "pd.Series[Any]", checkpoints: pd.DataFrame) -> list[str | None]:
    """Return what is missing of configurations, and of how many of their networks."""
    missing = checkpoints[of_configurations.name].dropna().groupby(checkpoints["configuration"])
    of_networks = {
        str(name): [f"{count} of its networks: {why}" for why, count in some.value_counts(sort=False).items()]
        for name, some in missing
    }
    reasons = []
    for name, own in of_configurations.items():
        said = [*([own] if isinstance(own, str) else []), *of_networks.get(str(name), [])]
        reasons.append("; ".join(said) or None)
    return reasons


def _measured(
    family: Family, folder: Path, networks_there: str
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame] | None:
    """Return a family's tables of networks, configurations, layers, and layers at steps; None where it was not measured.

    Raises
    ------
    MdbenchError
        A unit cannot be read.
    """
    path = folder / LANDSCAPE / f"{family.name}.json"
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise MdbenchError(f"{path} cannot be read: {reason(error)}; remove it, and measure again") from error
    shelf = Units(folder / LANDSCAPE / family.name)
    if (manifest.edition, manifest.networks) != (family.edition, networks_there) or not all(
        shelf.has(key) for key in manifest.units
    ):
        return None
    tables = []
    for name in (*TABLES, TRAJECTORY):
        there = [shelf.home(key) / name for key in manifest.units]
        parts = [_read(path) for path in there if name != TRAJECTORY or path.is_file()]
        filled = [part for part in parts if len(part)]
        tables.append(pd.concat(filled, ignore_index=True) if filled else (parts or [pd.DataFrame()])[0])
    return tables[0], tables[1], tables[2], tables[3]


def _read(path: Path) -> pd.DataFrame:
    try:
        table: pd.DataFrame = pq.ParquetFile(io.BytesIO(path.read_bytes())).read().to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise MdbenchError(
            f"{path} cannot be read: {reason(error)}; move {path.parent} away, and measure again"
        ) from error
    return table
