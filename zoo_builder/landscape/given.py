"""What people have, as what is measured: networks, and examples in any of the forms in which PyTorch knows them."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, SequentialSampler

from mdbench.errors import MdbenchError, reason
from zoo_builder.landscape.data import Data, Inputs, named, of_each
from zoo_builder.landscape.module import check_module

Array: TypeAlias = np.ndarray[Any, Any]
#: Networks: one, or several of one shape.
GivenModels: TypeAlias = nn.Module | Iterable[nn.Module]
#: Examples: inputs and targets, or what yields them batch by batch.
GivenData: TypeAlias = Data | tuple[Any, Any] | Mapping[str, Any] | Dataset[Any] | Iterable[Any]

#: What targets are called in a batch that is a mapping.
TARGETS: Final = ("labels", "label", "targets", "target")
#: Examples that a data set is asked for at a time.
_BATCH: Final = 256
_FORMS: Final = (
    "inputs and targets as a pair of tensors or arrays, a torch Dataset, a DataLoader, or batches of either; inputs may be a "
    f"tensor, a tuple or a mapping of tensors; targets in a mapping are called {', '.join(TARGETS)}"
)


def models_of(given: GivenModels) -> list[nn.Module]:
    """Return networks as a list.

    Raises
    ------
    MdbenchError
        There are none, or one of them is no network that can be measured.
    """
    if isinstance(given, nn.Module) and not isinstance(given, nn.ModuleList):
        given = [given]
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise MdbenchError(
            f"the models are a {type(given).__name__}; they must be a torch.nn.Module, or several in a list"
        )
    models = list(given)
    if not models:
        raise MdbenchError("there are no models to measure")
    for at, model in enumerate(models):
        check_module(model, f"model {at}")
    return [getattr(model, "_orig_mod", model) for model in models]  # what torch.compile was given


def data_of(given: GivenData, what: str) -> tuple[Data, str | None]:
    """Return examples, and what is worth knowing about how they were read.

    Parameters
    ----------
    given : see `GivenData`. A loader is read once, in its order.
    what : they are, for messages.

    Raises
    ------
    MdbenchError
        They are something else, their parts do not fit together, or they hold more than half of this machine's memory.
    """
    if isinstance(given, Data):
        return given, None
    if isinstance(given, tuple | list) and len(given) == 2 and _is_inputs(given[0]) and _is_values(given[1]):
        return _pair(given[0], given[1], what), None
    if isinstance(given, Mapping):
        return _pair(*_parted(given, what), what), None
    note = None
    if isinstance(given, DataLoader):
        note = _drawn(given, what)
    elif isinstance(given, Dataset):
        try:
            given = DataLoader(given, batch_size=_BATCH)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise MdbenchError(f"the {what} data cannot be read: {reason(error)}") from error
    elif isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise MdbenchError(f"the {what} data are a {type(given).__name__}; they must be {_FORMS}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a loader that shuffles gives the same order each time
        return _joined(_read(given, what), what), note


def _drawn(loader: DataLoader[Any], what: str) -> str | None:
    """Return what is worth knowing about which examples a loader gives, and in which order."""
    if isinstance(loader.dataset, IterableDataset):
        return None
    said = []
    plain = type(loader.batch_sampler) in (BatchSampler, type(None))
    drawing = loader.sampler if plain else loader.batch_sampler
    if isinstance(drawing, RandomSampler) and not drawing.replacement:
        said.append("shuffles: it was read once, and the order of that pass is the order of the examples")
    elif not isinstance(drawing, SequentialSampler):
        said.append(f"draws examples by a {type(drawing).__name__}: what one pass gave was measured")
    left = len(loader.sampler) % (loader.batch_size or 1) if loader.drop_last else 0  # type: ignore[arg-type]
    if left:
        said.append(f"leaves out {left} examples (drop_last)")
    return f"the {what} loader {', and '.join(said)}" if said else None


def _is_values(part: Any) -> bool:
    """Tell whether something is the values of many examples: an array, or a list of numbers or of lists of them."""
    if isinstance(part, list):
        return bool(part) and (isinstance(part[0], int | float) or (isinstance(part[0], list) and _is_values(part[0])))
    return hasattr(part, "__array__")


def _is_inputs(part: Any) -> bool:
    several = list(part.values()) if isinstance(part, Mapping) else list(part) if isinstance(part, tuple) else [part]
    return bool(several) and all(map(_is_values, several))


def _batches(given: Iterable[Any], what: str) -> Iterator[tuple[Any, Any]]:
    """Yield inputs and targets, batch by batch."""
    try:
        for batch in given:
            if isinstance(batch, Mapping):
                yield _parted(batch, what)
            elif isinstance(batch, tuple | list) and len(batch) == 2:
                yield batch[0], batch[1]
            elif isinstance(batch, tuple | list) and len(batch) > 2:
                yield tuple(batch[:-1]), batch[-1]
            else:
                raise MdbenchError(f"a batch of the {what} data is a {_form(batch)}; the data must be {_FORMS}")
    except MdbenchError:
        raise
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {reason(error)}"
        if "in DataLoader worker" in said:  # its own traceback follows, with the cause at its end
            said = str(error).strip().splitlines()[-1]
        raise MdbenchError(f"the {what} data cannot be read: {said}") from error


def _form(batch: Any) -> str:
    return f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, tuple | list) else type(batch).__name__


def _parted(batch: Mapping[str, Any], what: str) -> tuple[Any, Any]:
    """Return a mapping's inputs, by name, and its targets."""
    found = [name for name in TARGETS if name in batch]
    if len(found) != 1:
        raise MdbenchError(
            f"the {what} data have {', '.join(map(repr, batch))}; one, and only one, must be called {', '.join(TARGETS)}"
        )
    return {name: value for name, value in batch.items() if name != found[0]}, batch[found[0]]


