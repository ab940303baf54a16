"""What a network or a loss is, as bytes: its code, its settings and its numbers, and never where it is in memory.

Of code that no package installed, all that it looks up by name is followed: a loss may read a constant of its module, a
network call a function beside it.
"""

import hashlib
import sys
import sysconfig
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN: Final = (type(None), str, bytes, int, float, complex, torch.dtype, torch.device, torch.Size)
#: What PyTorch keeps of a module that is said by its state, or says nothing of what it computes.
_KEPT: Final = {"_parameters", "_buffers", "_modules", "training", "_non_persistent_buffers_set"}
_INSTALLED: Final = [Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")]
#: Attributes of Python's own in which there is code of a person's.
_CODE: Final = ("__call__", "__init__", "__wrapped__")
#: Packages whose version stands for their code.
_OURS: Final = ("mdbench", "zoo_builder")
#: How deep objects in objects are followed.
_DEPTH: Final = 40


def identity(value: object) -> Iterator[bytes]:
    """Yield what tells a network, a loss, or anything that one of them holds from another."""
    yield from _Reader().read(value, 0)


def of_tensor(name: str, value: Tensor) -> bytes:
    """Return the digest of a tensor, with its name, its kind and its shape; of one on the device `meta`, of these alone."""
    digest = hashlib.sha256(f"{name} {value.dtype} {value.layout} {tuple(value.shape)}".encode())
    if not value.is_meta:
        values = value.detach().cpu()
        values = values if values.layout == torch.strided else values.to_dense()
        plain = values.resolve_conj().resolve_neg().contiguous()
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()


class _Reader:
    """Reads objects, each once."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, object]] = {}  # kept, so that nothing else gets its place in memory

    def read(self, value: Any, depth: int) -> Iterator[bytes]:
        if isinstance(value, _PLAIN):
            yield repr(value).encode()
        elif id(value) in self._seen:
            yield f"again {self._seen[id(value)][0]}".encode()
        elif depth > _DEPTH:
            yield type(value).__qualname__.encode()
        else:
            self._seen[id(value)] = len(self._seen), value
            yield from self._followed(value, depth + 1)

    def _followed(self, value: Any, depth: int) -> Iterator[bytes]:
        if isinstance(value, Tensor):
            yield of_tensor("numbers", value)
        elif isinstance(value, np.ndarray | np.generic):
            yield f"{value.dtype} {value.shape}".encode()
            yield from self.read(value.tolist(), depth) if value.dtype.hasobject else (value.tobytes(),)
        elif isinstance(value, tuple | list | deque):
            yield from self._each(value, depth)
        elif isinstance(value, Mapping):
            for name, one in value.items():
                yield from self._each((str(name), one), depth)
        elif isinstance(value, set | frozenset):
            yield repr(sorted(map(str, value))).encode()
        elif isinstance(value, CodeType):
            yield value.co_code
            yield from self._each((*value.co_names, *value.co_consts), depth)
        elif isinstance(value, FunctionType):
            yield from self._function(value, depth)
        elif isinstance(value, MethodType):
            yield from self._each((value.__func__, value.__self__), depth)
        elif isinstance(value, partial):
            yield from self._each((value.func, value.args, sorted(value.keywords.items())), depth)
        elif isinstance(value, type):
            yield f"{value.__module__}:{value.__qualname__}".encode()
            if _is_own(value.__module__):
                yield from self._each(value.__bases__, depth)
                yield from self._attributes(vars(value), depth)
        elif isinstance(value, property | classmethod | staticmethod):
            yield from self._each((getattr(value, "fget", None), getattr(value, "__func__", None)), depth)
        else:
            yield from self._object(value, depth)

    def _each(self, values: Iterable[Any], depth: int) -> Iterator[bytes]:
        several = tuple(values)
        yield f"{len(several)} parts".encode()
        for one in several:
            yield from self.read(one, depth)

    def _function(self, value: FunctionType, depth: int) -> Iterator[bytes]:
        yield f"{value.__module__}:{value.__qualname__}".encode()
        if not _is_own(value.__module__):
            return
        held = [_content(cell) for cell in value.__closure__ or ()]
        yield from self._each((value.__code__, value.__defaults__, sorted((value.__kwdefaults__ or {}).items())), depth)
        yield from self._each(held, depth)
        names = sorted(_names(value.__code__))
        for name in (one for one in names if one in value.__globals__):
            found = value.__globals__[name]
            if isinstance(found, ModuleType):
                if _is_own(found.__name__):
                    yield from self._attributes({one: vars(found)[one] for one in names if one in vars(found)}, depth)
            else:
                yield from self._each((name, found), depth)

    def _object(self, value: Any, depth: int) -> Iterator[bytes]:
        if isinstance(value, nn.Module):
            for name, held in (*value.named_parameters(recurse=False), *value.named_buffers(recurse=False)):
                yield of_tensor(f"{name} {held.requires_grad}", held)
            yield from self._each(value.named_children(), depth)
        if hasattr(value, "__qualname__"):  # a function that is not Python's
            yield f"{getattr(value, '__module__', None)}:{value.__qualname__}".encode()
        else:
            yield from self.read(type(value), depth)
        yield from self._attributes(getattr(value, "__dict__", {}), depth)

    def _attributes(self, held: Mapping[str, Any], depth: int) -> Iterator[bytes]:
        for name in sorted(name for name in held if name not in _KEPT):
            value = held[name]
            if "_hooks" in name and isinstance(value, dict):
                value = list(value.values())  # PyTorch numbers hooks as they come
            if not name.startswith("__") or name in _CODE:
                yield from self._each((name, value), depth)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _names(code: CodeType) -> set[str]:
    """Return the names that code looks up outside of itself, and that functions in it do."""
    inner = (_names(one) for one in code.co_consts if isinstance(one, CodeType))
    return set(code.co_names).union(*inner)


def _is_own(module: str | None) -> bool:
    """Tell whether code lies in a file that no package installed, or in none."""
    if module and module.partition(".")[0] in _OURS:
        return False
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    if file is None:
        return module not in sys.builtin_module_names
    path = Path(file).resolve()
    return not any(folder in path.parents for folder in _INSTALLED)
