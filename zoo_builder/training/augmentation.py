"""Inputs that are changed anew whenever they are seen: a function of network, step and place in the batch.

The random numbers are those of SplitMix64, as in `zoo_builder.specification.dropout`: the same in every way of training.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.specification import Augmentation, mixed

_STREAM: Final = 3  # 0 to 2 are initialisation, order and dropout
#: Numbers that an example may need: a shift an axis, a turn, a place of the cut an axis.
_NUMBERS: Final = 5


class Draws:
    """What is done to the inputs of one network.

    From an input's axes behind the channels, place by place: it is moved by −`shift` to `shift` places around the edge,
    turned left to right with probability one half, and cut out of itself with `crop` zeros on every side, at any place.
    """

    def __init__(self, how: Augmentation, seed: int) -> None:
        """Begin; the seed is the network's."""
        self._how = how
        self._key = np.array(np.random.SeedSequence([seed, _STREAM]).generate_state(1, np.uint64), np.uint64)

    def places(self, start: int, stop: int, batch: int, sides: tuple[int, ...]) -> list[NDArray[np.int64]]:
        """Return where each place of augmented inputs comes from, at the steps from `start` to before `stop`.

        Parameters
        ----------
        start, stop : steps, 0 being the first.
        batch : examples a step.
        sides : of an input, behind its channels: one or two.

        Returns
        -------
        For each side, int64 (steps, batch, side): a place, or −1 for a zero.
        """
        keys = mixed(self._key, np.arange(start, stop))
        index = np.arange(batch * _NUMBERS)
        numbers = (mixed(keys[:, None], index) >> np.uint64(32)).reshape(-1, batch, _NUMBERS)
        shift, crop = self._how.shift, self._how.crop
        found = []
        for axis, side in enumerate(sides):
            moved = _below(numbers[..., axis], 2 * shift + 1) - shift
            cut = _below(numbers[..., 3 + axis], 2 * crop + 1) - crop
            place = np.arange(side) + cut[..., None]
            inside = (place >= 0) & (place < side)
            if self._how.flip and axis == len(sides) - 1:
                turned = _below(numbers[..., 2], 2)[..., None] == 1
                place = np.where(turned, side - 1 - place, place)
            found.append(np.where(inside, (place - moved[..., None]) % side, -1))
        return found


def augmented(inputs: Tensor, places: list[Tensor]) -> Tensor:
    """Return inputs (…, channels, sides) with the values that stand at `places`, for each side (…, side)."""
    for axis, place in enumerate(places):
        behind = len(places) - 1 - axis
        index = place.unsqueeze(-2)  # the channels
        for _ in range(axis):
            index = index.unsqueeze(-2)
        for _ in range(behind):
            index = index.unsqueeze(-1)
        taken = torch.take_along_dim(inputs, index.clamp(min=0), -1 - behind)
        inputs = torch.where(index < 0, 0, taken)
    return inputs


def _below(numbers: NDArray[np.uint64], many: int) -> NDArray[np.int64]:
    """Return whole numbers from 0 to many − 1, of numbers below 2³²."""
    return ((numbers * np.uint64(many)) >> np.uint64(32)).astype(np.int64)