def _pair(inputs: Any, targets: Any, what: str) -> Data:
    """Return inputs and targets as examples."""
    seen: Inputs
    if isinstance(inputs, Mapping):
        seen = {str(name): _tensor(value, f"{what} inputs {name!r}") for name, value in inputs.items()}
    elif isinstance(inputs, tuple) or (isinstance(inputs, list) and not _is_values(inputs)):
        seen = tuple(_tensor(value, f"{what} inputs {at}") for at, value in enumerate(inputs))
    else:
        seen = _tensor(inputs, f"{what} inputs")
    wanted = _tensor(targets, f"{what} targets")
    try:
        return Data(seen, wanted)
    except MdbenchError as error:
        raise MdbenchError(f"the {what} data: {error}") from error


def _tensor(value: Any, what: str) -> Tensor:
    """Return values of many examples as a tensor."""
    if not isinstance(value, Tensor):
        try:
            array = np.asarray(value)
            value = torch.as_tensor(array.astype(array.dtype.newbyteorder("="), copy=False))
        except (TypeError, ValueError, RuntimeError) as error:
            raise MdbenchError(
                f"the {what} are a {type(value).__name__}{_of_dtype(value)}; they must be a tensor or an array of numbers"
            ) from error
    if value.is_nested or value.layout != torch.strided or value.is_meta:
        form = "nested" if value.is_nested else "on the device 'meta'" if value.is_meta else str(value.layout)
        raise MdbenchError(f"the {what} are a tensor that is {form}; they must be a dense one: to_dense(), or pad them")
    if not value.dim():
        raise MdbenchError(f"the {what} are a single number; the first axis must be that of the examples")
    found: Tensor = value.detach()
    return found


def _of_dtype(value: Any) -> str:
    return f" of {value.dtype}" if isinstance(value, np.ndarray) else ""


def _read(given: Iterable[Any], what: str) -> list[Data]:
    """Return the batches, of which there is at least one; half of the memory is left for joining them."""
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    every: list[Data] = []
    held = examples = 0
    for inputs, targets in _batches(given, what):
        every.append(_pair(inputs, targets, what))
        examples += len(every[-1])
        held += every[-1].bytes
        if held > most:
            raise MdbenchError(
                f"the {what} data do not fit: {examples} examples hold {held / 1e9:.1f} GB, more than half of this machine's "
                "memory, and there are more. Give a part of them, such as a torch.utils.data.Subset"
            )
    if not every:
        raise MdbenchError(f"the {what} data hold no batch")
    return every


def _joined(every: Sequence[Data], what: str) -> Data:
    """Return batches as examples."""
    first = every[0]
    for at, one in enumerate(every):
        for (name, mine), theirs in zip(named(one.inputs).items(), named(first.inputs).values(), strict=False):
            if mine.shape[1:] != theirs.shape[1:] or len(named(one.inputs)) != len(named(first.inputs)):
                raise MdbenchError(
                    f"batch {at} of the {what} data has inputs{name} of shape {tuple(mine.shape[1:])} each, the first one of "
                    f"{tuple(theirs.shape[1:])}: pad them to one shape, and mask what was added in the loss"
                )
        if one.targets.shape[1:] != first.targets.shape[1:]:
            raise MdbenchError(
                f"batch {at} of the {what} data has targets of shape {tuple(one.targets.shape[1:])} each, the first one of "
                f"{tuple(first.targets.shape[1:])}: pad them to one shape"
            )
    if len(every) == 1:
        return first
    columns = {name: torch.cat([named(one.inputs)[name] for one in every]) for name in named(first.inputs)}
    joined = iter(columns.values())
    return Data(of_each(first.inputs, lambda _: next(joined)), torch.cat([one.targets for one in every]))
