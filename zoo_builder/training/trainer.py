"""Training networks: from tapes on a CPU, as stacks elsewhere and where a tape does not know them."""

from collections.abc import Sequence
from typing import Final, Literal

import torch

from zoo_builder.specification import Dataset, Network, Subsets, Trained, ZooSpec, initialised
from zoo_builder.training import stacked, taped
from zoo_builder.training.fitting import check_training
from zoo_builder.training.graph import UnknownLayerError
from zoo_builder.training.program import program_of

#: What networks that train together may each have of their own.
_OWN: Final = {
    "learning_rate",
    "weight_decay",
    "batch_size",
    "epochs",
    "steps",
    "data_fraction",
    "label_noise",
    "optimizers",
    "keep",
}


def train(
    spec: ZooSpec,
    dataset: Dataset,
    subsets: Subsets,
    networks: Sequence[Network],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> list[Trained]:
    """Train networks of one shape and batch size, in any ways: those of one way train together.

    A network's result is a function of the specification, its grid point and its seed; where it trains in a stack
    with others, they change it by no more than the rounding of sums taken in another order.

    Parameters
    ----------
    spec : the zoo.
    dataset, subsets : its data.
    networks : what to train.
    device, dtype : where, and in which precision.

    Returns
    -------
    The trained networks, in the order given.

    Raises
    ------
    ValueError
        The networks differ in shape or batch size.
    MdbenchError
        A batch is too small for batch normalization; data, architecture and training contradict each other.
    """
    if len({(one.width, one.depth, one.batch_size) for one in networks}) > 1:
        raise ValueError("networks that train together must have one shape and one batch size")
    kinds: dict[str, list[Network]] = {}
    for one in networks:
        kinds.setdefault(_kind(one), []).append(one)
    trained: dict[str, Trained] = {}
    for kind in kinds.values():
        check_training(kind[0].how, dataset, initialised(spec, dataset, kind[0]))
    for kind in kinds.values():
        for done in _train(spec, dataset, subsets, kind, device, dtype):
            trained[done.network.name] = done
    return [trained[one.name] for one in networks]


def _train(
    spec: ZooSpec,
    dataset: Dataset,
    subsets: Subsets,
    networks: Sequence[Network],
    device: str | torch.device,
    dtype: torch.dtype,
) -> list[Trained]:
    if _on_cpu(device):
        try:
            return taped.train(spec, dataset, subsets, networks, dtype=dtype)
        except UnknownLayerError:
            pass
    return stacked.train(spec, dataset, subsets, networks, device=device, dtype=dtype)


def _kind(network: Network) -> str:
    """Return what the networks of a stack have in common."""
    how = network.how.model_dump_json(exclude=_OWN)
    return f"{how} {network.options}"


def step_seconds(
    spec: ZooSpec, dataset: Dataset, subsets: Subsets, networks: Sequence[Network], device: str | torch.device = "cpu"
) -> tuple[float, float]:
    """Return the seconds that a step of these networks takes here: for the step itself, and for each network.

    Of networks of several kinds, those of the last one's are looked at.
    """
    networks = [one for one in networks if _kind(one) == _kind(networks[-1])]
    if _on_cpu(device):
        try:
            return 0.0, taped.step_seconds(spec, dataset, subsets, networks[-1])
        except UnknownLayerError:
            pass
    return stacked.step_seconds(spec, dataset, subsets, networks, device)


def form(
    spec: ZooSpec, dataset: Dataset, network: Network, device: str | torch.device
) -> Literal["taped", "stacked", "mapped"]:
    """Tell how networks like this one train on a device: from a tape, as a stack layer by layer, or mapped as a whole.

    Raises
    ------
    MdbenchError
        Data, architecture and training contradict each other.
    """
    module = initialised(spec, dataset, network)
    check_training(network.how, dataset, module)
    if _on_cpu(device) and taped.knows(dataset, network):
        try:
            taped.write(module, dataset.shape)
        except UnknownLayerError:
            pass
        else:
            return "taped"
    return program_of(module, dataset.shape, vocabulary=dataset.vocabulary).form


def _on_cpu(device: str | torch.device) -> bool:
    return torch.device(device).type == "cpu"
