"""All that ``[training]`` may say: every way of computing trains what a plain loop with PyTorch's optimizers trains."""

import math
import sys
from dataclasses import replace
from functools import partial
from types import ModuleType

import numpy as np
import plain
import pytest
import torch
from test_training import data, differences, odd, spec  # noqa: F401 - a fixture
from torch import nn
from torch.nn import functional

from mdbench.errors import MdbenchError
from zoo_builder.specification.datasets.dataset import Dataset
from zoo_builder.specification.material import Material
from zoo_builder.specification.network import networks
from zoo_builder.specification.subsets import draw_order, draw_subsets
from zoo_builder.training import stacked, taped
from zoo_builder.training.trainer import form, train

OPTIMIZERS = {
    "sgd": 'schedule = "constant"\nmomentum = 0.8\nlearning_rate = 0.01',
    "nesterov": "nesterov = true\nmomentum = 0.8\nlearning_rate = 0.01",
    "dampened": "dampening = 0.5\nmomentum = 0.8\nlearning_rate = 0.02",
    "adam": 'optimizer = "adam"\nbetas = [0.8, 0.95]\neps = 1e-6\nweight_decay = 0.01',
    "adamw": 'optimizer = "adamw"\neps = 1e-6\nlearning_rate = 0.002\nweight_decay = 0.1',
}
WRAPPERS = {
    "": "",
    "sam": "sharpness = { rho = 0.1 }",
    "asam": "sharpness = { rho = 0.5, adaptive = true }",
    "clipped": "clip = 0.3",
    "sam and clipped": "sharpness = { rho = 0.05 }\nclip = 0.3",
    "swa": 'average = "swa"\naverage_from = 0.5',
    "ema": 'average = "ema"\naverage_decay = 0.9\naverage_from = 0.3',
    "layerwise": "layerwise = { every = 2, tail = 'middle' }",
    "moved": "augmentation = { shift = 3, flip = true }",
    "cut": "augmentation = { shift = 1, flip = true, crop = 2 }",
}
#: Optimizers × wrappers, each with each other at least once in a way or another.
PAIRS = [
    ("sgd", "sam"),
    ("sgd", "layerwise"),
    ("nesterov", ""),
    ("nesterov", "asam"),
    ("nesterov", "swa"),
    ("dampened", "clipped"),
    ("dampened", "moved"),
    ("adam", ""),
    ("adam", "asam"),
    ("adam", "ema"),
    ("adamw", "sam and clipped"),
    ("adamw", "swa"),
    ("adamw", "cut"),
    ("adamw", "layerwise"),
]
LOSSES = {
    "smoothed": "label_smoothing = 0.2",
    "weighted": "class_weights = [1, 2, 0.5, 1, 1, 3, 1, 1, 0.1, 1]",
    "both": "label_smoothing = 0.1\nclass_weights = [1, 2, 0.5, 1, 1, 3, 1, 1, 0.1, 1]",
}
WAYS = {"taped": taped.train, "stacked": stacked.train}
ways = pytest.mark.parametrize("way", WAYS)
DOUBLE = torch.float64
EPOCHS = 20  # of 120 examples in batches of 12: 200 steps, or 100


def values(shape, size=120, outputs=2):
    """A function of the inputs, with noise."""
    rng = np.random.default_rng(2)
    way = rng.normal(size=(int(np.prod(shape)), outputs))

    def part(size):
        inputs = rng.normal(size=(size, *shape)).astype(np.float32)
        targets = np.tanh(inputs.reshape(size, -1) @ way) + 0.1 * rng.normal(size=(size, outputs)) + 1
        return inputs, targets.astype(np.float32)

    return Dataset("function", *part(size), *part(40), outputs=outputs, kind="values")


def positions(shape=(1, 8, 8), size=120, classes=3):
    """A class for every pixel, some of which are masked."""
    rng = np.random.default_rng(3)

    def part(size):
        inputs = rng.normal(size=(size, *shape)).astype(np.float32)
        targets = np.digitize(inputs[:, 0], [-0.4, 0.4]).astype(np.int64)
        targets[rng.random(targets.shape) < 0.2] = -1
        return inputs, targets

    return Dataset("pixels", *part(size), *part(40), outputs=classes, kind="positions")


