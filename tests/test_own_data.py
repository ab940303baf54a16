"""Data of one's own: arrays of every kind, from files and from functions, and code that is run for those who trust it."""

import hashlib

import numpy as np
import pytest

from mdbench.errors import MdbenchError
from zoo_builder.specification.datasets import DatasetSpec, load_dataset

RNG = np.random.default_rng(0)


def saved(folder, **arrays):
    np.savez(folder / "own.npz", **arrays)
    return load_dataset(DatasetSpec(name="own.npz", folder=str(folder)))


def both(inputs, answers=None, what="labels"):
    """Arrays whose test part is the first half of the training part."""
    arrays = {"train_inputs": inputs, "test_inputs": inputs[: len(inputs) // 2]}
    if answers is not None:
        arrays |= {f"train_{what}": answers, f"test_{what}": answers[: len(answers) // 2]}
    return arrays


IMAGES, SIGNALS, VECTORS = RNG.normal(size=(8, 2, 3, 4)), RNG.normal(size=(8, 2, 5)), RNG.normal(size=(8, 3))
IDS = RNG.integers(0, 7, (8, 6)).astype(np.int32)
IDS[0, 0] = 6
NEXT = np.where(np.arange(6) < 5, np.roll(IDS, -1, axis=1), -1)


def test_float_targets_are_values(tmp_path):
    targets = RNG.normal(size=(8, 2))
    data = saved(tmp_path, **both(VECTORS, targets, "targets"))
    assert (data.kind, data.outputs, data.vocabulary, data.baseline) == ("values", 2, 0, "mean")
    assert data.train_targets.dtype == np.float32
    np.testing.assert_allclose(data.train_targets, targets, rtol=1e-6)
    np.testing.assert_allclose(data.middle, targets.mean(0), rtol=1e-5)
    np.testing.assert_allclose(data.train_inputs.mean(0), 0, atol=1e-6)


@pytest.mark.parametrize(("inputs", "shape"), [(IMAGES, (8, 3, 4)), (SIGNALS, (8, 5))])
def test_a_label_for_each_pixel_or_place(tmp_path, inputs, shape):
    labels = np.arange(np.prod(shape)).reshape(shape) % 3
    labels[:, 0] = -1
    data = saved(tmp_path, **both(inputs, labels.astype(np.int16)))
    assert (data.kind, data.outputs, data.train_targets.dtype) == ("positions", 3, np.int64)
    np.testing.assert_array_equal(data.train_targets, labels)


def test_token_ids_alone_are_predicted_themselves(tmp_path):
    data = saved(tmp_path, **both(IDS))
    assert (data.kind, data.outputs, data.vocabulary, data.train_inputs.dtype) == ("positions", 7, 7, np.int64)
    np.testing.assert_array_equal(data.train_inputs, IDS)
    np.testing.assert_array_equal(data.train_targets[:, :-1], IDS[:, 1:])
    assert (data.train_targets[:, -1] == -1).all()


def test_the_vocabulary_is_of_both_parts(tmp_path):
    arrays = both(IDS)
    arrays["test_inputs"] = arrays["test_inputs"].copy()
    arrays["test_inputs"][0, 0] = 11
    assert saved(tmp_path, **arrays).vocabulary == 12


def test_masked_next_tokens_are_still_next_tokens_and_other_labels_are_counted(tmp_path):
    masked = np.where(IDS == 3, -1, NEXT)
    said = saved(tmp_path, **both(IDS, masked))
    assert (said.outputs, said.vocabulary) == (7, 7)
    np.testing.assert_array_equal(said.train_targets, masked)
    tagged = saved(tmp_path, **both(IDS, IDS % 2))
    assert (tagged.kind, tagged.outputs, tagged.vocabulary) == ("positions", 2, 7)


def test_token_ids_with_a_class_each(tmp_path):
    data = saved(tmp_path, **both(IDS, np.arange(8) % 2))
    assert (data.kind, data.outputs, data.vocabulary, data.shape) == ("classes", 2, 7, (6,))


def test_fewer_examples_are_kept_with_their_targets(tmp_path):
    saved(tmp_path, **both(IDS))
    data = load_dataset(DatasetSpec(name="own.npz", folder=str(tmp_path), train=3))
    assert data.train_targets.shape == (3, 6)
    np.testing.assert_array_equal(data.train_targets[:, :-1], data.train_inputs[:, 1:])


LABELS = np.arange(8 * 12).reshape(8, 3, 4) % 2
TARGETS = RNG.normal(size=(8, 2))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (both(VECTORS), "array 'train_labels' is missing; all of train_inputs, train_labels, test_inputs"),
        (both(VECTORS, TARGETS, "targets") | {"train_labels": LABELS}, "there are labels and targets; leave one"),
        (both(VECTORS, TARGETS, "targets") | {"test_targets": TARGETS[:3]}, r"4 inputs and targets of shape \(3, 2\)"),
        (both(VECTORS, TARGETS[:, 0], "targets"), r"targets of shape \(8,\); they must be \(n, k\)"),
        (both(VECTORS, LABELS[:, 0], "targets"), "targets are int64; they must be float"),
        (both(VECTORS, TARGETS * np.nan, "targets"), "train: targets are not all finite"),
        (both(VECTORS, TARGETS * 1e300, "targets"), "train: targets are not all finite numbers in float32"),
        (both(VECTORS, TARGETS * 0, "targets"), "all training targets are what an error of 100 % predicts, the mean"),
        (
            both(VECTORS, TARGETS, "targets") | {"test_targets": np.tile(TARGETS.astype(np.float32).mean(0), (4, 1))},
            "all test targets are what an error of 100 % predicts, the mean",
        ),
        (
            both(VECTORS, TARGETS, "targets") | {"test_targets": TARGETS[:4, :1]},
            "a training target is 2 numbers, a test target 1",
        ),
        (both(IMAGES, LABELS[:, :2]), r"labels of shape \(8, 2, 4\); each needs one, or one for each of its 3 × 4"),
        (both(VECTORS, np.zeros((8, 3), int)), r"labels of shape \(8, 3\); each needs one$"),
        (both(IMAGES, LABELS - 2), "there is a label -2; labels count from 0, and -1 masks a position"),
        (both(IMAGES, (LABELS - 1).astype(np.uint64)), "there is a label 18446744073709551615; number the classes"),
        (both(IMAGES, LABELS * 0 - 1), "train: all positions of example 0 are masked"),
        (both(IMAGES, LABELS * 2), "there is a label 2 and no label 1"),
        (both(IMAGES, LABELS * 0), "there is only one class"),
        (both(IMAGES, LABELS + 0.5), "labels are float64; they must be integers"),
        (both(IMAGES, LABELS) | {"test_labels": np.arange(4) % 2}, "labels of both parts must be alike"),
        (both(IMAGES, LABELS) | {"test_labels": LABELS[:4] + 2}, "test label 3 is not one of the 2 classes"),
        (both(IDS) | {"test_inputs": VECTORS}, "test: inputs are float64; token ids, as in the other part"),
        (both(VECTORS, np.arange(8) % 2) | {"test_inputs": IDS[:4, :3]}, "test: inputs are int32; they must be uint8"),
        (both(IDS - 1), "train: there is a token id -1; ids are from 0"),
        (both(IDS.astype(np.int64) + 2**20), "there is a token id 1048582; ids are from 0 to below 1048576"),
        (both(IDS[:, :1]), r"token ids are 8 × 1; they must be \(n, length\), two at least"),
        (both(IDS[:, :, None]), r"token ids are 8 × 6 × 1; they must be \(n, length\)"),
        (both(IDS > 3, np.arange(8) % 2), "inputs are bool; they must be uint8 or float"),
        (both(IDS, np.zeros((8, 5), int)), r"labels of shape \(8, 5\); each needs one, or one for each of its 6"),
        (both(IDS) | {"test_inputs": IDS[:4, :5]}, "a training input is 6, a test input 5"),
    ],
)
def test_what_is_wrong_with_arrays_is_said(tmp_path, arrays, message):
    with pytest.raises(MdbenchError, match=message):
        saved(tmp_path, **arrays)


def test_images_with_a_class_a_pixel_are_not_scaled(tmp_path):
    saved(tmp_path, **both(RNG.normal(size=(8, 1, 4, 4)), np.arange(128).reshape(8, 4, 4) % 2))
    with pytest.raises(MdbenchError, match="size = 2 would scale images, but not the class of each pixel"):
        load_dataset(DatasetSpec(name="own.npz", folder=str(tmp_path), size=2))


def test_a_class_an_example_has_the_digest_that_it_always_had(tmp_path):
    data = saved(tmp_path, **both(VECTORS, np.arange(8) % 2))
    said = hashlib.sha256(b"2")
    for array in (data.train_inputs, data.train_targets, data.test_inputs, data.test_targets):
        said.update(f" {array.dtype.str} {array.shape} ".encode() + array.tobytes())
    assert data.digest == said.hexdigest()
