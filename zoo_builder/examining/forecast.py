"""How long measuring takes, and how much memory, said before it begins: steps are timed on a few examples, and counted up."""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from zoo_builder.landscape import (
    Data,
    Subject,
    bytes_needed,
    connectivity,
    hessian,
    matrices,
    prunability,
    spectra,
    topology,
)

#: Seconds on the wall and of the processor.
Times = NDArray[np.float64]

#: Examples are doubled until a pass takes half of so many seconds of the processor; weights are touched once, however many.
_LONG: Final = 0.2
#: Lanczos steps of a network, probes, and products of a layer: about the medians over the zoos' networks.
_STEPS, _PROBES, _OF_A_LAYER = 18, 8, 2
#: Entries of vectors that are timed.
_TIMED: Final = 2**20
#: Layers whose products are timed.
_LAYERS: Final = 5
#: Gradients and losses of a network on the sample that sharpness asks for.
_SHARPNESS: Final = (12, 20)
#: Points at which the three ways between two networks are looked at, each with statistics taken anew.
_LOOKED_AT: Final = 2 * (3 * len(connectivity.INTERIOR) + 2)


@dataclass(frozen=True)
class Forecast:
    """What measuring takes, about.

    Attributes
    ----------
    seconds : family → seconds on the wall, as busy as the machine was when steps were timed.
    processor : seconds of the processor, of all families.
    bytes : memory of the process at its peak.
    """

    seconds: dict[str, float]
    processor: float
    bytes: int

    def __str__(self) -> str:
        longest = sorted(self.seconds, key=lambda name: -self.seconds[name])[:2]
        parts = ", ".join(f"{name} {said(self.seconds[name])}" for name in longest)
        return f"measuring takes about {said(sum(self.seconds.values()))} ({parts}), and {self.bytes / 1e9:.1f} GB of memory"


def said(seconds: float) -> str:
    """Return a time in words; a tenth of a second at least."""
    if seconds < 1:
        return f"{max(seconds, 0.1):.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def forecast(subject: Subject, families: Sequence[str]) -> Forecast:
    """Return what measuring takes, about.

    Passes, gradients and products with Hessians are timed on a few examples, as many as take a tenth of a second a pass,
    and one eigenvalue decomposition for each shape of matrix. How often each is needed follows from the families' settings.
    How often products are needed depends on the spectrum, which is not known before: it is what the zoos' networks took.

    Parameters
    ----------
    subject : what will be measured.
    families : names of what is measured.
    """
    begun = _resident()
    steps = _Steps(subject)
    times = {name: _of_family(name, steps, subject) for name in families}
    whole = np.sum([*times.values(), np.zeros(2)], axis=0)
    return Forecast(
        {name: float(found[0]) for name, found in times.items()},
        float(whole[1]),
        max(_peak(), begun + _bytes(subject, families)),
    )


def _bytes(subject: Subject, families: Sequence[str]) -> int:
    """Return how much memory measuring takes beside what there is: bases are as long as searches seldom exceed."""
    surface, examples = subject.surface, len(subject.curved)
    if not {"hessian", "topology"} & set(families):
        return surface.held(examples)
    vectors = (_STEPS + 1 + hessian.WORKING) * surface.points.numel()
    return bytes_needed(surface, examples, min(subject.memory, vectors * surface.points.element_size()))


def _peak() -> int:
    """Return how many bytes the process has taken at most so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _resident() -> int:
    """Return how many bytes the process takes now; at most so far, where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return _peak()


def _timed(action: Callable[[], Any]) -> Times:
    wall, processor = time.perf_counter(), time.process_time()
    action()
    return np.array([time.perf_counter() - wall, time.process_time() - processor])


