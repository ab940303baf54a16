"""Measuring networks that nobody here built: the right number, or a reason. Against plain PyTorch on all data at once."""

import copy
import io
import re

import any_networks
import numpy as np
import pytest
import torch
from any_networks import X, Y, measured, net, refused
from rich.console import Console
from rich.progress import Progress
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from zoo_builder.landscape import CrossEntropy, Data, measure, opening
from zoo_builder.landscape.alone import Alone
from zoo_builder.landscape.measurement import Interrupted
from zoo_builder.landscape.stacked import Stacked


@pytest.mark.parametrize("name", any_networks.NAMES)
def test_loss_eigenvalue_and_trace_are_those_of_the_dense_hessian(name):
    given = any_networks.make(name)
    found = measured(given.network, given.loss, given.data, ["performance", "hessian"])
    row = found.models.iloc[0]
    hessian = any_networks.dense_hessian(given)
    values = torch.linalg.eigvalsh(hessian)
    half = 1e-3 if name == "half precision" else 0
    assert row["train_loss"] == pytest.approx(float(given.plain(given.network.double()).detach()), rel=1e-5 + half)
    assert row["hessian_top_eigenvalue"] == pytest.approx(float(values[-1]), rel=1e-2)
    rounding = 1e-6 * float(values.abs().sum())  # where the trace is exact
    assert abs(row["hessian_trace"] - float(values.sum())) <= 4.5 * row["hessian_trace_se"] + rounding
    assert row["hessian_reason"] is None


@pytest.mark.parametrize("name", ["LSTM", "physics-informed", "a class a pixel, some ignored", "language model"])
def test_all_families_give_numbers_or_reasons(name):
    given = any_networks.make(name)
    before = copy.deepcopy(given.network.state_dict())
    found = measure([given.network, any_networks.make(name).network], given.loss, given.data)
    for table in (found.models, found.together.to_frame().T):
        for column in table:
            if not column.endswith("_reason"):
                reasons = " ".join(str(table[name].iloc[0]) for name in table if name.endswith("_reason"))
                assert np.isfinite(float(table[column].iloc[0])) or column in reasons, column
    for column in ("linear_barrier_loss", "output_cka"):
        assert np.isfinite(float(found.together[column]))
    assert found.models["sharpness_worst"].notna().all()
    assert all(torch.equal(value, before[key]) for key, value in given.network.state_dict().items())


def test_a_network_with_kinks_in_its_second_derivative_goes_down_the_ladder():
    torch.manual_seed(0)
    network = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 8)), nn.Tanh(), nn.Linear(8, 3))
    assert "differences" in measured(network).way
    assert measured([net(0, nn.Mish()), net(1, nn.Mish())]).way == "a stack, mapped as a whole"
    assert measured(net(between=nn.Mish())).way == "one by one, the gradient differentiated backwards"
    for known in (nn.ReLU(), nn.Tanh(), nn.GELU()):
        assert measured(net(between=known)).way == "compiled loops"


def test_large_networks_are_left_to_plain_pytorch(monkeypatch):
    """Each rule by itself, at the size of this network: the numbers stay what they are."""
    models, families = [net(seed, nn.ReLU()) for seed in (0, 1)], ["hessian"]
    expected = measured(models, families=families)
    size = sum(value.numel() for value in models[0].parameters())
    ways = {}
    for what, many in (("_LARGE", size), ("_LARGE", size + 1), ("_STACKED", size), ("_STACKED", size + 1)):
        with monkeypatch.context() as patched:
            patched.setattr(opening, what, many)
            if what == "_STACKED":
                patched.setattr(opening, "Taped", Unknown)
            found = measured(models, families=families)
        ways[what, many > size] = found.way
        for column in ("hessian_trace", "hessian_top_eigenvalue"):
            assert list(found.models[column]) == pytest.approx(list(expected.models[column]), rel=1e-3), column
    assert ways == {
        ("_LARGE", False): "one by one, the gradient differentiated backwards",
        ("_LARGE", True): "compiled loops",
        ("_STACKED", False): "one by one, the gradient differentiated backwards",
        ("_STACKED", True): "a stack, layer by layer",
    }


