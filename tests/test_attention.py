"""The transformer: against PyTorch's own, and by what must hold of any."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from mdbench.errors import MdbenchError
from zoo_builder.specification.architecture import ArchitectureSpec
from zoo_builder.specification.models import parameter_count, transformer

VOCABULARY, LENGTH = 11, 7


def causal(seed=0, **options):
    spec = ArchitectureSpec(name="transformer", options={"causal": True, **options})
    return spec.build((LENGTH,), VOCABULARY, 8, seed=seed, vocabulary=VOCABULARY).double()


def ids(count=5, seed=0):
    return torch.randint(VOCABULARY, (count, LENGTH), generator=torch.Generator().manual_seed(seed))


def blocks(width, depth):
    """Count what is in `depth` blocks: attention 4 w² + 4 w, linear layers 8 w² + 5 w, normalizations 4 w; one at the end."""
    return depth * (12 * width**2 + 13 * width) + 2 * width


@pytest.mark.parametrize(
    ("shape", "vocabulary", "options", "count"),
    [
        ((40,), 0, {}, 40 * 8 + 40 * 8 + 8 * 3 + 3),
        ((7,), 11, {}, 11 * 8 + 7 * 8 + 8 * 3 + 3),
        ((2, 40), 0, {}, (2 * 4 * 8 + 8) + 10 * 8 + 8 * 3 + 3),
        ((3, 8, 12), 0, {"patch": 2}, (3 * 4 * 8 + 8) + 24 * 8 + 8 * 3 + 3),
    ],
)
def test_parameters_of_an_encoder_counted_by_hand(shape, vocabulary, options, count):
    network = transformer(shape, 3, 8, depth=3, vocabulary=vocabulary, **options)
    assert parameter_count(network) == blocks(8, 3) + count
    x = torch.randint(11, (5, *shape)) if vocabulary else torch.randn(5, *shape)
    assert network(x).shape == (5, 3)


def test_a_tied_embedding_is_counted_once_and_is_the_last_layer():
    free, tied = causal(), causal(tied=True)
    assert parameter_count(free) - parameter_count(tied) == VOCABULARY * 8 + VOCABULARY
    assert parameter_count(tied) == VOCABULARY * 8 + LENGTH * 8 + blocks(8, 2)
    assert len(tied.state_dict()) == len(list(tied.parameters()))
    seen = {}
    tied.norm.register_forward_hook(lambda module, given, out: seen.update(out=out))
    out = tied(ids())
    torch.testing.assert_close(out, torch.einsum("blw,kw->bkl", seen["out"], tied.tokens.weight))


@pytest.mark.parametrize("options", [{}, {"tied": True, "heads": 2, "activation": "tanh"}])
def test_a_token_changes_nothing_of_what_is_said_before_it(options):
    network, x = causal(**options), ids()
    out = network(x)
    assert out.shape == (5, VOCABULARY, LENGTH)
    for at in range(LENGTH):
        other = x.clone()
        other[:, at] = (other[:, at] + 1) % VOCABULARY
        changed = (network(other) - out).abs().amax(1)
        assert changed[:, :at].eq(0).all()
        assert changed[:, at:].gt(1e-9).all()


@pytest.mark.parametrize("masked", [False, True])
def test_a_block_is_that_of_pytorch(masked):
    """Against ``nn.TransformerEncoderLayer``, which has the same parameters in the same order of axes."""
    block = causal(seed=3, activation="relu").blocks[0]
    theirs = nn.TransformerEncoderLayer(8, 4, 32, 0.0, "relu", batch_first=True, norm_first=True, dtype=torch.float64)
    names = {
        "self_attn.in_proj_weight": "attention.inner.weight",
        "self_attn.in_proj_bias": "attention.inner.bias",
        "self_attn.out_proj.weight": "attention.outer.weight",
        "self_attn.out_proj.bias": "attention.outer.bias",
    }
    state = block.state_dict()
    theirs.load_state_dict({name: state[names.get(name, name)] for name in theirs.state_dict()})
    x = torch.randn(3, LENGTH, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = nn.Transformer.generate_square_subsequent_mask(LENGTH, dtype=torch.float64) if masked else None
    torch.testing.assert_close(block(x, mask), theirs(x, src_mask=mask), rtol=1e-12, atol=1e-12)


def test_the_mask_is_no_parameter_and_in_no_state():
    network = causal()
    assert torch.equal(network.mask, nn.Transformer.generate_square_subsequent_mask(LENGTH, dtype=torch.float64))
    assert "mask" not in network.state_dict()
    assert math.isinf(network.mask[0, 1])


def test_without_positions_an_encoder_does_not_see_the_order_of_its_tokens():
    network = ArchitectureSpec(name="transformer").build((LENGTH,), 3, 8, seed=1, vocabulary=VOCABULARY).double()
    order = torch.tensor([3, 0, 6, 2, 1, 5, 4])
    x = ids()
    assert not torch.allclose(network(x[:, order]), network(x))
    nn.init.zeros_(network.positions)
    torch.testing.assert_close(network(x[:, order]), network(x))


def test_a_feature_is_its_number_times_a_vector_of_its_own():
    network = transformer((LENGTH,), 3, 8)
    x = torch.randn(5, LENGTH)
    torch.testing.assert_close(network.tokens(x), torch.einsum("bl,lw->blw", x, network.tokens.weight))


def test_a_patch_is_seen_by_one_token():
    for shape, patches in (((2, 12), 3), ((2, 8, 12), 6)):
        network = transformer(shape, 3, 8)
        x = torch.zeros(1, *shape)
        before = network.tokens(x)
        x[0, 1, -1] = 1  # the last position, or the last row of an image
        changed = (network.tokens(x) - before).abs().amax(-1)[0]
        assert changed.gt(0).tolist() == ([False, False, True] if patches == 3 else [False] * 3 + [True] * 3)


def test_heads_are_those_that_divide_the_width_unless_told():
    assert [transformer((4,), 2, width).blocks[0].attention.split for width in (3, 6, 8, 16)] == [
        (3, 1, 3),
        (3, 2, 3),
        (3, 4, 2),
        (3, 4, 4),
    ]
    assert transformer((4,), 2, 8, heads=8).blocks[0].attention.split == (3, 8, 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shape": (4,), "heads": 3}, "heads = 3 does not divide the width 8; write a divisor or leave heads out"),
        ({"shape": (4,), "causal": True}, "causal is for token ids, and the data set has none; leave it out"),
        ({"shape": (4,), "tied": True}, "tied is for next tokens; write causal = true too, or leave tied out"),
        (
            {"shape": (4,), "vocabulary": 5, "causal": True, "tied": True},
            "the outputs, 3, are not the 5 token ids; leave tied out",
        ),
        ({"shape": (4,), "patch": 2}, "patch is for signals and images; leave it out"),
        ({"shape": (1, 9, 12), "patch": 2}, "patch = 2 does not divide 9 × 12; write a divisor of 3"),
        ({"shape": (1, 4), "vocabulary": 5}, r"token ids of shape \(length,\); the data set's token ids are \(1, 4\)"),
        ({"shape": (1, 4, 4, 4)}, r"wants inputs of shape .* the data set's inputs are \(1, 4, 4, 4\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_write(given, said):
    with pytest.raises(MdbenchError, match=said):
        transformer(outputs=3, width=8, **given)


def test_next_tokens_can_be_learnt():
    """Tokens that follow each other around a circle: the loss falls from log K to nearly nothing, in training."""
    network = causal(tied=True, dropout=0.05)
    x = (ids(64)[:, :1] + torch.arange(LENGTH)) % VOCABULARY
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    losses = []
    for _ in range(60):
        loss = functional.cross_entropy(network(x)[..., :-1], x[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert abs(losses[0] - math.log(VOCABULARY)) < 0.2
    assert losses[-1] < 0.1
