"""A tape being written: the layers of a network, one after the other.

Every layer has a method: what it wants to see, how its parameters are laid out, and what it puts out.
"""

import numpy as np
from torch import nn

from zoo_builder.specification import Attention, Dropout, Features, dropouts
from zoo_builder.training import kernels
from zoo_builder.training.draft import Draft, Value, order_of
from zoo_builder.training.graph import Layer, UnknownLayerError, trace

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
_POOLINGS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)
#: Activations that the compiled loops know by a number.
ACTIVATIONS = (nn.GELU, nn.Tanh, nn.SiLU, nn.Softplus, nn.Sigmoid)
_OF_TOKENS = ("positions", "shift", "transpose", "mean", "shared linear", "attention", "causal")
_ON_TOKENS = (nn.Linear, nn.LayerNorm)
#: How a linear layer is a convolution.
_ONES = dict.fromkeys(("kernel_height", "kernel_width", "stride_height", "stride_width"), 1)


def function_of(activation: nn.Module) -> int:
    """Return the number that the compiled loops know an activation by."""
    functions = {
        nn.GELU: kernels.GELU,
        nn.Tanh: kernels.TANH,
        nn.SiLU: kernels.SILU,
        nn.Softplus: kernels.SOFTPLUS,
        nn.Sigmoid: kernels.SIGMOID,
    }
    by_tanh = isinstance(activation, nn.GELU) and activation.approximate == "tanh"
    return kernels.GELU_BY_TANH if by_tanh else functions[type(activation)]


