"""Membership against scikit-learn, tails and wrong labels by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional

from mdbench.tables.schema import COLUMNS
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.memorization import METRICS, measure, membership_auc, tail_share
from zoo_builder.landscape.metric import Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.specification.models import mlp

OF_WRONG = ["memorized_share", "corrected_share", "memorization_gap"]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 8), st.integers(0, 2**32))
def test_membership_is_scikit_learns_area_with_ties(n, m, levels, seed):
    rng = np.random.default_rng(seed)
    train, test = rng.integers(0, levels, n) / 4, rng.integers(0, levels + 1, m) / 4
    expected = roc_auc_score(np.repeat([1, 0], [n, m]), -np.concatenate([train, test]))
    assert membership_auc(train, test) == pytest.approx(expected, abs=1e-12)


def test_membership_of_many():
    rng = np.random.default_rng(0)
    train, test = rng.normal(0, 1, 10_000), rng.normal(1, 1, 16_000)
    expected = roc_auc_score(np.repeat([1, 0], [10_000, 16_000]), -np.concatenate([train, test]))
    assert membership_auc(train, test) == pytest.approx(expected, abs=1e-12)
    # Φ(1 / √2) for two normal distributions a standard deviation apart.
    assert membership_auc(train, test) == pytest.approx(0.7602, abs=0.01)


def test_tail_by_hand():
    losses = np.arange(1.0, 201)[None, ::-1].repeat(2, 0)
    losses[1] = 0.5
    assert tail_share(losses) == pytest.approx([100 * (199 + 200) / (200 * 201 / 2), 1])
    assert tail_share(np.array([[1.0, 3.0]])) == pytest.approx([75])  # one example at least
    assert np.isnan(tail_share(np.zeros((1, 5)))).all()


class Table(nn.Module):
    """Answers with a number of its own for every example: inputs are one-hot."""

    def __init__(self, logits):
        super().__init__()
        self.linear = nn.Linear(*logits.shape, bias=False)
        self.linear.weight.data = logits.T.contiguous()

    def forward(self, x):
        return self.linear(x)


def saying(predictions, classes=4, sure=5.0):
    return Table(sure * functional.one_hot(torch.tensor(predictions), classes).double())


TRUTH = np.array([0, 1, 2, 3, 0, 1, 2, 3])
LABELS = np.array([1, 2, 3, 0, 1, 1, 2, 3])  # the first five are wrong
WRONG = TRUTH != LABELS


def subject_of(made, labels=LABELS, test=True, loss=None, **kwargs):
    n = len(labels)
    surface = open_surface(made, (n,), dtype=torch.float64, loss=loss)
    train = Data(torch.eye(n, dtype=torch.float64), torch.as_tensor(labels))
    held = Data(torch.randn(30, n, generator=torch.Generator().manual_seed(3)).double(), torch.arange(30) % 4)
    return Subject(surface, train, held if test else None, **kwargs)


def test_wrong_labels_by_hand():
    # Of five wrong labels one network reproduces two and says one right; of three others it reproduces two.
    made = [saying([1, 2, 2, 2, 3, 1, 2, 0]), saying(LABELS), saying(TRUTH)]
    found = measure(subject_of(made, wrong=WRONG, truth=TRUTH))
    assert found.networks["memorized_share"] == pytest.approx([40, 100, 0])
    assert found.networks["corrected_share"] == pytest.approx([20, 0, 100])
    assert found.networks["memorization_gap"] == pytest.approx([200 / 3 - 40, 0, 100])
    assert not found.network_reasons


def test_losses_by_hand():
    subject = subject_of([saying([1, 2, 2, 2, 3, 1, 2, 0]), saying(TRUTH)], wrong=WRONG, truth=TRUTH)
    found = measure(subject).networks
    right, false = np.log(1 + 3 * np.exp(-5)), np.log(1 + 3 * np.exp(-5)) + 5
    assert found["train_loss_p99"] == pytest.approx([false, false])
    assert found["train_loss_tail_share"] == pytest.approx(
        [100 * false / (4 * right + 4 * false), 100 * false / (3 * right + 5 * false)]
    )
    with torch.no_grad():
        for row in range(2):
            network = subject.surface.network(row).double()
            mine, theirs = (
                functional.cross_entropy(network(data.inputs), data.targets, reduction="none").numpy()
                for data in (subject.train, subject.test)
            )
            for column, chosen in (("membership_auc", np.ones(8, bool)), ("membership_auc_clean", ~WRONG)):
                # Losses that ought to be equal are rounded differently here: ties are tied again.
                scores = -np.concatenate([mine[chosen], theirs]).round(10)
                expected = roc_auc_score(np.repeat([1, 0], [chosen.sum(), 30]), scores)
                assert found[column][row] == pytest.approx(expected)


def test_company_changes_nothing():
    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    train = Data(torch.randn(70, 6, generator=rng).double(), torch.randint(0, 4, (70,), generator=rng))
    test = Data(torch.randn(50, 6, generator=rng).double(), torch.randint(0, 4, (50,), generator=rng))
    made = [mlp((6,), 4, 5).double().eval() for _ in range(3)]
    wrong, truth = np.arange(70) % 10 == 9, (train.targets.numpy() + 1) % 4

    def of(some):
        surface = open_surface(some, (6,), dtype=torch.float64)
        return measure(Subject(surface, train, test, wrong=wrong, truth=truth)).networks

    together = of(made)
    assert list(together) == [metric.column for metric in METRICS]
    assert set(together) <= set(COLUMNS)
    for row, network in enumerate(made):
        for column, values in of([network]).items():
            assert values[0] == pytest.approx(together[column][row], rel=1e-12), column


def nans(found):
    return {column for column, values in found.networks.items() if np.isnan(values).any()}


def test_what_nobody_knows_is_missing():
    made = [saying(LABELS)]
    found = measure(subject_of(made))
    assert nans(found) == {*OF_WRONG, "membership_auc_clean"}
    why = "nobody knows which labels are wrong"
    assert found.network_reasons == {0: f"{', '.join(OF_WRONG)}, membership_auc_clean: {why}"}

    found = measure(subject_of(made, wrong=np.zeros(8, bool), truth=LABELS))
    assert nans(found) == set(OF_WRONG)
    assert found.network_reasons == {0: f"{', '.join(OF_WRONG)}: no label was corrupted"}
    assert found.networks["membership_auc_clean"] == found.networks["membership_auc"]

    found = measure(subject_of(made, wrong=WRONG, test=False))
    assert nans(found) == {"corrected_share", "membership_auc", "membership_auc_clean"}
    assert found.network_reasons == {
        0: "corrected_share: nobody knows the right labels; "
        "membership_auc, membership_auc_clean: there are no test data"
    }

    found = measure(subject_of(made, wrong=np.ones(8, bool), truth=TRUTH))
    assert nans(found) == {"memorization_gap", "membership_auc_clean"}
    assert found.network_reasons == {0: "memorization_gap, membership_auc_clean: all labels were corrupted"}


def test_other_losses_broken_networks_and_perfect_ones():
    columns = [metric.column for metric in METRICS]
    found = measure(
        subject_of([saying(LABELS)], loss=lambda logits, _: logits.square().mean(), wrong=WRONG, truth=TRUTH)
    )
    assert nans(found) == set(columns)
    assert found.network_reasons == {0: f"{', '.join(columns)}: the loss is not the cross-entropy of classes"}

    found = measure(subject_of([saying(LABELS), saying(LABELS, sure=torch.inf)], wrong=WRONG, truth=TRUTH))
    assert found.network_reasons == {1: f"{', '.join(columns)}: outputs are not finite"}
    assert all(np.isfinite(values[0]) and np.isnan(values[1]) for values in found.networks.values())

    found = measure(subject_of([saying(LABELS, sure=2000.0)], wrong=WRONG, truth=TRUTH))
    assert found.networks["train_loss_p99"][0] == 0
    assert found.network_reasons == {0: "train_loss_tail_share: all losses are zero"}
