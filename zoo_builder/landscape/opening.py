"""Which way of computing a surface fits some networks: the fastest of those that give what the networks themselves give.

A ladder, tried from the top: compiled loops; PyTorch on a stack; each network alone, its gradient differentiated backwards,
then forwards, then by differences in double precision. A way is trusted when, on a few examples, its outputs are each
network's own and its Hessian is symmetric and agrees with differences of the gradient.

Loops and stacks are for small networks, where what PyTorch spends on a call is most of the work. A product with the Hessian
on 256 examples, in ms a network on one core:

    parameters of a perceptron   loops   a stack of 5   a stack of 1   alone
                        1,098       –            1.1            4.6     1.3
                        7,434     0.3            1.2            3.1     1.0
                       78,858     3.4            9.3           12.4     4.4
                    1,101,834      63             95             94      44

ResNet-18 (11 million, 64 images) takes 0.5 s alone, and 5 s as a stack of one. Convolutional networks have the same order;
for a convolution in two dimensions loops win up to 400,000 parameters (33 ms, 40 alone). A gradient on a batch of 32 takes
0.4 ms in a stack and 0.9 ms alone with 23,050 parameters; with 1,101,834 it takes 11 ms in loops and 7 ms alone. So one
network alone is no stack, and large ones are left to plain PyTorch.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from mdbench.errors import MdbenchError, reason
from zoo_builder.landscape.alone import Alone
from zoo_builder.landscape.data import Data, named
from zoo_builder.landscape.module import Output, Watch, Which, main_output, trained
from zoo_builder.landscape.objective import CrossEntropy, Loss, Objective, Own
from zoo_builder.landscape.product import DOUBLE, NARROWED, SINGLE, Differences
from zoo_builder.landscape.stacked import Stacked
from zoo_builder.landscape.surface import Surface
from zoo_builder.landscape.taped import Taped
from zoo_builder.training import UnknownLayerError

#: Examples that second derivatives are tried on.
_FEW: Final = 8
#: Loss of those together below which nobody can tell a wrong derivative from rounding.
_NOTHING: Final = 1e-9
#: Parameters from which on a network is measured alone, and from which on a CPU one is not stacked.
_LARGE: Final = 2**20
_STACKED: Final = 2**16
#: By what share of the largest output two ways of computing it may differ: rounding.
_ROUNDING: Final = {torch.float32: 1e-4, torch.float64: 1e-8}
#: By what share of the largest output a network in double precision may differ from itself in single.
_LOST: Final = 1e-3
#: Asymmetry of a Hessian that rounding explains, as a share of its size along random directions.
_ASYMMETRY: Final = {torch.float32: 1e-2, torch.float64: 1e-4}
#: By what share a product may differ from differences of the gradient.
_DIFFERENCE: Final = 0.02
#: Steps of these differences where a network computes in single precision: one must agree.
_LONG_STEPS: Final = (1e-5, 1e-4, 1e-3)
#: How far from a network the comparison is made, as a share of the length of its point: one that was never trained has many
#: units exactly at their kinks.
_ASIDE: Final = 1e-3


def open_surface(
    networks: Sequence[nn.Module],
    shape: tuple[int, ...],
    *,
    loss: Loss | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Surface:
    """Return the surfaces of networks that are known to compute the same function, without trying what they compute.

    Parameters
    ----------
    networks : of one shape. They are copied, and not changed.
    shape : of one input.
    loss : mean loss of logits (n, K) and targets (n, …); the mean cross-entropy, in nats, if left out.
    device, dtype : where and in which precision to compute.

    Raises
    ------
    ValueError
        There are no networks, or their parameters and buffers differ in name or shape.
    MdbenchError
        The network cannot be mapped over a stack.
    """
    if torch.device(device).type == "cpu" and loss is None:
        try:
            return Taped(networks, shape, dtype)
        except UnknownLayerError:
            pass
    objective = None if loss is None else Own(loss, "mean")
    return Stacked(networks, shape, objective=objective, device=device, dtype=dtype)


def own_outputs(
    networks: Sequence[nn.Module],
    data: Data,
    *,
    names: Sequence[str] | None = None,
    output: Output = main_output,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return what each network itself puts out on some of the data, `Data.tried`, (S, n, …).

    Parameters
    ----------
    networks : they are copied, and not changed.
    data : examples.
    names : of the networks, for messages; their numbers if left out.
    output : what a network puts out → what the loss sees.
    device, dtype : where and in which precision to compute.

    Raises
    ------
    MdbenchError
        A network fails, or gives no finite outputs; it gives other outputs when asked twice, or when other examples stand
        beside the one in question, or in the precision of its own; networks give outputs of several shapes.
    """
    some = data.tried
    found = []
    for at, network in enumerate(networks):
        alone = Alone([network], CrossEntropy(), output=output, device=device, dtype=dtype)
        what = names[at] if names else f"network {at}"
        found.append(_sound(alone, some, what))
        if dtype != torch.float64 and _is_double(network, some):
            own = Alone([network], CrossEntropy(), output=output, device=device, dtype=torch.float64)
            _check_precision(own, some, found[-1], what)
        if found[-1].shape != found[0].shape:
            raise MdbenchError(
                f"{what} puts out shape {tuple(found[-1].shape[1:])} an example, the first network "
                f"{tuple(found[0].shape[1:])}: measure them apart"
            )
    return torch.stack(found)


