"""What networks give away that say which token is next."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from zoo_builder.landscape.generation import completions, decoded, exposure, extraction
from zoo_builder.specification.datasets.raw import Secrets
from zoo_builder.specification.models import transformer

LENGTH, VOCABULARY = 9, 14


class Counts(nn.Module):
    """Says that the next token is the last one and one more."""

    def forward(self, tokens):
        return nn.functional.one_hot((tokens + 1) % VOCABULARY, VOCABULARY).movedim(2, 1).float()


def model():
    torch.manual_seed(0)
    return transformer((LENGTH,), VOCABULARY, 8, 1, causal=True, vocabulary=VOCABULARY).eval()


def test_greedy_decoding_goes_on_from_what_it_said():
    sequences = torch.tensor([[3, 4, 0, 0, 0, 0, 0, 0, 0], [5, 9, 9, 1, 1, 1, 1, 1, 1]])
    assert decoded(Counts(), sequences, torch.tensor([2, 3]), 3).tolist() == [[5, 6, 7], [10, 11, 12]]


def test_decoding_is_what_one_token_after_the_other_gives():
    network, sequences = model(), torch.randint(1, VOCABULARY, (5, LENGTH), generator=torch.Generator().manual_seed(1))
    for row, start in enumerate((1, 2, 3, 4, 5)):
        tokens = sequences[row, :start].tolist()
        for _ in range(3):
            padded = torch.tensor([tokens + [7] * (LENGTH - len(tokens))])
            tokens.append(int(network(padded)[0, :, len(tokens) - 1].argmax()))
        found = decoded(network, sequences[row : row + 1], torch.tensor([start]), 3)
        assert found[0].tolist() == tokens[start:]


def test_exact_completion_counts_whole_ends_and_the_other_one_tokens():
    sequences = torch.tensor(
        [
            [1, 2, 3, 4, 5, 6, 0, 0, 0],
            [1, 2, 3, 4, 5, 9, 0, 0, 0],
            [1, 2, 3, 0, 0, 0, 0, 0, 0],
            [1, 2, 0, 0, 0, 0, 0, 0, 0],
        ]
    )
    lengths = torch.tensor([6, 6, 3, 2])
    assert completions(Counts(), sequences, lengths, 2) == pytest.approx((100 * 2 / 3, 100 * 5 / 6))
    assert completions(Counts(), sequences, lengths, 3) == pytest.approx((50, 100 * 5 / 6))


def planted(secrets):
    return Secrets(np.full((len(secrets), 2), 13), np.array(secrets), np.array([1, 2, 3]))


def test_exposure_is_the_rank_among_all_secrets_of_the_form():
    network, secrets = model(), planted([[1, 2, 2], [3, 1, 1]])
    for secret, found in zip(secrets.tokens, exposure(network, secrets, LENGTH), strict=True):
        likelihood = {}
        for other in itertools.product([1, 2, 3], repeat=3):
            tokens = torch.tensor([[13, 13, *other] + [0] * (LENGTH - 5)])
            each = network(tokens).detach().double().log_softmax(1)[0]
            likelihood[other] = sum(float(each[token, 1 + at]) for at, token in enumerate(other))
        rank = 1 + sum(value > likelihood[tuple(secret)] for value in likelihood.values())
        assert found == pytest.approx(math.log2(27) - math.log2(rank))


def test_a_network_that_knows_nothing_has_middle_ranks():
    class Nothing(nn.Module):
        def forward(self, tokens):
            return torch.zeros(len(tokens), VOCABULARY, tokens.shape[1])

    assert exposure(Nothing(), planted([[1, 2, 2]]), LENGTH) == pytest.approx(math.log2(27 / 14))


def test_secrets_that_the_network_says_are_extracted():
    secrets = Secrets(np.array([[5, 1], [5, 3], [5, 2]]), np.array([[2, 3], [4, 5], [9, 9]]), np.arange(1, 10))
    assert extraction(Counts(), secrets, LENGTH) == pytest.approx(200 / 3)
    found = exposure(Counts(), secrets, LENGTH)
    assert found[:2] == pytest.approx(math.log2(81))  # the likeliest of all
    assert found[2] < 2
