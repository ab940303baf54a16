"""How much is measured: families, and of how many examples."""

from collections.abc import Sequence
from typing import Any, Final, Literal

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from zoo_builder.landscape import FAMILIES, Data, Settings, called, of_each, plain_attention
from zoo_builder.training import copied

Extent = Literal["quick", "default", "thorough"]

#: Families of each extent; those that compare networks are measured where there are several.
EXTENTS: Final[dict[str, tuple[str, ...]]] = {
    "quick": ("performance", "hessian", "similarity", "spectra"),
    "default": ("performance", "hessian", "connectivity", "similarity", "sharpness", "spectra", "memorization"),
    "thorough": tuple(name for name, family in FAMILIES.items() if not family.of_tokens),
}
#: Operations of passes forward that a quick extent may spend on Hessians: about a minute of a core.
_QUICK: Final = 1.5e11
#: Products with a Hessian that a network takes, about, and those of a layer: two, of half the work.
_PRODUCTS, _OF_A_LAYER = 24, 1
#: Examples that a Hessian is of at least: about as many as the zoos' networks have that learned from the fewest.
FEWEST: Final = 100


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations of matrix products and convolutions."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.operations += count(*args, **(kwargs or {}), out_val=found)
        return found


def operations(network: nn.Module, data: Data) -> float:
    """Return what one example takes: additions and multiplications of a pass forward, two a parameter at least.

    Parameters
    ----------
    network : in any mode; it is not changed.
    data : examples of what it is given.
    """
    some, network = data.first(2), copied(network).eval()
    example = next(network.parameters())
    inputs = of_each(
        some.inputs, lambda value: value.to(example.device, example.dtype if value.is_floating_point() else None)
    )
    counted = _Counted()
    with plain_attention(), counted:
        called(network, inputs)
    return max(counted.operations / len(some), 2.0 * sum(value.numel() for value in network.parameters()))


def settings_of(extent: Extent, networks: Sequence[nn.Module], data: Data) -> tuple[Settings, str | None]:
    """Return how much of everything is measured, and what is worth knowing of it: how the zoos were measured, if possible.

    Where Hessians would take a quick extent more than about a minute, layers' eigenvalues are left out, and then examples.
    Work is counted, not timed, so that the same is measured on every machine, whatever else it does.

    Parameters
    ----------
    networks : in any mode.
    data : the training examples.
    """
    whole = Settings()
    if extent != "quick":
        return whole, None
    many = min(len(data), whole.train_sample)
    each = len(networks) * operations(networks[0], data)
    layers = sum(1 for one in networks[0].modules() if next(one.parameters(recurse=False), None) is not None)
    if each * many * (_PRODUCTS + _OF_A_LAYER * layers) <= _QUICK:
        return whole, None
    left_out = "no eigenvalues of single layers' Hessians were searched for"
    examples = max(FEWEST, int(_QUICK / each / _PRODUCTS))
    if examples >= many:
        return Settings(layer_eigenvalues=False), f"{left_out}, which would take long here; without --quick they are"
    return (
        Settings(layer_eigenvalues=False, curvature_sample=examples),
        f"the Hessian is that of the loss over {examples} training examples, not {many:,}, and {left_out}: all of it would "
        "take long here; without --quick it is measured. With other examples its numbers would be somewhat others",
    )
