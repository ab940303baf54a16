"""How fast is a zoo built? `zoo_builder` against the same networks one after the other, both on all cores, in one run.

    python benchmarks/training.py [--epochs 10] [--only 4]

The plain side is a strong loop: PyTorch's own layers, convolutions by oneDNN or by PyTorch itself, whichever is faster for
the network (for small signals oneDNN takes up to twice as long), the data as tensors in memory (no DataLoader), the fused
SGD, one process a core and one thread a process. Steps are timed by the processor's clock, which other work on the machine
hardly moves; stacks and the grid by the clock on the wall. Both sides train and then measure the same networks. Prints, as
ratios of models per second:

1. one step: widths up to 16 at batch sizes 16 and 32; beside what trains on a CPU (tapes), what other devices use (stacks);
2. one step of every architecture, narrow and wide, at small and large batch sizes, on images and signals drawn at random;
3. a whole small grid of `cnn1d` on MNIST-1D: five widths × six batch sizes × five data amounts × two label noises × three
   seeds, the two sides in turns, width by width;
4. one step of networks as people train them, each with the ratio that is wanted: AdamW, sharpness-aware steps, rates of
   layers, an equation as the loss, attention, a class a pixel. On the plain side derivatives in a loss are autograd's,
   optimizers fused, and convolutions oneDNN's or PyTorch's own, whichever takes less time: for small signals oneDNN's take
   twice as long;

and what share of the machine's matrix-product peak is reached.
"""

import argparse
import math
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before torch: one thread a process

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo_builder.building.plan import LIMITS, Unit, plan
from zoo_builder.specification.datasets import Dataset
from zoo_builder.specification.material import Material
from zoo_builder.specification.network import Network, epoch_order, initialisation_seed, learning_rate_share
from zoo_builder.specification.spec import ZooSpec, parse_spec
from zoo_builder.specification.subsets import Subsets, draw_subsets
from zoo_builder.training import stacked, taped
from zoo_builder.training.trainer import form, train

CORES = len(os.sched_getaffinity(0))
SPEC = """
name = "grid"
seeds = [0, 1, 2]
[dataset]
name = "mnist1d"
train = 4000
test = 2000
[architecture]
name = "cnn1d"
[training]
learning_rate = 0.05
epochs = {epochs}
[[axes]]
knob = "width"
values = [2, 4, 8, 16, 32]
[[axes]]
knob = "batch_size"
values = [16, 32, 64, 128, 256, 512]
[[axes]]
knob = "data_fraction"
values = [20, 40, 60, 80, 100]
[[axes]]
knob = "label_noise"
values = [0, 10]
"""
#: Architecture → inputs, widths, batch sizes.
WIDE: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "mlp": ((1, 40), (32, 128, 512, 1024, 2048), (16, 64, 512)),
    "cnn1d": ((1, 40), (32, 64, 128, 256), (16, 64, 512)),
    "cnn2d": ((1, 28, 28), (10, 32, 64, 128), (16, 64, 256)),
    "resnet18": ((3, 32, 32), (4, 8, 16, 32, 64), (16, 64)),
}
ONE_SHAPE = """
name = "benchmark"
seeds = [0]
[dataset]
name = "mnist1d"
[architecture]
name = "{architecture}"
[training]
learning_rate = 0.01
epochs = 1000
[[axes]]
knob = "width"
values = [{width}]
[[axes]]
knob = "batch_size"
values = [{batch}]
"""
#: Of networks as people train them: specification, widths, batch sizes, and how many times the plain loop's speed is wanted.
MODERN: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], float]] = {
    "AdamW, mlp, layer normalization, GELU": (
        """
        dataset = { name = "mnist1d" }
        architecture = { name = "mlp", options = { norm = "layer", activation = "gelu" } }
        training = { optimizer = "adamw", steps = 1000 }
        """,
        (8, 16, 32, 64),
        (16, 32, 64),
        15,
    ),
    "SAM, cnn1d": (
        """
        dataset = { name = "mnist1d" }
        architecture = { name = "cnn1d" }
        training = { sharpness = { rho = 0.05 }, learning_rate = 0.05, steps = 1000 }
        """,
        (2, 4, 8, 16),
        (16, 32),
        12,
    ),
    "pinn, 2 × 32, second derivatives": (
        """
        dataset = { name = "helmholtz", train = 400, test = 1024, options = { difficulty = 1 } }
        architecture = { name = "pinn", depth = 2 }
        training = { optimizer = "adam", steps = 1000 }
        """,
        (32,),
        (100,),
        8,
    ),
    "transformer, 2 layers, 32 tokens": (
        """
        dataset = { name = "text", train = 800, test = 100, options = { length = 32 } }
        architecture = { name = "transformer", depth = 2, options = { causal = true } }
        training = { optimizer = "adamw", steps = 1000 }
        """,
        (32,),
        (32,),
        6,
    ),
    "unet, 24 × 24": (
        """
        dataset = { name = "shapes", train = 200, test = 100, options = { size = 24 } }
        architecture = { name = "unet" }
        training = { optimizer = "adamw", steps = 1000 }
        """,
        (8,),
        (16, 32),
        5,
    ),
}
#: How much longer a training may take that measures its layers after every epoch.
LAYERWISE = 1.1
AXES = """
name = "modern"
seeds = [0, 1, 2, 3, 4, 5, 6, 7]
{text}
[[axes]]
knob = "width"
values = [{width}]
[[axes]]
knob = "batch_size"
values = [{batch}]
[[axes]]
knob = "learning_rate"
values = [0.001, 0.002]
"""


