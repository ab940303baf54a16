"""What a person names on a command line, as networks, examples and a loss: import paths, files of weights, arrays."""

import importlib
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from mdbench.errors import MdbenchError, nearest, reason
from zoo_builder.specification import imported, told

#: Losses by name.
LOSSES: Final[dict[str, Any]] = {
    "cross_entropy": "cross_entropy",
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "bce_with_logits": functional.binary_cross_entropy_with_logits,
}
#: What is read of a file of arrays.
_ARRAYS: Final = {f"{part}_{what}" for part in ("train", "test") for what in ("inputs", "targets", "labels")}
#: Under which keys people keep a network's state beside other things.
_WITHIN: Final = ("state_dict", "model_state_dict", "model")
#: What wrappers put before the names of parameters.
_PREFIXES: Final = ("module.", "_orig_mod.")
#: Names that a message lists.
_LISTED: Final = 3
_FLOATING: Final = "floating point"
_INTEGERS: Final = "integers"


@contextmanager
def here() -> Iterator[None]:
    """Have modules be found in the current folder too, as ``python -m`` does."""
    sys.path.insert(0, "")
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove("")


def factory(path: str) -> Callable[[], nn.Module]:
    """Return the function that makes networks.

    Raises
    ------
    MdbenchError
        The path is none, or leads nowhere.
    """
    return _function(path, "the network", "returns a network")


def checkpoints(make: Callable[[], nn.Module], files: Sequence[Path]) -> list[nn.Module]:
    """Return a network for each file of weights.

    Raises
    ------
    MdbenchError
        A file cannot be read without running code, or does not fit the network; the function raises.
    """
    return [_filled(make, file) for file in files]


def _filled(make: Callable[[], nn.Module], file: Path) -> nn.Module:
    try:
        network = make()
    except (Exception, SystemExit) as error:
        raise MdbenchError(f"the function that makes the network fails: {told(error)}") from error
    if not isinstance(network, nn.Module):
        raise MdbenchError(f"the function that makes the network returns {type(network).__name__}, not an nn.Module")
    network = getattr(network, "_orig_mod", network)  # what torch.compile was given
    found, wanted = _state(file), network.state_dict()
    _unwrap(found, wanted)
    both = {name: (found[name], value) for name, value in wanted.items() if name in found}
    shapes = {
        name: f"{name} {tuple(own.shape)} for {tuple(value.shape)}"
        for name, (own, value) in both.items()
        if own.shape != value.shape
    }
    kinds = {
        name: f"{name}, {_kind(own)} for {_kind(value)}"
        for name, (own, value) in both.items()
        if _kind(own) not in (_kind(value), _FLOATING)
    }
    unfit = {name: found.pop(name) for name in {**shapes, **kinds}}
    for name, value in found.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise MdbenchError(f"{file}: {name} holds numbers that are not finite: this network diverged")
    try:
        left = network.load_state_dict(found, strict=False)  # PyTorch knows what older states lack
    except RuntimeError as error:
        raise MdbenchError(f"{file} does not fit the network: {reason(error)}") from error
    shared = {_place(value) for name, value in wanted.items() if name in found}
    faults = {
        "lacks": [name for name in left.missing_keys if name not in unfit and _place(wanted[name]) not in shared],
        "has besides": left.unexpected_keys,
        "has in another shape": [*shapes.values()],
        "has as another kind of numbers": [*kinds.values()],
    }
    said = [f"{what} {_some(names)}" for what, names in faults.items() if names]
    if said:
        raise MdbenchError(f"{file} does not fit the network: it {'; it '.join(said)}")
    return network.eval()