def tokens(length=6, size=120, vocabulary=5):
    """The next token of sequences that count."""
    rng = np.random.default_rng(4)

    def part(size):
        whole = (
            rng.integers(0, vocabulary, (size, 1)) + np.arange(length + 1) * rng.integers(1, 3, (size, 1))
        ) % vocabulary
        return whole[:, :-1].astype(np.int64), whole[:, 1:].astype(np.int64)

    return Dataset("counts", *part(size), *part(40), outputs=vocabulary, kind="positions", vocabulary=vocabulary)


def loss_of(how, dataset):
    weights = torch.tensor(how.class_weights, dtype=torch.float64) if how.class_weights else None
    if (how.loss or "") == "mse" or (how.loss is None and dataset.kind == "values"):
        return functional.mse_loss
    return lambda outputs, targets: functional.cross_entropy(
        outputs,
        targets,
        None if weights is None else weights.to(outputs),
        ignore_index=-1,
        label_smoothing=how.label_smoothing,
    )


def subsets_of(dataset):
    if dataset.kind == "classes":
        return draw_subsets(dataset.train_targets, dataset.outputs, 0)
    return draw_order(len(dataset.train_targets), 0)


def check(what, dataset, train=train, dtype=torch.float64, tolerance=1e-9, loss=None, rates_of=None):
    """Compare with the plain loop: parameters and buffers, losses and errors."""
    subsets = subsets_of(dataset)
    every = networks(what, Material.single(what, dataset, subsets))
    trained = train(what, dataset, subsets, every, dtype=dtype)
    assert [one.network for one in trained] == every
    for one in trained:
        network = one.network
        rows = subsets.examples(network.data_fraction)
        inputs, targets = dataset.train_inputs[rows], dataset.train_targets[rows]
        by = loss or loss_of(network.how, dataset)

        def loop(network=network, inputs=inputs, targets=targets, by=by):
            make = partial(
                what.architecture.build,
                dataset.shape,
                dataset.outputs,
                network.width,
                network.depth,
                seed=plain.initialisation_seed(network.seed),
                vocabulary=dataset.vocabulary,
                **network.options,
            )
            return plain.learn(make, network, inputs, targets, by, dtype, rates_of)

        alone = loop() if loss else plain.once(what, dataset, network, dtype, "cpu", loop)
        worst = differences(one.state, alone)
        assert max(worst.values()) < tolerance, (network.name, worst)
        for found, some in (
            ((one.train_loss, one.train_error), (inputs, targets)),
            ((one.test_loss, one.test_error), (dataset.test_inputs, dataset.test_targets)),
        ):
            expected = measured(alone, dataset, by, *some, dtype)
            assert found == pytest.approx(expected, rel=1000 * tolerance, abs=1000 * tolerance)
        assert one.diverged_at is None
    return trained


@torch.no_grad()
def measured(module, dataset, loss, inputs, targets, dtype):
    """Loss, and error in %, as the data's kind has it."""
    inputs, targets = torch.as_tensor(inputs), torch.as_tensor(targets)
    outputs = module.eval()(inputs.to(dtype) if inputs.is_floating_point() else inputs).double()
    targets = targets.double() if targets.is_floating_point() else targets
    if dataset.kind == "values":
        middle = torch.as_tensor(dataset.train_targets).double().mean(0)
        error = 100 * ((outputs - targets).norm() / (targets - middle).norm()).item()
    else:
        counts = targets >= 0
        error = 100 * (outputs.argmax(1) != targets)[counts].double().mean().item()
    return loss(outputs, targets).item(), error


@ways
@pytest.mark.parametrize(("optimizer", "wrapper"), PAIRS)
def test_every_optimizer_and_wrapper(optimizer, wrapper, way):
    training = f"{OPTIMIZERS[optimizer]}\n{WRAPPERS[wrapper]}"
    what = spec("cnn1d", {"data_fraction": [50, 100], "batch_size": [12]}, EPOCHS, "width = 4", training)
    rates_of = partial(published_rates, range_=(0.5, 1.5)) if wrapper == "layerwise" else None
    if wrapper == "layerwise":
        what = spec(
            "cnn1d", {"data_fraction": [100], "batch_size": [12]}, EPOCHS, "width = 4", training.replace("2,", "1,")
        )
    trained = check(what, data((1, 40)), WAYS[way], rates_of=rates_of)
    assert max(one.network.steps for one in trained) == 200


