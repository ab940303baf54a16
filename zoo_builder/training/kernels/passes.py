"""Passes over a tape: forwards for values, backwards for gradients, and the derivatives of both along a direction.

Derivatives along a direction of the parameters make Hessian–vector products (Pearlmutter, Fast exact multiplication by the
Hessian, Neural Computation 1994), in evaluation mode. A second arena, of the same places, holds the derivatives of what the
first one holds. Values that do not depend on parameters have none: their `slope` is −1.

Arguments are as in `zoo_builder.training.kernels.train`; `keys` (D,) are those of dropout's masks at this step, of which
there may be none: then nothing is dropped. Besides, `direction` and `product` (P,), `along` the second arena.
"""

import numpy as np

from zoo_builder.training.kernels import (
    activation,
    addition,
    concatenation,
    convolution,
    coordinates,
    dropout,
    equation,
    group_normalization,
    jet,
    mean,
    normalization,
    pooling,
    relu,
    tokens,
    transposed,
)
from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import (
    ACTIVATION,
    ADDITION,
    CONCATENATION,
    CONVOLUTION,
    COORDINATES,
    DROPOUT,
    EQUATION,
    GROUPS,
    JET,
    MEAN,
    NORMALIZATION,
    POOLING,
    RELU,
    TRANSPOSED,
)


@compiled
def forward(
    values: np.ndarray,
    steps: np.ndarray,
    parameters: np.ndarray,
    buffers: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    batch: int,
    training: bool,
    keys: np.ndarray,
) -> None:
    """Write every value, from the input on."""
    for i in range(len(steps)):
        step = steps[i]
        x, y = values[step.source], values[step.target]
        if step.kind == CONVOLUTION:
            convolution.forward(x, y, step, parameters, arena, batch)
        elif step.kind == NORMALIZATION:
            normalization.forward(x, y, step, parameters, buffers, arena, saved, scratch, batch, training)
        elif step.kind == RELU:
            relu.forward(x, y, arena, batch)
        elif step.kind == ADDITION:
            addition.forward(x, values[step.other], y, arena, batch)
        elif step.kind == ACTIVATION:
            activation.forward(x, y, step, arena, batch)
        elif step.kind == GROUPS:
            group_normalization.forward(x, y, values[step.other], step, parameters, arena, batch)
        elif step.kind == DROPOUT:
            dropout.forward(x, y, step, arena, keys, batch)
        elif step.kind == POOLING:
            pooling.forward(x, y, step, arena, batch)
        elif step.kind == TRANSPOSED:
            transposed.forward(x, y, step, parameters, arena, batch)
        elif step.kind == CONCATENATION:
            concatenation.forward(x, values[step.other], y, arena, batch)
        elif step.kind == COORDINATES:
            coordinates.forward(x, y, step, buffers, arena, batch)
        elif step.kind == JET:
            jet.forward(x, y, step, parameters, arena, scratch, batch)
        elif step.kind == EQUATION:
            equation.forward(x, values[step.other], y, step, parameters, arena, batch)
        elif step.kind == MEAN:
            mean.forward(x, y, arena, batch)
        else:
            tokens.forward(x, y, values[step.other], step, parameters, arena, batch)


@compiled
def backward(
    values: np.ndarray,
    steps: np.ndarray,
    parameters: np.ndarray,
    gradient: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    batch: int,
    training: bool,
    keys: np.ndarray,
) -> None:
    """Write every gradient, the parameters' and those of values, from the logits' on."""
    for i in range(len(steps) - 1, -1, -1):
        step = steps[i]
        x, y = values[step.source], values[step.target]
        if step.kind == CONVOLUTION:
            convolution.backward(x, y, step, parameters, gradient, arena, batch)
        elif step.kind == NORMALIZATION:
            normalization.backward(x, y, step, parameters, gradient, arena, saved, scratch, batch, training)
        elif step.kind == RELU:
            relu.backward(x, y, step, arena, batch)
        elif step.kind == ADDITION:
            addition.backward(x, values[step.other], y, step, arena, batch)
        elif step.kind == ACTIVATION:
            activation.backward(x, y, step, arena, scratch, batch)
        elif step.kind == GROUPS:
            group_normalization.backward(x, y, values[step.other], step, parameters, gradient, arena, batch)
        elif step.kind == DROPOUT:
            dropout.backward(x, y, step, arena, keys, batch)
        elif step.kind == POOLING:
            pooling.backward(x, y, step, arena, arena, batch)
        elif step.kind == TRANSPOSED:
            transposed.backward(x, y, step, parameters, gradient, arena, batch)
        elif step.kind == CONCATENATION:
            concatenation.backward(x, values[step.other], y, step, arena, batch)
        elif step.kind == JET:
            jet.backward(x, y, step, gradient, arena, scratch, batch)
        elif step.kind == EQUATION:
            equation.backward(x, values[step.other], y, step, gradient, arena, batch)
        elif step.kind == MEAN:
            mean.backward(x, y, step, arena, batch)
        elif step.kind != COORDINATES:
            tokens.backward(x, y, values[step.other], step, parameters, gradient, arena, batch)


