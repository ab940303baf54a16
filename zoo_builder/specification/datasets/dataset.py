"""The data set that a zoo is trained on, as networks see it."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mdbench.errors import MdbenchError
from zoo_builder.specification.datasets.generated import GENERATED
from zoo_builder.specification.datasets.raw import Equation, Kind, Part, Secrets, times
from zoo_builder.specification.datasets.sources import read
from zoo_builder.specification.datasets.spec import DatasetSpec

#: Kind of data → the loss that is learnt by unless a specification says another one.
LOSSES: Final[dict[Kind, str]] = {"classes": "cross_entropy", "positions": "per_position", "values": "mse"}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs to train and to test on, and what is to be predicted. Data sets of one `digest` say the same; `==` is identity.

    Attributes
    ----------
    name : the name in the spec.
    train_inputs : float32, (n, channels, length), (n, channels, height, width) or (n, features), standardised where the
        source does not say otherwise: every channel has mean 0 and standard deviation 1 over the training set, and a feature
        is a channel of its own. Or token ids, int64 (n, length).
    train_targets : by `kind`: ``"classes"``, int64 (n,); ``"positions"``, int64 (n, …), a class for every pixel or token,
        `MASKED` where it does not count; ``"values"``, float32 (n, outputs). Classes are from 0 to outputs − 1.
    test_inputs, test_targets : likewise; standardised with the training set's means and standard deviations.
    outputs : how many numbers a network gives for an example, or for each position: classes, or values.
    kind : what is predicted.
    vocabulary : number of token ids; 0 where inputs are numbers.
    baseline : what an error of 100 % of values is: that of predicting the training targets' ``"mean"``, or ``"zero"``.
    equation : of a physics-informed data set, whose inputs are coordinates with a kind behind them.
    secrets : what was planted among sequences of tokens.
    """

    name: str
    train_inputs: NDArray[Any]
    train_targets: NDArray[Any]
    test_inputs: NDArray[Any]
    test_targets: NDArray[Any]
    outputs: int
    kind: Kind = "classes"
    vocabulary: int = 0
    baseline: Literal["mean", "zero"] = "mean"
    equation: Equation | None = None
    secrets: Secrets | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, as data have it."""
        return self.train_inputs.shape[1:]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the arrays say, of the number of outputs, and of what else there is to say."""
        said = hashlib.sha256(str(self.outputs).encode())
        if self.kind != "classes" or self.vocabulary:
            said.update(f" {self.kind} {self.vocabulary} {self.baseline} {self.equation} {self.secrets}".encode())
        for array in (self.train_inputs, self.train_targets, self.test_inputs, self.test_targets):
            little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            said.update(f" {little_endian.dtype.str} {array.shape} ".encode())
            said.update(little_endian.data)
        return said.hexdigest()

    @property
    def asked(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return what training errors are taken on, inputs and targets: the training set, and of an equation its solution."""
        if self.equation is None:
            return self.train_inputs, self.train_targets
        return self.equation.solved(self.train_inputs)

    @cached_property
    def middle(self) -> NDArray[np.float32]:
        """What an error of 100 % of values predicts, (outputs,)."""
        if self.baseline == "zero":
            return np.zeros(self.outputs, np.float32)
        mean: NDArray[np.float32] = self.train_targets.astype(np.float64).mean(0).astype(np.float32)
        return mean


def load_dataset(spec: DatasetSpec) -> Dataset:
    """Load, or generate, the data set that a spec describes. The result is a function of the spec and the source's content.

    Sources
    -------
    Generated ones and ``digits`` are described in files of their names.
    ``mnist1d`` is drawn by the package of that name (Greydanus and Kobak, Scaling down deep learning with MNIST-1D,
    ICML 2024). ``fashion_mnist`` is read from IDX files, in ``folder`` or where Debian puts them, else from the hub.
    A generator of somebody's own (``package.module:make``) is imported and called; see `read_generated`.
    ``cifar10``, ``cifar100`` and ``svhn`` are read through torchvision where ``folder`` is given, else from the hub,
    else downloaded by torchvision; the examples and their order are the same.

    Raises
    ------
    MdbenchError
        The source cannot be reached or read, a package is missing, what was read is not a data set, or it has fewer
        examples or smaller images than asked for.
    """
    raw = read(spec)
    train, test, outputs = raw.train, raw.test, raw.outputs
    if spec.size is not None and raw.kind == "positions":
        raise MdbenchError(f"{spec.name}: size = {spec.size} would scale images, but not the class of each pixel")
    if raw.kind != "values":
        for part, split in ((train, "training"), (test, "test")):
            if part.targets.max() >= outputs:
                raise MdbenchError(
                    f"{spec.name}: {split} label {part.targets.max()} is not one of the {outputs} classes, from 0"
                )
        if outputs < 2:
            raise MdbenchError(f"{spec.name}: there is only one class; learning to tell classes apart takes two")
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        raise MdbenchError(
            f"{spec.name}: a training input is {times(train.inputs.shape[1:])}, a test input "
            f"{times(test.inputs.shape[1:])}; they must have one shape"
        )
    if spec.name not in GENERATED and not spec.own:
        train = _keep(train, spec.train, spec.seed, f"{spec.name}: train")
        test = _keep(test, spec.test, spec.seed, f"{spec.name}: test")
    train_inputs, test_inputs = train.inputs, test.inputs
    if spec.size is not None:
        train_inputs, test_inputs = (_downscale(inputs, spec.size, spec.name) for inputs in (train_inputs, test_inputs))
    if raw.standardise:
        train_inputs, test_inputs = _standardise(train_inputs, test_inputs, spec.name)
    dataset = Dataset(
        spec.name,
        train_inputs,
        train.targets,
        test_inputs,
        test.targets,
        outputs,
        raw.kind,
        raw.vocabulary,
        raw.baseline,
        raw.equation,
        raw.secrets,
    )
    for part, split in ((train, "training"), (test, "test")):
        for array, what in ((part.inputs, "inputs"), (part.targets, "targets")):
            if not np.isfinite(array).all():
                raise MdbenchError(
                    f"{spec.name}: {split} {what} are not all finite numbers in float32: write smaller options"
                )
    for targets, split in ((dataset.asked[1], "training"), (dataset.test_targets, "test")):
        if dataset.kind == "values" and (targets == dataset.middle).all():
            raise MdbenchError(
                f"{spec.name}: all {split} targets are what an error of 100 % predicts, the {raw.baseline}: there is nothing "
                "that an error could be a share of"
            )
    return dataset


def _keep(part: Part, amount: int | None, seed: int, where: str) -> Part:
    """Keep examples drawn without replacement, in their order; more of them include fewer."""
    if amount is None:
        return part
    there = len(part.targets)
    if amount > there:
        raise MdbenchError(f"{where} = {amount} is more than the {there} examples that there are")
    kept = np.sort(np.random.default_rng(seed).permutation(there)[:amount])
    return Part(part.inputs[kept], part.targets[kept])


def _downscale(images: NDArray[Any], size: int, name: str) -> NDArray[np.float32]:
    """Scale images (n, channels, height, width) down to size × size: a pixel is the mean over the area that it covers."""
    if images.ndim != 4:
        raise MdbenchError(f"{name}: size is for images; these inputs are {times(images.shape[1:])}")
    number, channels, height, width = images.shape
    if size > min(height, width):
        raise MdbenchError(f"{name}: size = {size} is larger than the images, which are {height} × {width}")
    rows, columns = _area_weights(height, size), _area_weights(width, size)
    scaled = np.empty((number, channels, size, size), np.float32)
    for channel in range(channels):  # one at a time: in float64 they take eight times the room
        scaled[:, channel] = rows @ images[:, channel].astype(np.float64) @ columns.T
    return scaled


def _area_weights(old: int, new: int) -> NDArray[np.float64]:
    """Return (new, old): which share of new pixel i old pixel j covers. Rows sum to 1."""
    edge = np.arange(new + 1)[:, None] * (old / new)
    pixel = np.arange(old)
    covered: NDArray[np.float64] = np.maximum(np.minimum(edge[1:], pixel + 1) - np.maximum(edge[:-1], pixel), 0)
    return covered * (new / old)


def _standardise(train: NDArray[Any], test: NDArray[Any], name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Subtract the training set's mean and divide by its standard deviation (constants: by 1), channel by channel."""
    standardised = np.empty(train.shape, np.float32), np.empty(test.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # the result is checked
        for channel in range(train.shape[1]):
            values = train[:, channel].astype(np.float64)
            mean = _twelve_digits(values.mean())
            # Asked of the values: rounding gives constants a deviation of 1e-17.
            spread = _twelve_digits(values.std()) if values.max() > values.min() else 1.0
            for inputs, out in zip((train, test), standardised, strict=True):
                out[:, channel] = (inputs[:, channel].astype(np.float64) - mean) / spread
    if not all(np.isfinite(part).all() for part in standardised):
        raise MdbenchError(f"{name}: inputs are too large, or too nearly constant, to be standardised in float32")
    return standardised


def _twelve_digits(number: np.float64) -> np.float64:
    """Round away the last bits, which differ from machine to machine with the order in which a sum is taken."""
    return np.float64(f"{number:.12g}")
