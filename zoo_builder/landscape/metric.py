"""What a metric is, and what a family of metrics is asked and answers."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.landscape import matrices
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.surface import Surface

#: Bytes that vectors as long as a network may take while it is measured.
MEMORY: Final = 3 * 2**29

#: What a metric is a property of: one network, all networks of a configuration together, or a layer of one network.
Of = Literal["checkpoint", "configuration", "layer"]


@dataclass(frozen=True)
class Metric:
    """One number that is measured.

    Attributes
    ----------
    column : its column in a zoo's tables; `mdbench.tables.COLUMNS` says unit, meaning and paper.
    of : what it is a property of. A network's is also averaged over the seeds of a configuration.
    low, high : what it lies between, both included; None where there is no bound.
    cost : what it costs in one word or two, for people: ``free`` beside others, or passes through the network.
    """

    column: str
    of: Of
    low: float | None = None
    high: float | None = None
    cost: str = "free"


@dataclass(frozen=True)
class Settings:
    """How much of everything is measured.

    All samples are beginnings: of the training data in the order in which data fractions are cut from it, of the test data
    as they lie.

    Attributes
    ----------
    train_sample : training examples that losses, outputs and curvatures are means over.
    test_sample : test examples that pruned networks are tried on.
    topology_sample : training examples that the loss is sampled on over grids.
    shift : standard deviation of the noise on the inputs that ensembles are tried on; inputs of a zoo's images have 1.
    curvature_sample : training examples that Hessians are of, where they are to be fewer than `train_sample`.
    layer_eigenvalues : whether the largest eigenvalue of each layer's Hessian is searched for.
    completed : last tokens of a training sequence that are to be completed.
    curve_learning_rate : that curves between networks are trained with; None for what is said at
        `zoo_builder.landscape.connectivity.Training`.
    """

    train_sample: int = 1000
    test_sample: int = 2000
    topology_sample: int = 128
    curve_learning_rate: float | None = None
    completed: int = 8
    shift: float = 0.5
    curvature_sample: int | None = None
    layer_eigenvalues: bool = True

    def said(self) -> dict[str, Any]:
        """Return all of them; of those that came later, what is not as it was before there were any."""
        later = {"completed": 8, "shift": 0.5, "curvature_sample": None, "layer_eigenvalues": True}
        return {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}


class Planted(Protocol):
    """Secrets: tokens (s, q) from an alphabet (a,), each behind a prefix (s, p)."""

    @property
    def prefixes(self) -> NDArray[np.int64]:
        """The tokens before each secret, from the beginning of its sequence."""

    @property
    def tokens(self) -> NDArray[np.int64]:
        """The secrets."""

    @property
    def alphabet(self) -> NDArray[np.int64]:
        """What every token of a secret is drawn from."""


@dataclass(frozen=True)
class Language:
    """What is known of networks that say which token is next.

    Attributes
    ----------
    masked : the target of places that do not count.
    secrets : what was planted among the training sequences; None where nothing was.
    """

    masked: int
    secrets: Planted | None = None


class Subject:
    """What a family measures: networks of one shape that were trained on the same examples, in groups.

    Attributes
    ----------
    surface : S networks.
    train : the training examples with the labels they were trained with.
    test : held-out examples; None where there are none.
    wrong : bool (n,), whether a training label was replaced by a wrong one on purpose; None where nobody knows.
    truth : int64 (n,), the right labels of the training examples; None where nobody knows.
    language : what is known of networks that say which token is next; None for others.
    known : columns that whoever asks has already, from training; nobody is told why they are missing here.
    groups : rows of `surface` that differ by their seed alone.
    names : of the networks; random numbers that a network's measurements need are a function of its name. Where none are
        given, a network's is a digest of its parameters: whatever it stands beside, it is measured with the same numbers.
    settings : how much of everything.
    memory : bytes that vectors as long as a network may take. What is found does not depend on it, as long as it holds a
        few dozen of them.
    said : is called with what is being done, in words, whenever that changes, for those who wait.
    """

    def __init__(
        self,
        surface: Surface,
        train: Data,
        test: Data | None = None,
        *,
        wrong: NDArray[np.bool_] | None = None,
        truth: NDArray[np.int64] | None = None,
        language: Language | None = None,
        known: Collection[str] = (),
        groups: Sequence[Sequence[int]] | None = None,
        names: Sequence[str] | None = None,
        settings: Settings | None = None,
        memory: int = MEMORY,
        said: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.surface, self.train, self.test = surface, train, test
        self.wrong, self.truth, self.language, self.known = wrong, truth, language, frozenset(known)
        self.groups = tuple(map(tuple, groups)) if groups is not None else (tuple(range(len(surface))),)
        self.names = tuple(names) if names is not None else _digests(surface.points)
        self.settings, self.memory, self.said = settings or Settings(), memory, said
        #: What families have computed and others need too, by name.
        self.shared: dict[str, Any] = {}

    @cached_property
    def ordinary(self) -> Surface:
        """The same networks with every weight a parameter, as `zoo_builder.landscape.matrices.ordinary` makes them."""
        every = len(list(self.surface.module.parameters())) == len(self.surface.layout.shapes)
        if every and not matrices.reparametrized(self.surface.module):
            return self.surface
        return self.surface.reopened([matrices.ordinary(self.surface.network(row)) for row in range(len(self.surface))])

    @cached_property
    def sample(self) -> Data:
        """The training examples that losses, outputs and curvatures are means over."""
        return self.train.first(self.settings.train_sample)

    @cached_property
    def curved(self) -> Data:
        """The training examples that Hessians are of."""
        wanted = self.settings.curvature_sample
        return self.sample if wanted is None else self.sample.first(wanted)

    @cached_property
    def train_logits(self) -> Tensor:
        """Outputs on all training examples, (S, n, K), on the CPU."""
        return self.surface.logits(self.train).cpu()

    @cached_property
    def test_logits(self) -> Tensor:
        """Outputs on all test examples, (S, m, K), on the CPU; only where there are some."""
        assert self.test is not None
        return self.surface.logits(self.test).cpu()

    def rng(self, row: int, what: str) -> np.random.Generator:
        """Return the random numbers that a network's measurement of something uses: the same in whatever company."""
        said = hashlib.sha256(f"{what}\0{self.names[row]}".encode()).digest()
        return np.random.default_rng(np.frombuffer(said, dtype=np.uint32))

    def pair_rng(self, rows: Sequence[int], what: str) -> np.random.Generator:
        """Return the random numbers that a measurement of several networks together uses."""
        said = hashlib.sha256("\0".join((what, *(self.names[row] for row in rows))).encode()).digest()
        return np.random.default_rng(np.frombuffer(said, dtype=np.uint32))


def _digests(points: Tensor) -> tuple[str, ...]:
    """Return names of points (S, P) that tell them apart. They do not depend on the precision; equals are numbered."""
    values = points.detach().cpu().double().numpy()
    found = [hashlib.sha256(value.tobytes()).hexdigest() for value in values]
    before = [found[:at].count(name) for at, name in enumerate(found)]
    return tuple(f"{name} {count + 1}" if count else name for name, count in zip(found, before, strict=True))


@dataclass
class Measured:
    """What a family answers. A number that could not be measured is NaN, and a reason says why.

    Attributes
    ----------
    networks : column → float64 (S,).
    configurations : column → float64 (G,), one a group.
    layers : rows of a table of layers: ``network`` (its row), ``layer`` (the module's path), and columns.
    network_reasons : row → what could not be measured and why, in one line.
    configuration_reasons : group → the same.
    """

    networks: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    configurations: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    network_reasons: dict[int, str] = field(default_factory=dict)
    configuration_reasons: dict[int, str] = field(default_factory=dict)
