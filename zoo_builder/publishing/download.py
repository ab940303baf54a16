"""Networks of a published zoo, one or all of them: from a folder, from a build, or from the Hugging Face Hub.

Everything that is read may come from anybody. Nothing of it is unpickled, and no code that a specification names is run
unless the caller trusts it.
"""

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch
from safetensors.torch import save
from torch import Tensor, nn

from mdbench import files
from mdbench.errors import MdbenchError, reason
from mdbench.tables import CHECKPOINTS, DATA, MANIFEST, knob_column, load_checkpoints, sha256_of, table_digests
from zoo_builder.building import MANIFEST as BUILD
from zoo_builder.building import SPEC, alone, digest_of, writing
from zoo_builder.publishing.header import Entry, Read, read_header, read_tensors
from zoo_builder.publishing.places import Folder, Place, place
from zoo_builder.publishing.shards import INDEX, Index, Shard, read_index, shard_path
from zoo_builder.specification import (
    ARCHITECTURES,
    Point,
    ZooSpec,
    check_trust,
    configuration_name,
    load_dataset,
    module_at,
    parse_spec,
)

_LARGEST_SPEC: Final = 2**20  # bytes
_STEP: Final = 2**22  # bytes from one report of progress to the next
_A_UNIT: Final = re.compile(r"units/\w+/checkpoints\.safetensors")


@dataclass(frozen=True)
class Fetched:
    """How far fetching is: bytes that are there, of all that are wanted."""

    bytes_done: int
    bytes: int


@dataclass(frozen=True)
class _Zoo:
    """A zoo, and where its networks are.

    Attributes
    ----------
    name : its name.
    place : where its files are.
    home : the path of its tables' folder there.
    index : what is published of its networks; None for a build.
    """

    name: str
    place: Place
    home: str
    index: Index | None

    def file(self, name: str) -> Path:
        """Return one of the files beside the tables."""
        return self.place.file(f"{self.home}{name}")

    def table(self) -> pd.DataFrame:
        """Return the table of networks, indexed by their names."""
        self.file(CHECKPOINTS)
        table = load_checkpoints(self.file(MANIFEST).parent)
        for column in ("checkpoint", "shard", "sha256"):
            if column not in table or not all(isinstance(value, str) for value in table[column]):
                raise MdbenchError(
                    f"{self.place.name}: the tables of zoo {self.name} do not say the {column} of its networks"
                )
        return table.set_index("checkpoint")

    def spec(self) -> ZooSpec:
        """Return the specification."""
        path = self.file(SPEC)
        try:
            if path.stat().st_size > _LARGEST_SPEC:
                raise MdbenchError(f"{path} has {path.stat().st_size} bytes, more than any specification")
            if self.index and sha256_of(path) != self.index.spec_sha256:
                raise MdbenchError(f"{path} is not the specification that the networks were made from")
            return parse_spec(path.read_text(encoding="utf-8"), str(path))
        except (OSError, ValueError, RecursionError) as error:  # numbers too long, lists too deep
            raise MdbenchError(f"{path} cannot be read: {reason(error)}") from error

    def size(self, path: str) -> int:
        """Return the size of a file of networks, which the tables name."""
        if self.index:
            shard = self.index.shard(path)
            if shard:
                return shard.bytes
        elif _A_UNIT.fullmatch(path):
            return self.place.file(path).stat().st_size
        raise MdbenchError(f"{self.place.name}: {path!r} is none of the files of networks of zoo {self.name}")


def load_checkpoint(
    source: str | Path,
    checkpoint: str,
    *,
    zoo: str | None = None,
    revision: str | None = None,
    trust_code: bool = False,
) -> nn.Module:
    """Load a trained network of a zoo, in evaluation mode. From the Hub, little more than that network is transferred.

    Parameters
    ----------
    source : a published folder, the folder of a build, or ORG/NAME on the Hugging Face Hub.
    checkpoint : the network, as ``checkpoints.parquet`` names it.
    zoo : its zoo; needed where several have a network of that name.
    revision : branch, tag or commit on the Hub; its newest state if left out.
    trust_code : whether to run the code that the specification names, see `zoo_builder.specification.check_trust`.

    Raises
    ------
    MdbenchError
        There is no such source, zoo or network; what is read is damaged, or not what the tables describe; the specification
        names code, and is not trusted.
    """
    found, row = _find(source, checkpoint, zoo, revision)
    spec = found.spec()
    # The data are needed where no index says what networks were made for; the loss never.
    tables = ("architecture",) if found.index else ("architecture", "dataset")
    check_trust(spec, trust_code, found.place.name, tables)
    point = _point(spec, found, checkpoint, row)
    if found.index:
        made_for = found.index.input_shape, found.index.classes, found.index.vocabulary
    else:
        dataset = load_dataset(spec.dataset_at(point))
        made_for = dataset.shape, dataset.outputs, dataset.vocabulary
    where = f"{found.place.name}: network {checkpoint} of zoo {found.name}"
    # What the header says must fit before anything behind it is read: it could be more than there is memory for.
    _, entries, _ = header = _header(found, checkpoint, row)
    module = _module(spec, point, made_for, entries, where)
    module.load_state_dict(_state(found, checkpoint, row, header))
    return module.eval()