class Unknown(opening.Taped):
    """Loops that know nothing."""

    def __init__(self, *_):
        raise opening.UnknownLayerError


class Once(torch.autograd.Function):
    """A hard sigmoid that nobody can differentiate twice."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return functional.relu6(x + 3) / 6

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return slope * (x.abs() < 3) / 6


class Gate(nn.Module):
    """Hard swish: of a function that is differentiated once, or of the same function, which PyTorch differentiates twice."""

    def __init__(self, plain):
        super().__init__()
        self.plain = plain

    def forward(self, x):
        return x * (functional.relu6(x + 3) / 6 if self.plain else Once.apply(x))


class Hard(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    "hard",
    [
        nn.Hardswish(),
        nn.Hardswish(inplace=True),
        nn.Hardsigmoid(),
        Hard(functional.hardswish),
        Hard(lambda x: x * functional.hardsigmoid(x)),
    ],
)
def test_hard_swishes_and_sigmoids_are_differentiated_twice(hard):
    """Of parts that have second derivatives: also where a unit lies exactly at a kink, where differences see a jump."""

    class Parts(nn.Module):
        def forward(self, x):
            gate = functional.relu6(x + 3) / 6
            return gate if isinstance(hard, nn.Hardsigmoid) else x * gate

    def network(between):
        made = nn.Sequential(net(between=between, width=30), nn.ReLU(), nn.Linear(3, 3))
        with torch.no_grad():
            made[0][2].weight[0], made[0][2].bias[0] = 0, 0  # dead, and at the kink
        return made

    found, expected = (measured(network(one), families=["hessian"]) for one in (hard, Parts()))
    assert "differences" not in found.way
    for column in ("hessian_top_eigenvalue", "hessian_eigenvalue_2", "hessian_trace"):
        assert found.models[column][0] == pytest.approx(expected.models[column][0], rel=1e-2)


def test_networks_of_many_units_are_differentiated_between_their_kinks():
    """Along a step of differences that is too long some unit always crosses the kink of a ReLU, and the gradient jumps."""

    def wide(plain):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(5, 2000),
            nn.ReLU(),
            nn.Linear(2000, 200),
            Gate(plain),
            nn.Linear(200, 100),
            nn.ReLU(),
            nn.Linear(100, 3),
        )

    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    found = {}
    for way, plain in (("backwards", True), ("differences", False)):
        measurements = measured(wide(plain), loss, families=["hessian"])
        assert way in measurements.way
        found[way] = measurements.models.iloc[0]
    for column in ("hessian_top_eigenvalue", "hessian_eigenvalue_2"):
        assert found["differences"][column] == pytest.approx(found["backwards"][column], rel=1e-2)
    errors = [one["hessian_trace_se"] for one in found.values()]
    assert abs(np.subtract(*(one["hessian_trace"] for one in found.values()))) <= 4.5 * np.hypot(*errors)


class Scaled(nn.Module):
    """Temperature scaling, as calibration leaves it: a plain number, or a plain tensor."""

    def __init__(self, temperature):
        super().__init__()
        self.net, self.temperature = net(1, nn.ReLU()), temperature

    def forward(self, x):
        return self.net(x) / self.temperature


@pytest.mark.parametrize(
    "models",
    [
        [net(1, nn.ReLU()), net(1, nn.Tanh()), net(1, nn.GELU())],
        [net(1, nn.LeakyReLU(0.1)), net(1, nn.LeakyReLU(0.2))],
        [Scaled(1.0), Scaled(3.0)],
        [Scaled(torch.tensor(1.0)), Scaled(torch.tensor(2.0))],
    ],
    ids=["activations", "slopes", "temperatures", "plain tensors"],
)
def test_networks_of_equal_shapes_are_measured_each_as_it_is(models):
    found = measured(models, families=["performance", "hessian"]).models
    for row, model in enumerate(models):
        alone = measured(model, families=["performance", "hessian"]).models
        expected = float(functional.cross_entropy(model(X), Y).detach())
        assert found["train_loss"][row] == pytest.approx(expected, rel=1e-6)
        assert found["hessian_top_eigenvalue"][row] == pytest.approx(alone["hessian_top_eigenvalue"][0], rel=1e-3)


WEIGHT = torch.tensor([1.0, 5.0, 0.2])
IGNORED = Y.clone()
IGNORED[::4] = -100


@pytest.mark.parametrize(
    ("loss", "targets", "plain"),
    [
        (nn.CrossEntropyLoss(weight=WEIGHT), Y, {"weight": WEIGHT}),
        (nn.CrossEntropyLoss(), IGNORED, {}),
        (nn.CrossEntropyLoss(ignore_index=1), Y, {"ignore_index": 1}),
        (nn.CrossEntropyLoss(label_smoothing=0.2), Y, {"label_smoothing": 0.2}),
        (
            nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.2, ignore_index=2),
            Y,
            {"weight": WEIGHT, "label_smoothing": 0.2, "ignore_index": 2},
        ),
        (nn.CrossEntropyLoss(WEIGHT, reduction="sum"), IGNORED, {"weight": WEIGHT, "reduction": "sum"}),
        (nn.CrossEntropyLoss(), functional.one_hot(Y, 3) * 0.7 + 0.1, {}),
        (nn.CrossEntropyLoss(reduction="none"), Y, {}),
    ],
    ids=["weights", "ignored", "a class ignored", "smoothed", "all", "sum", "probabilities", "none"],
)
def test_known_losses_are_read_and_blocks_do_not_show(loss, targets, plain, monkeypatch):
    model = net(between=nn.GELU())
    order = targets.argsort() if targets.dim() == 1 else torch.arange(60)
    data = X[order], targets[order]  # sorted by class, so that blocks have weights of their own
    expected = float(functional.cross_entropy(model(data[0]), data[1], **plain).detach())
    slope = torch.autograd.grad(functional.cross_entropy(model(data[0]), data[1], **plain), list(model.parameters()))
    for way in ("stacked", "alone"):
        for block in (2**25, 64):
            monkeypatch.setattr(f"zoo_builder.landscape.{way}._BLOCK", block)
            models = [model, net(1, nn.GELU())] if way == "stacked" else [model, net(1, nn.SiLU())]
            found = measured(models, loss, data, ["performance", "sharpness"]).models
            assert found["train_loss"][0] == pytest.approx(expected, rel=1e-5)
            # A rise over a short way is at least that along the gradient.
            length = float(torch.cat([value.flatten() for value in slope]).norm())
            assert found["sharpness_worst"][0] >= 0.1 * length - 1e-4


def test_a_loss_of_ones_own_whose_parts_do_not_add_up_is_refused():
    def weighted(outputs, targets):
        return functional.cross_entropy(outputs, targets, WEIGHT)

    def per_example(outputs, targets):
        return functional.cross_entropy(outputs, targets, WEIGHT, reduction="none")

    refused("neither a mean nor a sum", net(), weighted)
    refused("neither a mean nor a sum", net(), lambda outputs, targets: (outputs - WEIGHT).square().mean().sqrt())
    order = Y.argsort()
    refused("one loss an example", net(), weighted, (X[order], Y[order]))
    found = measured(net(), per_example).models["train_loss"][0]
    assert found == pytest.approx(float(per_example(net()(X), Y).mean().detach()), rel=1e-6)


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("hinge", "there is no loss 'hinge'"),
        (3.0, "the loss is a float"),
        (lambda outputs, targets: None, "the loss returns a NoneType"),
        (lambda outputs, targets: outputs.argmax(), r"the loss returns torch\.int64"),
        (lambda outputs, targets: outputs @ targets.float(), "the loss fails"),
        (lambda outputs, targets: outputs.mean(0), r"the loss returns shape \(3,\) for 60 examples"),
        (lambda outputs, targets: outputs.mean() / 0, "the loss is not finite on some"),
        (lambda outputs, targets: outputs.sum(1) - outputs.mean(), "another number when other examples are with it"),
        # (n, 1) and (n,) make (n, n): every output with every target.
        (
            lambda outputs, targets: functional.mse_loss(outputs[:, :1], targets.float(), reduction="none"),
            r"30 of 60 examples, it returns shape \(30, 30\)",
        ),
    ],
)
def test_what_is_no_loss_is_refused(loss, said):
    refused(said, net(), loss)


class Centring(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


@pytest.mark.parametrize(
    "between",
    [nn.BatchNorm1d(7, track_running_stats=False), Centring(), nn.Sequential(nn.Tanh(), Centring())],
    ids=["no running statistics", "centring", "centring later"],
)
def test_outputs_that_depend_on_the_company_are_refused(between):
    refused("gives an example other outputs when other examples are with it", net(between=between).eval())


def test_random_outputs_are_refused():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, x):
            return self.net(x) + torch.randn(3)

    refused("draws random numbers", Noisy())


class Offset(nn.Module):
    """A constant of its own in front of normalization: state that is not normalization's."""

    def __init__(self):
        super().__init__()
        self.register_buffer("code", torch.linspace(-3, 3, 5))

    def forward(self, x):
        return x + self.code


