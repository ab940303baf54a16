"""The networks of a zoo as files to publish.

    checkpoints/ZOO/shard-00001.safetensors, …   parameters and buffers, under `checkpoint/parameter`
    checkpoints/ZOO/index.json                   these files, and what it takes to make a network of them without the data

Which network is in which shard follows from the zoo's table, so that it can say it before there is any shard. Written again,
a zoo gives the same bytes.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mdbench import files
from mdbench.errors import MdbenchError, reason
from mdbench.tables import Zoo, sha256_of
from zoo_builder.building import SPEC, Built, digest_of, writing
from zoo_builder.publishing.header import Entry, read_header

FORMAT: Final = 1
FOLDER: Final = "checkpoints"
INDEX: Final = "index.json"
#: Bytes of a shard's parameters, unless a single network has more.
LIMIT: Final = 256_000_000
#: Networks of a shard: whoever wants one of them has to read the header, in which all of them stand.
NETWORKS: Final = 256
_LARGEST_INDEX: Final = 2**24  # bytes
_LARGEST_INPUT: Final = 2**28  # numbers

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Shard(_Strict):
    """A file of networks.

    Attributes
    ----------
    name : the file's.
    sha256 : of the file.
    bytes : its size.
    networks : how many are in it.
    """

    name: str = Field(pattern=r"^shard-\d{5}\.safetensors$")
    sha256: _Digest
    bytes: int = Field(gt=8, lt=2**40)
    networks: int = Field(gt=0)


class Index(_Strict):
    """What ``index.json`` says.

    Attributes
    ----------
    zoo : the zoo's name.
    input_shape, classes, vocabulary : of the data that its networks were made for; classes or numbers that they put out.
    spec_sha256 : of the file ``spec.toml``.
    shards : the files, in order.
    """

    format: int = FORMAT
    zoo: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)
    input_shape: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1, max_length=3)
    classes: int = Field(gt=0, le=2**20)
    vocabulary: int = Field(default=0, ge=0, le=2**20)
    spec_sha256: _Digest
    shards: tuple[Shard, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "Index":
        if math.prod(self.input_shape) > _LARGEST_INPUT:
            raise ValueError(f"inputs of shape {self.input_shape} are larger than any data set's")
        if len({shard.name for shard in self.shards}) != len(self.shards):
            raise ValueError("a shard stands there twice")
        return self

    def shard(self, path: str) -> Shard | None:
        """Return the shard with a path in the published folder, as the tables have it; None where there is none."""
        return next((shard for shard in self.shards if path == shard_path(self.zoo, shard.name)), None)


def shard_path(zoo: str, name: str) -> str:
    """Return the path of a zoo's shard, or of its index, in the published folder."""
    return f"{FOLDER}/{zoo}/{name}"


def assigned(zoo: Zoo, limit: int = LIMIT, networks: int = NETWORKS) -> pd.DataFrame:
    """Return a zoo's table of networks with the shard that each of them is in when published, in the column ``shard``.

    Shards are filled in the table's order, and a network is never cut.

    Parameters
    ----------
    zoo : the zoo.
    limit : bytes of a shard's parameters; only a network that is alone in its shard may have more.
    networks : of a shard, at most.

    Raises
    ------
    MdbenchError
        The zoo does not say how many parameters its networks have.
    """
    table, shards = _networks(zoo), []
    number, size, there = 0, 0.0, 0
    for count in table["parameter_count"]:
        size, there = size + 4 * count, there + 1
        if not number or size > limit or there > networks:
            number, size, there = number + 1, 4 * count, 1
        shards.append(shard_path(zoo.name, f"shard-{number:05}.safetensors"))
    return table.assign(shard=shards)


def write(
    folder: Path, zoo: Zoo, to: Path, *, trust_code: bool = False, progress: Callable[[int], None] = lambda _: None
) -> list[Path]:
    """Write the networks of a zoo, or go on writing them. One shard is in memory at a time.

    Parameters
    ----------
    folder : that of the build.
    zoo : its tables, with the shards to write, as `assigned` says.
    to : the published folder; a shard that is there already, byte for byte, stays.
    trust_code : whether to run the code that the specification names, see `zoo_builder.specification.check_trust`.
    progress : called with the number of networks that are written, after every shard.

    Returns
    -------
    The files; ``index.json`` is written last.

    Raises
    ------
    MdbenchError
        The folder holds no finished build, or one that names code, and is not trusted; a network is
        not the one that the tables describe, or `to` cannot be written.
    """
    built, table = Built.open(folder, trust_code=trust_code), _networks(zoo)
    units = _networks(built.zoo)["shard"]
    home, shards, done = to / FOLDER / zoo.name, [], 0
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        files.tidy(home)
        for path, rows in table.groupby("shard"):
            content = save(_tensors(built.store.folder, units[rows.index], rows["sha256"]))
            file, digest = to / str(path), hashlib.sha256(content).hexdigest()
            if not (file.is_file() and sha256_of(file) == digest):
                files.replace({file: content})
            shards.append(Shard(name=file.name, sha256=digest, bytes=len(content), networks=len(rows)))
            done += len(rows)
            progress(done)
        files.replace({home / INDEX: _index(built, zoo, shards)})
        written = [*(home / shard.name for shard in shards), home / INDEX]
        for stale in set(home.glob("shard-*.safetensors")) - set(written):
            stale.unlink()
    return written


