"""Data sets: each source against files and values that the test makes itself; subsets against their definition."""

import gzip
import hashlib
import pickle
import random
import struct
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.io import savemat

from mdbench.errors import MdbenchError
from mdbench.paths import cache_home
from zoo_builder.specification.datasets import Dataset, DatasetSpec, load_dataset
from zoo_builder.specification.datasets.dataset import _downscale, _keep
from zoo_builder.specification.datasets.hub import _decode
from zoo_builder.specification.datasets.idx import read_idx_folder
from zoo_builder.specification.datasets.mnist1d import _draw, _keep_file, _read_kept
from zoo_builder.specification.datasets.raw import Part
from zoo_builder.specification.datasets.sources import DEBIAN_FASHION_MNIST

RNG = np.random.default_rng(0)
IMAGES = {
    "train": RNG.integers(0, 256, (30, 6, 6, 3), dtype=np.uint8),
    "test": RNG.integers(0, 256, (20, 6, 6, 3), dtype=np.uint8),
}
LABELS = {"train": np.arange(30) % 10, "test": np.arange(20) % 10}


def same(one: Dataset, other: Dataset) -> bool:
    return one.digest == other.digest


def standardised(images: np.ndarray) -> np.ndarray:
    """The training images of one channel, by the definition."""
    return (images - images.mean()) / images.std()


# The spec


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"name": "mnist"},
            "'mnist' is unknown; there are mnist1d, fashion_mnist, cifar10, cifar100, svhn, teacher, .*, files",
        ),
        ({"name": "hf:../../etc"}, "is unknown"),
        ({"name": "mnist1d", "size": 7}, "'size' means nothing for data set 'mnist1d'"),
        ({"name": "cifar10", "label_column": "x"}, "'label_column' means nothing"),
        ({"name": "hf:a/b", "folder": "x"}, "'folder' means nothing"),
        ({"name": "mnist1d", "train": 0}, "greater than 0"),
        ({"name": "mnist1d", "seed": -1}, "greater than or equal to 0"),
        ({"name": "mnist1d", "trian": 5}, "Extra inputs are not permitted"),
    ],
)
def test_a_spec_says_only_what_means_something(table, message):
    with pytest.raises(ValidationError, match=message):
        DatasetSpec(**table)


def test_importing_the_module_is_light():
    heavy = "{'torch', 'datasets', 'torchvision', 'pandas', 'mnist1d'}"
    code = f"import sys, zoo_builder.specification.datasets; sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# MNIST-1D

SMALL = {"train": 50, "test": 30}


@pytest.fixture
def mnist1d():
    return pytest.importorskip("mnist1d", reason="mnist1d is not installed: its data set was not drawn")


def test_mnist1d_has_the_shapes_and_the_standardisation_that_it_says(mnist1d):
    data = load_dataset(DatasetSpec(name="mnist1d", **SMALL))
    assert data.train_inputs.shape == (50, 1, 40)
    assert data.test_inputs.shape == (30, 1, 40)
    assert data.shape == (1, 40)
    assert data.outputs == 10
    assert data.train_inputs.dtype == data.test_inputs.dtype == np.float32
    assert data.train_targets.dtype == data.test_targets.dtype == np.int64
    assert np.bincount(data.train_targets).tolist() == [5] * 10
    assert data.train_inputs.mean() == pytest.approx(0, abs=1e-6)
    assert data.train_inputs.std() == pytest.approx(1, abs=1e-6)


def test_mnist1d_is_what_the_package_makes(mnist1d):
    """A classifier that learnt on our examples does as well on the package's own as one that learnt on its own."""
    neighbors = pytest.importorskip("sklearn.neighbors")
    ours = load_dataset(DatasetSpec(name="mnist1d", train=600, test=10))
    settings = mnist1d.get_dataset_args()
    settings.num_samples, settings.train_split, settings.seed = 1200, 0.5, 5
    state = np.random.get_state(), random.getstate()
    theirs = mnist1d.data.make_dataset(settings)
    np.random.set_state(state[0])
    random.setstate(state[1])

    def accuracy(inputs, labels):
        return neighbors.KNeighborsClassifier(1).fit(inputs, labels).score(theirs["x_test"], theirs["y_test"])

    assert theirs["x"].shape == (600, 40)
    learnt_here, learnt_there = (
        accuracy(ours.train_inputs[:, 0], ours.train_targets),
        accuracy(theirs["x"], theirs["y"]),
    )
    assert learnt_there > 0.2  # far above one in ten: the comparison says something
    assert learnt_here == pytest.approx(learnt_there, abs=0.08)


