"""Trace and largest eigenvalue of Hessians: zoo_builder.landscape against PyHessian 0.1 and curvlinops 3.0.1, in one run.

    pip install --no-deps pyhessian==0.1 curvlinops-for-pytorch==3.0.1 backpack-for-pytorch einconv einops linear-operator \
jaxtyping opt-einsum wadler-lindig
    python benchmarks/hessian.py [--networks 16] [--examples 1000] [--widths 4 8 16 32 64]
    python benchmarks/hessian.py --resnet18 [--seeds 5] [--repeats 3] [--threads 2]

**The same accuracy for all.** An estimate is good enough where the median of its errors, over networks and random numbers, is
within the tolerance: 1 % for the eigenvalue, and 2 % for the trace (5 % of ResNet-18). What the others need for that is found
before anything is timed, against a reference (Lanczos' algorithm to 0.1 %; a trace to 0.2 %, exact where it can be): how
many of Hutchinson's probes and of power iterations for PyHessian; how many products XTrace or Hutch++, whichever wants fewer,
and SciPy's `eigsh`, by the Krylov space that wants fewest, for curvlinops. So they spend nothing on finding out when to stop.
Ours stops by its own estimate: at a residual of 3 % (an eigenvalue is wrong by the residual squared over its distance from
the next one, which is 1 % where that is 9 % away), and at a standard error of the tolerance / 0.6745, which makes the median
error the tolerance; ResNet-18's trace is exact. The errors of all sides are printed.

Networks of a zoo are `cnn1d` of several widths, trained on MNIST-1D; all sides use all cores, a process a core, a thread a
process. ResNet-18 is measured on 64 images of 32 × 32, as it was initialised and after 40 steps of training; every side has
a process of its own, with as many threads as cores. Sides take turns, and seconds are medians; those of processors are
printed too, for where a machine is not idle. PyHessian computes the gradient once and keeps its graph, as ours does;
curvlinops computes it for every product, or all columns of a matrix.
"""

import argparse
import copy
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: one thread a process
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo_builder.landscape import gaussnewton, hessian
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.krylov import lanczos
from zoo_builder.landscape.measurement import measure
from zoo_builder.landscape.metric import Settings, Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.landscape.product import Differentiated
from zoo_builder.landscape.traces import traces

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
#: Median errors that are asked for: of the largest eigenvalue, of traces of a zoo's networks, of ResNet-18's.
TOP, TRACE, LARGE_TRACE = 0.01, 0.02, 0.05
#: Residual at which ours has found the largest eigenvalue.
RESIDUAL = 0.03
#: The median error of an estimate that has a normal distribution, in standard errors.
MEDIAN = 0.6745
#: Products that others are given, in turn, until they are good enough.
PRODUCTS = (6, 12, 18, 24, 36, 48, 72, 96)
LARGE_PRODUCTS = PRODUCTS[:4]
SPACES = (4, 6, 8, 12, 20)
POWER = 200
#: Tries of what others need, a network of a zoo.
TRIALS = 3
STEPS = (0, 40)

Found = tuple[float, float]  # trace, largest eigenvalue
Multiply = Callable[[Tensor], Tensor]  # vectors (V, P) → products


@dataclass(frozen=True)
class Needs:
    """What others need for the accuracy that is asked for: products, and of what.

    Attributes
    ----------
    probes, iterations : of PyHessian.
    method, products : of curvlinops, for the trace.
    space : dimension of the largest Krylov space of `eigsh`.
    """

    probes: int
    iterations: int
    method: str
    products: int
    space: int


# The sides. Each is asked about one network.


def pyhessian(network: nn.Module, data: Data, needs: Needs, seed: int) -> Found:
    """Measure a network by PyHessian."""
    warnings.simplefilter("ignore")  # a graph of the gradient is kept: that is meant
    from pyhessian import hessian as theirs

    torch.manual_seed(seed)
    one = theirs(network, nn.CrossEntropyLoss(), data=(data.inputs, data.targets), cuda=False)
    values = one.trace(maxIter=needs.probes, tol=-math.inf)  # all of them: it stops where its mean is negative
    (top,), _ = one.eigenvalues(maxIter=needs.iterations, tol=0, top_n=1)
    for parameter in network.parameters():
        parameter.grad = None
    return float(np.mean(values)), top


