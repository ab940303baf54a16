"""A dataset of zoos in the words of Croissant (MLCommons, version 1.0), for machines: its files, and what their columns are.

Every file of every table is a record set of its own, for zoos do not have the same columns. The format wants a day of
publication too: there is none, for the same zoos are to give the same bytes on any day.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from mdbench.tables import COLUMNS, Zoo, sha256_of
from zoo_builder.publishing.card import CITATION, NAME, NOWHERE, TAGS, Config, contents_version
from zoo_builder.publishing.licence import licence_of

#: Terms that are not of schema.org, as the specification has them, all of them: readers look for just these.
_TERMS: Final = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{
        term: f"cr:{term}"
        for term in (
            *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet"),
            *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
            *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
            "transform",
        )
    },
}


def croissant(folder: Path, zoos: Sequence[Zoo], configs: Sequence[Config], version: str, *, repo: str) -> str:
    """Return the description.

    Parameters
    ----------
    folder : the dataset's, with the files of its tables.
    zoos : what it holds.
    configs : its tables.
    version : of the dataset, ``x.y.z``.
    repo : where it will be on the Hub.

    Returns
    -------
    JSON-LD. Files are named relative to the folder that this one is in.
    """
    place = {} if repo == NOWHERE else {"url": f"https://huggingface.co/datasets/{repo}"}
    said = {
        "@context": _TERMS,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": NAME,
        "description": "Grids of trained networks, what was measured of them, and which knob would have helped each most: "
        + "; ".join(zoo.title for zoo in zoos),
        "license": licence_of(zoos).address,
        **place,
        "creator": {"@type": "sc:Organization", "name": "The mdbench authors" if not place else repo.split("/")[0]},
        "version": contents_version(folder, configs, version),
        "keywords": list(TAGS),
        "citeAs": CITATION,
        "distribution": [_file(folder, path) for config in configs for path in config.parts.values()],
        "recordSet": [
            _records(folder, config, part, path) for config in configs for part, path in config.parts.items()
        ],
    }
    # Whatever has a type begins a line: half the size of an indented file, and as good to read.
    return json.dumps(said, ensure_ascii=False).replace('{"@type"', '\n{"@type"') + "\n"


def _file(folder: Path, path: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{(folder / path).stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": sha256_of(folder / path),
    }


def _records(folder: Path, config: Config, part: str, path: str) -> dict[str, Any]:
    name = f"{config.name}/{part}"
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"one row is {config.about}",
        "field": list(_fields(name, pq.read_schema(folder / path), path)),
    }


def _fields(records: str, schema: pa.Schema, path: str) -> Iterator[dict[str, Any]]:
    for column in schema:
        lists = pa.types.is_list(column.type)
        yield {
            "@type": "cr:Field",
            "@id": f"{records}/{column.name}",
            "name": column.name,
            **({"description": COLUMNS[column.name].meaning} if column.name in COLUMNS else {}),
            "dataType": _type(column.type.value_type if lists else column.type),
            **({"repeated": True} if lists else {}),
            "source": {"fileObject": {"@id": path}, "extract": {"column": column.name}},
        }


def _type(kind: pa.DataType) -> str:
    """Return what schema.org calls a type; numbers that may be missing are floats, as pandas has them."""
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
