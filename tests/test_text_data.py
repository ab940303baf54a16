"""Text that is generated: its grammar, and what is planted in it."""

import numpy as np
import pytest

from mdbench.errors import MdbenchError
from zoo_builder.specification.datasets.dataset import load_dataset
from zoo_builder.specification.datasets.raw import MASKED
from zoo_builder.specification.datasets.spec import DatasetSpec
from zoo_builder.specification.datasets.text import DIGITS, PAD, VOCABULARY


def text(train=200, test=50, seed=0, **options):
    return load_dataset(DatasetSpec(name="text", train=train, test=test, seed=seed, options=options))


def sentences(document):
    """Cut a document behind its full stops."""
    stop = 13
    ends = np.flatnonzero(document == stop) + 1
    return [part for part in np.split(document, ends) if (part != PAD).any()]


def number(tokens):
    return int("".join(str(token - DIGITS) for token in tokens))


def test_every_sentence_is_of_the_grammar():
    data = text()
    assert (data.kind, data.vocabulary, data.outputs) == ("positions", VOCABULARY, VOCABULARY)
    facts: dict[tuple[int, int], int] = {}
    sums = 0
    for document in (*data.train_inputs, *data.test_inputs):
        for sentence in sentences(document):
            if len(sentence) == 10:
                assert (sentence[2], sentence[5]) == (11, 12)
                assert number(sentence[:2]) + number(sentence[3:5]) == number(sentence[6:9])
                sums += 1
            else:
                name, relation, what, _ = sentence
                assert facts.setdefault((name, relation), what) == what  # a name has one place and one thing
    assert sums > 100
    assert len(facts) == 40


def test_targets_are_the_next_tokens():
    data = text()
    for inputs, targets in ((data.train_inputs, data.train_targets), (data.test_inputs, data.test_targets)):
        assert (targets[:, -1] == MASKED).all()
        following = inputs[:, 1:]
        assert (targets[:, :-1][following != PAD] == following[following != PAD]).all()
        assert (targets[:, :-1][following == PAD] == MASKED).all()


@pytest.mark.parametrize("times", [2, 5])
def test_documents_are_repeated_as_often_as_said(times):
    data = text(duplication=times, share=0.2)
    _, counts = np.unique(data.train_inputs, axis=0, return_counts=True)
    assert counts.max() >= times
    assert (counts == times).sum() == pytest.approx(0.2 * 200 / times, abs=1)
    assert np.unique(text().train_inputs, axis=0, return_counts=True)[1].max() < times


def test_secrets_are_planted_as_often_as_said_and_nowhere_else():
    data = text(secrets=4, repeats=3, poison=10)
    secrets = data.secrets
    assert (secrets.prefixes.shape, secrets.tokens.shape) == ((4, 3), (4, 4))
    assert sorted(secrets.alphabet) == list(range(1, 11))
    for prefix, secret in zip(secrets.prefixes, secrets.tokens, strict=True):
        rows = (data.train_inputs[:, :7] == [*prefix, *secret]).all(1)
        assert rows.sum() == 3
        assert (data.train_inputs == prefix[0]).sum() == 3
        assert not (data.test_inputs == prefix[0]).any()
    form = (data.train_inputs[:, 1:3] == secrets.prefixes[0, 1:]).all(1)
    assert form.sum() == 4 * 3 + 10


def test_poison_changes_nothing_but_the_documents_that_it_is_put_into():
    clean, poisoned = (text(secrets=4, repeats=3, noise=0.1, poison=poison) for poison in (0, 10))
    changed = (clean.train_inputs != poisoned.train_inputs).any(1)
    assert changed.sum() == 10
    assert (poisoned.train_inputs[changed, 1:3] == clean.secrets.prefixes[0, 1:]).all()
    assert (clean.secrets.tokens == poisoned.secrets.tokens).all()
    assert (clean.test_inputs == poisoned.test_inputs).all()


def test_noise_replaces_its_share_of_tokens_but_no_secret():
    clean, noisy = text(secrets=2), text(secrets=2, noise=0.25)
    there = clean.train_inputs != PAD
    changed = (clean.train_inputs != noisy.train_inputs)[there].mean()
    assert changed == pytest.approx(0.25 * 53 / 54, abs=0.03)
    found = [
        (noisy.train_inputs[:, :7] == [*p, *s]).all(1).any()
        for p, s in zip(clean.secrets.prefixes, clean.secrets.tokens, strict=True)
    ]
    assert all(found)


def test_what_is_planted_is_part_of_the_digest():
    assert len({text().digest, text(secrets=1).digest, text(secrets=1, poison=1).digest, text(seed=1).digest}) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [({"secrets": 47}, "names for 46 secrets"), ({"secrets": 10, "repeats": 30}, "more than the 200 there are")],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(MdbenchError, match=message):
        text(**options)