def fetch(
    source: str | Path,
    out: Path,
    *,
    zoo: str | None = None,
    checkpoint: str | None = None,
    revision: str | None = None,
    progress: Callable[[Fetched], None] = lambda _: None,
) -> Path:
    """Get published networks: all of them, with their zoos' tables, or one. Interrupted, the same call goes on.

    Parameters
    ----------
    source, zoo, revision : as for `load_checkpoint`; without `zoo`, all zoos.
    out : the folder that they go to. It becomes a published folder; a single network becomes a file
        ``ZOO,width=8,seed=0.safetensors`` in it, whose tensors have their names in the module's ``state_dict``.
    checkpoint : the network, where it is to be one.
    progress : called whenever something has arrived.

    Returns
    -------
    The file of the network, or the folder.

    Raises
    ------
    MdbenchError
        As for `load_checkpoint`; the folder cannot be written, or somebody else writes there; a file is not the one that the
        index describes.
    """
    if checkpoint is not None:
        found, row = _find(source, checkpoint, zoo, revision)
        _point(found.spec(), found, checkpoint, row)  # its name becomes a file's
        state = _state(found, checkpoint, row, _header(found, checkpoint, row))
        metadata = {"zoo": found.name, "checkpoint": checkpoint, "sha256": str(row["sha256"])}
        file = out / (f"{found.name}/{checkpoint}.safetensors".replace("/", ","))
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
            files.replace({file: save(state, metadata)})
        progress(Fetched(file.stat().st_size, file.stat().st_size))
        return file
    zoos = _zoos(source, zoo, revision)
    wanted, done = sum(shard.bytes for one in zoos for shard in _index(one).shards), 0

    def report(before: int, there: int) -> None:
        progress(Fetched(before + there, wanted))

    with writing(out), alone(out, "fetching"):
        for one in zoos:
            home = out / shard_path(one.name, INDEX)
            home.parent.mkdir(parents=True, exist_ok=True)
            for shard in _index(one).shards:
                path = shard_path(one.name, shard.name)
                _fetch_shard(one.place, path, shard, out / path, partial(report, done))
                done += shard.bytes
            _fetch_tables(one, out)
            files.replace({home: one.place.file(shard_path(one.name, INDEX)).read_bytes()})
            for stale in home.parent.glob(".shard-*.part"):
                stale.unlink()
    return out


def _zoos(source: str | Path, zoo: str | None, revision: str | None) -> list[_Zoo]:
    """Return the zoos of a source, or the one that is asked for."""
    where = place(source, revision)
    names = where.zoos()
    if names:
        opened = [name for name in names if zoo in (None, name)]
        zoos = [_Zoo(name, where, f"{DATA}/{name}/", _read_index(where, name)) for name in opened]
    elif isinstance(where, Folder) and (Path(source) / BUILD).is_file():
        build = _Zoo("", where, "", None)
        names = [build.spec().name]
        zoos = [replace(build, name=name) for name in names if zoo in (None, name)]
    else:
        raise MdbenchError(f"{where.name} holds no networks: there is no {shard_path('ZOO', INDEX)} in it")
    if not zoos:
        raise MdbenchError(f"{where.name} holds no networks of a zoo {zoo!r}; there are {', '.join(names)}")
    return zoos


def _read_index(where: Place, name: str) -> Index:
    index = read_index(where.file(shard_path(name, INDEX)))
    if index.zoo != name:
        raise MdbenchError(f"{where.name}: {shard_path(name, INDEX)} is that of another zoo, {index.zoo}")
    return index


def _find(source: str | Path, checkpoint: str, zoo: str | None, revision: str | None) -> tuple[_Zoo, "pd.Series[Any]"]:
    """Return the zoo that a network is in, and its row there."""
    zoos, names, hits = _zoos(source, zoo, revision), [], []
    for one in zoos:
        table = one.table()
        names += [str(name) for name in table.index]
        rows = table[table.index == checkpoint]
        if len(rows) > 1:
            raise MdbenchError(f"{one.place.name}: zoo {one.name} has {len(rows)} networks {checkpoint!r}")
        if len(rows):
            hits.append((one, rows.iloc[0]))
    where = zoos[0].place.name
    if not hits:
        near = ", ".join(get_close_matches(checkpoint, names, 3, 0))
        raise MdbenchError(f"{where} has no network {checkpoint!r}; the nearest names are {near}")
    if len(hits) > 1:
        several = " and ".join(one.name for one, _ in hits)
        raise MdbenchError(f"{where}: the zoos {several} have a network {checkpoint!r} each; say which zoo")
    return hits[0]


