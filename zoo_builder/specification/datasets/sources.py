"""Where the data set that a spec describes is read, and where else if that is out of reach."""

import hashlib
from pathlib import Path
from typing import Final

from mdbench.errors import MdbenchError
from mdbench.paths import cache_home
from zoo_builder.specification.datasets.generated import GENERATED, generate
from zoo_builder.specification.datasets.generator import read_generated
from zoo_builder.specification.datasets.hub import ON_HUB, Hub, read_hub
from zoo_builder.specification.datasets.idx import read_idx_folder
from zoo_builder.specification.datasets.mnist1d import generate_mnist1d
from zoo_builder.specification.datasets.npz import read_npz
from zoo_builder.specification.datasets.raw import Part, Raw
from zoo_builder.specification.datasets.reach import OutOfReachError
from zoo_builder.specification.datasets.spec import HUB_FIELDS, DatasetSpec
from zoo_builder.specification.datasets.torchvision import IN_TORCHVISION, read_torchvision

#: Where Debian's package dataset-fashion-mnist puts its files.
DEBIAN_FASHION_MNIST: Final = Path("/usr/share/datasets/fashion-mnist")


def read(spec: DatasetSpec) -> Raw:
    """Read, or generate, the data set that a spec describes: see `load_dataset`, which is made of it."""
    folder = None if spec.folder is None else Path(spec.folder).expanduser()
    if spec.own:
        return read_generated(spec)
    if spec.name == "mnist1d":
        return generate_mnist1d(spec)
    if spec.name in GENERATED:
        return generate(spec.name, spec.train, spec.test, spec.seed, spec.options)
    if spec.name == "fashion_mnist":
        return _in_own_order(_read_fashion_mnist(folder))
    if spec.name in IN_TORCHVISION:
        return _in_own_order(_read_known(spec.name, folder))
    if spec.name.endswith(".npz"):
        return read_npz((folder or Path()) / Path(spec.name).expanduser())
    fields = {field: getattr(spec, field) for field in HUB_FIELDS}
    return read_hub(Hub(spec.name.removeprefix("hf:"), **fields))


def _read_fashion_mnist(folder: Path | None) -> Raw:
    if folder is not None or DEBIAN_FASHION_MNIST.is_dir():
        return read_idx_folder(folder or DEBIAN_FASHION_MNIST)
    try:
        return read_hub(ON_HUB["fashion_mnist"])
    except OutOfReachError as error:
        raise MdbenchError(
            f"{error}; or install Debian's package dataset-fashion-mnist, or give the folder of the IDX files"
        ) from error


def _read_known(name: str, folder: Path | None) -> Raw:
    if folder is not None:
        return read_torchvision(name, folder, download=False)
    try:
        return read_hub(ON_HUB[name])
    except OutOfReachError as hub:
        try:
            return read_torchvision(name, cache_home() / "datasets" / "torchvision", download=True)
        except OutOfReachError as torchvision:
            raise MdbenchError(
                f"{name}: {hub}; {torchvision}, and give the folder that its files are in where they cannot be downloaded"
            ) from torchvision


def _in_own_order(raw: Raw) -> Raw:
    """Put examples in an order that their content decides: the hub's and torchvision's differ."""

    def ordered(part: Part) -> Part:
        keys = [(hashlib.sha256(image.tobytes()).digest(), label) for image, label in zip(*part, strict=True)]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return Part(part.inputs[order], part.targets[order])

    return Raw(ordered(raw.train), ordered(raw.test), raw.outputs)