def curvlinops(network: nn.Module, data: Data, needs: Needs, seed: int) -> Found:
    """Measure a network by curvlinops and SciPy."""
    import curvlinops as theirs

    torch.manual_seed(seed)
    operator = theirs.HessianLinearOperator(
        network,
        nn.CrossEntropyLoss(),
        list(network.parameters()),
        [(data.inputs, data.targets)],
        check_deterministic=False,
    )
    trace = float(getattr(theirs, needs.method)(operator, needs.products))
    return trace, _eigsh(operator.to_scipy(dtype=np.float32), needs.space, seed)


def _eigsh(operator: Any, space: int, seed: int) -> float:
    from scipy.sparse.linalg import eigsh

    start = np.random.default_rng(seed).standard_normal(operator.shape[0]).astype(np.float32)
    (top,) = eigsh(operator, k=1, which="LA", ncv=space, tol=TOP, v0=start, return_eigenvectors=False)
    return float(top)


def ours(network: nn.Module, data: Data, _: Needs, seed: int) -> Found:
    """Measure one large network."""
    rng = np.random.default_rng(seed)
    top = largest(network, data, RESIDUAL, rng)
    names = [[name for name, _ in network.named_parameters()]]
    found = gaussnewton.block_traces(network, data, names, rng)
    assert found is not None
    return found.whole, top


def largest(network: nn.Module, data: Data, tolerance: float, rng: np.random.Generator) -> float:
    """Return the largest eigenvalue of a network's Hessian."""
    products = products_of(network, data)
    start = torch.as_tensor(rng.standard_normal(sum(value.numel() for value in network.parameters()), dtype=np.float32))
    run = lanczos(lambda _, vectors: products(vectors), start[None], (tolerance,), [rng], most=96, room=32)
    return float(run.ritz(0).values[0])


def products_of(network: nn.Module, data: Data) -> Differentiated:
    """Return the products of a network's Hessian."""

    def loss(examples: slice) -> Tensor:
        outputs = network(data.inputs[examples])
        return functional.cross_entropy(outputs, data.targets[examples], reduction="sum") / len(data)

    return Differentiated(list(network.parameters()), loss, len(data))


SIDES = {"PyHessian": pyhessian, "curvlinops": curvlinops, "ours": ours}


# What the others need.


class Operator:
    """A Hessian as curvlinops' estimators want it, by our products, and counted."""

    def __init__(self, multiply: Multiply, length: int) -> None:
        self._multiply, self.shape, self.asked = multiply, (length, length), 0
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def __matmul__(self, vectors: Tensor) -> Tensor:
        columns = vectors if vectors.dim() == 2 else vectors[:, None]
        self.asked += columns.shape[1]
        found = torch.stack([self._multiply(column[None])[0] for column in columns.T], 1)
        return found if vectors.dim() == 2 else found[:, 0]

    def to_scipy(self) -> Any:
        """Return it as SciPy wants it."""
        from scipy.sparse.linalg import LinearOperator

        return LinearOperator(
            self.shape, matvec=lambda v: (self @ torch.as_tensor(v.ravel())).numpy(), dtype=np.float32
        )


def trial(
    multiply: Multiply, length: int, reference: Found, seed: int, tries: Sequence[int] = PRODUCTS
) -> dict[tuple[str, int], float]:
    """Return errors of others' estimates of one network's numbers: (what, products or space) → as a share.

    Of ``probe`` it is one probe's standard deviation. `eigsh` has its products in ``eigsh products``.
    """
    import curvlinops as theirs

    torch.manual_seed(seed)
    trace, top = reference
    found: dict[tuple[str, int], float] = {}
    signs = 2 * torch.randint(0, 2, (16, length)) - 1.0
    values = [float(sign @ multiply(sign[None])[0]) for sign in signs]
    found["probe", 0] = float(np.sqrt(np.mean((np.array(values) - trace) ** 2))) / abs(trace)
    vector = functional.normalize(torch.randn(length), dim=0)
    for k in range(1, POWER + 1):
        image = multiply(vector[None])[0]
        found["power", k] = abs(float(vector @ image) / top - 1)
        if found["power", k] < TOP / 10:
            found |= {("power", later): found["power", k] for later in range(k, POWER + 1)}
            break
        vector = functional.normalize(image, dim=0)
    for space in SPACES:
        operator = Operator(multiply, length)
        found["eigsh", space] = abs(_eigsh(operator.to_scipy(), space, seed) / top - 1)
        found["eigsh products", space] = operator.asked
    for method in ("xtrace", "hutchpp_trace"):
        for products in tries:
            estimate = getattr(theirs, method)(Operator(multiply, length), products)
            found[method, products] = abs(float(estimate) / trace - 1)
    return found


