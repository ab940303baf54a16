"""Architectures: the published parameter counts, and what their tables ask for."""

import hashlib
import inspect
import sys
from types import ModuleType

import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from mdbench.errors import MdbenchError
from zoo_builder.specification.architecture import ArchitectureSpec
from zoo_builder.specification.dropout import Dropout, dropouts
from zoo_builder.specification.models import cnn1d, cnn2d, mlp, parameter_count, resnet18, unet
from zoo_builder.specification.options import OPTIONS
from zoo_builder.specification.spec import parse_spec

#: Width → parameters of the published zoo's ResNet-18 on CIFAR-10.
PUBLISHED = {
    2: 11420,
    3: 25297,
    4: 44622,
    6: 99616,
    8: 176402,
    11: 332441,
    16: 701466,
    23: 1446917,
    32: 2797610,
    45: 5527675,
    64: 11173962,
    91: 22580841,
    128: 44662922,
}


@pytest.mark.parametrize("width", PUBLISHED)
def test_the_residual_network_has_the_published_parameter_counts(width):
    with torch.device("meta"):
        assert parameter_count(resnet18((3, 32, 32), 10, width)) == PUBLISHED[width]


def test_those_counts_are_the_published_tables(published):
    table = pd.read_csv(published / "model_diagnosis_dataset" / "dataframe" / "dataframe_normal_public.csv")
    assert sorted(table["para_amount"].unique()) == sorted(PUBLISHED.values())


@pytest.mark.parametrize(
    ("network", "shape", "count"),
    [
        # 40 · 8 + 2 · 8, 8 · 8 + 2 · 8, 8 · 10 + 10
        (mlp((1, 40), 10, 8), (1, 40), 336 + 80 + 90),
        # 5 · 4 + 8, 3 · 4 · 4 + 8 twice, 40 → 19 → 10 → 5: 4 · 5 · 10 + 10
        (cnn1d((1, 40), 10, 4), (1, 40), 28 + 56 + 56 + 210),
        # 9 · 2 + 4, 9 · 2 · 4 + 8, 9 · 4 · 8 + 16, 14 → 7 → 4 → 2: 8 · 4 · 10 + 10
        (cnn2d((1, 14, 14), 10, 2), (1, 14, 14), 22 + 80 + 304 + 330),
        # 40 · 3 + 3, 3 · 10 + 10
        (mlp((40,), 10, 3, depth=1, norm=False), (40,), 123 + 40),
    ],
    ids=["mlp", "cnn1d", "cnn2d", "mlp without norm"],
)
def test_parameters_counted_by_hand(network, shape, count):
    assert parameter_count(network) == count
    assert network(torch.randn(3, *shape)).shape == (3, 10)


@pytest.mark.parametrize(("name", "shape"), [("cnn1d", (40,)), ("cnn2d", (1, 40)), ("resnet18", (5,))])
def test_inputs_of_another_shape_are_refused(name, shape):
    with pytest.raises(MdbenchError, match=r"wants inputs of shape .*the data set's are"):
        ArchitectureSpec(name=name).build(shape, 10, width=2)


def test_inputs_that_are_too_short_are_refused():
    with pytest.raises(MdbenchError, match="too short for depth 1"):
        ArchitectureSpec(name="cnn1d").build((1, 2), 10, width=2, depth=1)