@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0, None])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_only_normalization_moves_on_the_way_between_networks(activation, momentum):
    """The same constants folded into the data give the same function of the same parameters."""

    def trained(first, x, seed):
        torch.manual_seed(seed)
        network = nn.Sequential(first, nn.Linear(5, 6), nn.BatchNorm1d(6), activation(), nn.Linear(6, 3))
        for _ in range(20):
            network.train()(x)
        network[2].momentum = momentum
        return network.eval()

    code = Offset().code
    with_constants = [trained(Offset(), X, seed) for seed in (0, 1)]
    without = [trained(nn.Identity(), X + code, seed) for seed in (0, 1)]
    columns = ["mode_connectivity_loss", "linear_barrier_loss"]
    found = measured(with_constants, families=["connectivity"]).together[columns].astype(float)
    expected = measured(without, data=(X + code, Y), families=["connectivity"]).together[columns].astype(float)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_parameters_that_do_not_train_are_constants_unless_told_otherwise():
    model = net(between=nn.ReLU())
    every = measured(model, families=["hessian"])
    model[0].requires_grad_(False)
    last = measured(model, families=["hessian"])
    features = torch.relu(model[0](X)).detach().double()
    head = model[2].double()
    hessian = torch.func.hessian(
        lambda weight, bias: functional.cross_entropy(features @ weight.T + bias, Y), argnums=(0, 1)
    )(head.weight.detach(), head.bias.detach())
    size = head.weight.numel()
    dense = torch.cat(
        [torch.cat([hessian[i][j].reshape((size, 3)[i], (size, 3)[j]) for j in (0, 1)], 1) for i in (0, 1)]
    )
    top = float(torch.linalg.eigvalsh(dense)[-1])
    model.float()
    assert last.models["hessian_top_eigenvalue"][0] == pytest.approx(top, rel=1e-2)
    assert list(last.layers["layer"]) == ["2"]
    assert "2 of 4 parameters do not require gradients" in last.notes[0]
    whole = measured(model, families=["hessian"], parameters="all")
    assert whole.notes == ()
    assert whole.models["hessian_top_eigenvalue"][0] == pytest.approx(every.models["hessian_top_eigenvalue"][0])


