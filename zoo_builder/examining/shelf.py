"""What was measured of networks, kept under a name that follows from all that the numbers depend on."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mdbench import files
from mdbench.paths import cache_home
from mdbench.version import __version__
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
    for said in _said(loss):
        digest.update(said)
    for network in networks:
        digest.update(repr(network).encode())
        for name, weight in network.named_parameters(remove_duplicate=False):
            digest.update(_bytes(f"{name} {weight.requires_grad}", weight))
        for name, value in network.named_buffers(remove_duplicate=False):
            digest.update(_bytes(name, value))
    for part in (train, test):
        for name, value in ({} if part is None else {**named(part.inputs), "targets": part.targets}).items():
            digest.update(_bytes(name, value))
    for value in computed:
        digest.update(_bytes("computed", value))
    return cache_home() / "examined" / digest.hexdigest()[:32]


def _said(value: Any) -> Iterator[bytes]:
    """Yield what a loss says of itself: its code, its settings and its numbers, and never where it is in memory."""
    if isinstance(value, Tensor | np.ndarray):
        yield _bytes("numbers", torch.as_tensor(value))
    elif value is None or isinstance(value, str | bytes | int | float):
        yield repr(value).encode()
    elif isinstance(value, tuple | list):
        yield f"{len(value)} parts".encode()
        for part in value:
            yield from _said(part)
    elif isinstance(value, CodeType):
        yield value.co_code
        yield from _said((value.co_names, value.co_consts))
    elif isinstance(value, FunctionType):
        held = [cell.cell_contents for cell in value.__closure__ or ()]
        yield f"{value.__module__}:{value.__qualname__}".encode()
        yield from _said((value.__code__, value.__defaults__, sorted((value.__kwdefaults__ or {}).items()), held))
    elif isinstance(value, MethodType):
        yield from _said((value.__func__, value.__self__))
    elif isinstance(value, partial):
        yield from _said((value.func, value.args, sorted(value.keywords.items())))
    elif isinstance(value, nn.Module):
        yield repr(value).encode()
        yield from _said(list(value.state_dict().items()))
        for one in value.modules():
            yield from _said(_plain(one))
    else:
        kind = value if hasattr(value, "__qualname__") else type(value)
        yield f"{kind.__module__}:{kind.__qualname__}".encode()
        yield from _said(_plain(value))


def _plain(value: object) -> list[tuple[str, object]]:
    """Return the attributes of an object that are numbers or texts."""
    every = sorted(getattr(value, "__dict__", {}).items())
    return [(name, one) for name, one in every if isinstance(one, str | int | float | Tensor | np.ndarray)]


def _bytes(name: str, value: Tensor) -> bytes:
    """Return the digest of a tensor, with its name, its kind and its shape."""
    values = value.detach().cpu().contiguous()
    values = values.float() if values.dtype == torch.bfloat16 else values
    digest = hashlib.sha256(f"{name} {value.dtype} {tuple(value.shape)}".encode())
    digest.update(values.numpy().tobytes())
    return digest.digest()


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
