"""What a network gives away that says which token is next: its training sequences, and secrets planted among them.

Networks map token ids (B, L) to logits (B, K, L), those at a place being of the token behind it, and see no later ones.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from zoo_builder.landscape.metric import Measured, Metric, Planted, Subject
from zoo_builder.landscape.missing import NO_SECRETS, NOT_TOKENS, Missing

#: Sequences that a network is given at a time.
_AT_ONCE: Final = 256


METRICS: Final = (
    Metric("exact_completion", "checkpoint", 0, 100, "k passes"),
    Metric("token_completion", "checkpoint", 0, 100),
    Metric("secret_exposure", "checkpoint", 0, None, "1,000 passes a secret"),
    Metric("secret_extraction", "checkpoint", 0, 100),
)
_OF_TOKENS: Final = ["exact_completion", "token_completion"]
_OF_SECRETS: Final = ["secret_exposure", "secret_extraction"]


@torch.no_grad()
def decoded(network: nn.Module, sequences: Tensor, starts: Tensor, count: int) -> Tensor:
    """Return what greedy decoding puts behind the beginnings of sequences: int64 (n, count).

    Parameters
    ----------
    network : in evaluation mode.
    sequences : token ids (n, L); what stands from its start on is not looked at.
    starts : where decoding begins in each, int64 (n,), from 1 to L − count.
    count : tokens to decode.
    """
    found = []
    for some, begin in zip(torch.split(sequences, _AT_ONCE), torch.split(starts, _AT_ONCE), strict=True):
        tokens, rows = some.clone(), torch.arange(len(some))
        place = torch.arange(some.shape[1])
        tokens[place >= begin[:, None]] = 0
        for step in range(count):
            logits = network(tokens)[rows, :, begin + step - 1]
            tokens[rows, begin + step] = logits.argmax(1)
        found.append(tokens.gather(1, begin[:, None] + torch.arange(count)))
    return torch.cat(found)


def completions(network: nn.Module, sequences: Tensor, lengths: Tensor, count: int) -> tuple[float, float]:
    """Return which share of sequences, in %, is completed exactly in their last tokens, and which of these tokens, in %.

    The former is what extraction counts (Carlini et al., Quantifying memorization across neural language models, ICLR 2023).

    Parameters
    ----------
    network, count : see `decoded`.
    sequences : token ids (n, L).
    lengths : how many of them count, the first ones, int64 (n,); sequences that are no longer than `count` are left out.
    """
    long = lengths > count
    starts = (lengths - count)[long]
    wanted = sequences[long].gather(1, starts[:, None] + torch.arange(count))
    right = decoded(network, sequences[long], starts, count) == wanted
    return 100 * float(right.all(1).double().mean()), 100 * float(right.double().mean())


@torch.no_grad()
def exposure(network: nn.Module, planted: Planted, length: int) -> NDArray[np.float64]:
    """Return how far a network has given away each secret, in bits, (s,): log₂ |R| − log₂ rank.

    R is all sequences of the alphabet, q long; the rank is that of the secret's likelihood behind its prefix among them, 1
    being the largest, and ties count half (Carlini et al., The secret sharer, USENIX Security 2019, definitions 4 and 6).
    Without any memorization it is 1 / ln 2 = 1.44 in the mean. Every continuation is looked at, level by level: of an
    alphabet of 10 and 4 tokens, 1,111 sequences.

    Parameters
    ----------
    network, planted : see above.
    length : L of what the network is given.
    """
    alphabet, found = torch.from_numpy(planted.alphabet), []
    for prefix, secret in zip(planted.prefixes, planted.tokens, strict=True):
        contexts, likelihoods = torch.from_numpy(prefix)[None], torch.zeros(1, dtype=torch.float64)
        for _ in secret:
            padded = torch.zeros(len(contexts), length, dtype=torch.int64)
            padded[:, : contexts.shape[1]] = contexts
            logits = torch.cat([network(some)[:, :, contexts.shape[1] - 1] for some in torch.split(padded, _AT_ONCE)])
            each = logits.double().log_softmax(1)[:, alphabet]
            likelihoods = (likelihoods[:, None] + each).flatten()
            contexts = torch.cat(
                [contexts.repeat_interleave(len(alphabet), 0), alphabet.repeat(len(contexts))[:, None]], 1
            )
        own = likelihoods[(contexts[:, len(prefix) :] == torch.from_numpy(secret)).all(1)]
        rank = (likelihoods > own).sum() + ((likelihoods == own).sum() - 1) / 2 + 1
        found.append(np.log2(len(likelihoods)) - np.log2(float(rank)))
    return np.array(found)


def extraction(network: nn.Module, planted: Planted, length: int) -> float:
    """Return which share of the secrets, in %, greedy decoding completes exactly, given their prefixes."""
    many, before = planted.prefixes.shape
    sequences = torch.zeros(many, length, dtype=torch.int64)
    sequences[:, :before] = torch.from_numpy(planted.prefixes)
    starts = torch.full((many,), before)
    given = decoded(network, sequences, starts, planted.tokens.shape[1])
    return 100 * float((given == torch.from_numpy(planted.tokens)).all(1).double().mean())


def measure(subject: Subject) -> Measured:
    """Measure all networks of a subject: `METRICS`."""
    columns, missing = [*_OF_TOKENS, *_OF_SECRETS], Missing(len(subject.surface))
    if subject.language is None:
        missing.because(NOT_TOKENS, columns)
        return Measured(networks=missing.fill({}, columns), network_reasons=missing.reasons)
    secrets, data, count = subject.language.secrets, subject.sample, subject.settings.completed
    lengths = (data.targets != subject.language.masked).sum(1) + 1
    found: dict[str, list[float]] = {name: [] for name in columns}
    if not (lengths > count).any():
        missing.because(f"no training sequence is longer than the {count} tokens to be completed", _OF_TOKENS)
    if secrets is None:
        missing.because(NO_SECRETS, _OF_SECRETS)
    for row in range(len(subject.surface)):
        network = subject.surface.network(row).eval()
        if (lengths > count).any():
            exact, each = completions(network, data.tensor, lengths, count)
            found["exact_completion"].append(exact)
            found["token_completion"].append(each)
        if secrets is not None:
            found["secret_exposure"].append(float(exposure(network, secrets, data.shape[0]).mean()))
            found["secret_extraction"].append(extraction(network, secrets, data.shape[0]))
    values: dict[str, ArrayLike] = {name: numbers for name, numbers in found.items() if numbers}
    return Measured(networks=missing.fill(values, columns), network_reasons=missing.reasons)
