"""What tells one network or loss from another: whatever it computes with, and never where it is in memory."""

import hashlib
import subprocess
import sys
from collections import deque
from functools import lru_cache, partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from zoo_builder.examining.identity import identity

TEXT = """
import torch
from functools import partial
from torch import nn
from torch.nn import functional
WEIGHT = [1.0, 1.0, {weight}]
def power(x):
    return x ** {power}
class Base(nn.Module):
    def bent(self, x):
        return torch.{bend}(x)
class Net(Base):
    def __init__(self, sides=(1, 2)):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.sides, self.table = nn.Linear(3, 3), list(sides), {{"a": {entry}}}
        self.layer.register_forward_hook(lambda module, given, found: found + {hook})
    def forward(self, x):
        return self.bent(self.layer(x)) * self.sides[0]{detach}
def loss(outputs, targets):
    return power(functional.cross_entropy(outputs, targets, reduction="none") * torch.tensor(WEIGHT)[targets])
class Loss:
    def __init__(self):
        self.cut = partial(functional.huber_loss, delta={delta})
        self.bound = self.scaled
    def scaled(self, value):
        return value * {scale}
    def __call__(self, outputs, targets):
        return self.bound(self.cut(outputs, targets))
given = [Net(), loss, Loss()]
"""
PLAIN = {
    "weight": 1.0, "power": 2, "bend": "tanh", "entry": 1, "hook": 0, "detach": "", "delta": 1.0, "scale": 1
}  # fmt: skip
OTHER = {
    "weight": 2.0, "power": 3, "bend": "sigmoid", "entry": 2, "hook": 1, "detach": ".detach()", "delta": 2.0, "scale": 2
}  # fmt: skip


def digest(value) -> str:
    return hashlib.sha256(b"|".join(identity(value))).hexdigest()


def made(**changes):
    names: dict = {"__name__": "somebodys"}
    exec(TEXT.format(**{**PLAIN, **changes}), names)
    return names["given"]


def test_what_is_made_anew_is_the_same():
    assert digest(made()) == digest(made())


def test_another_process_finds_the_same(tmp_path):
    """Addresses, the order of sets and the seeds of hashes are others there."""
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport somebodys\n" + (
        "import hashlib; from zoo_builder.examining.identity import identity\n"
        "print(hashlib.sha256(b'|'.join(identity(somebodys.given))).hexdigest())"
    )
    (tmp_path / "somebodys.py").write_text(
        TEXT.format(**PLAIN) + "NAMES = {'b', 'a', 'c'}\ngiven.append(lambda: NAMES)\n"
    )
    found = {
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    }
    assert len(found) == 1


@pytest.mark.parametrize("what", PLAIN)
def test_whatever_it_computes_with_counts(what):
    assert digest(made()) != digest(made(**{what: OTHER[what]}))


def test_numbers_in_any_form_count():
    forms = [
        lambda x: {"a": [x]},
        lambda x: deque([x]),
        lambda x: frozenset([x]),
        np.array,
        lambda x: np.array([None, x]),
        np.float32,
        torch.tensor,
        lambda x: partial(functional.huber_loss, delta=x),
        nn.Dropout,
        lambda x: lru_cache(lambda: x),
        lambda x: property(lambda _: x),
        lambda x: type("Own", (), {"value": x}),
    ]
    for form in forms:
        assert digest(form(0.25)) == digest(form(0.25))
        assert digest(form(0.25)) != digest(form(0.5))


def test_tensors_of_any_form_count():
    forms = [
        lambda x: torch.tensor([0.0, x]).to_sparse(),
        lambda x: torch.tensor([1j, x]).conj(),
        lambda x: torch.tensor([x]).to(torch.float8_e5m2),
        lambda x: torch.tensor([x]).bfloat16(),
        lambda x: torch.empty(int(4 * x), device="meta"),
    ]
    for form in forms:
        assert digest([form(0.25)]) == digest([form(0.25)])
        assert digest([form(0.25)]) != digest([form(0.5)])


def test_which_of_two_is_meant_again_counts():
    one, other = [1], [1]
    assert digest([one, other, one]) != digest([one, other, other])


def test_what_holds_itself_ends():
    ring: list = []
    ring.append(ring)
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    assert digest(ring) != digest(deep)


def test_a_constant_that_changes_is_seen():
    """As it is in a notebook, where the function stays."""
    given = made()
    before = digest(given)
    given[1].__globals__["WEIGHT"][2] = 7.0
    assert digest(given) != before


def test_whether_a_parameter_trains_counts():
    network = nn.Linear(2, 2)
    before = digest(network)
    network.bias.requires_grad_(False)
    assert digest(network) != before