TOGETHER = {
    "asam": """
        learning_rate = 0.05
        nesterov = true
        schedule = "cosine"
        warmup = 0.13
        sharpness = { rho = 0.5, adaptive = true }
        augmentation = { shift = 1, flip = true, crop = 1 }
        average = "swa"
    """,
    "adamw": """
        optimizer = "adamw"
        weight_decay = 0.1
        schedule = "linear"
        warmup = 0.2
        sharpness = { rho = 0.1 }
        clip = 0.3
        average = "ema"
        average_decay = 0.8
        average_from = 0.3
    """,
}


@ways
@pytest.mark.parametrize("training", TOGETHER)
def test_schedules_wrappers_and_layers_together(training, way):
    options = 'width = 4\ndepth = 2\noptions = { activation = "silu", dropout = 0.2, residual = true }'
    what = spec("cnn1d", {"data_fraction": [50, 100], "batch_size": [13]}, 3, options, TOGETHER[training])
    check(what, data((1, 40)), WAYS[way])


@ways
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_of_classes(loss, way):
    training = f"{OPTIMIZERS['adamw']}\n{LOSSES[loss]}"
    check(spec("mlp", {"batch_size": [12]}, EPOCHS, "width = 4", training), data((1, 40)), WAYS[way])


@ways
@pytest.mark.parametrize("wrapper", ["", "sam", "swa", "moved"])
def test_values(wrapper, way):
    training = f"{OPTIMIZERS['adam']}\n{WRAPPERS[wrapper]}"
    what = spec("cnn1d", {"data_fraction": [50, 100], "batch_size": [12]}, EPOCHS, "width = 4", training)
    check(what, values((1, 40)), WAYS[way])


@pytest.mark.parametrize("wrapper", ["", "asam", "ema"])
def test_a_class_for_every_pixel(wrapper):
    training = f"{OPTIMIZERS['adamw']}\n{WRAPPERS[wrapper]}\nclass_weights = [1, 2, 0.5]"
    check(spec("unet", {"batch_size": [12]}, 10, "width = 2\ndepth = 1", training), positions(), tolerance=1e-8)


@pytest.mark.parametrize("wrapper", ["", "sam and clipped"])
def test_tokens_are_mapped(wrapper):
    training = f"{OPTIMIZERS['adamw']}\n{WRAPPERS[wrapper]}".replace("0.002", "0.0005")  # else rounding grows
    options = "width = 4\ndepth = 1\noptions = { causal = true, dropout = 0.2 }"
    what = spec("transformer", {"data_fraction": [50, 100], "batch_size": [12]}, EPOCHS, options, training)
    check(what, tokens())


@pytest.mark.parametrize("wrapper", ["", "sam", "swa"])
def test_dropout_draws_the_masks_of_network_step_and_layer(wrapper):
    training = f"{OPTIMIZERS['sgd']}\n{WRAPPERS[wrapper]}"
    what = spec("mlp", {"dropout": [0.1, 0.5], "batch_size": [12]}, EPOCHS, "width = 6", training)
    check(what, data((1, 40)))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_any_network_is_mapped(optimizer):
    training = f"{OPTIMIZERS[optimizer]}\n{WRAPPERS['sam']}\n{LOSSES['both']}"
    check(
        spec("odd:make", {"data_fraction": [50, 100], "batch_size": [12]}, EPOCHS, "width = 3", training), data((1, 40))
    )


@ways
@pytest.mark.parametrize("wrapper", ["", "sam"])
def test_full_batches(wrapper, way):
    training = f"full_batch = true\nlearning_rate = 0.05\n{WRAPPERS[wrapper]}"
    what = spec("mlp", {"data_fraction": [50]}, 50, "width = 4", training)
    trained = check(what, data((1, 40)), WAYS[way])
    assert {(one.network.batch_size, one.network.steps) for one in trained} == {(60, 50)}