class SinglePrecision(nn.Module):
    """Normalization as language models have it: in single precision, whatever they are in."""

    def forward(self, x):
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def test_networks_that_compute_in_single_precision_inside_have_second_derivatives():
    found = measured(net(between=SinglePrecision()), families=["hessian"])
    expected = measured(net(between=nn.RMSNorm(7, eps=1e-6, elementwise_affine=False)), families=["hessian"])
    assert "differences" not in found.way
    for column in ("hessian_top_eigenvalue", "hessian_trace"):
        assert found.models[column][0] == pytest.approx(expected.models[column][0], rel=2e-2)
    unknown = measured(nn.Sequential(net(between=SinglePrecision()), Gate(plain=False)), families=["hessian"])
    known = measured(nn.Sequential(net(between=SinglePrecision()), Gate(plain=True)), families=["hessian"])
    assert "differences" in unknown.way
    expected = known.models["hessian_top_eigenvalue"][0]
    assert unknown.models["hessian_top_eigenvalue"][0] == pytest.approx(expected, rel=2e-2)


class Single(nn.Module):
    """What makes its inputs single, so that the layers behind cannot be made double."""

    def forward(self, x):
        return x.float()


@pytest.mark.parametrize(
    ("last", "plain", "way"),
    [
        (nn.Tanh(), nn.Tanh(), "backwards"),
        (nn.Hardswish(), Gate(plain=True), "backwards"),
        (Gate(plain=False), Gate(plain=True), "single"),
    ],
    ids=["smooth", "hard", "differentiated once"],
)
def test_networks_that_do_not_run_in_double_precision_are_measured_in_single(last, plain, way):
    def built(behind, first):
        return nn.Sequential(first, net(), behind, nn.Linear(3, 3).requires_grad_(False))

    torch.manual_seed(1)
    found, expected = built(last, Single()), built(plain, nn.Identity())
    expected.load_state_dict(found.state_dict())
    found, expected = measured(found, families=["hessian"]), measured(expected, families=["hessian"])
    assert way in found.way
    for column in ("hessian_top_eigenvalue", "hessian_trace"):
        assert found.models[column][0] == pytest.approx(expected.models[column][0], rel=2e-2)