def needs_of(
    trials: Sequence[dict[tuple[str, int], float]], tolerance: float, tries: Sequence[int] = PRODUCTS
) -> Needs:
    """Return the least that is good enough, by the medians of trials."""
    median = {key: statistics.median(one[key] for one in trials) for key in trials[0]}

    def least(what: str, tries: Sequence[int], within: float) -> int:
        return next((many for many in tries if median[what, many] <= within), tries[-1])

    products = {method: least(method, tries, tolerance) for method in ("xtrace", "hutchpp_trace")}
    method = min(products, key=lambda name: products[name])
    spaces = [space for space in SPACES if median["eigsh", space] <= TOP] or [SPACES[-1]]
    return Needs(
        probes=int(np.ceil((MEDIAN * median["probe", 0] / tolerance) ** 2)),
        iterations=least("power", range(1, POWER + 1), TOP),
        method=method,
        products=products[method],
        space=min(spaces, key=lambda space: median["eigsh products", space]),
    )


# A zoo's networks.


def trained(width: int, networks: int, examples: int) -> tuple[list[nn.Module], Data]:
    """Return trained networks, and the examples that Hessians are means over."""
    from zoo_builder.building.plan import LIMITS, plan
    from zoo_builder.specification.material import Material
    from zoo_builder.specification.network import initialised
    from zoo_builder.specification.spec import parse_spec
    from zoo_builder.training.trainer import train

    torch.set_num_threads(1)
    what = parse_spec(SPEC.format(seeds=list(range(networks)), width=width), "the benchmark")
    material = Material.of_spec(what)
    dataset, subsets = material.first
    modules = []
    for unit in plan(what, material, **LIMITS["cpu"]).units:
        for one in train(what, dataset, subsets, unit.networks):
            module = initialised(what, dataset, one.network)
            module.load_state_dict(one.state)
            modules.append(module.eval())
    return modules, Data.of(dataset.train_inputs[:examples], dataset.train_targets[:examples])


def together(modules: Sequence[nn.Module], data: Data) -> list[tuple[float, ...]]:
    """Measure networks as a zoo's are; return trace, largest eigenvalue and products of each."""
    torch.set_num_threads(1)
    subject = Subject(open_surface(modules, data.shape), data, settings=Settings(train_sample=len(data)))
    hessians, points = hessian.Hessians(subject), subject.surface.points
    rngs = [subject.rng(row, "benchmark") for row in range(len(modules))]
    starts = torch.as_tensor(np.stack([rng.standard_normal(points.shape[1], dtype=np.float32) for rng in rngs]))
    krylov = lanczos(hessians, starts, (RESIDUAL,), rngs, fewest=hessian.STEPS[0], most=hessian.STEPS[1])
    everything = [slice(0, points.shape[1])]
    found = traces(hessians, krylov, everything, rngs, tolerance=TRACE / MEDIAN, at_once=hessian.PROBES[0])
    return [(found.whole[at], krylov.ritz(at).values[0], hessians.spent[at]) for at in range(len(modules))]


def one_by_one(side: str, modules: Sequence[nn.Module], data: Data, needs: Needs) -> list[Found]:
    """Measure networks one after the other."""
    torch.set_num_threads(1)
    return [SIDES[side](module, data, needs, seed) for seed, module in enumerate(modules)]


def references(modules: Sequence[nn.Module], data: Data) -> list[Found]:
    """Measure networks ten times as accurately, in double precision."""
    torch.set_num_threads(1)
    surface = open_surface(modules, data.shape, dtype=torch.float64)
    subject = Subject(surface, Data(data.inputs.double(), data.targets), settings=Settings(train_sample=len(data)))
    rngs = [subject.rng(row, "reference") for row in range(len(modules))]
    starts = torch.as_tensor(np.stack([rng.standard_normal(surface.layout.size) for rng in rngs]))
    products = hessian.Hessians(subject)
    krylov = lanczos(products, starts, (0.001,), rngs, fewest=40, most=200)
    found = traces(products, krylov, [slice(0, surface.layout.size)], rngs, tolerance=0.002, most=512)
    return [(float(found.whole[at]), float(krylov.ritz(at).values[0])) for at in range(len(modules))]