@ways
@pytest.mark.parametrize(
    ("optimizer", "wrapper"), [("sgd", "sam"), ("adam", "clipped"), ("adamw", "moved"), ("nesterov", "ema")]
)
def test_single_precision(optimizer, wrapper, way):
    training = f"{OPTIMIZERS[optimizer]}\n{WRAPPERS[wrapper]}".replace("eps = 1e-6", "eps = 1e-3")
    training = "\n".join(line for line in training.splitlines() if not line.startswith("learning_rate"))
    axes = {"learning_rate": [0.0005], "batch_size": [12]}
    options = "width = 4\noptions = { norm = false }"
    check(spec("mlp", axes, EPOCHS, options, training), data((1, 40)), WAYS[way], torch.float32, 1e-4)


def test_arms_of_a_grid_train_together():
    training = """
        [training.optimizers.plain]
        learning_rate = 0.01
        [training.optimizers.sam]
        learning_rate = 0.01
        sharpness = { rho = 0.05 }
    """
    axes = {"optimizer": ["plain", "sam", "adamw"], "batch_size": [12]}
    trained = check(spec("mlp", axes, 5, "width = 4", training), data((1, 40)))
    assert [one.network.point["optimizer"] for one in trained] == ["plain"] * 2 + ["sam"] * 2 + ["adamw"] * 2


def own_each(outputs, targets):
    return functional.huber_loss(outputs, functional.one_hot(targets, 10).to(outputs), reduction="none").sum(1)


@pytest.mark.parametrize("function", [own_each, lambda outputs, targets: own_each(outputs, targets).mean()])
def test_a_loss_of_ones_own(function, monkeypatch):
    module = ModuleType("losing")
    module.huber = function
    monkeypatch.setitem(sys.modules, "losing", module)
    training = f"{OPTIMIZERS['adam']}\n{WRAPPERS['sam']}\nloss = 'losing:huber'"
    what = spec("mlp", {"data_fraction": [50, 100], "batch_size": [12]}, EPOCHS, "width = 4", training)
    check(what, data((1, 40)), loss=lambda outputs, targets: own_each(outputs, targets).mean())


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda outputs, targets: own_each(outputs, targets).sum(), "is not a mean over examples: of 8 it says"),
        (lambda outputs, targets: outputs, r"returns shape \(8, 10\); it must return their mean"),
        (lambda outputs, targets: 1.0, "returns float; it must return their mean"),
        (lambda outputs, targets: own_each(outputs.detach(), targets), "has no gradient with respect to the outputs"),
        (lambda outputs, targets: (outputs.argmax(1) != targets).sum(), "returns int64, which has no gradient"),
        (
            lambda outputs, targets: outputs.sum() * math.nan,
            "is not finite before any training: of 8 examples it says nan",
        ),
        (lambda outputs, targets: sys.exit(3), "loss losing:made raises SystemExit: 3"),
        (
            lambda outputs, targets: own_each(outputs, targets) * float(outputs.sum() > 0),
            "cannot be mapped over networks",
        ),
    ],
)
def test_a_loss_that_cannot_be_used_is_refused(function, said, monkeypatch):
    module = ModuleType("losing")
    module.made = function
    monkeypatch.setitem(sys.modules, "losing", module)
    what = spec("mlp", {"batch_size": [12]}, 1, "width = 4", "loss = 'losing:made'")
    dataset = data((1, 40))
    subsets = subsets_of(dataset)
    with pytest.raises(MdbenchError, match=said):
        train(what, dataset, subsets, networks(what, Material.single(what, dataset, subsets)))