class Writer(Draft):
    """Writes a tape, layer by layer."""

    def __init__(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._network = network
        self._drops = dropouts(network)
        self.logits = self._write_all(network, shape)
        self._check_logits()
        self.sides = (self.logits.height, self.logits.width)[2 - self.logits.axes :]
        pieces = [piece.name for piece in (*self.parameters, *self.buffers)] + [*self.counters]
        pieces += [f"{name}.key" for name in self._drops]
        kept = {*network.state_dict(), *(f"{name}.key" for name in self._drops)}
        state = [name for name, _ in (*network.named_parameters(), *network.named_buffers()) if name in kept]
        if sorted(pieces) != sorted(state):
            raise UnknownLayerError  # parameters that no layer uses, or that several share

    def _write_all(self, network: nn.Module, shape: tuple[int, ...]) -> Value:
        """Write all layers, and return what is put out."""
        graph = trace(network)
        channels, *sides = shape
        if len(sides) > 2:
            raise UnknownLayerError
        height, width = {0: (1, 1), 1: (1, *sides), 2: tuple(sides)}[len(sides)]
        self._named = {graph.entrance: self._value(height, width, channels, len(sides), None, needs_slope=False)}
        taken: set[str] = set()
        for layer in graph.layers:
            if layer.name in taken:
                raise UnknownLayerError  # its gradient would be a sum
            if isinstance(layer.what, nn.Module) and layer.what.state_dict():
                taken.add(layer.name)
            self._write(layer, [self._named[name] for name in layer.sources])
        return self._named[graph.exit]

    def _check_logits(self) -> None:
        last = self._values[int(self._steps[-1]["target"])] if self._steps else None
        out = self.logits
        if (
            last is not out.whole
            or out.tokens
            or out.width != last.width
            or not out.needs_slope
            or (out.order is not None and (np.diff(out.order) != 1).any())
        ):
            raise UnknownLayerError

    def _write(self, layer: Layer, sources: list[Value]) -> None:
        source, what = sources[0], layer.what
        if what == "flatten":
            target = self._flattened(source)
        elif what == "relu":
            target = self._step(kernels.RELU, source, self._like(source, needs_slope=source.needs_slope))
        elif what == "add":
            target = self._added(*sources)
        elif what == "concatenate":
            target = self._joined(*sources)
        elif self._is_of_tokens(what, source):
            target = self._of_tokens(what, layer.name, source)
        elif source.tokens and not (type(what) in (Dropout, nn.Identity) or type(what) in ACTIVATIONS):
            raise UnknownLayerError
        elif type(what) in _CONVOLUTIONS:
            target = self._convolved(what, layer.name, source)  # type: ignore[arg-type]
        elif type(what) in _TRANSPOSED:
            target = self._spread(what, layer.name, source)  # type: ignore[arg-type]
        elif type(what) is nn.Linear:
            target = self._multiplied(what, layer.name, source)
        elif type(what) in (nn.BatchNorm1d, nn.BatchNorm2d):
            target = self._normalized(what, layer, source)  # type: ignore[arg-type]
        elif type(what) in (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d):
            target = self._averaged(what, source)  # type: ignore[arg-type]
        elif isinstance(what, nn.LayerNorm | nn.GroupNorm):
            target = self._normalized_in_groups(what, layer.name, source)
        elif type(what) in _POOLINGS:
            target = self._pooled(what, source)  # type: ignore[arg-type]
        elif isinstance(what, Dropout):
            target = self._dropped(what, layer.name, source)
        elif type(what) in ACTIVATIONS:
            target = self._activated(what, source)  # type: ignore[arg-type]
        elif type(what) is nn.Identity:
            target = source
        else:
            raise UnknownLayerError
        self._named[layer.target] = target

    def _flattened(self, source: Value) -> Value:
        if not source.axes:
            return source
        features = np.arange(source.height * source.width * source.channels)
        order = features
        if not source.tokens:
            order = features.reshape(source.channels, source.height, source.width).transpose(1, 2, 0).reshape(-1)
        target = self._value(1, 1, len(features), 0, order, needs_slope=source.needs_slope)
        target.whole = source.whole
        return target

    def _added(self, one: Value, other: Value) -> Value:
        shapes = {(value.height, value.width, value.channels, value.axes, value.tokens) for value in (one, other)}
        if len(shapes) > 1:
            raise UnknownLayerError
        if not np.array_equal(order_of(one), order_of(other)):
            raise UnknownLayerError
        target = self._like(one, needs_slope=one.needs_slope or other.needs_slope)
        return self._step(kernels.ADDITION, one, target, other=other.row)

    def _convolved(self, module: nn.Conv1d | nn.Conv2d, name: str, source: Value) -> Value:
        axes = 1 if isinstance(module, nn.Conv1d) else 2
        if source.axes != axes or source.channels != module.in_channels:
            raise UnknownLayerError
        assert not isinstance(module.padding, str)
        kernel, stride, padding = (
            (*(nothing,) * (2 - axes), *said)
            for nothing, said in ((1, module.kernel_size), (1, module.stride), (0, module.padding))
        )
        whole = source.whole
        whole.above, whole.beside = max(whole.above, padding[0]), max(whole.beside, padding[1])
        high, wide = (
            (side + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i, side in enumerate((source.height, source.width))
        )
        target = self._value(high, wide, module.out_channels, axes, None, needs_slope=True)
        self.multiplications += high * wide * module.weight.numel()
        # One block a row of the kernel: (kernel height, out, kernel width · channels).
        order = np.arange(module.weight.numel()).reshape(module.out_channels, module.in_channels, *kernel)
        return self._step(
            kernels.CONVOLUTION,
            source,
            target,
            weight=self._piece(self.parameters, f"{name}.weight", module.weight, order.transpose(2, 0, 3, 1)),
            bias=-1 if module.bias is None else self._piece(self.parameters, f"{name}.bias", module.bias),
            kernel_height=kernel[0],
            kernel_width=kernel[1],
            stride_height=stride[0],
            stride_width=stride[1],
            padding_height=padding[0],
            padding_width=padding[1],
        )

    def _multiplied(self, module: nn.Linear, name: str, source: Value) -> Value:
        """Return a linear layer's output: a convolution where there is but one position."""
        if source.axes or source.channels != module.in_features:
            raise UnknownLayerError
        self.features = source.row, order_of(source)  # of the last one that is used
        target = self._value(1, 1, module.out_features, 0, None, needs_slope=True)
        self.multiplications += module.weight.numel()
        order = np.arange(module.weight.numel()).reshape(module.weight.shape)[:, order_of(source)]
        return self._step(
            kernels.CONVOLUTION,
            source,
            target,
            weight=self._piece(self.parameters, f"{name}.weight", module.weight, order),
            bias=-1 if module.bias is None else self._piece(self.parameters, f"{name}.bias", module.bias),
            **_ONES,
        )

    def _normalized(self, module: nn.BatchNorm1d | nn.BatchNorm2d, layer: Layer, source: Value) -> Value:
        if source.channels != module.num_features:
            raise UnknownLayerError
        mean, variance, counter = module.running_mean, module.running_var, module.num_batches_tracked
        assert mean is not None
        assert variance is not None
        assert counter is not None
        order, name = order_of(source), layer.name
        target = self._step(
            kernels.NORMALIZATION,
            source,
            self._like(source, needs_slope=True),
            weight=self._piece(self.parameters, f"{name}.weight", module.weight, order),
            bias=self._piece(self.parameters, f"{name}.bias", module.bias, order),
            mean=self._piece(self.buffers, f"{name}.running_mean", mean, order),
            variance=self._piece(self.buffers, f"{name}.running_var", variance, order),
            saved=self.saved,
            relu=layer.relu,
            epsilon=module.eps,
            momentum=module.momentum or 0.0,
        )
        self.counters[f"{name}.num_batches_tracked"] = int(counter)
        self.saved += 2 * source.channels
        self.counts.append(source.height * source.width)
        return target

    def _averaged(self, module: nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d, source: Value) -> Value:
        axes = 1 if isinstance(module, nn.AdaptiveAvgPool1d) else 2
        if source.axes != axes:
            raise UnknownLayerError
        target = self._value(1, 1, source.channels, axes, None, needs_slope=source.needs_slope)
        return self._step(kernels.MEAN, source, target)

    def _activated(self, module: nn.Module, source: Value) -> Value:
        function = function_of(module)
        target = self._like(source, needs_slope=source.needs_slope)
        return self._step(kernels.ACTIVATION, source, target, function=function)

    def _dropped(self, module: Dropout, name: str, source: Value) -> Value:
        if not module.rate:
            return source
        if (np.diff(order_of(source)) != 1).any():
            raise UnknownLayerError  # places of its mask are counted in another order
        target = self._like(source, needs_slope=source.needs_slope)
        apart = (1, source.channels) if source.tokens else (source.height * source.width, 1)
        return self._step(
            kernels.DROPOUT,
            source,
            target,
            layer=self._drops.index(name),
            rate=module.rate,
            stride_height=apart[0],
            stride_width=apart[1],
        )

    def _normalized_in_groups(self, module: nn.LayerNorm | nn.GroupNorm, name: str, source: Value) -> Value:
        """Return what is normalized over groups of channels; layer normalization of vectors is that of one group."""
        order = order_of(source)
        if isinstance(module, nn.LayerNorm):
            groups, fits = 1, not source.axes and module.normalized_shape == (source.channels,)
        else:
            groups, fits = module.num_groups, module.num_channels == source.channels
            fits = fits and (groups == 1 or not (np.diff(order) != 1).any())
        if not fits:
            raise UnknownLayerError
        assert module.bias is not None
        kept = self._value(1, 1, 2 * groups, 0, None, needs_slope=False)
        return self._step(
            kernels.GROUPS,
            source,
            self._like(source, needs_slope=True),
            other=kept.row,
            groups=groups,
            weight=self._piece(self.parameters, f"{name}.weight", module.weight, order),
            bias=self._piece(self.parameters, f"{name}.bias", module.bias, order),
            epsilon=module.eps,
        )

    def _joined(self, one: Value, other: Value) -> Value:
        places = {(value.height, value.width, value.axes) for value in (one, other)}
        if len(places) > 1 or one.tokens or other.tokens or one.order is not None or other.order is not None:
            raise UnknownLayerError
        needs_slope = one.needs_slope or other.needs_slope
        channels = one.channels + other.channels
        target = self._value(one.height, one.width, channels, one.axes, None, needs_slope=needs_slope)
        return self._step(kernels.CONCATENATION, one, target, other=other.row)

    def _pooled(self, module: nn.MaxPool1d | nn.MaxPool2d | nn.AvgPool1d | nn.AvgPool2d, source: Value) -> Value:
        axes = 1 if isinstance(module, nn.MaxPool1d | nn.AvgPool1d) else 2
        if source.axes != axes:
            raise UnknownLayerError
        kernel, stride = (
            (*(1,) * (2 - axes), *(said if isinstance(said, tuple) else (said,) * axes))
            for said in (module.kernel_size, module.stride)
        )
        high, wide = ((side - kernel[i]) // stride[i] + 1 for i, side in enumerate((source.height, source.width)))
        target = self._value(high, wide, source.channels, axes, None, needs_slope=source.needs_slope)
        largest = isinstance(module, nn.MaxPool1d | nn.MaxPool2d)
        return self._step(
            kernels.POOLING,
            source,
            target,
            function=kernels.LARGEST if largest else kernels.AVERAGE,
            kernel_height=kernel[0],
            kernel_width=kernel[1],
            stride_height=stride[0],
            stride_width=stride[1],
        )

    def _spread(self, module: nn.ConvTranspose1d | nn.ConvTranspose2d, name: str, source: Value) -> Value:
        """Return a transposed convolution's output."""
        axes = 1 if isinstance(module, nn.ConvTranspose1d) else 2
        if source.axes != axes or source.channels != module.in_channels:
            raise UnknownLayerError
        kernel, stride = ((*(1,) * (2 - axes), *said) for said in (module.kernel_size, module.stride))
        high, wide = ((side - 1) * stride[i] + kernel[i] for i, side in enumerate((source.height, source.width)))
        target = self._value(high, wide, module.out_channels, axes, None, needs_slope=True)
        self.multiplications += source.height * source.width * module.weight.numel()
        # One block a row of the kernel: (kernel height, kernel width · out, channels).
        order = np.arange(module.weight.numel()).reshape(module.in_channels, module.out_channels, *kernel)
        return self._step(
            kernels.TRANSPOSED,
            source,
            target,
            weight=self._piece(self.parameters, f"{name}.weight", module.weight, order.transpose(2, 3, 1, 0)),
            bias=-1 if module.bias is None else self._piece(self.parameters, f"{name}.bias", module.bias),
            kernel_height=kernel[0],
            kernel_width=kernel[1],
            stride_height=stride[0],
            stride_width=stride[1],
        )

    @staticmethod
    def _is_of_tokens(what: object, source: Value) -> bool:
        """Tell whether a layer makes tokens, or sees them one by one or together."""
        if isinstance(what, str):
            return what in _OF_TOKENS
        return type(what) in (nn.Embedding, Features) or (source.tokens and type(what) in _ON_TOKENS)

    def _of_tokens(self, what: object, name: str, source: Value) -> Value:
        """Return what a layer of tokens, or a layer at each of them, gives."""
        if isinstance(what, nn.Embedding):
            return self._embedded(what, name, source)
        if isinstance(what, Features):
            return self._featured(what, name, source)
        if what == "positions":
            if source.axes == 0 or source.tokens:
                raise UnknownLayerError
            long = source.height * source.width
            return self._seen_as(source, self._value(1, long, source.channels, 1, None, needs_slope=source.needs_slope))
        if what == "transpose":
            if source.axes != 1:
                raise UnknownLayerError
            target = self._seen_as(source, self._like(source, needs_slope=source.needs_slope))
            target.tokens = not source.tokens
            return target
        if not source.tokens:
            raise UnknownLayerError
        if what == "mean":
            target = self._value(1, 1, source.channels, 0, None, needs_slope=source.needs_slope)
            return self._step(kernels.MEAN, source, target)
        if what == "shift":
            return self._shifted(name, source)
        if what == "shared linear":
            return self._multiplied_by_table(name, source)
        if isinstance(what, nn.Linear):
            return self._linear(what, name, source)
        if isinstance(what, nn.LayerNorm):
            return self._normalized_at_each(what, name, source)
        return self._attended(name, source, causal=what == "causal")

    def _embedded(self, module: nn.Embedding, name: str, source: Value) -> Value:
        if source.row or source.axes or self.vocabulary:
            raise UnknownLayerError
        self.vocabulary = module.num_embeddings
        weight = self._piece(self.parameters, f"{name}.weight", module.weight)
        target = self._tokens(source.channels, module.embedding_dim)
        return self._step(kernels.EMBEDDING, source, target, weight=weight, rows=self.vocabulary)

    def _featured(self, module: Features, name: str, source: Value) -> Value:
        if source.row or source.axes or len(module.weight) != source.channels:
            raise UnknownLayerError
        weight = self._piece(self.parameters, f"{name}.weight", module.weight)
        target = self._tokens(source.channels, module.weight.shape[1])
        return self._step(kernels.FEATURES, source, target, weight=weight, rows=source.channels)

    def _shifted(self, name: str, source: Value) -> Value:
        parameter = self._network.get_parameter(name)
        if not source.needs_slope or parameter.shape != (source.width, source.channels) or self._has(name):
            raise UnknownLayerError
        weight = self._piece(self.parameters, name, parameter)
        target = self._like(source, needs_slope=True)
        return self._step(kernels.POSITIONS, source, target, weight=weight, rows=source.width)

    def _has(self, name: str) -> bool:
        return any(piece.name == name for piece in self.parameters)

    def _multiplied_by_table(self, name: str, source: Value) -> Value:
        """Return the output of a linear layer whose matrix is the table of the embedding."""
        tables = [step for step in self._steps if step["kind"] == kernels.EMBEDDING]
        parameter = self._network.get_parameter(name)
        fits = bool(tables) and self.parameters[0].name == name and parameter.shape[1] == source.channels
        if not fits or tables[0].get("shared"):
            raise UnknownLayerError
        tables[0]["shared"] = True
        target = self._tokens(source.width, len(parameter))
        self.multiplications += source.width * parameter.numel()
        return self._step(kernels.CONVOLUTION, source, target, weight=int(tables[0]["weight"]), **_ONES)

    def _linear(self, module: nn.Linear, name: str, source: Value) -> Value:
        """Return a linear layer's output at every position."""
        if source.channels != module.in_features:
            raise UnknownLayerError
        self.features = source.row, np.arange(source.channels)
        self.multiplications += source.width * module.weight.numel()
        return self._step(
            kernels.CONVOLUTION,
            source,
            self._tokens(source.width, module.out_features),
            weight=self._piece(self.parameters, f"{name}.weight", module.weight),
            bias=-1 if module.bias is None else self._piece(self.parameters, f"{name}.bias", module.bias),
            **_ONES,
        )

    def _normalized_at_each(self, module: nn.LayerNorm, name: str, source: Value) -> Value:
        if module.normalized_shape != (source.channels,) or not source.needs_slope:
            raise UnknownLayerError
        kept = self._tokens(source.width, 2, needs_slope=False)
        return self._step(
            kernels.LAYER,
            source,
            self._like(source, needs_slope=True),
            other=kept.row,
            weight=self._piece(self.parameters, f"{name}.weight", module.weight),
            bias=self._piece(self.parameters, f"{name}.bias", module.bias),
            epsilon=module.eps,
        )

    def _attended(self, name: str, source: Value, *, causal: bool) -> Value:
        module = self._network.get_submodule(name)
        assert isinstance(module, Attention)
        for inner in ("inner", "outer"):
            if type(getattr(module, inner)) is not nn.Linear or self._has(f"{name}.{inner}.weight"):
                raise UnknownLayerError
        _, heads, size = module.split
        seen = self._linear(module.inner, f"{name}.inner", source)
        kept = self._tokens(source.width, heads * source.width, needs_slope=False)
        target = self._tokens(source.width, heads * size)
        self.multiplications += 2 * source.width * source.width * heads * size
        attended = self._step(kernels.ATTENTION, seen, target, other=kept.row, groups=heads, causal=causal)
        return self._linear(module.outer, f"{name}.outer", attended)
