"""Shapes: images of discs, rectangles and triangles over each other, with a class a pixel."""

import numpy as np
from numpy.typing import NDArray

from zoo_builder.specification.datasets.raw import Part, Raw

#: Classes: nothing, disc, rectangle, triangle.
CLASSES = 4


def make_shapes(train: int, test: int, seed: int, *, size: int = 24, shapes: int = 4, noise: float = 0.3) -> Raw:
    """Return images of shapes.

    Every image has from one to `shapes` of them, at random places, of random size and brightness (0.5 to 1; what lies behind
    is 0), each over those before it. The class of a pixel is that of the shape seen there.

    Parameters
    ----------
    train, test : numbers of images.
    seed : of everything drawn.
    size : pixels a side.
    shapes : the most in one image.
    noise : standard deviation of what is added to every pixel.
    """
    rng = np.random.default_rng([seed, 5])
    learnt, asked = (_images(rng, amount, size, shapes, noise) for amount in (train, test))
    return Raw(learnt, asked, CLASSES, kind="positions", standardise=False)


def _images(rng: np.random.Generator, amount: int, size: int, most: int, noise: float) -> Part:
    row, column = np.mgrid[:size, :size]
    inputs, labels = np.zeros((amount, 1, size, size)), np.zeros((amount, size, size), np.int64)
    for at in range(amount):
        for _ in range(rng.integers(1, most + 1)):
            kind = int(rng.integers(1, CLASSES))
            inside = _inside(
                kind, row - rng.uniform(0, size), column - rng.uniform(0, size), rng.uniform(size / 8, size / 3)
            )
            inputs[at, 0][inside] = rng.uniform(0.5, 1)
            labels[at][inside] = kind
    inputs += noise * rng.standard_normal(inputs.shape)
    return Part(inputs.astype(np.float32), labels)


def _inside(kind: int, down: NDArray[np.float64], right: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
    """Return the pixels of a shape around the origin: a disc, a square, or a triangle that stands on its base."""
    if kind == 1:
        return down**2 + right**2 <= radius**2
    if kind == 2:
        return np.maximum(abs(down), abs(right)) <= radius * 0.9
    return (down <= radius) & (2 * abs(right) <= down + radius)