@cache
def loaded(spec: str) -> tuple[ZooSpec, Dataset, Subsets]:
    """Return what the specification (as JSON) says, its data set and its subsets; once in every process."""
    what = ZooSpec.model_validate_json(spec)
    if what.name == "benchmark":
        drawn = at_random(WIDE[what.architecture.name][0])
        return what, drawn, draw_subsets(drawn.train_targets, drawn.outputs, 0)
    return what, *Material.of_spec(what).first


def _planned(spec: str) -> tuple[ZooSpec, Material]:
    what, dataset, subsets = loaded(spec)
    return what, Material.single(what, dataset, subsets)


def at_random(shape: tuple[int, ...], examples: int = 2048) -> Dataset:
    """Return inputs of a shape and labels that mean nothing: a step takes as long as with others."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(examples, *shape)).astype(np.float32), np.arange(examples) % 10
    return Dataset("random", inputs, labels, inputs[:100], labels[:100], outputs=10)


warnings.filterwarnings("ignore", "TF32 acceleration")  # of Intel's GPUs, said where oneDNN is put off

#: Kind of network → whether the plain side uses oneDNN, and the steps that tell.
_ONEDNN: dict[tuple[str, int | None, int], bool] = {}
_TRIAL = 10


def one_by_one(spec: str, network: Network, steps: int | None = None) -> tuple[float, float]:
    """Train and measure one network the plain way; return its test error in %, and the seconds a step took.

    Of some steps, these are the processor's, and nothing is measured.
    """
    torch.set_num_threads(1)
    kind = spec, network.width, network.batch_size
    if kind not in _ONEDNN:
        tried = {onednn: _one_by_one(spec, network, _TRIAL, onednn)[1] for onednn in (True, False, True, False)}
        _ONEDNN[kind] = tried[True] <= tried[False]
    return _one_by_one(spec, network, steps, _ONEDNN[kind])


def _one_by_one(spec: str, network: Network, steps: int | None, onednn: bool) -> tuple[float, float]:
    with torch.backends.mkldnn.flags(enabled=onednn):
        return _loop(spec, network, steps)


def _loop(spec: str, network: Network, steps: int | None) -> tuple[float, float]:
    what, dataset, subsets = loaded(spec)
    inputs, labels = torch.from_numpy(dataset.train_inputs), subsets.labels(dataset.train_targets, network.label_noise)
    rows = torch.from_numpy(subsets.examples(network.data_fraction).astype("int64"))
    inputs, labels = inputs[rows], torch.from_numpy(labels)[rows]
    module = what.architecture.build(
        dataset.shape, dataset.outputs, network.width, seed=initialisation_seed(network.seed)
    )
    how = what.training
    optimizer = torch.optim.SGD(
        module.parameters(), lr=how.learning_rate, momentum=how.momentum, weight_decay=how.weight_decay, fused=True
    )
    batch, wanted = network.batch_size, steps or network.steps
    epochs = math.ceil(wanted * batch / network.examples)
    order = torch.cat([torch.from_numpy(epoch_order(network.seed, at, network.examples)) for at in range(epochs)])
    clock = time.process_time if steps else time.perf_counter
    begun = clock()
    for step, chosen in enumerate(order[: wanted * batch].view(wanted, batch)):
        optimizer.param_groups[0]["lr"] = how.learning_rate * learning_rate_share(step, network.steps, how)
        optimizer.zero_grad()
        functional.cross_entropy(module(inputs[chosen]), labels[chosen]).backward()
        optimizer.step()
    each = (clock() - begun) / wanted
    if steps:
        return math.nan, each
    module.eval()
    with torch.no_grad():
        module(inputs)
        wrong = module(torch.from_numpy(dataset.test_inputs)).argmax(1) != torch.from_numpy(dataset.test_targets)
    return 100 * wrong.double().mean().item(), each


def together(spec: str, unit: Unit) -> list[float]:
    """Train and measure a unit; return its networks' test errors in %."""
    torch.set_num_threads(1)
    return [one.test_error for one in train(*loaded(spec), unit.networks)]