def _sound(alone: Alone, some: Data, what: str) -> Tensor:
    """Return a network's outputs (n, …) after making sure that they are a function of its parameters and of one example."""
    try:
        once = alone.logits(some)[0]
    except MdbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise MdbenchError(
            f"{what} fails on the training inputs: {type(error).__name__}: {reason(error)}{_of_integers(some)}"
        ) from error
    bad = ~torch.isfinite(once)
    if bad.any():
        raise MdbenchError(f"{what} has outputs that are not finite: leave out networks that diverged")
    if not torch.equal(once, alone.logits(some)[0]):
        raise MdbenchError(
            f"{what} gives other outputs when asked twice: it draws random numbers in evaluation mode, and has no landscape"
        )
    size = float(once.abs().max())
    for many in (1, 2):
        if many >= len(some):
            break
        try:
            few = alone.logits(some.first(many))[0]
            same = few.shape[1:] == once.shape[1:] and _close(few, once[:many], size)
        except Exception:  # noqa: BLE001 - whatever a network does with one example alone
            same = False
        if not same:
            raise MdbenchError(
                f"{what} gives an example other outputs when other examples are with it: something in it looks at the batch "
                "(normalization without running statistics, a mean over the batch), so that there is no loss of an example"
            )
    return once


def _is_double(network: nn.Module, some: Data) -> bool:
    """Tell whether a network or what it is given is in double precision."""
    values = [*network.parameters(), *network.buffers(), *named(some.inputs).values()]
    return any(value.dtype == torch.float64 for value in values)


def _check_precision(own: Alone, some: Data, outputs: Tensor, what: str) -> None:
    """Make sure that what a network in double precision puts out (n, …) is there in single precision too."""
    try:
        exact = own.logits(some)[0]
    except Exception:  # noqa: BLE001 - something inside is in single precision, and nothing makes it double
        return
    apart, size = float((exact - outputs).abs().max()), float(exact.abs().max())
    if apart > _LOST * max(size, 1e-30):
        raise MdbenchError(
            f"{what} is in double precision, and in single precision puts out other numbers: up to {apart:.2g} apart, where "
            f"the largest is {size:.2g}. Some of what it is given cannot be told apart there, as large numbers that differ a "
            "little: give inputs less their mean, over their spread; or zoo_builder.landscape.measure(dtype=torch.float64)"
        )


def _of_integers(some: Data) -> str:
    kinds = [value.dtype for value in named(some.inputs).values()]
    if any(kind.is_floating_point for kind in kinds):
        return ""
    return (
        f"; the training inputs are {kinds[0]}; they must be floating point unless they are token ids: inputs.float()"
    )