def trials(modules: Sequence[nn.Module], data: Data, known: Sequence[Found]) -> list[dict[tuple[str, int], float]]:
    """Try what others need, on some networks."""
    torch.set_num_threads(1)
    surface = open_surface(modules, data.shape)
    products = surface.curvature(data)

    def multiply_of(row: int) -> Multiply:
        return lambda vectors: products(vectors[None], [row])[0]

    return [
        trial(multiply_of(row), surface.layout.size, one, 1000 * turn + row)
        for row, one in enumerate(known)
        for turn in range(TRIALS)
    ]


def zoo(arguments: argparse.Namespace) -> None:
    """Print a line a width."""
    print(f"{arguments.networks} networks a width, {arguments.examples} examples, {CORES} cores, load {_load()}")
    print(
        "         seconds a network                ours is faster   products                               median error, %"
    )
    print(
        "  width  PyHessian curvlinops       ours  than the better   PyHessian, curvlinops, ours            trace, eigenvalue"
    )
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        for width in arguments.widths:
            modules, data = trained(width, arguments.networks, arguments.examples)
            shares = [modules[at::CORES] for at in range(CORES)]

            def on_all(
                work: Callable[..., list[Any]], *rest: Sequence[Any], shares: Any = shares, data: Any = data
            ) -> list[Any]:
                return [one for part in pool.map(work, shares, [data] * CORES, *rest) for one in part]

            on_all(together)  # loops are compiled
            known = [list(part) for part in pool.map(references, shares, [data] * CORES)]
            needs = needs_of(on_all(trials, known), TRACE)
            taken: dict[str, list[float]] = {side: [] for side in SIDES}
            found: dict[str, list[Any]] = {}
            for _ in range(arguments.repeats):
                for side in SIDES:
                    begun = time.perf_counter()
                    if side == "ours":
                        found[side] = on_all(together)
                    else:
                        parts = pool.map(one_by_one, [side] * CORES, shares, [data] * CORES, [needs] * CORES)
                        found[side] = [one for part in parts for one in part]
                    taken[side].append((time.perf_counter() - begun) / len(modules))
            seconds = {side: statistics.median(values) for side, values in taken.items()}
            expected = [one for part in known for one in part]
            spent = statistics.mean(one[2] for one in found["ours"])
            faster = min(seconds["PyHessian"], seconds["curvlinops"]) / seconds["ours"]
            line = f"  {width:>5}" + "".join(f"{seconds[side]:>11.4f}" for side in SIDES) + f"{faster:>17.1f}   "
            said = f"{needs.probes} + {needs.iterations}, {needs.products} {needs.method} + eigsh({needs.space}), {spent:.0f}"
            line += f"{said:<40}" + "; ".join(
                f"{_off(found[side], expected, 0)}, {_off(found[side], expected, 1)}" for side in SIDES
            )
            print(line, flush=True)


def _off(found: Sequence[Sequence[float]], expected: Sequence[Found], at: int) -> str:
    """Return the median error in %."""
    return (
        f"{100 * statistics.median(abs(one[at] / two[at] - 1) for one, two in zip(found, expected, strict=True)):.1f}"
    )


# ResNet-18.


def _load() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def alone(side: str, steps: int, examples: int, needs: Needs, seed: int) -> None:
    """Measure ResNet-18 in this process, and print what was found as JSON."""
    from resnet18 import problem

    network, data = problem(steps, examples)
    if side == "everything":
        begun, worked = time.perf_counter(), time.process_time()
        (found,) = measure(network, "cross_entropy", (data.inputs, data.targets), families=["hessian"]).models.to_dict(
            "records"
        )
        trace, top = found["hessian_trace"], found["hessian_top_eigenvalue"]
    else:
        begun, worked = time.perf_counter(), time.process_time()
        trace, top = SIDES[side](network, data, needs, seed)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - worked
    print(json.dumps({"seconds": seconds, "cpu": cpu, "trace": trace, "top": top, "bytes": peak()}))


def peak() -> int:
    """Return the most bytes that this process has held; unlike ``ru_maxrss``, never its parent's."""
    with Path("/proc/self/status").open() as file:
        return 1024 * int(next(line for line in file if line.startswith("VmHWM")).split()[1])