def share_of_step(spec: str, networks: Sequence[Network], as_stack: bool = False) -> float:
    """Return the seconds that a network's step takes, or its share of a stack's."""
    torch.set_num_threads(1)
    if not as_stack:
        return taped.step_seconds(*loaded(spec), networks[-1], time.process_time)
    shared, each = stacked.step_seconds(*loaded(spec), networks, "cpu")
    return shared / len(networks) + each


def peak(_: int = 0) -> float:
    """Return the multiply–adds a second of a large matrix product in one thread, best of ten."""
    torch.set_num_threads(1)
    left, right = torch.rand(2, 1024, 1024)
    times = []
    for _ in range(10):
        begun = time.process_time()
        left @ right
        times.append(time.process_time() - begun)
    return 1024**3 / min(times)


def on_all_cores(pool: ProcessPoolExecutor, work: Callable[..., object], *arguments: object) -> list[object]:
    """Do the same work on every core at once."""
    return [future.result() for future in [pool.submit(work, *arguments) for _ in range(CORES)]]


def steps(pool: ProcessPoolExecutor, spec: str, what: ZooSpec, units: Sequence[Unit], top: float) -> None:
    """Print what a step costs, each way."""
    print(f"\n1. one step on {CORES} cores, the processor's microseconds for a network (median of 5 turns)")
    print(
        f"   {'width':>5} {'batch':>5} {'plain':>9} {'stack':>9} {'tape':>9} {'ratio':>6}   of the matrix-product peak"
    )
    totals = [0.0, 0.0]
    for width in (2, 4, 8, 16):
        for batch in (16, 32):
            some = [one for unit in units for one in unit.networks if (one.width, one.batch_size) == (width, batch)]
            some = (some * 3)[:64]
            plain, stack, tape = [], [], []
            for _ in range(5):
                plain += [each for _, each in on_all_cores(pool, one_by_one, spec, some[-1], 200)]  # type: ignore[misc]
                stack += on_all_cores(pool, share_of_step, spec, some, True)
                tape += on_all_cores(pool, share_of_step, spec, some)
            slow, fast = statistics.median(plain), statistics.median(tape)
            totals = [totals[0] + slow, totals[1] + fast]
            share = multiplications(what, width) * batch / fast / top
            between = 1e6 * statistics.median(stack)
            times = f"{1e6 * slow:>9.0f} {between:>9.1f} {1e6 * fast:>9.1f}"
            print(f"   {width:>5} {batch:>5} {times} {slow / fast:>6.1f}   {share:.0%}")
    print(f"   all of these, models per second: {totals[0] / totals[1]:.1f} times")


