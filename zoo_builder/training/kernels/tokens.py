"""The layers that know tokens, as passes call them."""

from typing import Any

import numpy as np

from zoo_builder.training.kernels import attention, embedding, layer_normalization, positions
from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import EMBEDDING, FEATURES, LAYER, POSITIONS


@compiled
def forward(x: Any, y: Any, kept: Any, step: Any, parameters: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Write the output."""
    if step.kind == EMBEDDING:
        embedding.forward(x, y, step, parameters, arena, arena, batch)
    elif step.kind == FEATURES:
        positions.multiply(x, y, step, parameters, arena, arena, batch)
    elif step.kind == POSITIONS:
        positions.add(x, y, step, parameters, arena, batch)
    elif step.kind == LAYER:
        layer_normalization.forward(x, y, kept, step, parameters, arena, batch)
    else:
        attention.forward(x, y, kept, step, arena, batch)


@compiled
def backward(
    x: Any, y: Any, kept: Any, step: Any, parameters: np.ndarray, gradient: np.ndarray, arena: np.ndarray, batch: int
) -> None:
    """Write the parameters' gradient, and the input's or what it adds to it."""
    if step.rows and not step.shared:
        gradient[step.weight : step.weight + step.rows * y.channels] = 0
    if step.kind == EMBEDDING:
        embedding.backward(x, y, step, gradient, arena, arena, batch)
    elif step.kind == FEATURES:
        positions.multiply_backward(x, y, step, gradient, arena, arena, batch)
    elif step.kind == POSITIONS:
        positions.add_backward(x, y, step, gradient, arena, batch)
    elif step.kind == LAYER:
        layer_normalization.backward(x, y, kept, step, parameters, gradient, arena, batch)
    else:
        attention.backward(x, y, kept, step, arena, batch)


@compiled
def forward_along(
    x: Any,
    y: Any,
    kept: Any,
    step: Any,
    parameters: np.ndarray,
    direction: np.ndarray,
    arena: np.ndarray,
    along: np.ndarray,
    batch: int,
) -> None:
    """Write the output's derivative along a direction."""
    if step.kind == EMBEDDING:
        embedding.forward(x, y, step, direction, arena, along, batch)
    elif step.kind == FEATURES:
        positions.multiply(x, y, step, direction, arena, along, batch)
    elif step.kind == POSITIONS:
        positions.add(x, y, step, direction, along, batch)
    elif step.kind == LAYER:
        layer_normalization.forward_along(x, y, kept, step, parameters, direction, arena, along, batch)
    else:
        attention.forward_along(x, y, kept, step, arena, along, batch)


@compiled
def backward_along(
    x: Any,
    y: Any,
    kept: Any,
    step: Any,
    parameters: np.ndarray,
    direction: np.ndarray,
    product: np.ndarray,
    arena: np.ndarray,
    along: np.ndarray,
    batch: int,
) -> None:
    """Add to a product, and write the derivative of the input's gradient or what it adds to it."""
    if step.kind == EMBEDDING:
        embedding.backward(x, y, step, product, arena, along, batch)
    elif step.kind == FEATURES:
        positions.multiply_backward(x, y, step, product, arena, along, batch)
    elif step.kind == POSITIONS:
        positions.add_backward(x, y, step, product, along, batch)
    elif step.kind == LAYER:
        layer_normalization.backward_along(x, y, kept, step, parameters, direction, product, arena, along, batch)
    else:
        attention.backward_along(x, y, kept, step, arena, along, batch)
