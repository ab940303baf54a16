"""What a worker does: train one unit and put it into the store."""

import resource
import socket
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

import torch

from mdbench.errors import MdbenchError
from zoo_builder.building.executors import device_here
from zoo_builder.building.plan import Unit
from zoo_builder.building.store import Store
from zoo_builder.building.tables import rows
from zoo_builder.specification import Material, Trained, ZooSpec
from zoo_builder.training import train

#: Steps after which a worker has needed all the memory that it will: those of a second one are those of the first.
_REHEARSED: Final = 2


@dataclass(frozen=True)
class Order:
    """A unit to be trained, and where it goes. Nothing in it is large: results travel as paths.

    Attributes
    ----------
    folder : the store's.
    spec : the specification, as JSON.
    data : digest of the data.
    device : kind of device, ``cpu`` or ``cuda``.
    unit : what to train.
    """

    folder: str
    spec: str
    data: str
    device: str
    unit: Unit


def do(order: Order) -> str:
    """Train a unit, write it, and return its folder. A unit that is there already is left as it is."""
    store = Store(Path(order.folder))
    if store.has(order.unit.key):
        return str(store.home(order.unit.key))
    trained = _trained(order)
    tensors = {f"{one.network.name}/{name}": value for one in trained for name, value in one.state.items()}
    kept = {
        f"{one.network.name}/{step}/{name}": value
        for one in trained
        for step, state in one.kept.items()
        for name, value in state.items()
    }
    return str(store.write(order.unit.key, rows(trained), tensors, kept))


def rehearse(order: Order) -> int:
    """Train a unit for a few steps, write nothing, and return how many bytes of memory this worker has had at most."""
    short = tuple(replace(one, steps=min(one.steps, _REHEARSED)) for one in order.unit.networks)
    _trained(replace(order, unit=replace(order.unit, networks=short)))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _trained(order: Order) -> list[Trained]:
    torch.set_num_threads(1)  # one worker a core: two threads in each would wait for each other
    spec, material = material_of(order.spec, order.data)
    lesson = material.of(order.unit.networks[0].data)
    return train(spec, *lesson, order.unit.networks, device=device_here(order.device))


@lru_cache(maxsize=2)
def material_of(spec: str, data: str) -> tuple[ZooSpec, Material]:
    """Return what a specification (as JSON) says, with its data, which a worker keeps from unit to unit.

    Raises
    ------
    MdbenchError
        The data are not those that the unit was planned for.
    """
    parsed = ZooSpec.model_validate_json(spec)
    material = Material.of_spec(parsed)
    if material.digest != data:
        raise MdbenchError(
            f"the worker on {socket.gethostname()} finds other data under {parsed.dataset.name!r} than the build began with; "
            "let it see the same files, and the same command goes on"
        )
    return parsed, material