def multiplications(what: ZooSpec, width: int) -> int:
    """Return the multiply–adds of training on one example: forward, and twice as many backward."""
    _, dataset, subsets = loaded(what.text)
    return 3 * plan(what, Material.single(what, dataset, subsets), **LIMITS["cpu"]).costs[width, None].multiplications


def wide(pool: ProcessPoolExecutor) -> None:
    """Print what a step of every architecture costs on both sides, and where it gains least."""
    print(f"\n2. one step on {CORES} cores, the processor's milliseconds (median of 3 turns)")
    print(f"   {'':>8} {'width':>5} {'batch':>5} {'plain':>9} {'tape':>9} {'ratio':>6}")
    ratios: dict[str, float] = {}
    for architecture, (_, widths, batches) in WIDE.items():
        for width in widths:
            for batch in batches:
                text = ONE_SHAPE.format(architecture=architecture, width=width, batch=batch)
                spec = parse_spec(text, "the benchmark").text
                network = plan(*_planned(spec), **LIMITS["cpu"]).units[0].networks[0]
                slow, fast = in_turns(pool, spec, network)
                ratios[f"{architecture}, width {width}, batch {batch}"] = slow / fast
                times = f"{1e3 * slow:>9.2f} {1e3 * fast:>9.2f} {slow / fast:>6.2f}"
                print(f"   {architecture:>8} {width:>5} {batch:>5} {times}", flush=True)
    least = min(ratios, key=lambda name: ratios[name])
    print(f"   least: {ratios[least]:.2f} times, {least}")


def in_turns(pool: ProcessPoolExecutor, spec: str, network: Network, turns: int = 3) -> tuple[float, float]:
    """Return the seconds of the processor that a step takes, the plain way and ours."""
    _, once = one_by_one(spec, network, 2)
    plain, tape = [], []
    for _ in range(turns):
        both = on_all_cores(pool, one_by_one, spec, network, 2 + int(0.2 / once))
        plain += [each for _, each in both]  # type: ignore[misc]
        tape += on_all_cores(pool, share_of_step, spec, [network])
    return statistics.median(plain), statistics.median(tape)  # type: ignore[type-var]