def in_its_own_process(
    side: str, steps: int, arguments: argparse.Namespace, needs: Needs, seed: int
) -> dict[str, float]:
    """Return what `alone` prints."""
    order = json.dumps(
        {"side": side, "steps": steps, "examples": arguments.examples, "needs": vars(needs), "seed": seed}
    )
    command = [sys.executable, __file__, "--alone", order, "--threads", str(arguments.threads)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(arguments.threads))
    printed = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def resnet(arguments: argparse.Namespace) -> None:
    """Print how the sides compare on ResNet-18."""
    from resnet18 import PARAMETERS, problem

    torch.set_num_threads(arguments.threads)
    for steps in arguments.steps:
        network, data = problem(steps, arguments.examples)
        products, rng = products_of(network, data), np.random.default_rng(0)
        top = largest(network, data, 0.001, rng)
        names = [[name for name, _ in network.named_parameters()]]
        exact = gaussnewton.block_traces(copy.deepcopy(network), data, names, rng)
        assert exact is not None
        signs = (2 * torch.randint(0, 2, (arguments.probes, PARAMETERS), dtype=torch.int8) - 1).float()
        values = [float(sign @ products(sign[None, None])[0, 0]) for sign in signs]
        error = np.std(values, ddof=1) / len(values) ** 0.5
        print(
            f"ResNet-18, {steps} steps of training, {arguments.examples} images, {arguments.threads} threads, load {_load()}"
        )
        print(
            f"  trace {exact.whole:.4g} ({len(values)} probes: {np.mean(values):.4g} ± {error:.2g}), top {top:.4g}",
            flush=True,
        )
        del signs
        tried = [
            trial(
                lambda v, products=products: products(v[None])[0], PARAMETERS, (exact.whole, top), seed, LARGE_PRODUCTS
            )
            for seed in range(arguments.seeds)
        ]
        needs = needs_of(tried, LARGE_TRACE, LARGE_PRODUCTS)
        print(f"  the others need {needs}", flush=True)
        del products, network
        found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for seed in range(arguments.repeats):
            for side in SIDES:
                found[side].append(in_its_own_process(side, steps, arguments, needs, seed))
        seconds, cpu = (
            {side: statistics.median(one[what] for one in runs) for side, runs in found.items()}
            for what in ("seconds", "cpu")
        )
        for side, runs in found.items():
            bytes_ = max(one["bytes"] for one in runs)
            pairs = [(one["trace"], one["top"]) for one in runs]
            off = [_off(pairs, [(exact.whole, top)] * len(pairs), at) for at in (0, 1)]
            print(
                f"  {side:<11}{seconds[side]:>8.1f} s, {cpu[side]:>6.1f} s of processors, {bytes_ / 1e6:>6.0f} MB, "
                f"off by {off[0]} % and {off[1]} %",
                flush=True,
            )
        better = min(("PyHessian", "curvlinops"), key=lambda side: cpu[side])
        memory = {side: max(one["bytes"] for one in runs) for side, runs in found.items()}
        print(
            f"  ours is {seconds[better] / seconds['ours']:.1f} times faster than {better} "
            f"({cpu[better] / cpu['ours']:.1f} times by processors), "
            f"with {memory['ours'] / memory['PyHessian']:.2f} times PyHessian's memory"
        )
        if arguments.everything:
            one = in_its_own_process("everything", steps, arguments, needs, 0)
            said = f"{one['seconds']:.1f} s, {one['cpu']:.1f} s of processors, {one['bytes'] / 1e6:.0f} MB"
            print(f"  the whole family, 41 layers: {said}", flush=True)


def main() -> None:
    """Measure networks of a zoo, or ResNet-18."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--examples", type=int)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--resnet18", action="store_true")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="of training, of ResNet-18")
    parser.add_argument("--seeds", type=int, default=5, help="tries of what others need, of ResNet-18")
    parser.add_argument("--probes", type=int, default=64, help="that check the reference, of ResNet-18")
    parser.add_argument("--threads", type=int, default=CORES, help="of every process, of ResNet-18")
    parser.add_argument("--everything", action="store_true", help="measure the whole family too, with layers")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        torch.set_num_threads(arguments.threads)
        order = json.loads(arguments.alone)
        alone(order["side"], order["steps"], order["examples"], Needs(**order["needs"]), order["seed"])
    elif arguments.resnet18:
        arguments.examples = arguments.examples or 64
        resnet(arguments)
    else:
        arguments.examples = arguments.examples or 1000
        zoo(arguments)


if __name__ == "__main__":
    main()
