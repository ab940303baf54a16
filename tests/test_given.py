"""Examples as people have them: what is refused, what is noted, and which of them networks and losses are tried on."""

import numpy as np
import pytest
import torch
from any_networks import X, Y, measured, net, refused
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from zoo_builder.landscape import Data, data_of


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (X, "data are a Tensor|inputs and targets"),
        ("train.npz", "the training data are a str"),
        (7, "the training data are a int"),
        ([], "hold no batch"),
        ((X, Y[:-1]), "60 inputs and 59 targets"),
        ({"x": X}, "must be called labels"),
        ([(X[:9], Y[:9]), (X[:9, :4], Y[:9])], r"batch 1 .* shape \(4,\) each, the first one of \(5,\)"),
        ([(X[:9], Y[:9]), (X[:9], Y[:9, None])], r"batch 1 .* targets of shape \(1,\)"),
        ((X, np.array(["a"] * 60)), "are a ndarray of <U1; they must be a tensor or an array of numbers"),
        ((X, Y[:, None]), r"shape \(60, 1\); .* take targets.flatten\(\), and"),
        ((X, Y.float()), r"shape \(60,\); .* take targets.long\(\), and"),
        ((X, functional.one_hot(Y)), r"shape \(60, 3\); .* by argmax\(1\), give nn.CrossEntropyLoss\(\)"),
        ((X[:0], Y[:0]), "the training data: there are no examples"),
        ((X[:, :4], Y), "network 0 fails on the training inputs: RuntimeError"),
        ((torch.randint(0, 9, (60, 5)), Y), "they must be floating point unless they are token ids"),
    ],
)
def test_data_that_cannot_be_used_are_refused_in_a_sentence(data, said):
    refused(said, net(), data=data)


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, at):
        raise FileNotFoundError("image 3 is gone")


def test_a_data_set_that_fails_says_why():
    refused("the training data cannot be read: FileNotFoundError: image 3 is gone", net(), data=Broken())


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ((X, torch.zeros(60)), r"the test targets have shape \(\) each; they must be \(1,\)"),
        ((X, torch.zeros(60, 3)), r"the test targets have shape \(3,\) each"),
        ((X, torch.zeros(60, 1).long()), "the test targets are torch.int64; they must be floating point"),
        (((255 * X).byte(), torch.zeros(60, 1)), "the test inputs are torch.uint8; they must be floating point"),
    ],
)
def test_test_data_are_like_training_data(test, said):
    """Where shapes differ, PyTorch would pair every output with every target."""
    refused(said, nn.Linear(5, 1), nn.MSELoss(), (X, torch.zeros(60, 1)), test=test)


def test_bytes_stay_bytes():
    """Images as bytes in training, and as shares of 1 in the test: the network saw the former alone."""
    tokens = torch.randint(0, 6, (60, 4)).byte()
    network = nn.Sequential(nn.Embedding(6, 3), nn.Flatten(), nn.Linear(12, 3))
    refused("they must be integers, torch.int32", network, data=(tokens.int(), Y), test=(tokens / 255, Y))


@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch has not settled these forms yet
@pytest.mark.parametrize("form", ["to_sparse", "to_sparse_csr", "nested", "meta"])
def test_tensors_that_are_not_dense_are_refused(form):
    forms = {"nested": lambda: torch.nested.as_nested_tensor(list(X)), "meta": lambda: X.to("meta")}
    value = forms[form]() if form in forms else getattr(X, form)()
    refused("the training inputs are a tensor that is .* they must be a dense one", net(), data=(value, Y))


RARE = torch.arange(1000) % 2
RARE[[100, 613]] = 2


def test_a_class_that_few_examples_have_is_tried():
    """Its weight makes a mean of a loss that is none, far from the examples at equal distances."""
    weight = torch.tensor([1.0, 1.0, 100.0])
    data = (torch.randn(1000, 5), RARE)
    refused("neither a mean nor a sum", net(), lambda out, y: functional.cross_entropy(out, y, weight), data)
    found = measured(net(), nn.CrossEntropyLoss(weight), data).models["train_loss"][0]
    assert found == pytest.approx(functional.cross_entropy(net()(data[0]), RARE, weight).item(), rel=1e-5)


@pytest.mark.parametrize(
    "targets",
    [RARE, RARE.byte(), torch.where(RARE == 2, 7.5, RARE.float()), functional.one_hot(RARE).float(), RARE[:, None]],
    ids=["classes", "bytes", "numbers", "one-hot", "positions"],
)
def test_what_is_tried_has_targets_of_every_kind(targets):
    tried = Data(torch.arange(1000.0)[:, None], targets).tried
    assert 64 < len(tried) <= 128
    assert {*map(tuple, tried.targets.reshape(len(tried), -1).tolist())} == {
        *map(tuple, targets.reshape(1000, -1).tolist())
    }