def plain_step(spec: str, network: Network, steps: int) -> float:
    """Return the seconds of the processor that a step takes in a plain loop over modules of PyTorch.

    Half of the steps are taken with oneDNN, half without; the faster half counts.
    """
    taken = []
    for onednn in (True, False):
        with torch.backends.mkldnn.flags(enabled=onednn):
            taken.append(_plain_step(spec, network, max(2, steps // 2)))
    return min(taken)


def _plain_step(spec: str, network: Network, steps: int) -> float:
    torch.set_num_threads(1)
    what, dataset, _ = loaded(spec)
    torch.manual_seed(0)
    shape = dataset.shape if dataset.equation is None else (2,)  # behind coordinates stands what is asked there
    module = what.architecture.build(
        shape, dataset.outputs, network.width, network.depth, seed=0, vocabulary=dataset.vocabulary
    )
    how = what.training
    more = {"lr": network.learning_rate, "weight_decay": network.weight_decay, "fused": True}
    optimizer: torch.optim.Optimizer
    if how.optimizer == "sgd":
        optimizer = torch.optim.SGD(module.parameters(), momentum=how.momentum, **more)
    else:
        optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[how.optimizer](module.parameters(), **more)
    inputs, targets = torch.from_numpy(dataset.train_inputs), torch.from_numpy(dataset.train_targets)
    order = torch.randint(len(inputs), (steps, network.batch_size))
    closure = _helmholtz if dataset.equation is not None else _classified
    begun = time.process_time()
    for step, chosen in enumerate(order):
        optimizer.param_groups[0]["lr"] = network.learning_rate * learning_rate_share(step, steps, how)
        x, y = inputs[chosen], targets[chosen]
        optimizer.zero_grad()
        closure(module, x, y).backward()
        if how.sharpness is not None:
            _sharpness_aware(module, how.sharpness.rho, lambda x=x, y=y: closure(module, x, y).backward())  # type: ignore[misc]
        optimizer.step()
    return (time.process_time() - begun) / steps


def _classified(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(module(x), y, ignore_index=-1)


def _helmholtz(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the loss of the equation with one wave, as everybody writes it: derivatives by autograd."""
    points, kind = x[:, :2].clone().requires_grad_(), x[:, 2:]
    u = module(points)
    (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
    twice = [torch.autograd.grad(slope[:, at].sum(), points, create_graph=True)[0][:, at : at + 1] for at in (0, 1)]
    waves = torch.sin(math.pi * points[:, :1]) * torch.sin(math.pi * points[:, 1:])
    residual = twice[0] + twice[1] + u - (1 - 2 * math.pi**2) * waves
    return functional.mse_loss(torch.where(kind == 0, residual, u), y)


def _sharpness_aware(module: nn.Module, rho: float, backward: Callable[[], None]) -> None:
    """Take the second gradient; normalization does not follow it, as in `zoo_builder`."""
    parameters = [value for value in module.parameters() if value.grad is not None]
    slopes = [value.grad for value in parameters]
    norms = [one for one in module.modules() if isinstance(one, nn.BatchNorm1d)]
    with torch.no_grad():
        length = torch.stack(torch._foreach_norm(slopes)).norm()
        ways = torch._foreach_mul(slopes, rho / (length + 1e-12))
        torch._foreach_add_(parameters, ways)
    for one in norms:
        one.momentum, one.kept = 0.0, one.momentum  # type: ignore[assignment]
    module.zero_grad()
    backward()
    for one in norms:
        one.momentum = one.kept  # type: ignore[assignment]
    with torch.no_grad():
        torch._foreach_sub_(parameters, ways)


def our_step(spec: str, networks: Sequence[Network]) -> float:
    """Return the seconds of the processor that a step takes of a network, the way that it is trained."""
    torch.set_num_threads(1)
    lesson = loaded(spec)
    if form(lesson[0], lesson[1], networks[0], "cpu") == "taped":
        return taped.step_seconds(*lesson, networks[-1], time.process_time)
    shared, each = stacked.step_seconds(*lesson, networks, "cpu", time.process_time)
    return shared / len(networks) + each


def our_training(spec: str, networks: Sequence[Network]) -> float:
    """Return the seconds of the processor that a training takes, with all that is measured on the way."""
    torch.set_num_threads(1)
    begun = time.process_time()
    train(*loaded(spec), networks[:4])
    return time.process_time() - begun


def modern(pool: ProcessPoolExecutor, turns: int = 3) -> None:
    """Print what a step costs on both sides of networks as people train them, and what is wanted."""
    print(f"\n4. one step on {CORES} cores, the processor's milliseconds (median of {turns} turns)")
    for name, (text, widths, batches, goal) in MODERN.items():
        sums = [0.0, 0.0]
        for width in widths:
            for batch in batches:
                spec, networks = _modern(text, width, batch)
                once = plain_step(spec, networks[-1], 3)
                plain, ours = [], []
                for _ in range(turns):
                    plain += on_all_cores(pool, plain_step, spec, networks[-1], 2 + int(0.3 / once))
                    ours += on_all_cores(pool, our_step, spec, networks)
                slow, fast = statistics.median(plain), statistics.median(ours)  # type: ignore[type-var]
                sums = [sums[0] + slow, sums[1] + fast]  # type: ignore[operator]
                what, dataset, _ = loaded(spec)
                way = form(what, dataset, networks[-1], "cpu")
                times = f"{1e3 * slow:>9.3f} {1e3 * fast:>9.3f} {slow / fast:>6.1f}"  # type: ignore[operator]
                print(f"   {name:>38} {width:>3} {batch:>3} {times}   {way}", flush=True)
        ratio = sums[0] / sums[1]
        print(f"   {name}: {ratio:.1f} times, wanted {goal}: {'reached' if ratio >= goal else 'MISSED'}", flush=True)
    took = {}
    for layerwise in ("", ', layerwise = { every = 1, tail = "middle" }'):
        text = f"""
        dataset = {{ name = "mnist1d", train = 4000, test = 2000 }}
        architecture = {{ name = "cnn1d" }}
        training = {{ epochs = 10{layerwise} }}
        """
        spec, networks = _modern(text, 8, 32)
        took[layerwise] = statistics.median(
            one
            for _ in range(turns)
            for one in on_all_cores(pool, our_training, spec, networks)  # type: ignore[type-var]
        )
    plain_took, more = took.values()
    times = more / plain_took  # type: ignore[operator, assignment]
    said = "reached" if times <= LAYERWISE else "MISSED"  # type: ignore[operator]
    print(f"   TempBalance, cnn1d: {times:.2f} times the same training without it, wanted {LAYERWISE} at most: {said}")


def _modern(text: str, width: int, batch: int) -> tuple[str, tuple[Network, ...]]:
    spec = parse_spec(AXES.format(text=text, width=width, batch=batch), "the benchmark").text
    return spec, plan(*_planned(spec), **LIMITS["cpu"]).units[0].networks


def grid(pool: ProcessPoolExecutor, spec: str, what: ZooSpec, units: Sequence[Unit], top: float) -> None:
    """Print what the whole grid costs on both sides."""
    print(f"\n3. the whole grid on {CORES} cores, seconds")
    print(f"   {'width':>5} {'networks':>8} {'plain':>8} {'tape':>8} {'ratio':>6}   of the peak   mean test error, %")
    sums, done = [0.0, 0.0], 0
    for width in (2, 4, 8, 16, 32):
        mine = [unit for unit in units if unit.networks[0].width == width]
        some = [one for unit in mine for one in unit.networks]
        begun = time.perf_counter()
        taped = [error for errors in pool.map(together, [spec] * len(mine), mine) for error in errors]
        fast = time.perf_counter() - begun
        begun = time.perf_counter()
        longest_first = sorted(some, key=lambda one: -one.steps)
        plain = [error for error, _ in pool.map(one_by_one, [spec] * len(some), longest_first)]
        slow = time.perf_counter() - begun
        sums, done = [sums[0] + slow, sums[1] + fast], done + len(some)
        share = multiplications(what, width) * sum(one.steps * one.batch_size for one in some) / fast / CORES / top
        errors = f"{statistics.mean(plain):.2f} / {statistics.mean(taped):.2f}"
        print(f"   {width:>5} {len(some):>8} {slow:>8.1f} {fast:>8.1f} {slow / fast:>6.1f}   {share:>11.0%}   {errors}")
    print(f"   whole grid: {done / sums[0]:.2f} → {done / sums[1]:.2f} models a second, {sums[0] / sums[1]:.1f} times")


def main() -> None:
    """Run all parts, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--only", type=int, choices=(1, 2, 3, 4), help="print this part alone")
    arguments = parser.parse_args()
    what = parse_spec(SPEC.format(epochs=arguments.epochs), "the benchmark")
    spec = what.text
    units = plan(*_planned(spec), **LIMITS["cpu"]).units
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        on_all_cores(pool, share_of_step, spec, units[-1].networks)  # kernels are compiled once, and kept on the disk
        top = statistics.median(on_all_cores(pool, peak))  # type: ignore[type-var]
        print(f"matrix-product peak of a core, all cores at work: {2 * top / 1e9:.0f} GFLOP/s")
        if arguments.only in (None, 1):
            steps(pool, spec, what, units, top)
        if arguments.only in (None, 2):
            wide(pool)
        if arguments.only in (None, 3):
            grid(pool, spec, what, units, top)
        if arguments.only in (None, 4):
            modern(pool)


if __name__ == "__main__":
    main()