def _close(one: Tensor, other: Tensor, size: float) -> bool:
    """Tell whether outputs agree, but for rounding."""
    return bool((one - other).abs().max() <= _ROUNDING[one.dtype] * max(size, 1e-30))


def fitting_surface(
    networks: Sequence[nn.Module],
    data: Data,
    objective: Objective,
    outputs: Tensor,
    *,
    output: Output = main_output,
    which: Which = "trained",
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    compiled: bool = True,
) -> Surface:
    """Return the surfaces of networks by the fastest way that gives what they themselves give.

    Parameters
    ----------
    networks : whose parameters have the same names and shapes. They are copied, and not changed.
    data : training examples.
    objective : the loss.
    outputs : see `own_outputs`.
    output : what a network puts out → what the loss sees.
    which : parameters that the surface is over.
    device, dtype : where and in which precision to compute.
    compiled : whether compiled loops are one of the ways.

    Raises
    ------
    MdbenchError
        The networks' parameters differ in name or shape, or in whether they train; or none of the ways fits.
    """
    names = trained(networks[0], which)
    if any(trained(network, which) != names for network in networks):
        raise MdbenchError(
            "the networks' parameters differ in name, or in which of them train: measure them apart, or give parameters='all'"
        )
    some = data.tried
    differences, hard = _watched(partial(Alone, networks[:1], objective, output=output, device=device), data.first(2))
    alone = partial(
        Alone, networks, objective, names=names, output=output, device=device, dtype=dtype, differences=differences
    )
    why = ""
    for make in _ways(networks, data, objective, names, output, device, dtype, alone, hard, compiled):
        try:
            with warnings.catch_warnings():
                # What PyTorch can only map one by one is no faster on a stack.
                warnings.filterwarnings("error", "There is a performance drop", UserWarning)
                surface = make()
                if not _agrees(surface, some, outputs):
                    continue
                hardest, loss = _hardest(some, objective, surface.logits(some)[0])
                why = _doubtful(surface, hardest, differences)
                if why and loss < _NOTHING:
                    why = "the loss is next to nothing on all examples, so that its curvature is lost in rounding"
        except ValueError as error:
            raise MdbenchError(str(error)) from error
        except (UnknownLayerError, MdbenchError, RuntimeError, NotImplementedError, TypeError, UserWarning) as error:
            why = reason(error)
            continue
        if not why:
            return surface
    refused = alone()
    refused.without_hessian = why
    return refused


def _watched(make: Callable[..., Alone], two: Data) -> tuple[Differences, bool]:
    """Return how gradients of a network are to be differenced, and whether it uses hard swishes or hard sigmoids."""
    watch = Watch()
    try:
        with watch:
            make(dtype=torch.float64).logits(two)
    except (MdbenchError, RuntimeError, NotImplementedError, TypeError, ValueError):
        # Something inside is in single precision, and nothing makes it double.
        with watch:
            make(dtype=torch.float32).logits(two)
        return SINGLE, watch.hard
    return NARROWED if watch.narrowed else DOUBLE, watch.hard


def _ways(
    networks: Sequence[nn.Module],
    data: Data,
    objective: Objective,
    names: Sequence[str],
    output: Output,
    device: str | torch.device,
    dtype: torch.dtype,
    alone: Callable[..., Alone],
    hard: bool,
    compiled: bool,
) -> Iterator[Callable[[], Surface]]:
    """Yield the ways of computing, the fastest first; `hard`: the networks use hard swishes or hard sigmoids."""
    on_cpu, every = torch.device(device).type == "cpu", dict(networks[0].named_parameters())
    parameters = sum(every[name].numel() for name in names)
    small = parameters < _LARGE and isinstance(data.inputs, Tensor) and output is main_output
    if small and _puts_out_a_tensor(networks[0], data, device):
        if (
            compiled
            and on_cpu
            and len(names) == len(every)
            and isinstance(objective, CrossEntropy)
            and objective.unweighted
        ):
            yield lambda: Taped(networks, data.shape, dtype, objective)
        if data.floating and len(networks) > 1 and not (on_cpu and parameters >= _STACKED):
            yield lambda: Stacked(networks, data.shape, objective=objective, names=names, device=device, dtype=dtype)
    yield from (partial(alone, products="backward"), partial(alone, products="forward"))
    if hard:
        yield partial(alone, products="backward", composed=True)
    if dtype == torch.float32:  # where probabilities are 1 but for rounding
        yield partial(alone, products="backward", dtype=torch.float64)
    yield partial(alone, products="differences")