def test_one_target_that_is_no_number_is_found():
    targets = torch.zeros(1000, 1)
    targets[613] = torch.nan
    refused("the loss is not finite", nn.Linear(5, 1), nn.MSELoss(), (torch.randn(1000, 5), targets))


def test_class_numbers_as_bytes_reach_255():
    """−100, which cross-entropy leaves out, would be 156 of them."""
    torch.manual_seed(0)
    network, labels = nn.Linear(5, 160), 154 + Y
    found = [
        measured(network, nn.CrossEntropyLoss(), (X, some)).models["train_loss"][0] for some in (labels.byte(), labels)
    ]
    assert found[0] == found[1] == pytest.approx(functional.cross_entropy(network(X), labels).item(), rel=1e-5)


@pytest.mark.parametrize("wrong", [7, -1])
def test_a_class_of_one_position_that_there_is_not_is_refused(wrong):
    pixels = torch.randint(0, 3, (1000, 4))
    pixels[613, 2] = wrong
    network = nn.Sequential(nn.Linear(5, 12), nn.Unflatten(1, (3, 4)))
    refused(
        f"of the training targets, example 613 has {wrong} at position 2",
        network,
        nn.CrossEntropyLoss(),
        (torch.randn(1000, 5), pixels),
    )


def test_targets_of_which_none_counts_are_refused():
    refused("all test targets are -100", net(), nn.CrossEntropyLoss(), test=(X, torch.full((60,), -100)))


def test_with_examples_left_out_the_way_is_the_same():
    some = Y.clone()
    some[::4] = -100
    found = measured(net(), nn.CrossEntropyLoss(), (X, some))
    assert found.way == measured(net()).way == "compiled loops"
    assert found.models["train_loss"][0] == pytest.approx(functional.cross_entropy(net()(X), some).item(), rel=1e-5)


def test_what_single_precision_cannot_tell_apart_is_not_measured_in_it():
    class Clock(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net().double()

        def forward(self, x):
            return self.net((x - 1.7e9) / 1e2)

    network, times = Clock(), 1.7e9 + 1e2 * X.double()
    refused("is in double precision, and in single precision puts out other numbers", network, data=(times, Y))
    found = measured(network, data=(times, Y), dtype=torch.float64).models["train_loss"][0]
    assert found == pytest.approx(functional.cross_entropy(network(times), Y).item(), rel=1e-10)
    assert measured(net().double(), data=(X.double(), Y)).models["train_loss"][0] > 0


class Ending(nn.Module):
    def forward(self, x):
        raise SystemExit(0)


def test_code_that_ends_the_program_is_an_error():
    refused("network 0 fails on the training inputs: SystemExit", nn.Sequential(nn.Linear(5, 3), Ending()))
    refused("the loss fails", net(), lambda *_: Ending()(0))
    refused("the training data cannot be read: SystemExit", net(), data=(Ending()(0) for _ in range(1)))


def test_what_a_loader_leaves_out_or_repeats_is_noted():
    data = TensorDataset(X, Y)
    weighted = torch.utils.data.WeightedRandomSampler([1.0] * 60, 60)
    again = torch.utils.data.RandomSampler(data, replacement=True)
    for loader, said in (
        (DataLoader(data, 25, drop_last=True), ("the training loader leaves out 10 examples (drop_last)",)),
        (DataLoader(data, 25, drop_last=True, shuffle=True), ("it was read once", "leaves out 10")),
        (DataLoader(data, sampler=weighted), ("draws examples by a WeightedRandomSampler",)),
        (DataLoader(data, sampler=again), ("draws examples by a RandomSampler",)),
        (DataLoader(data, 20, drop_last=True), ()),
    ):
        (notes,) = measured(net(), data=loader).notes or ("",)
        assert all(words in notes for words in said)
        assert bool(notes) == bool(said)


def test_a_loader_that_shuffles_gives_the_same_order_each_time():
    """Otherwise nothing that was measured of it would be found again."""
    loader, before = DataLoader(TensorDataset(X, Y), 7, shuffle=True), torch.get_rng_state()
    first, again = (data_of(loader, "training")[0] for _ in range(2))
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, X)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_worker_of_a_loader_that_fails_says_why():
    refused("cannot be read: FileNotFoundError: image 3 is gone", net(), data=DataLoader(Broken(), 2, num_workers=1))


def test_data_without_an_end_are_refused_before_memory_is_full(monkeypatch):
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            while True:
                yield X[0], Y[0]

    pages = {"SC_PHYS_PAGES": 100, "SC_PAGE_SIZE": 1000}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    each = X[0].nbytes + Y[0].nbytes
    examples = 256 * (1 + 50_000 // (256 * each))  # loaders give 256 at a time
    refused(f"do not fit: {examples} examples hold 0.0 GB, more than half", net(), data=Endless())