def _point(spec: ZooSpec, found: _Zoo, checkpoint: str, row: "pd.Series[Any]") -> Point:
    """Return a network's grid point, which table, specification and name must agree on."""
    point: Point = {}
    for axis in spec.axes:
        value = row.get(knob_column(axis.knob))
        if isinstance(value, Real | str) and value in axis.values:
            point[axis.knob] = value if isinstance(value, str) else float(value)
    whole = spec.name == found.name and len(point) == len(spec.axes)
    if not whole or checkpoint != f"{configuration_name(point)}/seed={row.get('seed')}":
        raise MdbenchError(
            f"{found.place.name}: network {checkpoint!r}, as the table has it, is not one that the specification describes"
        )
    return point


def _header(found: _Zoo, checkpoint: str, row: "pd.Series[Any]") -> tuple[Read, dict[str, Entry], int]:
    """Return what reads the file that a network is in, its tensors by their own names, and where their offsets begin."""
    path = str(row["shard"])

    def read(start: int, stop: int) -> bytearray:
        content = bytearray()
        for piece in found.place.read(path, start, stop):
            content += piece
        return content

    tensors, begin = read_header(read, found.size(path), f"{found.place.name}: {path}")
    whose = f"{checkpoint}/"
    return read, {name.removeprefix(whose): one for name, one in tensors.items() if name.startswith(whose)}, begin


def _state(
    found: _Zoo, checkpoint: str, row: "pd.Series[Any]", header: tuple[Read, dict[str, Entry], int]
) -> dict[str, Tensor]:
    """Read a network's parameters and buffers, and nothing else of the file that they are in."""
    state = read_tensors(*header)
    if digest_of(state) != row["sha256"]:
        raise MdbenchError(
            f"{found.place.name}: {row['shard']}: the tensors of {checkpoint} are not those that the zoo's tables describe"
        )
    return state


def _module(
    spec: ZooSpec, point: Point, made_for: tuple[tuple[int, ...], int, int], entries: dict[str, Entry], where: str
) -> nn.Module:
    """Return the module of a network, which has a place for each of its tensors and no other.

    Parameters
    ----------
    spec, point : the specification, and the network's grid point.
    made_for : an input's shape, the number of outputs, and that of token ids.
    entries : what its file says of its tensors.
    where : which network, for messages.
    """
    own = spec.architecture.name in ARCHITECTURES
    # Every layer has a tensor, and no tensor has a place before its shape is known to be right: a specification could
    # ask for more layers or units than there is memory.
    if own and (int(point.get("depth", 0)) or spec.architecture.depth or 0) > len(entries):
        raise MdbenchError(f"{where}: its file has fewer tensors than the specification has layers")
    with torch.device("meta") if own else nullcontext():
        module = module_at(spec, point, *made_for)
    wanted = {name: (value.dtype, value.shape) for name, value in module.state_dict().items()}
    if wanted != {name: (entry.kind, torch.Size(entry.shape)) for name, entry in entries.items()}:
        raise MdbenchError(f"{where}: its tensors are not those of the module that the specification describes")
    # Made anew rather than emptied: masks and the like are in no file.
    return module_at(spec, point, *made_for) if own else module


def _index(zoo: _Zoo) -> Index:
    if zoo.index is None:
        raise MdbenchError(
            f"{zoo.place.name} is the folder of a build, whose networks are here already; say which to get"
        )
    return zoo.index


def _fetch_shard(where: Place, path: str, shard: Shard, to: Path, progress: Callable[[int], None]) -> None:
    """Get a file of networks, whole and right or not at all; what came before an interruption is kept beside it."""
    if not (to.is_file() and to.stat().st_size == shard.bytes and sha256_of(to) == shard.sha256):
        part = to.with_name(f".{to.name}.{shard.sha256[:16]}.part")
        with part.open("ab") as file:
            there = file.tell()
            if there < shard.bytes:
                for piece in where.read(path, there, shard.bytes):
                    file.write(piece)
                    there += len(piece)
                    if there // _STEP > (there - len(piece)) // _STEP:
                        progress(there)
            file.flush()
            os.fsync(file.fileno())
        if sha256_of(part) != shard.sha256:
            part.unlink()
            raise MdbenchError(f"{where.name}: {path} is damaged (its SHA-256 differs); the same again fetches it anew")
        part.replace(to)
        files.sync_folder(to.parent)
    progress(shard.bytes)


def _fetch_tables(zoo: _Zoo, out: Path) -> None:
    """Get a zoo's tables and its specification, its manifest last."""
    zoo.spec()  # is checked
    digests, contents = table_digests(zoo.file(MANIFEST).parent), {}
    for name in (*digests, SPEC, MANIFEST):
        contents[out / zoo.home / name] = content = zoo.file(name).read_bytes()
        if hashlib.sha256(content).hexdigest() != digests.get(name, hashlib.sha256(content).hexdigest()):
            raise MdbenchError(f"{zoo.place.name}: {zoo.home}{name} is not the file that {MANIFEST} describes")
    (out / zoo.home).mkdir(parents=True, exist_ok=True)
    files.replace(contents)