def test_mnist1d_draws_fewer_examples_as_the_first_of_more(mnist1d):
    more, fewer = _draw("train", 25, 3), _draw("train", 13, 3)
    np.testing.assert_array_equal(more[:13], fewer)


def test_mnist1d_training_and_test_examples_are_disjoint_and_seeds_differ(mnist1d):
    drawn = [_draw(split, 20, seed) for split in ("train", "test") for seed in (0, 1)]
    assert len(np.unique(np.concatenate(drawn), axis=0)) == 80


def test_mnist1d_leaves_the_global_generators_alone(mnist1d):
    np.random.seed(7)
    random.seed(7)
    expected = np.random.RandomState(7).rand(3), random.Random(7).random()
    load_dataset(DatasetSpec(name="mnist1d", **SMALL))
    np.testing.assert_array_equal(np.random.rand(3), expected[0])
    assert random.random() == expected[1]


def test_mnist1d_is_the_same_in_another_process_and_from_the_cache(mnist1d, monkeypatch):
    spec = DatasetSpec(name="mnist1d", **SMALL)
    code = "from zoo_builder.specification.datasets import *; print(load_dataset(DatasetSpec(name='mnist1d', train=50, test=30)).digest)"
    elsewhere = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300)
    kept = sorted(cache_home().rglob("*.npz"))
    assert len(kept) == 2
    with monkeypatch.context() as without_generator:
        without_generator.setattr("zoo_builder.specification.datasets.mnist1d._draw", None)
        from_cache = load_dataset(spec)
    for path in kept:
        path.unlink()
    assert elsewhere.stdout.strip() == from_cache.digest == load_dataset(spec).digest


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "shape", "text"])
def test_a_damaged_cache_file_is_made_anew(mnist1d, damage):
    spec = DatasetSpec(name="mnist1d", **SMALL)
    fresh = load_dataset(spec)
    (path,) = cache_home().rglob("*train*.npz")
    whole = path.read_bytes()
    if damage == "shape":
        np.savez(path, array=np.zeros((3, 1, 40), np.float32))
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        path.write_bytes({"flip": flipped, "cut": whole[:middle], "empty": b"", "text": b"hello"}[damage])
    assert same(load_dataset(spec), fresh)
    assert path.read_bytes() == whole


def test_whatever_bit_of_a_cache_file_flips_it_is_whole_or_not_there(tmp_path):
    path, array = tmp_path / "kept.npz", np.arange(8, dtype=np.float32).reshape(2, 1, 4)
    _keep_file(path, array)
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
            found = _read_kept(path, array.shape)
            assert found is None or np.array_equal(found, array)


def test_a_cache_that_cannot_be_written_is_done_without(mnist1d, home):
    home.parent.mkdir(exist_ok=True)
    home.write_text("in the way")
    assert len(load_dataset(DatasetSpec(name="mnist1d", **SMALL)).train_targets) == 50


def test_mnist1d_that_is_not_installed_names_the_extra(monkeypatch):
    def absent(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("zoo_builder.specification.datasets.mnist1d.version", absent)
    with pytest.raises(MdbenchError, match=r"mnist1d is not installed: pip install -e '.\[zoo\]'"):
        load_dataset(DatasetSpec(name="mnist1d"))


# IDX files


def idx(values: np.ndarray) -> bytes:
    """An IDX file, by the format's description."""
    return b"\x00\x00\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.fixture
def idx_folder(tmp_path):
    folder = tmp_path / "idx"
    folder.mkdir()
    for split, prefix in (("train", "train"), ("test", "t10k")):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(IMAGES[split][..., 0]))
        labels = idx(LABELS[split].astype(np.uint8))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return folder


def rows(data: Dataset, split: str) -> set[tuple]:
    """Examples without their order, to a precision that does not ask for the order of a sum."""
    inputs, labels = getattr(data, f"{split}_inputs"), getattr(data, f"{split}_targets")
    return {
        (label, *np.round(image.ravel().astype(float), 4)) for image, label in zip(inputs, labels.tolist(), strict=True)
    }