def published_rates(module, range_):
    """The rates of the published program, layer by layer, as factors: between the first and the last layer."""
    layers = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Linear)]
    names = [name for name, _ in module.named_modules()]
    found = {}
    for name, layer in layers[1:-1]:
        matrices = (
            layer.weight.detach().flatten(2).permute(2, 0, 1) if layer.weight.dim() > 2 else layer.weight.detach()
        )
        values = torch.linalg.svdvals(matrices).square().flatten().sort().values
        logs = values[len(values) // 2 :].log()
        found[name] = (1 + len(logs) / (logs - logs[0]).sum()).item()
    rates = dict(
        zip(found, np.interp(list(found.values()), [min(found.values()), max(found.values())], range_), strict=True)
    )
    factors = {}
    for name, layer in layers[1:-1]:
        followed = [names[names.index(name) + 1]]
        if isinstance(layer, nn.Linear) or not isinstance(
            module.get_submodule(followed[0]), nn.modules.batchnorm._BatchNorm
        ):
            followed = []
        for path in [name, *followed]:
            for parameter, _ in module.get_submodule(path).named_parameters():
                factors[f"{path}.{parameter}"] = rates[name]
    return factors


@ways
def test_networks_are_kept_at_steps(way):
    training = "schedule = 'constant'\nkeep = [0, 1, 10]"
    what = spec("cnn1d", {"data_fraction": [50, 100], "batch_size": [12]}, 2, "width = 3", training)
    dataset = data((1, 40))
    subsets = subsets_of(dataset)
    for one in WAYS[way](what, dataset, subsets, networks(what, Material.single(what, dataset, subsets)), dtype=DOUBLE):
        assert list(one.kept) == [0, 1, 10]
        rows = subsets.examples(one.network.data_fraction)
        make = partial(what.architecture.build, dataset.shape, 10, seed=plain.initialisation_seed(one.network.seed))
        assert max(differences(one.kept.pop(0), make().to(DOUBLE)).values()) == 0
        for step, state in one.kept.items():
            shorter = replace(one.network, steps=step)
            examples = dataset.train_inputs[rows], dataset.train_targets[rows]
            alone = plain.learn(make, shorter, *examples, functional.cross_entropy, DOUBLE)
            assert max(differences(state, alone).values()) < 1e-9


@ways
@pytest.mark.parametrize("adaptive", ["false", "true"])
def test_statistics_move_once_a_step(way, adaptive):
    training = f"sharpness = {{ rho = 0.1, adaptive = {adaptive} }}"
    what = spec("mlp", {"batch_size": [12]}, 3, "width = 3", training)
    dataset = data((1, 40))
    subsets = subsets_of(dataset)
    for one in WAYS[way](what, dataset, subsets, networks(what, Material.single(what, dataset, subsets))):
        tracked = [value for name, value in one.state.items() if name.endswith("num_batches_tracked")]
        assert tracked
        assert all(int(value) == one.network.steps == 30 for value in tracked)


@pytest.mark.parametrize(
    ("dataset", "training", "said"),
    [
        (
            data((1, 40)),
            "loss = 'per_position'",
            'wants a class for every position, and .* write loss = "cross_entropy"',
        ),
        (data((1, 40)), "loss = 'mse'", "wants numbers, and data set 'blobs' has a class an example"),
        (values((1, 40)), "loss = 'cross_entropy'", 'wants a class an example, and .* has numbers; write loss = "mse"'),
        (values((1, 40)), "label_smoothing = 0.1", "label_smoothing is of classes, and .* leave it out"),
        (
            data((1, 40)),
            "class_weights = [1, 2]",
            "are 2, and data set 'blobs' has 10 classes; write one weight a class",
        ),
        (data((40,)), "augmentation = { shift = 1 }", "the inputs of data set 'blobs' are vectors; leave it out"),
        (positions((1, 40)), "augmentation = { flip = true }", "moves inputs, but not the classes of their positions"),
        (positions((1, 40)), "", r"gives \(3,\) an example, and data set 'pixels' wants \(3, 40\): a class for every"),
        (data((1, 40)), "layerwise = { every = 1 }", "has not two of them; write a larger depth"),
    ],
)
def test_what_contradicts_the_data_is_refused(dataset, training, said):
    what = spec("mlp", {"batch_size": [12]}, 1, "width = 4\ndepth = 2", training)
    subsets = subsets_of(dataset)
    every = networks(what, Material.single(what, dataset, subsets))
    for asked in (
        lambda: train(what, dataset, subsets, every),
        lambda: form(what, dataset, every[0], "cpu"),
    ):
        with pytest.raises(MdbenchError, match=said):
            asked()