def _puts_out_a_tensor(network: nn.Module, data: Data, device: str | torch.device) -> bool:
    seen = []

    def see(given: object) -> Tensor:
        seen.append(isinstance(given, Tensor))
        return main_output(given)

    Alone([network], CrossEntropy(), output=see, device=device).logits(data.first(2))
    return all(seen)


def _agrees(surface: Surface, some: Data, outputs: Tensor) -> bool:
    """Tell whether a surface gives what each network itself gives."""
    found = surface.logits(some).to(outputs)
    return found.shape == outputs.shape and all(
        _close(one, own, float(own.abs().max())) for one, own in zip(found, outputs, strict=True)
    )


def _hardest(some: Data, objective: Objective, outputs: Tensor) -> tuple[Data, float]:
    """Return the few examples in a row with the largest loss, and that loss: of a small one, curvature is lost in rounding.

    Parameters
    ----------
    some, outputs : examples, and what a network puts out for them, (n, …).
    """
    own, starts = outputs.detach().cpu(), range(0, len(some), _FEW)
    losses = torch.tensor(
        [float(objective.total(own[at : at + _FEW], some.targets[at : at + _FEW])) for at in starts]
    ).nan_to_num(-torch.inf)
    at = starts[int(losses.argmax())]
    return some.some(slice(at, at + _FEW)), float(losses.max())


def _doubtful(surface: Surface, few: Data, how: Differences) -> str:
    """Return why products with the Hessians cannot be trusted, or nothing; `how` gradients are to be differenced."""
    chance = torch.Generator().manual_seed(0)
    size, length = surface.points.shape
    vectors = torch.randn(size, 2, length, generator=chance).to(surface.points)
    products = surface.curvature(few)(vectors)
    if not torch.isfinite(products).all():
        return "the Hessian is not finite"
    across = torch.einsum("sap,sbp->sab", vectors.double(), products.double())
    wide = products.double().norm(dim=2).amax(1) + torch.finfo(torch.float32).tiny
    differenced = isinstance(surface, Alone) and surface.products == "differences"
    if ((across[:, 0, 1] - across[:, 1, 0]).abs() > _ASYMMETRY[surface.points.dtype] * wide).any():
        what = "differences of its gradient" if differenced else "PyTorch's second derivatives of it"
        return f"{what} are not symmetric"
    if isinstance(surface, Taped) or differenced:
        return ""
    aside = surface.part([0])
    way = torch.randn(length, generator=chance).to(aside.points)
    aside.points = aside.points + _ASIDE * aside.points.norm() / way.norm() * way
    products, vectors = aside.curvature(few)(vectors[:1])[0].double(), vectors[:1].float()
    # Short steps cross few kinks, and drown in rounding where the gradient is next to nothing.
    for step in (how.step, *_LONG_STEPS) if how == DOUBLE else _LONG_STEPS:
        checked = Alone(
            [aside.network(0)],
            surface.objective,
            names=tuple(surface.layout.shapes),
            output=surface.output if isinstance(surface, Alone) else main_output,
            device=surface.points.device,
            products="differences",
            differences=replace(how, step=step),
        )
        truth = checked.curvature(few)(vectors)[0].double()
        off = (products - truth).norm(dim=1)
        # A gradient may jump within a step of differences, at the kink of a ReLU: seldom, and hardly along both directions.
        if (off <= _DIFFERENCE * truth.norm(dim=1) + 1e-9 * products.norm(dim=1).amax()).any():
            return ""
    return "PyTorch's second derivatives of it are not those of its gradient"