def test_units_exactly_at_their_kinks_do_not_hide_second_derivatives():
    """What was never trained has biases of zero, and where nothing comes in, nothing goes into the next ReLU."""

    def fresh():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64, 3),
        )
        return network.eval()

    x = torch.zeros(60, 1, 4, 4)
    x[::2, :, :2, :2] = torch.randn(30, 1, 2, 2)
    found = measured(fresh(), nn.CrossEntropyLoss(label_smoothing=0.1), (x, Y), ["hessian"])
    assert "differentiated" in found.way or "stack" in found.way
    assert found.models["hessian_reason"][0] is None


def test_embeddings_with_sparse_gradients_are_measured_as_others():
    def words(sparse):
        torch.manual_seed(0)
        return nn.Sequential(nn.Embedding(9, 4, sparse=sparse), nn.Flatten(), nn.Linear(12, 3))

    ids = torch.randint(0, 9, (60, 3), generator=torch.Generator().manual_seed(0))
    found, expected = (
        measured(words(sparse), data=(ids, Y), families=["hessian", "sharpness"]).models for sparse in (True, False)
    )
    assert found.equals(expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # what PyTorch says of its own code
def test_compiled_networks_are_what_they_were_made_from():
    assert measured(torch.compile(net())).models.equals(measured(net()).models)


def test_layers_that_share_a_weight_have_one_name():
    given = any_networks.make("language model")
    found = measured(given.network, given.loss, given.data, ["hessian", "spectra"]).layers.set_index("layer")
    shared = found.loc["embedding, out"]
    assert np.isfinite([shared["hessian_trace"], shared["stable_rank"]]).all()
    assert not {"embedding", "out"} & set(found.index)


def test_a_rate_that_a_short_trial_bears_and_the_whole_way_does_not_is_made_smaller():
    """The curve of this network with itself diverged: the loss reached 1e23, and 4e14 at the end."""
    given = any_networks.make("a class a pixel, some ignored")
    found = measured([given.network, given.network], given.loss, given.data, ["connectivity"]).together
    assert found["linear_barrier_loss"] == 0
    assert 0 < -found["mode_connectivity_peak_loss"] < 1.2
    assert found["mode_connectivity_loss"] > 0


FORMS = {
    "arrays": lambda: (X.numpy(), Y.numpy()),
    "lists": lambda: (X.tolist(), Y.tolist()),
    "data set": lambda: TensorDataset(X, Y),
    "loader": lambda: DataLoader(TensorDataset(X, Y), 7),
    "two batches": lambda: DataLoader(TensorDataset(X, Y), 30),
    "list of batches": lambda: [(X[:30], Y[:30]), (X[30:], Y[30:])],
    "generator": lambda: ((X[at : at + 20], Y[at : at + 20]) for at in (0, 20, 40)),
    "mappings": lambda: [{"images": X[:9], "labels": Y[:9]}, {"images": X[9:], "labels": Y[9:]}],
    "mapping": lambda: {"images": X, "targets": Y},
    "tuple of inputs": lambda: ((X,), Y),
    "batches of three": lambda: [(X[:9], torch.zeros(9), Y[:9]), (X[9:], torch.zeros(51), Y[9:])],
}


class Wide(nn.Module):
    """Takes its input by position or by name, and perhaps another."""

    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, images, other=None):
        return self.net(images)