@compiled
def forward_along(
    values: np.ndarray,
    steps: np.ndarray,
    parameters: np.ndarray,
    direction: np.ndarray,
    arena: np.ndarray,
    along: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    batch: int,
) -> None:
    """Write every value's derivative along a direction."""
    nothing = np.empty(0, np.uint64)
    for i in range(len(steps)):
        step = steps[i]
        x, y = values[step.source], values[step.target]
        if step.kind == CONVOLUTION:
            convolution.forward_along(x, y, step, parameters, direction, arena, along, batch)
        elif step.kind == NORMALIZATION:
            normalization.forward_along(x, y, step, parameters, direction, arena, along, saved, scratch, batch)
        elif step.kind == RELU:
            relu.forward_along(x, y, arena, along, batch)
        elif step.kind == ADDITION:
            addition.forward(x, values[step.other], y, along, batch)
        elif step.kind == ACTIVATION:
            activation.forward_along(x, y, step, arena, along, scratch, batch)
        elif step.kind == GROUPS:
            kept = values[step.other]
            group_normalization.forward_along(x, y, kept, step, parameters, direction, arena, along, batch)
        elif step.kind == DROPOUT:
            dropout.forward(x, y, step, along, nothing, batch)
        elif step.kind == POOLING:
            pooling.forward_along(x, y, step, arena, along, batch)
        elif step.kind == TRANSPOSED:
            transposed.forward_along(x, y, step, parameters, direction, arena, along, batch)
        elif step.kind == CONCATENATION:
            concatenation.forward(x, values[step.other], y, along, batch)
        elif step.kind == MEAN:
            mean.forward(x, y, along, batch)
        else:
            tokens.forward_along(x, y, values[step.other], step, parameters, direction, arena, along, batch)


@compiled
def backward_along(
    values: np.ndarray,
    steps: np.ndarray,
    parameters: np.ndarray,
    direction: np.ndarray,
    product: np.ndarray,
    arena: np.ndarray,
    along: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    batch: int,
) -> None:
    """Add to the product of the Hessian with the direction, (P,), from the derivative of the logits' gradient on."""
    nothing = np.empty(0, np.uint64)
    for i in range(len(steps) - 1, -1, -1):
        step = steps[i]
        x, y = values[step.source], values[step.target]
        if step.kind == CONVOLUTION:
            convolution.backward_along(x, y, step, parameters, direction, product, arena, along, batch)
        elif step.kind == NORMALIZATION:
            normalization.backward_along(
                x, y, step, parameters, direction, product, arena, along, saved, scratch, batch
            )
        elif step.kind == RELU:
            relu.backward_along(x, y, step, arena, along, batch)
        elif step.kind == ADDITION:
            addition.backward(x, values[step.other], y, step, along, batch)
        elif step.kind == ACTIVATION:
            activation.backward_along(x, y, step, arena, along, scratch, batch)
        elif step.kind == GROUPS:
            kept = values[step.other]
            group_normalization.backward_along(x, y, kept, step, parameters, direction, product, arena, along, batch)
        elif step.kind == DROPOUT:
            dropout.backward(x, y, step, along, nothing, batch)
        elif step.kind == POOLING:
            pooling.backward(x, y, step, arena, along, batch)
        elif step.kind == TRANSPOSED:
            transposed.backward_along(x, y, step, parameters, direction, product, arena, along, batch)
        elif step.kind == CONCATENATION:
            concatenation.backward(x, values[step.other], y, step, along, batch)
        elif step.kind == MEAN:
            mean.backward(x, y, step, along, batch)
        else:
            kept = values[step.other]
            tokens.backward_along(x, y, kept, step, parameters, direction, product, arena, along, batch)