def test_idx_files_are_read_plain_and_compressed(idx_folder):
    data = load_dataset(DatasetSpec(name="fashion_mnist", folder=str(idx_folder)))
    grey = {split: images[..., 0].astype(float) for split, images in IMAGES.items()}
    assert data.shape == (1, 6, 6)
    assert data.outputs == 10
    mean, deviation = grey["train"].mean(), grey["train"].std()
    for split, images in grey.items():
        wanted = {
            (label, *np.round(((image - mean) / deviation).ravel(), 4))
            for image, label in zip(images, LABELS[split].tolist(), strict=True)
        }
        assert len(rows(data, split) & wanted) >= len(wanted) - 1  # one may round the other way


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with 0x$"),
        (b"\x00\x00\x0d\x03" + b"\x00" * 20, "not an IDX file of bytes in 3 dimensions: it begins with 0x00000d03"),
        (idx(np.zeros((2, 3), np.uint8)), "begins with 0x00000802"),
        (idx(IMAGES["train"][..., 0])[:10], "ends within its header"),
        (idx(IMAGES["train"][..., 0])[:-1], r"header says 30 × 6 × 6 bytes, but there are only 1079"),
        (idx(IMAGES["train"][..., 0]) + b"x", "but there are more"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "more than 2 GiB"),
        (idx(np.zeros((0, 6, 6), np.uint8)), "there are none"),
        (idx(IMAGES["train"][:29, ..., 0]), r"29 inputs and labels of shape \(30,\)"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_idx_file_that_is_not_one_says_why(idx_folder, content, message, suffix):
    path = idx_folder / "train-images-idx3-ubyte"
    path.unlink()
    path.with_name(path.name + suffix).write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(MdbenchError, match=message):
        load_dataset(DatasetSpec(name="fashion_mnist", folder=str(idx_folder)))


@pytest.mark.parametrize(
    "content",
    [b"not compressed", gzip.compress(bytes(1000), mtime=0)[:-9], b"\x1f\x8b\x08" + bytes(30)],
    ids=["not compressed", "cut short", "header alone"],
)
def test_a_damaged_gzip_file_cannot_be_read(idx_folder, content):
    (idx_folder / "train-labels-idx1-ubyte.gz").write_bytes(content)
    with pytest.raises(MdbenchError, match=r"train-labels-idx1-ubyte\.gz (cannot be read|is not an IDX file)"):
        load_dataset(DatasetSpec(name="fashion_mnist", folder=str(idx_folder)))


def test_a_missing_idx_file_is_named(idx_folder):
    (idx_folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(MdbenchError, match=r"neither t10k-labels-idx1-ubyte nor t10k-labels-idx1-ubyte\.gz"):
        load_dataset(DatasetSpec(name="fashion_mnist", folder=str(idx_folder)))


@pytest.mark.skipif(not DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's Fashion-MNIST is not installed: not read")
def test_debians_fashion_mnist_is_the_published_one():
    raw = read_idx_folder(DEBIAN_FASHION_MNIST)
    assert raw.train.inputs.shape == (60000, 1, 28, 28)
    assert raw.test.inputs.shape == (10000, 1, 28, 28)
    assert np.bincount(raw.train.targets).tolist() == [6000] * 10
    assert np.bincount(raw.test.targets).tolist() == [1000] * 10
    assert raw.train.targets[:8].tolist() == [9, 0, 0, 3, 0, 2, 7, 2]
    # The published mean and standard deviation of the training set's pixels.
    assert raw.train.inputs.mean() / 255 == pytest.approx(0.2860, abs=5e-5)
    assert raw.train.inputs.std() / 255 == pytest.approx(0.3530, abs=5e-5)


# The hub


@pytest.fixture
def hub(monkeypatch):
    """A hub whose only data set is the test's own."""
    library = pytest.importorskip("datasets", reason="datasets is not installed: nothing was read in the hub's format")
    pytest.importorskip("PIL", reason="Pillow is not installed: no images were read in the hub's format")

    def put(
        images=IMAGES, labels=LABELS, *, columns=("image", "label"), extra=None, classes=10, label_type=None, error=None
    ):
        calls = []

        def load_dataset(repository, *, name, revision, split, trust_remote_code):
            calls.append((repository, name, revision, split, trust_remote_code))
            if error:
                raise error
            content = {columns[0]: list(images[split]), columns[1]: labels[split].tolist()}
            types = {columns[0]: library.Image(), columns[1]: label_type or library.ClassLabel(num_classes=classes)}
            if extra:
                content[extra], types[extra] = [0] * len(images[split]), library.ClassLabel(num_classes=2)
            return library.Dataset.from_dict(content, features=library.Features(types))

        monkeypatch.setattr(library, "load_dataset", load_dataset)
        return calls

    put.library = library
    return put


def test_the_hubs_images_are_read(hub):
    calls = hub()
    data = load_dataset(DatasetSpec(name="hf:org/name", config="c", revision="r"))
    assert calls == [("org/name", "c", "r", "train", False), ("org/name", "c", "r", "test", False)]
    assert data.shape == (3, 6, 6)
    assert data.outputs == 10
    train = IMAGES["train"].astype(float)
    mean, deviation = train.mean(axis=(0, 1, 2)), train.std(axis=(0, 1, 2))
    for split, found in (("train", data.train_inputs), ("test", data.test_inputs)):
        np.testing.assert_allclose(found, ((IMAGES[split] - mean) / deviation).transpose(0, 3, 1, 2), atol=1e-5)
    np.testing.assert_array_equal(data.train_targets, LABELS["train"])


def test_the_library_itself_takes_what_it_is_asked(tmp_path, monkeypatch):
    """A folder of Parquet files as the hub has them, which the library reads in place of a repository of its name."""
    library = pytest.importorskip("datasets", reason="datasets is not installed: nothing was read in the hub's format")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    types = library.Features({"image": library.Image(), "label": library.ClassLabel(num_classes=10)})
    (tmp_path / "org" / "name").mkdir(parents=True)
    for split in ("train", "test"):
        content = {"image": list(IMAGES[split]), "label": LABELS[split].tolist()}
        table = library.Dataset.from_dict(content, features=types)
        table.to_parquet(tmp_path / "org" / "name" / f"{split}-00000-of-00001.parquet")
    data = load_dataset(DatasetSpec(name="hf:org/name"))
    assert data.outputs == 10
    for channel in range(3):
        np.testing.assert_allclose(
            data.train_inputs[:, channel], standardised(IMAGES["train"][..., channel]), atol=1e-5
        )


def test_greyscale_images_have_one_channel(hub):
    hub({split: images[..., 0] for split, images in IMAGES.items()})
    data = load_dataset(DatasetSpec(name="hf:org/name"))
    np.testing.assert_allclose(data.train_inputs[:, 0], standardised(IMAGES["train"][..., 0]), atol=1e-5)


def test_classes_without_examples_count_where_the_hub_names_them(hub):
    hub(classes=12)
    assert load_dataset(DatasetSpec(name="hf:org/name")).outputs == 12


def test_columns_can_be_named(hub):
    hub(columns=("img", "digit"), label_type=hub.library.Value("int64"), extra="parity")
    data = load_dataset(DatasetSpec(name="hf:org/name", label_column="digit", image_column="img"))
    assert data.outputs == 10
    np.testing.assert_array_equal(data.test_targets, LABELS["test"])


def test_the_test_split_can_be_named(hub):
    renamed = [{"train": of["train"], "valid": of["test"]} for of in (IMAGES, LABELS)]
    calls = hub(*renamed)
    data = load_dataset(DatasetSpec(name="hf:org/name", test_split="valid"))
    assert [call[3] for call in calls] == ["train", "valid"]
    assert len(data.test_targets) == 20


def mixed(images, **changed):
    return images | changed


@pytest.mark.parametrize(
    ("put", "spec", "message"),
    [
        (
            {"extra": "coarse"},
            {},
            "2 columns are of type ClassLabel; say which to use: label_column is one of label, coarse",
        ),
        ({}, {"label_column": "digit"}, "there is no column 'digit'; label_column is one of image, label"),
        ({}, {"image_column": "label"}, "image 0 has mode None"),
        ({"images": mixed(IMAGES, train=[np.zeros((6, 6, 4), np.uint8)] * 30)}, {}, "image 0 has mode RGBA"),
        (
            {"images": mixed(IMAGES, train=[*IMAGES["train"][:29], np.zeros((6, 5, 3), np.uint8)])},
            {},
            "image 29 is 3 × 6 × 5, image 0 3 × 6 × 6; images must have one size",
        ),
        (
            {"images": mixed(IMAGES, test=IMAGES["test"][..., 0])},
            {},
            "a training input is 3 × 6 × 6, a test input 1 × 6 × 6; they must have one shape",
        ),
        (
            {"images": mixed(IMAGES, test=[]), "labels": mixed(LABELS, test=np.array([], int))},
            {},
            "there are no images",
        ),
        ({"labels": mixed(LABELS, test=np.full(20, -1))}, {}, "there is a label -1; labels count from 0"),
        (
            {"error": FileNotFoundError("no such data set")},
            {},
            "cannot be read from the Hugging Face hub: no such data set",
        ),
        (
            {"error": ConnectionError("Couldn't reach it")},
            {},
            r"cannot be fetched from the Hugging Face hub \(Couldn't reach",
        ),
    ],
)
def test_what_is_wrong_with_a_hub_data_set_is_said(hub, put, spec, message):
    hub(**put)
    with pytest.raises(MdbenchError, match=message):
        load_dataset(DatasetSpec(name="hf:org/name", **spec))


def test_an_image_that_is_none_is_refused(hub):
    library = hub.library
    table = library.Dataset.from_dict(
        {"image": [{"bytes": b"not an image", "path": None}], "label": [0]},
        features=library.Features({"image": library.Image(), "label": library.ClassLabel(num_classes=2)}),
    )
    with pytest.raises(MdbenchError, match="here: an image cannot be read"):
        _decode(table["image"], "here")


@pytest.mark.parametrize(
    ("name", "repository", "config", "columns"),
    [
        ("fashion_mnist", "zalando-datasets/fashion_mnist", None, ("image", "label")),
        ("cifar10", "uoft-cs/cifar10", None, ("img", "label")),
        ("cifar100", "uoft-cs/cifar100", None, ("img", "fine_label")),
        ("svhn", "ufldl-stanford/svhn", "cropped_digits", ("image", "label")),
    ],
)
def test_known_data_sets_come_from_the_hub(hub, monkeypatch, tmp_path, name, repository, config, columns):
    monkeypatch.setattr("zoo_builder.specification.datasets.sources.DEBIAN_FASHION_MNIST", tmp_path / "nothing")
    calls = hub(columns=columns, extra="coarse_label" if name == "cifar100" else None)
    assert load_dataset(DatasetSpec(name=name)).shape == (3, 6, 6)
    assert calls[0] == (repository, config, None, "train", False)


def test_the_order_of_a_known_data_set_is_its_own(hub):
    hub()
    one = load_dataset(DatasetSpec(name="cifar10"))
    backwards = [{split: values[::-1] for split, values in of.items()} for of in (IMAGES, LABELS)]
    hub(*backwards)
    assert same(load_dataset(DatasetSpec(name="cifar10")), one)
    hub()
    assert rows(load_dataset(DatasetSpec(name="hf:org/name")), "test") == rows(one, "test")


def test_fashion_mnist_out_of_reach_says_where_to_get_it(hub, monkeypatch, tmp_path):
    monkeypatch.setattr("zoo_builder.specification.datasets.sources.DEBIAN_FASHION_MNIST", tmp_path / "nothing")
    hub(error=ConnectionError("no network"))
    with pytest.raises(MdbenchError, match=r"no network.*package dataset-fashion-mnist, or give the folder"):
        load_dataset(DatasetSpec(name="fashion_mnist"))


# torchvision


@pytest.fixture
def torchvision(monkeypatch):
    """A torchvision of the shapes that the real one has: CIFAR (n, height, width, 3) and lists, SVHN (n, 3, height, width)."""
    calls = []

    def cifar(root, *, train, download):
        calls.append((root, download))
        split = "train" if train else "test"
        return SimpleNamespace(data=IMAGES[split], targets=LABELS[split].tolist())

    def svhn(root, *, split, download):
        calls.append((root, download))
        return SimpleNamespace(data=IMAGES[split].transpose(0, 3, 1, 2), labels=LABELS[split])

    def damaged(root, *, train, download):
        raise RuntimeError("Dataset not found or corrupted.\nYou can use download=True")

    module = SimpleNamespace(CIFAR10=cifar, CIFAR100=damaged, SVHN=svhn)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=module))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    return calls


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_torchvision_and_the_hub_give_the_same(hub, torchvision, name):
    hub()
    from_hub = load_dataset(DatasetSpec(name=name, train=17))
    assert not torchvision
    assert same(load_dataset(DatasetSpec(name=name, train=17, folder="here")), from_hub)
    assert torchvision == [("here", False)] * 2


def test_torchvision_downloads_where_the_hub_is_out_of_reach(hub, torchvision):
    hub(error=ConnectionError("no network"))
    assert load_dataset(DatasetSpec(name="cifar10")).shape == (3, 6, 6)
    assert torchvision == [(str(cache_home() / "datasets" / "torchvision"), True)] * 2


def test_what_torchvision_cannot_read_is_said(torchvision):
    with pytest.raises(
        MdbenchError, match=r"cifar100: torchvision cannot read it from there: Dataset not found or corrupted\.$"
    ):
        load_dataset(DatasetSpec(name="cifar100", folder="there"))


def written(path: Path, content: bytes) -> str:
    """Write a file, and return the checksum by which torchvision knows it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.md5(content).hexdigest()


def write_cifar(kind: type, folder: Path, images: np.ndarray, labels: np.ndarray, *, train: int, monkeypatch) -> None:
    """Write images as CIFAR's authors publish theirs: batches, each a dictionary of rows and labels; the first ones train."""
    key = "fine_labels" if kind.__name__ == "CIFAR100" else "labels"
    cuts = [0, train // 3, train, len(images)]
    batches = []
    for number, (start, stop) in enumerate(pairwise(cuts)):
        batch = {"data": images[start:stop].reshape(stop - start, -1), key: labels[start:stop].tolist()}
        batches.append([f"batch-{number}", written(folder / kind.base_folder / f"batch-{number}", pickle.dumps(batch))])
    names = pickle.dumps({kind.meta["key"]: [str(label) for label in range(10)]})
    meta = kind.meta | {"md5": written(folder / kind.base_folder / kind.meta["filename"], names)}
    for attribute, value in (("train_list", batches[:2]), ("test_list", batches[2:]), ("meta", meta)):
        monkeypatch.setattr(kind, attribute, value)


def write_svhn(kind: type, folder: Path, images: np.ndarray, labels: np.ndarray, *, train: int, monkeypatch) -> None:
    """Write images as SVHN's authors publish theirs: a MATLAB file a split, in which the digit 0 has the label 10."""
    files = {}
    for split, part in (("train", slice(train)), ("test", slice(train, None))):
        matrix = BytesIO()
        digits = np.where(labels[part] == 0, 10, labels[part]).astype(np.uint8)
        savemat(matrix, {"X": images[part].transpose(2, 3, 1, 0), "y": digits[:, None]})
        name = f"{split}_32x32.mat"
        files[split] = ["http://127.0.0.1:9", name, written(folder / name, matrix.getvalue())]
    monkeypatch.setattr(kind, "split_list", files)


@pytest.mark.parametrize(
    ("name", "kind", "write"),
    [("cifar10", "CIFAR10", write_cifar), ("cifar100", "CIFAR100", write_cifar), ("svhn", "SVHN", write_svhn)],
)
def test_the_real_torchvision_reads_the_files_of_the_data_set(name, kind, write, tmp_path, monkeypatch):
    library = pytest.importorskip(
        "torchvision.datasets", reason="torchvision is not installed: its own readers were not tried"
    )
    images = RNG.integers(0, 256, (30, 3, 32, 32), dtype=np.uint8)
    labels = np.concatenate([RNG.permutation(np.arange(20) % 10), RNG.permutation(10)])
    folder = tmp_path / "files"
    write(getattr(library, kind), folder, images, labels, train=20, monkeypatch=monkeypatch)
    parts = {
        "train_inputs": images[:20],
        "train_labels": labels[:20],
        "test_inputs": images[20:],
        "test_labels": labels[20:],
    }
    np.savez(tmp_path / "mine.npz", **parts)
    read, expected = load_dataset(DatasetSpec(name=name, folder=str(folder))), mine(tmp_path)

    def examples(split: str, data: Dataset) -> list[tuple[bytes, int]]:
        """The examples in an order of the test's own; the data set has one of its own too."""
        inputs, said = getattr(data, f"{split}_inputs"), getattr(data, f"{split}_targets")
        return sorted((image.tobytes(), int(label)) for image, label in zip(inputs, said, strict=True))

    assert (read.shape, read.outputs) == ((3, 32, 32), 10)
    assert all(examples(split, read) == examples(split, expected) for split in ("train", "test"))
    damaged = max(folder.rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(
        MdbenchError, match=f"{name}: torchvision cannot read it from {folder}: .*not found or corrupted"
    ):
        load_dataset(DatasetSpec(name=name, folder=str(folder)))


def test_without_hub_and_torchvision_the_ways_out_are_said(hub, monkeypatch):
    hub(error=ConnectionError("no network"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MdbenchError, match=r"no network.*pip install -e '.\[vision\]'.*give the folder"):
        load_dataset(DatasetSpec(name="cifar10"))


def test_without_the_package_datasets_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MdbenchError, match=r"datasets cannot be imported .*: pip install -e '.\[zoo\]'"):
        load_dataset(DatasetSpec(name="hf:org/name"))


# Files of one's own


@pytest.fixture
def npz(tmp_path):
    def write(**changed):
        arrays = {
            "train_inputs": RNG.normal(3, 2, (12, 5)),
            "train_labels": np.arange(12) % 3,
            "test_inputs": RNG.normal(3, 2, (6, 5)),
            "test_labels": np.arange(6) % 3,
        }
        arrays = {name: array for name, array in (arrays | changed).items() if array is not None}
        np.savez(tmp_path / "mine.npz", **arrays)
        return arrays

    return write


def mine(tmp_path, **fields) -> Dataset:
    return load_dataset(DatasetSpec(name="mine.npz", folder=str(tmp_path), **fields))


def test_features_are_standardised_one_by_one(npz, tmp_path):
    arrays = npz()
    data = mine(tmp_path)
    mean, deviation = arrays["train_inputs"].mean(axis=0), arrays["train_inputs"].std(axis=0)
    np.testing.assert_allclose(data.train_inputs, (arrays["train_inputs"] - mean) / deviation, atol=1e-6)
    np.testing.assert_allclose(data.test_inputs, (arrays["test_inputs"] - mean) / deviation, atol=1e-6)
    assert data.shape == (5,)
    assert data.outputs == 3
    assert same(load_dataset(DatasetSpec(name=str(tmp_path / "mine.npz"))), data)


@pytest.mark.parametrize("offset", [0.1, 1e9])
def test_a_constant_channel_is_divided_by_one_and_a_large_mean_does_no_harm(npz, tmp_path, offset):
    inputs = RNG.normal(size=(12, 2, 4)) + offset
    inputs[:, 1] = offset
    npz(train_inputs=inputs, test_inputs=inputs[:6] + 1)
    data = mine(tmp_path)
    assert abs(data.train_inputs[:, 0].mean()) < 1e-2
    np.testing.assert_allclose(data.train_inputs[:, 1], 0, atol=1e-7)
    np.testing.assert_allclose(data.test_inputs[:, 1], 1, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test_labels": None}, "array 'test_labels' is missing; all of train_inputs, train_labels"),
        ({"train_inputs": np.array([{}] * 12, dtype=object)}, "cannot be read: Object arrays"),
        ({"test_inputs": np.zeros((6, 5), np.int64)}, "test: inputs are int64; they must be uint8 or float"),
        ({"train_inputs": np.zeros((12, 5), np.int64)}, "test: inputs are float64; token ids, as in the other part"),
        ({"train_inputs": np.zeros(12)}, "inputs have 1 dimensions"),
        ({"train_inputs": np.zeros((12, 1, 2, 2, 2))}, "inputs have 5 dimensions"),
        ({"test_inputs": np.zeros((6, 0))}, "test: inputs are 6 × 0: there are none"),
        ({"test_inputs": np.zeros((6, 4))}, "a training input is 5, a test input 4"),
        ({"train_inputs": np.full((12, 5), np.nan)}, "train: inputs are not all finite"),
        ({"test_inputs": np.full((6, 5), np.inf)}, "test: inputs are not all finite"),
        ({"test_inputs": np.full((6, 5), 1e300)}, "too large"),
        ({"train_labels": np.zeros(12)}, "labels are float64; they must be integers"),
        ({"train_labels": np.zeros(12, bool)}, "labels are bool"),
        ({"train_labels": np.arange(11) % 3}, r"12 inputs and labels of shape \(11,\)"),
        ({"train_labels": np.zeros((12, 1), int)}, r"12 inputs and labels of shape \(12, 1\)"),
        ({"train_labels": np.arange(12) - 1}, "there is a label -1"),
        ({"train_labels": np.full(12, 2**64 - 1, np.uint64)}, "there is a label -1"),
        ({"train_labels": np.arange(12) * 2}, "there is a label 22 and no label 1; number the classes 0, 1, 2"),
        ({"train_labels": np.zeros(12, int), "test_labels": np.zeros(6, int)}, "there is only one class"),
        ({"test_labels": np.arange(6)}, "test label 5 is not one of the 3 classes"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(npz, tmp_path, changed, message):
    npz(**changed)
    with pytest.raises(MdbenchError, match=message):
        mine(tmp_path)


def test_files_that_are_no_npz(tmp_path):
    path = tmp_path / "mine.npz"
    with pytest.raises(MdbenchError, match=r"mine\.npz is not there"):
        mine(tmp_path)
    for content in (b"", b"hello", b"\x93NUMPY", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(MdbenchError, match=r"mine\.npz is not an \.npz file"):
            mine(tmp_path)


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_an_error_or_changes_nothing(tmp_path_factory, position, bit):
    folder = tmp_path_factory.mktemp("flip")
    inputs, labels = np.arange(20, dtype=np.uint8).reshape(5, 4), np.array([0, 1, 0, 1, 0])
    np.savez(folder / "mine.npz", train_inputs=inputs, train_labels=labels, test_inputs=inputs, test_labels=labels)
    whole = mine(folder).digest
    content = bytearray((folder / "mine.npz").read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    (folder / "mine.npz").write_bytes(content)
    with suppress(MdbenchError):
        assert mine(folder).digest == whole


# Fewer examples, smaller images


def test_fewer_examples_are_chosen_without_repetition_and_nested(npz, tmp_path):
    arrays = npz(train_inputs=np.arange(12.0)[:, None], test_inputs=np.arange(6.0)[:, None])
    everything = mine(tmp_path)
    order = arrays["train_inputs"][:, 0]
    assert same(mine(tmp_path, train=12, test=6), everything)
    assert not same(mine(tmp_path, train=6, seed=1), mine(tmp_path, train=6, seed=2))
    before = set()
    for amount in range(1, 13):
        labels = _keep(Part(order, np.arange(12)), amount, 0, "here").targets.tolist()
        assert len(labels) == amount
        assert labels == sorted(set(labels))
        assert before <= set(labels)
        before = set(labels)


def test_the_statistics_are_those_of_the_examples_that_are_kept(npz, tmp_path):
    npz()
    data = mine(tmp_path, train=7)
    assert len(data.train_targets) == 7
    assert data.outputs == 3
    np.testing.assert_allclose(data.train_inputs.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(data.train_inputs.std(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("split", ["train", "test"])
def test_more_examples_than_there_are_is_an_error(npz, tmp_path, split):
    npz()
    with pytest.raises(MdbenchError, match=rf"mine\.npz: {split} = 13 is more than the (12|6) examples"):
        mine(tmp_path, **{split: 13})


def test_images_are_scaled_down_by_averaging_areas():
    torch = pytest.importorskip("torch", reason="torch is not installed: scaling was not compared with it")
    images = RNG.integers(0, 256, (4, 3, 12, 18), dtype=np.uint8)
    for size in (6, 3, 2, 1):
        reference = torch.nn.functional.interpolate(torch.from_numpy(images).double(), (size, size), mode="area")
        np.testing.assert_allclose(_downscale(images, size, ""), reference.numpy(), rtol=1e-6)


@given(old=st.integers(1, 12), new=st.integers(1, 12))
def test_where_areas_do_not_divide_pixels_count_with_their_shares(old, new):
    if new > old:
        old, new = new, old
    image = RNG.integers(0, 256, (1, 1, old, old), dtype=np.uint8)
    # Each pixel repeated `new` times, so that a new pixel is a block of old × old whole ones.
    fine = image.repeat(new, axis=2).repeat(new, axis=3).reshape(new, old, new, old)
    np.testing.assert_allclose(_downscale(image, new, "")[0, 0], fine.mean(axis=(1, 3)), rtol=1e-6)


def test_statistics_are_taken_after_scaling(npz, tmp_path):
    images = RNG.integers(0, 256, (12, 1, 4, 4), dtype=np.uint8)
    npz(train_inputs=images, test_inputs=images[:6])
    data = mine(tmp_path, size=2)
    blocks = images.reshape(12, 2, 2, 2, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(data.train_inputs[:, 0], standardised(blocks), atol=1e-6)


def test_sizes_that_cannot_be(npz, tmp_path):
    npz()
    with pytest.raises(MdbenchError, match="size is for images; these inputs are 5"):
        mine(tmp_path, size=2)
    npz(train_inputs=np.zeros((12, 1, 4, 3)), test_inputs=np.zeros((6, 1, 4, 3)))
    with pytest.raises(MdbenchError, match="size = 4 is larger than the images, which are 4 × 3"):
        mine(tmp_path, size=4)


def test_the_digest_is_of_what_the_arrays_say():
    def make(**changed):
        arrays = {"train_inputs": np.zeros((2, 3), np.float32), "train_targets": np.array([0, 1])}
        arrays |= {"test_inputs": np.zeros((1, 3), np.float32), "test_targets": np.array([0]), "outputs": 2}
        return Dataset("x", **(arrays | changed))

    assert make().digest == make().digest
    assert make(train_targets=np.array([0, 1], ">i8")).digest == make().digest
    changes = [
        {"train_inputs": np.ones((2, 3), np.float32)},
        {"train_inputs": np.zeros((2, 3, 1), np.float32)},
        {"train_targets": np.array([1, 0])},
        {"test_targets": np.array([1])},
        {"outputs": 3},
    ]
    assert len({make(**changed).digest for changed in [{}, *changes]}) == 6
