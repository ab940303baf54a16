"""How fast is a zoo built? `zoo_builder` against the same networks one after the other, both on all cores, in one run.

    python benchmarks/training.py [--epochs 10]

The plain side is a strong loop: PyTorch's own layers, the data as tensors in memory (no DataLoader), the fused SGD, one
process a core and one thread a process. Both sides train and then measure the same networks. Prints, as ratios of models per
second:

1. one step: widths up to 16 at batch sizes 16 and 32; beside what trains on a CPU (tapes), what other devices use (stacks);
2. a whole small grid of `cnn1d` on MNIST-1D: five widths × six batch sizes × five data amounts × two label noises × three
   seeds, the two sides in turns, width by width;

and what share of the machine's matrix-product peak is reached.
"""

import argparse
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before torch: one thread a process

import torch
from torch.nn import functional

from zoo_builder.building.plan import LIMITS, Unit, plan
from zoo_builder.building.work import material
from zoo_builder.specification.datasets import Dataset
from zoo_builder.specification.network import Network, epoch_order, initialisation_seed, learning_rate_share
from zoo_builder.specification.spec import ZooSpec, parse_spec
from zoo_builder.specification.subsets import Subsets
from zoo_builder.training import stacked
from zoo_builder.training.trainer import step_seconds, train

CORES = len(os.sched_getaffinity(0))
SPEC = """
name = "benchmark"
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


@cache
def loaded(spec: str) -> tuple[ZooSpec, Dataset, Subsets]:
    """Return what the specification (as JSON) says, its data set and its subsets; once in every process."""
    what = ZooSpec.model_validate_json(spec)
    return what, *material(what)


def one_by_one(spec: str, network: Network, steps: int | None = None) -> tuple[float, float]:
    """Train and measure one network the plain way; return its test error in %, and the seconds a step took."""
    torch.set_num_threads(1)
    what, dataset, subsets = loaded(spec)
    inputs, labels = torch.from_numpy(dataset.train_inputs), subsets.labels(dataset.train_labels, network.label_noise)
    rows = torch.from_numpy(subsets.examples(network.data_fraction).astype("int64"))
    inputs, labels = inputs[rows], torch.from_numpy(labels)[rows]
    module = what.architecture.build(
        dataset.shape, dataset.classes, network.width, seed=initialisation_seed(network.seed)
    )
    how = what.training
    optimizer = torch.optim.SGD(
        module.parameters(), lr=how.learning_rate, momentum=how.momentum, weight_decay=how.weight_decay, fused=True
    )
    batch, wanted = network.batch_size, steps or network.steps
    epochs = math.ceil(wanted * batch / network.examples)
    order = torch.cat([torch.from_numpy(epoch_order(network.seed, at, network.examples)) for at in range(epochs)])
    begun = time.perf_counter()
    for step, chosen in enumerate(order[: wanted * batch].view(wanted, batch)):
        optimizer.param_groups[0]["lr"] = how.learning_rate * learning_rate_share(
            step, network.steps, how.milestones, how.factor, how.warmup
        )
        optimizer.zero_grad()
        functional.cross_entropy(module(inputs[chosen]), labels[chosen]).backward()
        optimizer.step()
    each = (time.perf_counter() - begun) / wanted
    if steps:
        return math.nan, each
    module.eval()
    with torch.no_grad():
        module(inputs)
        wrong = module(torch.from_numpy(dataset.test_inputs)).argmax(1) != torch.from_numpy(dataset.test_labels)
    return 100 * wrong.double().mean().item(), each


def together(spec: str, unit: Unit) -> list[float]:
    """Train and measure a unit; return its networks' test errors in %."""
    torch.set_num_threads(1)
    return [one.test_error for one in train(*loaded(spec), unit.networks)]


def share_of_step(spec: str, networks: Sequence[Network], as_stack: bool = False) -> float:
    """Return the seconds that a network's step takes, or its share of a stack's."""
    torch.set_num_threads(1)
    measure = stacked.step_seconds if as_stack else step_seconds
    shared, each = measure(*loaded(spec), networks, "cpu")
    return shared / len(networks) + each


def peak(_: int = 0) -> float:
    """Return the multiply–adds a second of a large matrix product in one thread, best of ten."""
    torch.set_num_threads(1)
    left, right = torch.rand(2, 1024, 1024)
    times = []
    for _ in range(10):
        begun = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - begun)
    return 1024**3 / min(times)


def on_all_cores(pool: ProcessPoolExecutor, work: Callable[..., object], *arguments: object) -> list[object]:
    """Do the same work on every core at once."""
    return [future.result() for future in [pool.submit(work, *arguments) for _ in range(CORES)]]


def steps(pool: ProcessPoolExecutor, spec: str, what: ZooSpec, units: Sequence[Unit], top: float) -> None:
    """Print what a step costs, each way."""
    print(f"\n1. one step on {CORES} cores, microseconds a network (median of 5 turns)")
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
    _, dataset, subsets = loaded(what.model_dump_json())
    return 3 * plan(what, dataset, subsets, **LIMITS["cpu"]).costs[width, None].multiplications


def grid(pool: ProcessPoolExecutor, spec: str, what: ZooSpec, units: Sequence[Unit], top: float) -> None:
    """Print what the whole grid costs on both sides."""
    print(f"\n2. the whole grid on {CORES} cores, seconds")
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
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    what = parse_spec(SPEC.format(epochs=arguments.epochs), "the benchmark")
    spec = what.model_dump_json()
    units = plan(*loaded(spec), **LIMITS["cpu"]).units
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        on_all_cores(pool, share_of_step, spec, units[-1].networks)  # kernels are compiled once, and kept on the disk
        top = statistics.median(on_all_cores(pool, peak))  # type: ignore[type-var]
        print(f"matrix-product peak of a core, all cores at work: {2 * top / 1e9:.0f} GFLOP/s")
        steps(pool, spec, what, units, top)
        grid(pool, spec, what, units, top)


if __name__ == "__main__":
    main()