def sizes(folder: Path, zoo: Zoo, *, trust_code: bool = False) -> dict[str, int]:
    """Return the files that `write` writes, and their bytes; only headers are read for it.

    Parameters
    ----------
    folder, zoo, trust_code : as `write` takes them.

    Raises
    ------
    MdbenchError
        As `write` does, of what it reads.
    """
    built, table = Built.open(folder, trust_code=trust_code), _networks(zoo)
    units = _networks(built.zoo)["shard"]
    found: dict[str, int] = {}
    shards = []
    for path, rows in table.groupby("shard"):
        homes = units[rows.index].groupby(units[rows.index])
        entries = [entry for unit, names in homes for entry in _entries(built.store.folder / str(unit), names.index)]
        found[str(path)] = size = _size(entries)
        shards.append(Shard(name=Path(str(path)).name, sha256="0" * 64, bytes=size, networks=len(rows)))
    content = _index(built, zoo, shards)
    return found | {shard_path(zoo.name, INDEX): len(content)}


def _index(built: Built, zoo: Zoo, shards: Sequence[Shard]) -> bytes:
    """Return ``index.json``."""
    dataset = built.material.first.dataset
    index = Index(
        zoo=zoo.name,
        input_shape=dataset.shape,
        classes=dataset.outputs,
        vocabulary=dataset.vocabulary,
        spec_sha256=sha256_of(built.store.folder / SPEC),
        shards=tuple(shards),
    )
    return (index.model_dump_json(indent=2) + "\n").encode()


def _entries(unit: Path, names: Iterable[str]) -> list[tuple[str, Entry]]:
    """Return what the header of a unit's file says of the tensors of some networks."""
    wanted = set(names)
    try:
        with unit.open("rb") as file:
            entries, _ = read_header(partial(_read, file), unit.stat().st_size, str(unit))
    except OSError as error:
        raise MdbenchError(f"{unit} cannot be read: {reason(error)}") from error
    return [(key, entry) for key, entry in entries.items() if key.rpartition("/")[0] in wanted]


def _read(file: BinaryIO, start: int, stop: int) -> bytearray:
    file.seek(start)
    return bytearray(file.read(stop - start))


def _size(entries: Sequence[tuple[str, Entry]]) -> int:
    """Return how large a file of tensors is: the largest kinds of numbers come first in it, and then names."""
    header: dict[str, dict[str, object]] = {}
    at = 0
    for key, entry in sorted(entries, key=lambda one: (-one[1].kind.itemsize, one[0])):
        size = entry.data_offsets[1] - entry.data_offsets[0]
        header[key] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return 8 + -(-len(text) // 8) * 8 + at


def read_index(path: Path) -> Index:
    """Read an ``index.json``, which may come from anywhere.

    Raises
    ------
    MdbenchError
        It cannot be read, or does not say what an index says.
    """
    try:
        if path.stat().st_size > _LARGEST_INDEX:
            raise MdbenchError(f"{path} has {path.stat().st_size} bytes, more than any index")
        index = Index.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise MdbenchError(f"{path} cannot be read: {reason(error)}") from error
    if index.format > FORMAT:
        raise MdbenchError(f"{path}: format {index.format} is newer than this builder knows ({FORMAT}); upgrade it")
    return index


def _networks(zoo: Zoo) -> pd.DataFrame:
    """Return the table of networks of a zoo that was built."""
    table = zoo.checkpoints
    if table is None or not {"parameter_count", "shard", "sha256"} <= set(table):
        raise MdbenchError(f"zoo {zoo.name} does not say where its networks are; only a zoo that was built has them")
    return table


def _tensors(folder: Path, units: "pd.Series[str]", digests: "pd.Series[str]") -> dict[str, Tensor]:
    """Return the tensors of networks, checked: ``checkpoint/parameter`` → tensor, mapped from the files of the units."""
    tensors: dict[str, Tensor] = {}
    for unit, names in units.groupby(units).groups.items():
        path = folder / str(unit)
        states: dict[str, dict[str, Tensor]] = {str(name): {} for name in names}
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 - no mapping
                    name, _, parameter = key.rpartition("/")
                    if name in states:
                        states[name][parameter] = file.get_tensor(key)
        except (OSError, SafetensorError) as error:
            raise MdbenchError(f"{path} cannot be read: {reason(error)}") from error
        for name, state in states.items():
            if digest_of(state) != digests[name]:
                raise MdbenchError(f"{path}: the tensors of {name} are not those that the zoo's tables describe")
            tensors |= {f"{name}/{parameter}": value for parameter, value in state.items()}
    return tensors