@pytest.mark.parametrize("form", FORMS)
def test_data_come_in_any_form(form):
    expected = measured(Wide()).models["train_loss"][0]
    assert measured(Wide(), data=FORMS[form]()).models["train_loss"][0] == pytest.approx(expected, rel=1e-6)


def test_a_shuffling_loader_is_read_once_and_said():
    found = measured(net(), data=DataLoader(TensorDataset(X, Y), 7, shuffle=True))
    assert "shuffles" in found.notes[0]
    assert found.models["train_loss"][0] == pytest.approx(measured(net()).models["train_loss"][0], rel=1e-6)


def test_a_shuffling_loader_shows_all_networks_the_same_examples():
    # torch_cka 0.21 reads it once a network (findings/torch-cka-shuffled.sh).
    found = measured([net(), net()], data=DataLoader(TensorDataset(X, Y), 7, shuffle=True), families=["similarity"])
    assert found.together["output_cka"] == pytest.approx(1)
    assert found.together["train_disagreement"] == 0


@pytest.mark.parametrize("size", [59, 7])
def test_a_small_last_batch_counts_for_its_examples(size):
    # In hessian-eigenthings 1.0.0a5 it counts as much as any other (findings/hessian-eigenthings-batches.sh).
    given = any_networks.Given(
        net(), "cross_entropy", (X, Y), lambda network: functional.cross_entropy(network(X.double()), Y)
    )
    found = measured(net(), data=DataLoader(TensorDataset(X, Y), size), families=["hessian"]).models
    values = torch.linalg.eigvalsh(any_networks.dense_hessian(given))
    assert found["hessian_top_eigenvalue"][0] == pytest.approx(float(values[-1]), rel=0.01)


class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = net(), wrap

    def forward(self, x):
        return self.wrap(self.net(x))


class Answer:
    def __init__(self, logits):
        self.logits = logits


@pytest.mark.parametrize(
    ("wrap", "output"),
    [
        (lambda out: (out, out + 1), None),
        (lambda out: {"loss": None, "logits": out}, None),
        (lambda out: {"out": out, "aux": out + 1}, None),
        (Answer, None),
        (lambda out: {"score": out}, lambda given: given["score"]),
        (lambda out: [out + 1, out], lambda given: given[1]),
    ],
)
def test_outputs_come_in_any_form(wrap, output):
    more = {} if output is None else {"output": output}
    expected = measured(net(), families=["performance", "hessian"]).models.iloc[0]
    found = measured(Wrapped(wrap), families=["performance", "hessian"], **more).models.iloc[0]
    for column in ("train_loss", "hessian_top_eigenvalue"):
        assert found[column] == pytest.approx(expected[column], rel=1e-2)


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda out: {"score": out}, r"a dict with 'score', .* give output="),
        (lambda out: "three", "puts out a str"),
        (lambda out: out.argmax(1), r"puts out torch\.int64.* give output="),
        (lambda out: out.mean(), "the first axis must be"),
        (lambda out: out * torch.nan, "outputs that are not finite"),
    ],
)
def test_outputs_that_cannot_be_used_are_refused(wrap, said):
    refused(said, Wrapped(wrap))