def test_the_seed_decides_the_initialisation_and_global_generators_are_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, other, third = (ArchitectureSpec(name="mlp").build((4,), 3, width=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(next(one.parameters()), next(third.parameters()))


@pytest.fixture
def mine(monkeypatch):
    module = ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    return module


def test_a_factory_of_ones_own(mine):
    def make(shape, classes, width, scale=1):
        return nn.Sequential(nn.Flatten(), nn.Linear(shape[0], width * scale), nn.Linear(width * scale, classes))

    mine.make = make
    spec = ArchitectureSpec(name="mine:make", options={"scale": 3})
    assert parameter_count(spec.build((4,), 2, width=5)) == 4 * 15 + 15 + 15 * 2 + 2
    with pytest.raises(MdbenchError, match=r"mine:make: it does not take depth, only width, scale"):
        spec.build((4,), 2, width=5, depth=1)


def test_factories_that_lead_nowhere(mine):
    mine.number, mine.text = 3, lambda shape, classes: "no network"
    for name, reason in {
        "nowhere_at_all:make": "No module named 'nowhere_at_all'; .* write PYTHONPATH=FOLDER before the command",
        "mine:other": "no attribute 'other'",
        "mine:number": "not a function",
        "mine:text": "returns str",
    }.items():
        with pytest.raises(MdbenchError, match=reason):
            ArchitectureSpec(name=name).build((4,), 2)
    with pytest.raises(
        ValidationError, match="none of mlp, cnn1d, cnn2d, resnet18, unet, transformer, two_layer, pinn, nor"
    ):
        ArchitectureSpec(name="resnet50")


def digest(network):
    """Return the beginning of a SHA-256 of names, shapes, kinds and bytes of a network's state."""
    sums = hashlib.sha256()
    for name, value in network.state_dict().items():
        sums.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        sums.update(value.contiguous().numpy().tobytes())
    return sums.hexdigest()[:16]


def layers(network):
    """Return the classes of a network's layers in the order of the trace."""
    modules = dict(network.named_modules())
    nodes = [node for node in torch.fx.symbolic_trace(network).graph.nodes if node.op.startswith("call")]
    return [type(modules[node.target]).__name__ if node.op == "call_module" else node.target.__name__ for node in nodes]


#: What was before there were options: architecture, shape, options, depth, digest of the state that seed 7 gives at width 4.
BEFORE = [
    ("mlp", (1, 40), {}, None, "e70f9b4a57439700"),
    ("mlp", (1, 40), {}, 1, "58a70c0009ef4540"),
    ("mlp", (1, 40), {"norm": False}, None, "4f6eabc13f6406da"),
    ("cnn1d", (1, 40), {}, None, "90ab2bd029f3ee70"),
    ("cnn1d", (1, 40), {"norm": False}, None, "54481e61de727360"),
    ("cnn2d", (3, 14, 14), {}, None, "5e906537de28a142"),
    ("cnn2d", (3, 14, 14), {"norm": False}, None, "e083a45dca6d2e20"),
    ("resnet18", (3, 8, 8), {}, None, "3043ee1255c40bc0"),
    ("resnet18", (3, 8, 8), {}, 1, "b025592823d83179"),
]


@pytest.mark.parametrize(("name", "shape", "options", "depth", "before"), BEFORE)
def test_without_options_networks_begin_with_the_bits_that_they_had_before(name, shape, options, depth, before):
    spec = ArchitectureSpec(name=name, options=options)
    assert digest(spec.build(shape, 10, width=4, depth=depth, seed=7)) == before
    same = {"activation": "relu", "dropout": 0} | ({} if name == "resnet18" else {"residual": False})
    assert digest(spec.build(shape, 10, width=4, depth=depth, seed=7, **same)) == before


def test_without_options_layers_are_those_that_they_were_before():
    dense, wave, image = (
        ["Linear", "BatchNorm1d", "ReLU"],
        ["Conv1d", "BatchNorm1d", "ReLU"],
        ["Conv2d", "BatchNorm2d", "ReLU"],
    )
    assert layers(mlp((4,), 3, 2)) == ["Flatten", *dense * 2, "Linear"]
    assert layers(mlp((4,), 3, 2, norm=False)) == ["Flatten", *["Linear", "ReLU"] * 2, "Linear"]
    assert layers(cnn1d((1, 40), 3, 2)) == [*wave * 3, "Flatten", "Linear"]
    assert layers(cnn2d((1, 8, 8), 3, 2)) == [*image * 3, "Flatten", "Linear"]
    plain, wider = [*image, *image[:2], "add", "ReLU"], [*image, *image[:2], *image[:2], "add", "ReLU"]
    ways = [*image, plain, *[wider] * 3, "AdaptiveAvgPool2d", "Flatten", "Linear"]
    assert layers(resnet18((1, 8, 8), 3, 2, depth=1)) == [
        one for way in ways for one in (way if isinstance(way, list) else [way])
    ]


def test_the_old_words_for_normalization_mean_what_they_meant():
    for old, new in ((True, "batch"), (False, "none")):
        for make, shape in ((mlp, (5,)), (cnn1d, (2, 20)), (cnn2d, (2, 8, 8)), (resnet18, (2, 8, 8))):
            assert str(make(shape, 3, 4, norm=old)) == str(make(shape, 3, 4, norm=new))


@pytest.mark.parametrize(
    ("network", "count"),
    [
        # A weight and a bias for each unit or channel, besides the layer's own bias.
        (mlp((5,), 3, 8, norm="layer"), (5 * 8 + 24) + (8 * 8 + 24) + (8 * 3 + 3)),
        (mlp((5,), 3, 8, norm="group"), (5 * 8 + 24) + (8 * 8 + 24) + (8 * 3 + 3)),
        (mlp((5,), 3, 8, depth=4, residual=True, norm="none"), (5 * 8 + 8) + 3 * (8 * 8 + 8) + (8 * 3 + 3)),
        (cnn1d((1, 40), 10, 4, depth=1, norm="layer"), (5 * 4 + 12) + 4 * 19 * 10 + 10),
        (cnn1d((1, 40), 10, 4, depth=1, residual=True), (5 * 4 + 8) + (3 * 16 + 8) + 4 * 19 * 10 + 10),
        (cnn2d((1, 4, 4), 10, 2, depth=2, residual=True, norm="none"), 20 + 38 + 76 + 148 + 4 * 10 + 10),
        # Levels of 4 and 8 channels: 9 · 2 · 4, 9 · 4 · 4, 9 · 4 · 8, 9 · 8 · 8; up 8 · 4 · 4 + 4, 9 · 8 · 4, 9 · 4 · 4.
        (unet((2, 8, 8), 3, 4, depth=1), (72 + 8 + 144 + 8) + (288 + 16 + 576 + 16) + 132 + (288 + 8 + 144 + 8) + 15),
    ],
)
def test_parameters_of_options_counted_by_hand(network, count):
    assert parameter_count(network) == count


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", ["batch", "layer", "group", "none"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "silu", "softplus"])
def test_every_option_gives_outputs_of_the_right_shape_and_a_gradient_of_everything(activation, norm, residual):
    given = {"activation": activation, "norm": norm, "dropout": 0.25}
    for name, shape in {
        "mlp": (6,),
        "cnn1d": (2, 17),
        "cnn2d": (2, 9, 8),
        "resnet18": (2, 8, 8),
        "unet": (2, 8, 12),
    }.items():
        if "residual" not in OPTIONS[name] and residual:
            continue
        options = {**given, "residual": residual} if "residual" in OPTIONS[name] else given
        network = ArchitectureSpec(name=name, options=options).build(shape, 3, width=8, depth=2, seed=1)
        out = network(torch.randn(5, *shape, generator=torch.Generator().manual_seed(0)))
        assert out.shape == ((5, 3, *shape[1:]) if name == "unet" else (5, 3))
        out.square().sum().backward()
        assert all(value.grad is not None and value.grad.abs().max() > 0 for value in network.parameters()), name


def test_normalizations_are_what_their_names_say():
    x = torch.randn(4, 16, 5, generator=torch.Generator().manual_seed(0))
    for norm, groups in (("layer", 1), ("group", 4)):
        network = cnn1d((16, 5), 3, 16, depth=1, norm=norm)
        inner = network[0](x)
        parts = inner.view(4, groups, -1)
        by_hand = (parts - parts.mean(-1, keepdim=True)) / (parts.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(network[1](inner), by_hand.view(inner.shape))
    # A layer of one unit would be zero whatever it sees; the groups of any width have two units at least.
    with pytest.raises(MdbenchError, match="width from 2 up"):
        mlp((4,), 3, 1, norm="layer")
    for width in range(2, 70):
        network = mlp((4,), 3, width, norm="group")
        assert width // network[2].num_groups >= min(width, 4)


def test_ways_around_are_there_where_shapes_allow_it():
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    network = mlp((6,), 2, 5, depth=3, norm="none", residual=True, activation="tanh")
    weights = list(network.parameters())
    by_hand = (x @ weights[0].T + weights[1]).tanh()
    for weight, bias in (weights[2:4], weights[4:6]):
        by_hand = by_hand + (by_hand @ weight.T + bias).tanh()
    torch.testing.assert_close(network(x), by_hand @ weights[6].T + weights[7])
    for network, shape in (
        (cnn1d((1, 40), 2, 4, residual=True), (3, 1, 40)),
        (cnn2d((1, 9, 9), 2, 4, residual=True), (3, 1, 9, 9)),
    ):
        for module in network:  # a block whose layers give nothing hands on what it gets
            for value in module.parameters() if type(module).__name__ == "Residual" else ():
                nn.init.zeros_(value)
        rest = nn.Sequential(*(module for module in network if type(module).__name__ != "Residual"))
        assert len(rest) == len(network) - 3
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(network(x), rest(x))


@pytest.mark.parametrize(
    ("name", "shape", "vocabulary", "layers"),
    [
        ("mlp", (6,), 0, 2),
        ("cnn1d", (1, 20), 0, 2),
        ("cnn2d", (1, 8, 8), 0, 2),
        ("resnet18", (1, 8, 8), 0, 8),
        ("unet", (1, 8, 8), 0, 10),
        ("transformer", (6,), 9, 5),
    ],
)
def test_dropout_is_in_training_alone_and_names_are_the_same_with_and_without(name, shape, vocabulary, layers):
    spec = ArchitectureSpec(name=name, depth=2, options={} if name == "transformer" else {"norm": "none"})
    plain, dropped = (spec.build(shape, 4, 8, seed=3, vocabulary=vocabulary, dropout=rate) for rate in (0.0, 0.5))
    assert digest(plain) == digest(dropped)
    assert (len(dropouts(plain)), len(dropouts(dropped))) == (0, layers)
    draws = torch.Generator().manual_seed(0)
    x = torch.randint(9, (4, *shape), generator=draws) if vocabulary else torch.randn(4, *shape, generator=draws)
    assert torch.equal(plain.eval()(x), dropped.eval()(x))
    dropped.train()
    first = dropped(x)
    assert not torch.allclose(first, plain(x))
    assert torch.equal(dropped(x), first)  # of the same key
    for module in dropped.modules():
        if isinstance(module, Dropout):
            module.key.fill_(12345)
    assert not torch.allclose(dropped(x), first)


def test_a_shift_of_the_image_shifts_what_the_unet_says_of_it():
    network = ArchitectureSpec(name="unet").build((2, 96, 96), 3, width=4, depth=2, seed=1).double().eval()
    x = torch.randn(1, 2, 96, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shifted = network(x.roll((4, 8), (2, 3)))
    # A step of the coarsest level is 4 pixels. Far from the edges nothing is seen of them.
    inner = slice(36, 60)
    torch.testing.assert_close(shifted[..., inner, inner], network(x).roll((4, 8), (2, 3))[..., inner, inner])
    assert not torch.allclose(network(x.roll(1, 2))[..., inner, inner], network(x).roll(1, 2)[..., inner, inner])


def test_images_that_cannot_be_halved_are_refused_with_what_to_write():
    with pytest.raises(
        MdbenchError, match=r"28 × 30 cannot be halved 2 times; write depth = 1 at most, or .* multiples of 4"
    ):
        unet((1, 28, 30), 3, 4)
    with pytest.raises(MdbenchError, match=r"27 × 28 cannot be halved 1 times; give images .* multiples of 2"):
        unet((1, 27, 28), 3, 4, depth=1)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_may_be_written_are_those_that_an_architecture_takes(name):
    taken = list(inspect.signature(ArchitectureSpec(name=name).factory()).parameters)
    sizes = ["width"] if name == "two_layer" else ["width", "depth"]
    assert taken[: 2 + len(sizes)] == ["shape", "outputs", *sizes]
    assert set(taken[2 + len(sizes) :]) - {"vocabulary"} == set(OPTIONS[name])


WRONG = [
    (
        "mlp",
        "activatoin = 'gelu'",
        r"mlp has no option 'activatoin'; its options are activation, norm, dropout, residual",
    ),
    (
        "cnn1d",
        "activation = 'elu'",
        r"activation = .elu. is not possible for cnn1d; write relu, gelu, tanh, silu, softplus",
    ),
    ("cnn2d", "norm = 'instance'", r"norm = .instance. is not possible for cnn2d; write batch, layer, group, none"),
    ("mlp", "norm = 1", "norm = 1 is not possible"),
    ("mlp", "dropout = 1.0", "dropout = 1.0 is not possible for mlp; write a share from 0 to below 1"),
    ("mlp", "dropout = nan", "dropout = NaN is not possible"),
    ("mlp", "dropout = true", "dropout = true is not possible"),
    ("mlp", "residual = 'yes'", "residual = .yes. is not possible for mlp; write true or false"),
    ("resnet18", "residual = true", "resnet18 has no option 'residual'"),
    ("transformer", "heads = 0", "heads = 0 is not possible for transformer; write a whole number from 1 up"),
    ("pinn", "scale = -1", "scale = -1 is not possible for pinn; write a number above 0"),
    ("unet", "vocabulary = 3", "unet has no option 'vocabulary'"),
]


@pytest.mark.parametrize(("name", "option", "said"), WRONG)
def test_wrong_options_are_refused_before_anything_is_made(name, option, said):
    text = f"""
        name = "wrong"
        dataset = {{name = "mnist1d"}}
        architecture = {{name = "{name}", options = {{{option}}}}}
        axes = [{{knob = "width", values = [2, 4]}}]
    """
    with pytest.raises(MdbenchError, match=f"wrong.toml: architecture.options: {said}"):
        parse_spec(text, "wrong.toml")


def test_an_axis_of_dropout_takes_the_place_of_the_option():
    spec = ArchitectureSpec(name="mlp", options={"dropout": 0.5})
    network = spec.build((4,), 2, 3, dropout=0.125)
    assert [module.rate for module in network.modules() if isinstance(module, Dropout)] == [0.125] * 2
    with pytest.raises(MdbenchError, match="dropout = 2 is not possible for mlp"):
        spec.build((4,), 2, 3, dropout=2)
    with pytest.raises(MdbenchError, match="pinn has no option 'dropout'"):
        ArchitectureSpec(name="pinn").build((4,), 2, 3, dropout=0.125)


def test_token_ids_are_for_architectures_that_take_them(mine):
    with pytest.raises(
        MdbenchError, match=r"architecture mlp: it takes numbers.*token ids; write name = .transformer."
    ):
        ArchitectureSpec(name="mlp").build((6,), 3, 4, vocabulary=9)

    mine.ids = lambda shape, outputs, width=2, vocabulary=0: nn.Embedding(vocabulary, width)
    mine.others = lambda shape, outputs, *, vocabulary, **options: nn.Embedding(vocabulary, options["width"])
    mine.none = lambda shape, outputs, width=2: nn.Linear(*shape, width)
    for name, count in {"ids": 9 * 4, "others": 9 * 4, "none": 28}.items():
        assert parameter_count(ArchitectureSpec(name=f"mine:{name}").build((6,), 3, 4, vocabulary=9)) == count


def test_dropout_of_a_factory_of_ones_own_is_swapped(mine):
    mine.make = lambda shape, outputs, dropout=0.1: nn.Sequential(nn.Linear(*shape, outputs), nn.Dropout(dropout))
    network = ArchitectureSpec(name="mine:make").build((4,), 2, dropout=0.25)
    assert type(network[1]) is Dropout
    assert network[1].rate == 0.25
    with pytest.raises(MdbenchError, match="mine:make: it does not take rho, only dropout"):
        ArchitectureSpec(name="mine:make").build((4,), 2, rho=0.25)