def _unwrap(found: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Take what wrappers put before all names away, one wrapper after the other."""
    while found and not set(found) & set(wanted):
        around = next((prefix for prefix in _PREFIXES if all(name.startswith(prefix) for name in found)), None)
        if around is None:
            return
        consume_prefix_in_state_dict_if_present(found, around)


def _kind(value: Tensor) -> str:
    """Return which kind of numbers a tensor holds."""
    if value.layout != torch.strided or value.is_quantized:
        return "sparse or quantized"
    if value.is_meta:
        return "no numbers (on the device 'meta')"
    if value.is_complex():
        return "complex numbers"
    return _FLOATING if value.is_floating_point() else _INTEGERS


def _place(value: Tensor) -> tuple[int, torch.Size]:
    """Return what is the same of one tensor under two names."""
    return value.data_ptr(), value.shape


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}"


def _state(file: Path) -> dict[str, Tensor]:
    """Return the tensors in a file, by name; nothing in it is run."""
    if not file.is_file():
        raise MdbenchError(f"{file} is not there: give the file of a network's weights, .safetensors or .pt")
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except (OSError, SafetensorError) as error:
            raise MdbenchError(f"{file} cannot be read: {reason(error)}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise MdbenchError(f"{file} cannot be read: {reason(error)}") from error
    except Exception as error:
        raise MdbenchError(
            f"{file} is damaged, or holds more than tensors, and reading it would run code: it was not read. "
            "Save the state alone: torch.save(model.state_dict(), PATH)"
        ) from error
    for name in _WITHIN:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise MdbenchError(f"{file} holds no tensors by name: save the state, torch.save(model.state_dict(), PATH)")
    if not all(isinstance(name, str) for name in found):
        raise MdbenchError(
            f"{file} holds tensors by number, not by name: save the state, torch.save(model.state_dict(), PATH)"
        )
    return found


def loss_of(said: str) -> Any:
    """Return a loss by its name or its import path; a class is called without arguments.

    Raises
    ------
    MdbenchError
        There is no such loss.
    """
    if said in LOSSES:
        return LOSSES[said]
    if ":" not in said:
        raise MdbenchError(
            f"there is no loss {said!r}{nearest(said, LOSSES)}: give {', '.join(LOSSES)}, or the import path of a function "
            "of outputs and targets, my_module:loss"
        )
    found: Any = _function(said, "the loss", "returns a loss of outputs and targets")
    if not isinstance(found, type):
        return found
    try:
        return found()
    except Exception as error:
        raise MdbenchError(
            f"the loss {said} cannot be made without arguments: {told(error)}; give the import path of a function of "
            "outputs and targets"
        ) from error


def data_of(said: str) -> tuple[Any, Any]:
    """Return training and test data: from a function's import path, or a file of arrays.

    Parameters
    ----------
    said : ``my_module:data``, a function that returns training and test data, a pair or a mapping with ``train`` and
        ``test``; or a file ``.npz`` with ``train_inputs``, ``train_targets``, ``test_inputs`` and ``test_targets`` (or
        ``…_labels``). Test data may be None.

    Raises
    ------
    MdbenchError
        They are something else.
    """
    if said.endswith(".npz"):
        return _arrays(Path(said))
    try:
        found = _function(said, "the data", "returns training and test data")()
    except MdbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise MdbenchError(f"the data {said}: {told(error)}") from error
    if isinstance(found, Mapping) and "train" in found:
        return found["train"], found.get("test")
    if isinstance(found, tuple | list) and len(found) == 2:
        return found[0], found[1]
    raise MdbenchError(
        f"the data {said} returns a {type(found).__name__}; it must return training and test data, a pair of two, each of "
        "them inputs and targets, a Dataset or a DataLoader"
    )


def _arrays(file: Path) -> tuple[Any, Any]:
    if not file.is_file():
        raise MdbenchError(
            f"{file} is not there: give a file of arrays, or the import path of a function, my_module:data"
        )
    if not zipfile.is_zipfile(file):
        raise MdbenchError(f"{file} is damaged, or holds no arrays by name: write them by numpy.savez")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            there = {name: arrays[name] if name in _ARRAYS else None for name in arrays.files}
    except Exception as error:
        raise MdbenchError(
            f"{file} cannot be read: {reason(error)}. Its arrays must be of numbers, and whole"
        ) from error
    parts = []
    for part in ("train", "test"):
        targets = next((there[name] for name in (f"{part}_targets", f"{part}_labels") if name in there), None)
        inputs = there.get(f"{part}_inputs")
        if (inputs is None) != (targets is None) or (part == "train" and inputs is None):
            raise MdbenchError(
                f"{file} holds {', '.join(there) or 'nothing'}; it must hold {part}_inputs, and {part}_targets or "
                f"{part}_labels"
            )
        parts.append(None if inputs is None else (inputs, targets))
    return parts[0], parts[1]


def _function(path: str, what: str, purpose: str) -> Callable[..., Any]:
    if ":" not in path:
        raise MdbenchError(f"{what} is {path!r}; give the import path of a function that {purpose}, my_module:name")
    with here():
        return imported(path, what, purpose)
