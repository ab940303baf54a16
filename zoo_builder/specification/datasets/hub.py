"""Image data sets on the Hugging Face hub."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mdbench.errors import MdbenchError, reason
from zoo_builder.specification.datasets.raw import Part, Raw, checked_part, count_classes, times
from zoo_builder.specification.datasets.reach import OutOfReachError, import_package


@dataclass(frozen=True)
class Hub:
    """An image data set on the Hugging Face hub. Columns are found by their types where they are not named."""

    repository: str
    config: str | None = None
    revision: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    test_split: str = "test"


ON_HUB: Final = {
    "fashion_mnist": Hub("zalando-datasets/fashion_mnist"),
    "cifar10": Hub("uoft-cs/cifar10"),
    "cifar100": Hub("uoft-cs/cifar100", label_column="fine_label"),
    "svhn": Hub("ufldl-stanford/svhn", config="cropped_digits"),
}


def read_hub(source: Hub) -> Raw:
    """Read the training and the test split of an image data set. Data alone: code that comes with it is never run."""
    library = import_package("datasets", "zoo")
    where = source.repository
    train = _load_split(library, source, "train")
    test = _load_split(library, source, source.test_split)
    image_column = _column(train, library.Image, source.image_column, "image_column", where)
    label_column = _column(train, library.ClassLabel, source.label_column, "label_column", where)

    def part(table: Any, split: str) -> Part:
        labels = np.asarray(table[label_column][:])
        return checked_part(_decode(table[image_column], f"{where}: {split}"), labels, f"{where}: {split}")

    parts = part(train, "train"), part(test, source.test_split)
    kind = train.features[label_column]
    known = isinstance(kind, library.ClassLabel)
    return Raw(*parts, kind.num_classes if known else count_classes(parts[0].targets, f"{where}: train"))


def _load_split(library: ModuleType, source: Hub, split: str) -> Any:
    try:
        return library.load_dataset(
            source.repository, name=source.config, revision=source.revision, split=split, trust_remote_code=False
        )
    except ConnectionError as error:
        raise OutOfReachError(
            f"{source.repository} cannot be fetched from the Hugging Face hub ({reason(error)}); "
            "fetch it where the network reaches the hub"
        ) from error
    except Exception as error:
        raise MdbenchError(
            f"{source.repository}: split {split!r} cannot be read from the Hugging Face hub: {reason(error)}; "
            "check name, config, revision and test_split, and `hf auth login` where it is not public"
        ) from error


def _column(table: Any, kind: type, asked: str | None, field: str, where: str) -> str:
    """Return the column that was asked for, or the only one of a kind."""
    columns: list[str] = list(table.column_names)
    if asked is not None:
        if asked not in columns:
            raise MdbenchError(f"{where}: there is no column {asked!r}; {field} is one of {', '.join(columns)}")
        return asked
    found = [column for column in columns if isinstance(table.features[column], kind)]
    if len(found) != 1:
        raise MdbenchError(
            f"{where}: {len(found)} columns are of type {kind.__name__}; say which to use: {field} is one of "
            f"{', '.join(found or columns)}"
        )
    return found[0]


def _decode(images: Any, where: str) -> NDArray[np.uint8]:
    """Return Pillow images as (n, channels, height, width)."""
    try:
        pixels = [_pixels(image, f"{where}: image {number}") for number, image in enumerate(images)]
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises
        raise MdbenchError(f"{where}: an image cannot be read: {reason(error)}") from error
    if not pixels:
        raise MdbenchError(f"{where}: there are no images")
    for number, array in enumerate(pixels):
        if array.shape != pixels[0].shape:
            raise MdbenchError(
                f"{where}: image {number} is {times(array.shape)}, image 0 {times(pixels[0].shape)}; "
                "images must have one size, and all be greyscale or all be RGB"
            )
    return np.stack(pixels)


def _pixels(image: Any, where: str) -> NDArray[np.uint8]:
    """Return a Pillow image as (channels, height, width)."""
    mode = getattr(image, "mode", None)
    if mode not in ("L", "RGB"):
        raise MdbenchError(f"{where} has mode {mode}; images must be greyscale (L) or RGB")
    array: NDArray[np.uint8] = np.asarray(image)
    return array[None] if mode == "L" else array.transpose(2, 0, 1)