def quantized():
    return torch.ao.quantization.quantize_dynamic(net(), {nn.Linear}, dtype=torch.qint8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("models", "said"),
    [
        (list, "there are no models"),
        (lambda: "resnet18", "the models are a str"),
        (lambda: None, "the models are a NoneType"),
        (lambda: net().state_dict(), "the models are a OrderedDict"),
        (lambda: [net().state_dict()], r"model 0 is a OrderedDict, and must be a torch\.nn\.Module"),
        (lambda: [net(), 3], "model 1 is a int"),
        (lambda: net().to("meta"), "is on the device 'meta'"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), "has no shape yet"),
        (quantized, "model 0 is quantized"),
        (lambda: torch.jit.trace(net(), X), r"model 0 is a program of torch\.jit"),
        (nn.ReLU, "model 0 has no parameters"),
        (lambda: [net(), net(width=8)], "their parameters must have the same names and shapes"),
    ],
)
def test_models_that_cannot_be_measured_are_refused_in_a_sentence(models, said):
    refused(said, models())


def test_precision_is_single_or_double():
    refused("landscapes are computed in", net(), dtype=torch.float16)


def test_models_may_be_one_or_yielded_one_by_one():
    expected = measured([net(0), net(1)]).models
    assert measured(net(seed) for seed in (0, 1)).models.equals(expected)
    assert measured(nn.ModuleList([net(0), net(1)])).models.equals(expected)
    assert measured(net(0)).models["train_loss"][0] == pytest.approx(expected["train_loss"][0], rel=1e-6)


def test_families_fail_apart(monkeypatch):
    def broken(subject):
        raise RuntimeError("the abacus is broken\nand more")

    from zoo_builder.landscape import registry

    spectra = registry.FAMILIES["spectra"]
    monkeypatch.setitem(registry.FAMILIES, "spectra", type(spectra)("spectra", spectra.metrics, broken))
    found = measured(net(), families=["performance", "spectra"]).models
    assert found["train_loss"].notna().all()
    assert found["alpha_mean"].isna().all()
    assert found["spectra_reason"][0].endswith("RuntimeError: the abacus is broken")


def test_what_was_measured_before_a_failure_is_kept(monkeypatch):
    from zoo_builder.landscape import registry

    def fails(error):
        def broken(subject):
            raise error

        spectra = registry.FAMILIES["spectra"]
        monkeypatch.setitem(registry.FAMILIES, "spectra", type(spectra)("spectra", spectra.metrics, broken))

    families = ["performance", "spectra", "prunability"]
    fails(MemoryError("12 GB"))
    found = measured(net(), families=families).models
    assert found["spectra_reason"][0].endswith("MemoryError: 12 GB")
    assert found["prunability_reason"].isna().all() or "MemoryError" not in found["prunability_reason"][0]
    fails(KeyboardInterrupt())
    with pytest.raises(Interrupted) as stopped:
        measured(net(), families=families, progress=True)
    assert isinstance(stopped.value, KeyboardInterrupt)
    kept = stopped.value.found.models
    assert list(kept) == [column for column in kept if column in measured(net()).models]
    assert kept["train_loss"][0] == found["train_loss"][0]
    fails(KeyboardInterrupt())
    with pytest.raises(Interrupted) as stopped:
        measured(net(), families=["spectra"])
    assert stopped.value.found.models.shape == (1, 0)


def test_a_bar_moves_while_a_hessian_is_measured(monkeypatch):
    shown, console = [], Console(file=io.StringIO(), force_terminal=True)

    class Watched(Progress):
        def __init__(self, *columns, **more):
            super().__init__(*columns, console=console, **more)

        def update(self, task, **more):
            super().update(task, **more)
            shown.append(self.tasks[task].description)

    monkeypatch.setattr("zoo_builder.landscape.measurement.Progress", Watched)
    found = measured([net(0), net(1)], families=["performance", "hessian"], progress=True).models
    counts = [int(one.split()[1]) for one in shown if one.endswith("products with Hessians")]
    assert shown[:2] == ["performance", "hessian"]
    assert counts == sorted(set(counts))
    assert len(counts) > 10
    assert counts[-1] == found["hessian_products"].sum()
    assert "hessian" in console.file.getvalue()


