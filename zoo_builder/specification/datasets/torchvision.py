"""Data sets that torchvision reads."""

from pathlib import Path
from typing import Final

import numpy as np

from mdbench.errors import MdbenchError, reason
from zoo_builder.specification.datasets.raw import Part, Raw, checked_part, count_classes
from zoo_builder.specification.datasets.reach import import_package

IN_TORCHVISION: Final = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN"}


def read_torchvision(name: str, root: Path, *, download: bool) -> Raw:
    """Read a data set through torchvision, which checks its files against checksums of its own before it opens them."""
    make = getattr(import_package("torchvision.datasets", "vision"), IN_TORCHVISION[name])

    def part(split: str) -> Part:
        which = {"split": split} if name == "svhn" else {"train": split == "train"}
        try:
            read = make(root=str(root), download=download, **which)
        except Exception as error:
            raise MdbenchError(f"{name}: torchvision cannot read it from {root}: {reason(error)}") from error
        if name == "svhn":
            return checked_part(np.asarray(read.data), np.asarray(read.labels), f"{name}: {split}")
        return checked_part(np.asarray(read.data).transpose(0, 3, 1, 2), np.asarray(read.targets), f"{name}: {split}")

    train, test = part("train"), part("test")
    return Raw(train, test, count_classes(train.targets, name))