class _Steps:
    """Steps that families are made of, timed on a few examples when they are first asked for: all networks together.

    Attributes
    ----------
    few : the examples.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject, self._surface = subject, subject.surface
        self._found: dict[str, Times] = {}
        self.few = self._enough()

    def _enough(self) -> Data:
        sample, many = self._subject.curved, 16
        self._surface.logits(sample.first(2))
        while many < len(sample) and _timed(partial(self._surface.logits, sample.first(many)))[1] < _LONG / 2:
            many *= 2
        return sample.first(min(many, len(sample)))

    def _example(self, name: str, action: Callable[[Data], Any]) -> Times:
        if name not in self._found:
            action(self.few.first(2))  # what is compiled or opened at a first call is no step
            self._found[name] = _timed(lambda: action(self.few)) / len(self.few)
        return self._found[name]

    def passes(self) -> Times:
        """Return what outputs of one example take."""
        return self._example("pass", self._surface.logits)

    def gradient(self) -> Times:
        """Return what one example's share of the gradients takes."""
        return self._example("gradient", lambda data: self._surface.gradients(data, self._surface.points))

    def product(self) -> Times:
        """Return what one example's share of the products with Hessians takes."""
        return self._products()[0]

    def within(self) -> Times:
        """Return the same of products with the diagonal block of a layer, the mean over some layers."""
        return self._products()[1]

    def _products(self) -> tuple[Times, Times]:
        if "product" in self._found:
            return self._found["product"], self._found["within"]
        points, layers = self._surface.points, self._surface.layout.layers
        curvature: Any = self._surface.curvature(self.few)
        vectors = torch.randn(len(points), 1, points.shape[1], generator=torch.Generator().manual_seed(0)).to(points)
        rows = list(range(len(points)))
        first = _timed(lambda: curvature(vectors.clone(), rows))
        again = getattr(curvature, "keeps", lambda _: True)(len(self._subject.curved))
        whole = _timed(lambda: curvature(vectors.clone(), rows)) if again else first
        inside = getattr(curvature, "within", None)
        some = [layers[at].block for at in np.unique(np.linspace(0, len(layers) - 1, _LAYERS).round().astype(int))]
        apart = inside is not None and self._subject.settings.layer_eigenvalues
        parts = [] if apart else [whole]
        for block in some if apart else []:
            curvature = curvature if again else self._surface.curvature(self.few)
            parts.append(_timed(partial(curvature.within, vectors[:, :, block].clone(), rows, block)))
        self._found |= {"product": whole / len(self.few), "within": np.mean(parts, axis=0) / len(self.few)}
        return self._found["product"], self._found["within"]

    def exact(self) -> Times | None:
        """Return what one example takes for exact traces; None where there are none."""
        if "exact" not in self._found:
            alone = Subject(self._surface.part([0]), self.few)
            answers: list[Any] = []
            took = _timed(lambda: answers.append(hessian.exact_traces(alone, 0)))
            self._found["exact"] = took / len(self.few) if answers[0] is not None else np.full(2, np.nan)
        found = self._found["exact"]
        return None if np.isnan(found).any() else found


def _of_family(name: str, steps: _Steps, subject: Subject) -> Times:
    """Return what a family takes."""
    train, sample = len(subject.train), len(subject.sample)
    test = 0 if subject.test is None else len(subject.test)
    size = len(subject.surface)
    if name == "performance":
        return steps.passes() * (train + test)
    if name == "hessian":
        return _hessian(steps, subject)
    if name == "connectivity":
        share = sum(len(connectivity.pairs(group)) for group in subject.groups) / size
        how = connectivity.Training()
        return share * (steps.gradient() * how.steps * how.batch_size + steps.passes() * sample * _LOOKED_AT)
    if name == "similarity":
        return steps.passes() * 2 * sample
    if name == "sharpness":
        gradients, losses = _SHARPNESS
        return (steps.gradient() * gradients + steps.passes() * losses) * sample
    if name == "spectra":
        return steps.gradient() * train + _matrices(subject)
    if name == "topology":
        points: int = 2 * sum(side**axes for axes, side in topology.SIDES.items())
        return steps.passes() * points * min(subject.settings.topology_sample, sample)
    if name == "prunability":
        tried = 3 * len(prunability.SPARSITIES) + len(prunability.PUBLISHED) + 5
        return steps.passes() * tried * min(test, subject.settings.test_sample)
    return np.zeros(2)  # what is computed from what is there


def _hessian(steps: _Steps, subject: Subject) -> Times:
    """Return what all that is asked of Hessians takes."""
    if getattr(subject.surface, "without_hessian", ""):
        return np.zeros(2)
    exact = steps.exact()
    layers = len(subject.surface.layout.layers)
    probes = _PROBES if exact is None else hessian.PROBES[0]
    found = steps.product() * (_STEPS + probes)
    if subject.settings.layer_eigenvalues:
        found = found + steps.within() * _OF_A_LAYER * layers
    found = found if exact is None else found + exact * len(subject.surface)
    return found * len(subject.curved) + _orthogonal(subject) * (_STEPS / 2 + probes)


def _orthogonal(subject: Subject) -> Times:
    """Return what it takes to make one vector of each network orthogonal to a basis of all steps, twice."""
    size, length = subject.surface.points.shape
    some = min(length, _TIMED)
    basis, vector = torch.ones(_STEPS, some), torch.ones(some)
    return _timed(lambda: [(basis @ vector) @ basis for _ in range(2)]) * size * length / some


def _matrices(subject: Subject) -> Times:
    """Return what eigenvalues of weights take, trained, after a step, and freshly initialised."""
    surface = subject.ordinary.part([0])
    each: dict[tuple[int, ...], Times] = {}
    found = np.zeros(2)
    for matrix in matrices.find(surface.module).known:
        shape = (*matrix.sides, matrix.blocks)
        if shape not in each:
            decomposed = _timed(partial(spectra.spectra, surface, [matrix]))
            (values,) = spectra.spectra(surface, [matrix])
            fitted = _timed(partial(spectra.layer_metrics, values, *matrix.sides, matrix.blocks))
            each[shape] = 2 * decomposed + fitted
            fresh = -(-spectra.FRESH_EIGENVALUES // (min(matrix.sides) * matrix.blocks))
            found += decomposed * min(fresh, spectra.FRESH)
        found += len(subject.surface) * each[shape]
    return found