def test_sure_networks_keep_their_curvature_in_single_precision():
    """Logits lead by 18: in the plain form of cross-entropy a third of the trace is lost to rounding."""
    x, y = torch.eye(3).repeat(10, 1), torch.arange(30) % 3

    def sure():
        network = nn.Sequential(nn.Linear(3, 3), nn.Softplus(), nn.Linear(3, 3))
        with torch.no_grad():
            for layer, scale in ((network[0], 2.0), (network[2], 12.0)):
                layer.weight.copy_(scale * torch.eye(3))
                layer.bias.zero_()
        return network

    given = any_networks.Given(sure(), None, None, lambda own: functional.cross_entropy(own(x.double()), y))
    values = torch.linalg.eigvalsh(any_networks.dense_hessian(given))
    for dtype in (torch.float32, torch.float64):
        row = measured(sure(), data=(x, y), families=["hessian"], dtype=dtype).models.iloc[0]
        assert row["hessian_trace"] == pytest.approx(float(values.sum()), rel=2e-2)
        assert row["hessian_top_eigenvalue"] == pytest.approx(float(values[-1]), rel=1.1e-2)
        assert row["hessian_negative_mass"] < 0.01


@pytest.mark.parametrize("first", ["logits", "scores", "gradients", "curvature", "features", "renormalized"])
def test_what_is_asked_first_of_networks_alone_is_right(first):
    """Whatever is found out at the first question leaves the networks that answer it as they are."""

    def network(seed):
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.SiLU(), nn.Linear(6, 3)).double()
        made.train()(X.double())
        return made.eval()

    networks = [network(seed) for seed in (0, 1)]
    data = Data(X.double(), Y)
    stack = Stacked(networks, (5,), dtype=torch.float64)
    points = stack.points + 0.1

    def asked(surface):
        match first:
            case "logits":
                return surface.logits(data, points)
            case "scores":
                return surface.scores(data, points[:, None])[0]
            case "gradients":
                return surface.gradients(data, points)[1]
            case "curvature":
                return surface.curvature(data)(points[:, None])
            case "features":
                return surface.features(data)
        return surface.renormalized(data, points).logits(data)

    expected = asked(stack)
    for products in ("backward", "forward", "differences"):
        alone = Alone(networks, CrossEntropy(), dtype=torch.float64, products=products)
        tolerance = 1e-5 if products == "differences" else 1e-10
        torch.testing.assert_close(asked(alone), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("apart", [3.5, 5.0])
def test_where_the_loss_is_small_the_hessian_is_that_of_double_precision(apart):
    """Two classes far apart: nearly all examples have a loss of nothing, and in single precision probabilities are 1."""
    torch.manual_seed(0)
    targets = torch.arange(240) % 2
    inputs = torch.randn(240, 6) + apart * (2 * targets[:, None] - 1)
    network = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 2))
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), targets).backward()
        optimizer.step()
    found = measure([network.eval()], "cross_entropy", (inputs, targets), families=["hessian"], compiled=False).models
    network = network.double()
    loss = nn.functional.cross_entropy(network(inputs.double()), targets)
    assert float(loss.detach()) < 1e-5
    parameters = list(network.parameters())
    slope = torch.cat([one.flatten() for one in torch.autograd.grad(loss, parameters, create_graph=True)])
    rows = [torch.autograd.grad(one, parameters, retain_graph=True) for one in slope]
    dense = torch.stack([torch.cat([one.flatten() for one in row]) for row in rows])
    assert found["hessian_top_eigenvalue"].iloc[0] == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=0.02)
    assert found["hessian_trace"].iloc[0] == pytest.approx(float(dense.trace()), rel=0.1)


def test_a_loss_of_nothing_is_what_is_said():
    torch.manual_seed(0)
    targets = torch.arange(100) % 2
    inputs = torch.randn(100, 6) + 500 * (2 * targets[:, None] - 1)
    network = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 2))
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), targets).backward()
        optimizer.step()
    found = measure([network.eval()], "cross_entropy", (inputs, targets), families=["hessian"], compiled=False).models
    assert float(nn.functional.cross_entropy(network(inputs), targets).detach()) < 1e-9
    assert re.search("next to nothing|zero", found["hessian_reason"].iloc[0]), found["hessian_reason"].iloc[0]
