"""The networks of a zoo as files to publish.

    checkpoints/ZOO/shard-00001.safetensors, …   parameters and buffers, under `checkpoint/parameter`
    checkpoints/ZOO/index.json                   these files, and what it takes to make a network of them without the data

Which network is in which shard follows from the zoo's table and from the sizes of its networks, so that tables can say it
before there is any shard. Written again, a zoo gives the same bytes.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mdbench import files
from mdbench.errors import MdbenchError, reason
from mdbench.zoo import sha256_of
from zoo_builder.built import Built
from zoo_builder.network import networks
from zoo_builder.store import SPEC
from zoo_builder.tables import digest_of
from zoo_builder.units import writing

FORMAT: Final = 1
FOLDER: Final = "checkpoints"
INDEX: Final = "index.json"
#: Bytes of a shard, unless a single network takes more.
LIMIT: Final = 256_000_000
#: Bytes of a shard's header, which whoever wants one network of it has to read.
HEADER_LIMIT: Final = 1_000_000
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
    input_shape, classes : of the data that its networks were made for.
    spec_sha256 : of the file ``spec.toml``.
    shards : the files, in order.
    """

    format: int = FORMAT
    zoo: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)
    input_shape: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1, max_length=3)
    classes: int = Field(gt=1, le=2**20)
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


class Size(NamedTuple):
    """How many bytes a network takes: at most in a shard's header, and exactly behind it."""

    header: int
    tensors: int


def shard_path(zoo: str, name: str) -> str:
    """Return the path of a zoo's shard, or of its index, in the published folder."""
    return f"{FOLDER}/{zoo}/{name}"


def sizes(built: Built) -> dict[str, Size]:
    """Return how large every network of a zoo is, in the order of its table; no network is read."""
    known = {one.name: one for one in networks(built.spec, built.subsets)}
    states: dict[tuple[int | None, int | None], dict[str, Tensor]] = {}
    found = {}
    for name in _table(built).index:
        form = known[name].width, known[name].depth
        if form not in states:
            states[form] = built.spec.architecture.build(built.dataset.shape, built.dataset.classes, *form).state_dict()
        found[name] = Size(
            sum(_line(f"{name}/{parameter}", value) for parameter, value in states[form].items()),
            sum(value.nbytes for value in states[form].values()),
        )
    return found


def _line(name: str, value: Tensor) -> int:
    """Return the most that a tensor takes in the header of a safetensors file: kinds have 4 letters, offsets 12 digits."""
    said = {name: {"dtype": "BOOL", "shape": list(value.shape), "data_offsets": [10**11, 10**11]}}
    return len(json.dumps(said, separators=(",", ":")).encode()) - 1  # two braces around it, a comma behind it


def assigned(
    zoo: str, sizes: Mapping[str, Size], limit: int = LIMIT, header_limit: int = HEADER_LIMIT
) -> "pd.Series[str]":
    """Return which shard each network is in: the column ``shard`` of the published table, indexed by ``checkpoint``.

    Parameters
    ----------
    zoo : the zoo's name.
    sizes : of its networks, in the order of its table. A shard is filled in this order, and a network never cut.
    limit, header_limit : bytes of a shard, and of its header; only a network that is alone in its shard may take more.
    """
    shards, number = [], 0
    header = tensors = 0
    for size in sizes.values():
        header, tensors = header + size.header, tensors + size.tensors
        if not number or header > header_limit or header + tensors > limit:
            number += 1
            header, tensors = size
        shards.append(shard_path(zoo, f"shard-{number:05}.safetensors"))
    return pd.Series(shards, index=pd.Index(sizes, name="checkpoint"), name="shard", dtype=object)


def write_shards(
    built: Built,
    folder: Path,
    *,
    limit: int = LIMIT,
    header_limit: int = HEADER_LIMIT,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Index:
    """Write the networks of a zoo, or go on writing them. One shard is in memory at a time.

    Parameters
    ----------
    built : the build.
    folder : the published folder; the shards go to ``checkpoints/ZOO``. One that is there already, byte for byte, stays.
    limit, header_limit : as for `assigned`.
    progress : called with the number of networks that are written, and of all of them, after every shard.

    Returns
    -------
    What ``index.json`` says, which is written last.

    Raises
    ------
    MdbenchError
        A network is not the one that the zoo's table describes; the folder cannot be written.
    """
    table = _table(built)
    paths = assigned(built.zoo.name, sizes(built), limit, header_limit)
    home, shards, done = folder / FOLDER / built.zoo.name, [], 0
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        files.tidy(home)
        for path, names in paths.groupby(paths).groups.items():
            content = save(_tensors(built.store.folder, table.loc[names]))
            file, digest = folder / str(path), hashlib.sha256(content).hexdigest()
            if not (file.is_file() and sha256_of(file) == digest):
                files.replace({file: content})
            shards.append(Shard(name=file.name, sha256=digest, bytes=len(content), networks=len(names)))
            done += len(names)
            progress(done, len(table))
        index = Index(
            zoo=built.zoo.name,
            input_shape=built.dataset.shape,
            classes=built.dataset.classes,
            spec_sha256=sha256_of(built.store.folder / SPEC),
            shards=tuple(shards),
        )
        files.replace({home / INDEX: (index.model_dump_json(indent=2) + "\n").encode()})
        for stale in {path.name for path in home.glob("shard-*.safetensors")} - {shard.name for shard in shards}:
            (home / stale).unlink()
    return index


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


def _table(built: Built) -> pd.DataFrame:
    """Return a build's table of networks."""
    if built.zoo.checkpoints is None:
        raise MdbenchError(f"{built.store.folder} has no table of networks")
    return built.zoo.checkpoints


def _tensors(folder: Path, table: pd.DataFrame) -> dict[str, Tensor]:
    """Return the tensors of networks, checked: ``checkpoint/parameter`` → tensor, mapped from the files of the units."""
    tensors: dict[str, Tensor] = {}
    for unit, rows in table.groupby("shard", sort=False):
        path = folder / str(unit)
        try:
            with safe_open(path, framework="pt") as file:
                own: dict[str, list[str]] = {str(name): [] for name in rows.index}
                for key in file.keys():  # noqa: SIM118 - no mapping
                    name = _network_of(key, own)
                    if name is not None:
                        own[name].append(key)
                for name, keys in own.items():
                    state = {key.removeprefix(f"{name}/"): file.get_tensor(key) for key in keys}
                    if digest_of(state) != rows.loc[name, "sha256"]:
                        raise MdbenchError(
                            f"{path}: the tensors of {name} are not those that the zoo's tables describe"
                        )
                    tensors |= {f"{name}/{parameter}": value for parameter, value in state.items()}
        except (OSError, SafetensorError) as error:
            raise MdbenchError(f"{path} cannot be read: {reason(error)}") from error
    return tensors


def _network_of(key: str, names: Mapping[str, object]) -> str | None:
    """Return the network that a tensor belongs to, where it is one of these; a parameter's name may have slashes too."""
    at = key.rfind("/")
    while at > 0 and key[:at] not in names:
        at = key.rfind("/", 0, at)
    return key[:at] if at > 0 else None
