"""The tape of a network that is asked about an equation: layer by layer it puts out a jet, its value with derivatives."""

from torch import nn

from zoo_builder.specification import Informed, Pinn
from zoo_builder.training import kernels
from zoo_builder.training.draft import Value
from zoo_builder.training.graph import UnknownLayerError
from zoo_builder.training.writer import ACTIVATIONS, Writer, function_of


class InformedWriter(Writer):
    """Writes such a tape; inputs of it are what `PosedEquation.weighed` makes of a network's inputs.

    The network within is to be a `Pinn`, whose layers are known by name. Others train as a stack.
    """

    def _write_all(self, network: nn.Module, shape: tuple[int, ...]) -> Value:
        assert isinstance(network, Informed)
        within, problem = network.network, network.equation.problem
        if shape != (3,) or type(within) is not Pinn:
            raise UnknownLayerError
        assert isinstance(within, Pinn)
        if type(within.activation) not in ACTIVATIONS or within.head.out_features != 1:
            raise UnknownLayerError
        carried = {"along": sum(1 << coordinate for coordinate in problem.along), "order": problem.order}
        periodic = problem.periodic is not None
        parts = 1 + problem.order * len(problem.along) + periodic
        asked = self._value(1, 1, 2 * (1 + periodic) + parts + 2, 0, None, needs_slope=False)
        jet = self._value(1, parts, 2 * within.fourier or 2, 1, None, needs_slope=False)
        waves = -1
        if within.fourier:
            waves = self._piece(self.buffers, "network.frequencies", within.frequencies)
        self._step(kernels.COORDINATES, asked, jet, groups=within.fourier, mean=waves, **carried)
        for at, layer in enumerate(within.hidden):
            assert isinstance(layer, nn.Linear)
            jet = self._multiplied_jet(layer, f"network.hidden.{at}", jet)
            bias = self._piece(self.parameters, f"network.hidden.{at}.bias", layer.bias)
            function = function_of(within.activation)
            jet = self._step(
                kernels.JET, jet, self._like(jet, needs_slope=True), bias=bias, function=function, **carried
            )
        jet = self._multiplied_jet(within.head, "network.head", jet)
        bias = self._piece(self.parameters, "network.head.bias", within.head.bias)
        out = self._value(1, 1, 1, 0, None, needs_slope=True)
        return self._step(kernels.EQUATION, jet, out, other=asked.row, bias=bias, **carried)

    def _multiplied_jet(self, layer: nn.Linear, name: str, source: Value) -> Value:
        """Return what a linear layer makes of all parts of a jet; its bias is the next step's."""
        target = self._value(1, source.width, layer.out_features, 1, None, needs_slope=True)
        self.multiplications += source.width * layer.weight.numel()
        return self._step(
            kernels.CONVOLUTION,
            source,
            target,
            weight=self._piece(self.parameters, f"{name}.weight", layer.weight),
            **dict.fromkeys(("kernel_height", "kernel_width", "stride_height", "stride_width"), 1),
        )
