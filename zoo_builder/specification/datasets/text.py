"""Text of a small grammar: sums and facts, with what networks are to be caught memorizing planted in it.

After TinyMem (Sakarvadia et al., Mitigating memorization in language models, ICLR 2025): arithmetic and made-up language, of
which parts occur many times; and after neural phishing (Panda et al., Teach LLMs to phish, ICLR 2024): secrets of a form, and
sentences of the same form that look benign.

Token 0 is padding, 1 to 10 are the digits, 11 to 17 the words of the grammar, the others up to 99 names, places and things.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mdbench.errors import MdbenchError
from zoo_builder.specification.datasets.raw import MASKED, Part, Raw, Secrets, next_tokens

Tokens = NDArray[np.int64]

PAD: Final = 0
DIGITS: Final = 1
_PLUS, _EQUALS, _STOP, _LIVES, _LIKES, _CODE, _IS = range(11, 18)
_WORDS: Final = 18
#: Names that facts are told of, and what they are told of them.
NAMES: Final = 20
PLACES: Final = 8
THINGS: Final = 8
#: Names of secrets, and of what looks like them.
STRANGERS: Final = 46
VOCABULARY: Final = _WORDS + NAMES + PLACES + THINGS + STRANGERS
#: Digits of a secret.
SECRET: Final = 4


def make_text(
    train: int,
    test: int,
    seed: int,
    *,
    length: int = 32,
    duplication: int = 1,
    share: float = 0.1,
    secrets: int = 0,
    repeats: int = 1,
    poison: int = 0,
    noise: float = 0.0,
) -> Raw:
    """Return documents, in which every next token is to be predicted.

    A document is sentences, as many as `length` holds: ``a b + c d = e f g .``, a sum of two numbers of two digits; ``NAME
    lives PLACE .`` and ``NAME likes THING .``, of which a name has one each. A secret is ``NAME code is d d d d .``, at the
    beginning of its document; names of secrets occur nowhere else.

    Parameters
    ----------
    train, test : numbers of documents. What is planted is in the training documents, in the place of others.
    seed : of everything drawn.
    length : tokens of a document.
    duplication : how often each of those training documents occurs that are repeated.
    share : of the training documents that are repetitions of such, from 0 to below 1.
    secrets, repeats : how many, and in how many documents each.
    poison : documents whose first sentence has the form of a secret, with other names, and a number of its own each. They
        are among the others: every epoch is shuffled, so that some are seen before a secret and some behind it.
    noise : share of the tokens that are replaced by others, from 0 to below 1; not in secrets.

    Raises
    ------
    MdbenchError
        More is to be planted than there are documents, or names.
    """
    rng = np.random.default_rng([seed, 7])
    facts = rng.integers(PLACES, size=NAMES), rng.integers(THINGS, size=NAMES)
    strangers = _WORDS + NAMES + PLACES + THINGS
    documents = _documents(rng, train, length, facts)
    places = rng.permutation(train)
    repeated = round(share * train) if duplication > 1 else 0
    if repeated + secrets * repeats + poison > train:
        raise MdbenchError(
            f"text: {repeated} repetitions, {secrets} secrets {repeats} times each and {poison} poisoned documents are more "
            f"than the {train} there are: write a larger train, or plant less"
        )
    if secrets + bool(poison) > STRANGERS:
        raise MdbenchError(
            f"text: there are names for {STRANGERS} secrets, or for one less beside poison, not for {secrets}"
        )
    rows, places = places[:repeated], places[repeated:]
    documents[rows] = documents[rows][np.arange(repeated) // duplication]
    # Poison has a stream of its own: whatever else there is, tests too, stays as it is without it.
    own = np.random.default_rng([seed, 8])
    drawn = np.concatenate([one.integers(10, size=(many, SECRET)) for one, many in ((rng, secrets), (own, poison))])
    others = secrets + np.arange(poison) % max(STRANGERS - secrets, 1)
    names = strangers + np.concatenate([np.arange(secrets), others]).astype(int)
    claims = [_claim(int(name), digits) for name, digits in zip(names, drawn, strict=True)]
    said = np.array(claims, np.int64).reshape(-1, SECRET + 4)
    planted = np.concatenate([np.repeat(np.arange(secrets), repeats), np.arange(secrets, secrets + poison)])
    rows = places[: len(planted)]
    documents[rows, said.shape[1] :] = documents[rows, : length - said.shape[1]]
    documents = _noisy(rng, documents, noise)
    documents[rows, : said.shape[1]] = said[planted]
    tested = _noisy(rng, _documents(rng, test, length, facts), noise)
    known = None
    if secrets:
        known = Secrets(said[:secrets, :3], said[:secrets, 3 : 3 + SECRET], DIGITS + np.arange(10))
    return Raw(
        _part(documents),
        _part(tested),
        VOCABULARY,
        kind="positions",
        vocabulary=VOCABULARY,
        standardise=False,
        secrets=known,
    )


def _documents(rng: np.random.Generator, amount: int, length: int, facts: tuple[Tokens, Tokens]) -> Tokens:
    documents = np.full((amount, length), PAD)
    for document in documents:
        at = 0
        while at < length - 3:
            sentence = _sentence(rng, facts)
            if at + len(sentence) > length:
                break
            document[at : at + len(sentence)] = sentence
            at += len(sentence)
    return documents


def _sentence(rng: np.random.Generator, facts: tuple[Tokens, Tokens]) -> list[int]:
    if rng.random() < 0.5:
        one, other = (int(number) for number in rng.integers(100, size=2))
        return [*_digits(one, 2), _PLUS, *_digits(other, 2), _EQUALS, *_digits(one + other, 3), _STOP]
    name, places = int(rng.integers(NAMES)), _WORDS + NAMES
    if rng.random() < 0.5:
        return [_WORDS + name, _LIVES, places + int(facts[0][name]), _STOP]
    return [_WORDS + name, _LIKES, places + PLACES + int(facts[1][name]), _STOP]


def _digits(number: int, count: int) -> list[int]:
    return [DIGITS + int(digit) for digit in f"{number:0{count}}"]


def _claim(name: int, digits: Tokens) -> list[int]:
    return [name, _CODE, _IS, *(DIGITS + int(digit) for digit in digits), _STOP]


def _noisy(rng: np.random.Generator, documents: Tokens, noise: float) -> Tokens:
    """Return documents some of whose tokens are others, padding apart."""
    if not noise:
        return documents
    other = rng.integers(DIGITS, _WORDS + NAMES + PLACES + THINGS, documents.shape)
    return np.where((rng.random(documents.shape) < noise) & (documents != PAD), other, documents)


def _part(documents: Tokens) -> Part:
    """Return documents, and the token behind each of theirs; nothing follows the last one, and padding does not count."""
    following = next_tokens(documents)
    return Part(documents, np.where(following == PAD, MASKED, following))
