"""Trace and largest eigenvalue of Hessians: zoo_builder.landscape against PyHessian, one network after the other, in one run.

    python benchmarks/hessian.py [--networks 16] [--examples 1000] [--widths 4 8 16 32 64]

Networks are `cnn1d` of several widths, trained on MNIST-1D. Both sides use all cores (a process a core, a thread a process)
and the same examples, and stop at the same accuracy: the trace at a standard error of 2 % (PyHessian's probes, asked for ten
at a time, until their own standard error says so), the eigenvalue at 1 % (PyHessian: change between two power iterations;
ours: the residual, which is stricter). PyHessian keeps the graph of the gradient between products. Prints seconds a network,
the ratio, products spent, and how far both are from a reference (trace to 0.2 %, eigenvalue to 0.1 %).
"""

import argparse
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before torch: one thread a process

import numpy as np
import torch
from torch import nn

from zoo_builder.building.plan import LIMITS, plan
from zoo_builder.building.work import material
from zoo_builder.landscape import hessian
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.krylov import lanczos, traces
from zoo_builder.landscape.metric import Settings, Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.specification.network import initialised
from zoo_builder.specification.spec import parse_spec
from zoo_builder.training.trainer import train

CORES = len(os.sched_getaffinity(0))
WIDTHS = (4, 8, 16, 32, 64)
SPEC = """
name = "benchmark"
seeds = {seeds}
[dataset]
name = "mnist1d"
train = 4000
test = 2000
[architecture]
name = "cnn1d"
[training]
learning_rate = 0.05
epochs = 20
batch_size = 32
[[axes]]
knob = "width"
values = [{width}]
"""
Found = tuple[float, float, int]  # trace, largest eigenvalue, products


def trained(width: int, networks: int, examples: int) -> tuple[list[nn.Module], Data]:
    """Return trained networks, and the examples that Hessians are means over."""
    torch.set_num_threads(1)
    what = parse_spec(SPEC.format(seeds=list(range(networks)), width=width), "the benchmark")
    dataset, subsets = material(what)
    modules = []
    for unit in plan(what, dataset, subsets, **LIMITS["cpu"]).units:
        for one in train(what, dataset, subsets, unit.networks):
            module = initialised(what, dataset, one.network)
            module.load_state_dict(one.state)
            modules.append(module.eval())
    return modules, Data.of(dataset.train_inputs[:examples], dataset.train_labels[:examples])


def together(modules: Sequence[nn.Module], data: Data) -> list[Found]:
    """Measure networks as a zoo's are."""
    torch.set_num_threads(1)
    subject = Subject(open_surface(modules, data.shape), data, settings=Settings(train_sample=len(data)))
    spectrum = hessian.spectrum(subject)
    rngs = [subject.rng(row, "hessian probes") for row in range(len(modules))]
    everything = [slice(0, subject.surface.layout.size)]
    found = traces(spectrum.hessians, spectrum.krylov, everything, rngs, tolerance=hessian.TRACE_TOLERANCE)
    spent = spectrum.hessians.spent
    return [(float(found.whole[at]), float(spectrum.values[at, 0]), int(spent[at])) for at in range(len(modules))]


def one_by_one(modules: Sequence[nn.Module], data: Data) -> list[Found]:
    """Measure networks with PyHessian."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # a graph of the gradient is kept: that is meant
    from pyhessian import hessian as pyhessian

    results = []
    for module in modules:
        counted = [0]
        other = pyhessian(module, nn.CrossEntropyLoss(), data=(data.inputs, data.targets), cuda=False)
        values: list[float] = []
        while len(values) < 10 or np.std(values, ddof=1) / np.sqrt(len(values)) > 0.02 * abs(np.mean(values)):
            values += other.trace(maxIter=10, tol=0)
        counted[0] += len(values)
        (top,), _ = _power(other, counted)
        results.append((float(np.mean(values)), float(top), counted[0]))
        for value in module.parameters():
            value.grad = None
    return results


def _power(other: object, counted: list[int]) -> tuple[list[float], object]:
    """Run PyHessian's power iteration, and count its products."""
    from pyhessian import hessian as module

    real = module.__init__.__globals__["hessian_vector_product"]

    def counting(*arguments: object) -> object:
        counted[0] += 1
        return real(*arguments)

    module.__init__.__globals__["hessian_vector_product"] = counting
    try:
        return other.eigenvalues(maxIter=1000, tol=0.01, top_n=1)  # type: ignore[attr-defined,no-any-return]
    finally:
        module.__init__.__globals__["hessian_vector_product"] = real


def reference(modules: Sequence[nn.Module], data: Data) -> list[Found]:
    """Measure networks ten times as accurately, in double precision."""
    torch.set_num_threads(1)
    surface = open_surface(modules, data.shape, dtype=torch.float64)
    subject = Subject(surface, Data(data.inputs.double(), data.targets), settings=Settings(train_sample=len(data)))
    rngs = [subject.rng(row, "reference") for row in range(len(modules))]
    starts = torch.as_tensor(np.stack([rng.standard_normal(surface.layout.size) for rng in rngs]))
    products = hessian.Hessians(surface, subject.sample)
    krylov = lanczos(products, starts, (0.001,), rngs, fewest=40, most=200)
    found = traces(products, krylov, [slice(0, surface.layout.size)], rngs, tolerance=0.002, most=512)
    return [(float(found.whole[at]), float(krylov.ritz(at).values[0]), 0) for at in range(len(modules))]


def main() -> None:
    """Print a line a width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    arguments = parser.parse_args()
    print(f"{arguments.networks} networks a width, {arguments.examples} examples, {CORES} cores")
    print(
        "              seconds a network               products          off the reference: trace, eigenvalue (mean, %)"
    )
    print("  width   PyHessian      ours   ratio   PyHessian  ours   PyHessian          ours")
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        for width in arguments.widths:
            modules, data = trained(width, arguments.networks, arguments.examples)
            shares = [modules[at::CORES] for at in range(CORES)]
            list(pool.map(together, [share[:1] for share in shares], [data] * CORES))  # loops are compiled
            taken, found = {}, {}
            for name, work in (("theirs", one_by_one), ("ours", together), ("reference", reference)):
                begun = time.perf_counter()
                found[name] = [one for part in pool.map(work, shares, [data] * CORES) for one in part]
                taken[name] = (time.perf_counter() - begun) / len(modules)
            line = (
                f"  {width:>5}   {taken['theirs']:>9.3f} {taken['ours']:>9.3f} {taken['theirs'] / taken['ours']:>7.1f}"
            )
            line += "".join(
                f"{statistics.mean(one[2] for one in found[name]):>10.0f}"[-10:] for name in ("theirs", "ours")
            )
            for name in ("theirs", "ours"):
                off = [
                    100
                    * statistics.mean(
                        abs(a[at] / b[at] - 1) for a, b in zip(found[name], found["reference"], strict=True)
                    )
                    for at in (0, 1)
                ]
                line += f"     {off[0]:>4.1f}, {off[1]:>4.1f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
