"""`mdbench.tables.Zoo` and the folders of zoos, under the path that they were first published with."""

from mdbench.tables.loading import find_zoo, load_checkpoints, load_zoo, only_one, read_table, zoo_names
from mdbench.tables.manifest import (
    CHECKPOINTS,
    CONFIGURATIONS,
    FORMAT,
    LAYERS,
    MANIFEST,
    InputFile,
    Provenance,
    sha256_of,
    table_digests,
)
from mdbench.tables.zoo import Zoo, arrow_tables, write_tables

__all__ = [
    "CHECKPOINTS",
    "CONFIGURATIONS",
    "FORMAT",
    "LAYERS",
    "MANIFEST",
    "InputFile",
    "Provenance",
    "Zoo",
    "arrow_tables",
    "find_zoo",
    "load_checkpoints",
    "load_zoo",
    "only_one",
    "read_table",
    "sha256_of",
    "table_digests",
    "write_tables",
    "zoo_names",
]
