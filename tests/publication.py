"""A built zoo as a published folder: its tables and its networks."""

import shutil
from dataclasses import replace
from pathlib import Path

from mdbench.tables.loading import load_zoo
from mdbench.tables.zoo import Zoo, write_tables
from zoo_builder.publishing import shards


def published(build: Path, to: Path, **limits: int) -> Zoo:
    """Publish a build's zoo, in shards of these limits; return its published tables."""
    zoo = load_zoo(build)
    zoo = replace(zoo, checkpoints=shards.assigned(zoo, **limits))
    write_tables(zoo, to / "data" / zoo.name)
    shutil.copy(build / "spec.toml", to / "data" / zoo.name)
    shards.write(build, zoo, to, trust_code=True)
    return zoo
