"""What a worker does: train one unit and put it into the store."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from zoo_builder.datasets import Dataset, Subsets, draw_subsets, load_dataset
from zoo_builder.executors import device_here
from zoo_builder.plan import Unit
from zoo_builder.spec import ZooSpec
from zoo_builder.store import Store
from zoo_builder.tables import rows
from zoo_builder.train import train


@dataclass(frozen=True)
class Order:
    """A unit to be trained, and where it goes. Nothing in it is large: results travel as paths."""

    folder: str
    spec: str
    unit: Unit


def do(order: Order) -> str:
    """Train a unit, write it, and return its folder. A unit that is there already is left as it is."""
    store = Store(Path(order.folder))
    if store.has(order.unit.key):
        return str(store.home(order.unit.key))
    torch.set_num_threads(1)  # one worker a core: two threads in each would wait for each other
    spec, dataset, subsets = material(order.spec)
    trained = train(spec, dataset, subsets, order.unit.networks, device=device_here())
    tensors = {f"{one.network.name}/{name}": value for one in trained for name, value in one.state.items()}
    return str(store.write(order.unit.key, rows(spec, trained), tensors))


@lru_cache(maxsize=2)
def material(spec: str) -> tuple[ZooSpec, Dataset, Subsets]:
    """Return what a specification (as JSON) says, the data set, and which examples its grid uses."""
    parsed = ZooSpec.model_validate_json(spec)
    dataset = load_dataset(parsed.dataset)
    return parsed, dataset, draw_subsets(dataset.train_labels, dataset.classes, parsed.dataset.seed)
