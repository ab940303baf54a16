"""Trees and forests of scikit-learn, grown to the last bit as it grows them, without checking again for every tree.

On a hundred networks nine tenths of a forest's time are checks of input that the forest has checked already, copies of
settings, and joblib. What grows a tree is a compiled class: handed the same rows and the same random numbers, it grows the
same tree.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import numpy as np

#: Releases of scikit-learn whose compiled trees are called as this file calls them. Any other is asked in the ordinary way.
KNOWN: Final = ("1.9",)
_MOST: Final = np.iinfo(np.int32).max


def stand_in(estimator: Any, *values: np.ndarray) -> Any:
    """Return what says the same as a tree or a forest that is as scikit-learn makes it; any other estimator itself.

    Parameters
    ----------
    estimator : not fitted.
    values : the rows that it will see, (n, columns); what is infinite in single precision is for scikit-learn to refuse.
    """
    standing = _STANDING.get(f"{type(estimator).__module__}.{type(estimator).__name__}")
    if standing is None:
        return estimator
    import sklearn

    made, free = standing
    own, usual = estimator.get_params(), type(estimator)().get_params()
    plain = all(own[name] == usual[name] for name in usual if name not in free)
    settings = {name: own[name] for name in free}
    known = sklearn.__version__.rpartition(".")[0] in KNOWN
    with np.errstate(over="ignore"):
        infinite = any(np.isinf(some.astype(np.float32)).any() for some in values)
    return made(**settings) if plain and _valid(settings) and known and not infinite else estimator


def takes_values(kind: type[Any]) -> bool:
    """Tell whether this is one of scikit-learn's own simple classifiers, which use values alone and no column names.

    Checking a small DataFrame takes scikit-learn about as long as growing a tree on it does.
    """
    simple = ("sklearn.tree.", "sklearn.linear_model.", "sklearn.neighbors.")
    return issubclass(kind, Grown) or kind.__module__.startswith(simple)


def _valid(settings: Mapping[str, Any]) -> bool:
    """Tell whether settings are what scikit-learn takes, for which it is the one to say so."""
    seed, numbers = settings["random_state"], [settings[name] for name in settings if name not in _NOT_NUMBERS]
    seeded = seed is None or (type(seed) is int and 0 <= seed < 2**32)
    return (
        seeded
        and settings.get("class_weight") in (None, "balanced")
        and all(
            (number is None and "max_depth" in settings) or (type(number) is int and number > 0) for number in numbers
        )
    )


class Grown(ABC):
    """Trees with Gini's impurity.

    Attributes
    ----------
    classes_ : the labels seen, in order.
    """

    _splitter, _leaf, _balanced = "best", 1, False

    def fit(self, values: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Self:
        """Grow on rows (n, columns) with labels (n,), which may have weights (n,)."""
        self.classes_, places = np.unique(labels, return_inverse=True)
        self._verdicts = np.array([len(self.classes_)], dtype=np.intp)
        seen, wanted = np.ascontiguousarray(values, dtype=np.float32), places.astype(np.float64)[:, None]
        missing = np.asarray(np.isnan(seen).any(axis=0))
        if self._balanced:
            weights = _balancing(labels, self.classes_, weights)
        self._trees = self._grown(seen, wanted, weights, missing if missing.any() else None)
        return self

    @abstractmethod
    def _grown(
        self, seen: np.ndarray, wanted: np.ndarray, weights: np.ndarray | None, missing: np.ndarray | None
    ) -> list[Any]:
        """Return the trees."""

    def _grower(self, seen: np.ndarray, looked_at: int, depth: int, draw: np.random.RandomState) -> Callable[..., Any]:
        from sklearn.tree._criterion import Gini
        from sklearn.tree._splitter import BestSplitter, RandomSplitter
        from sklearn.tree._tree import DepthFirstTreeBuilder, Tree

        made = RandomSplitter if self._splitter == "random" else BestSplitter
        splitter = made(Gini(1, self._verdicts), looked_at, self._leaf, 0.0, draw, None)
        builder = DepthFirstTreeBuilder(splitter, 2 * self._leaf, self._leaf, 0.0, depth, 0.0)

        def grow(wanted: np.ndarray, weights: np.ndarray | None, missing: np.ndarray | None) -> Any:
            tree = Tree(seen.shape[1], self._verdicts, 1)
            builder.build(tree, seen, wanted, weights, missing)
            return tree

        return grow

    def predict_proba(self, values: np.ndarray) -> np.ndarray:
        """Return the mean over the trees, in the order of ``classes_``; shape (n, classes)."""
        seen = np.ascontiguousarray(values, dtype=np.float32)
        total = np.zeros((len(seen), len(self.classes_)))
        for tree in self._trees:
            total += tree.predict(seen)
        total /= len(self._trees)
        return total

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return the likeliest verdicts; shape (n,)."""
        said: np.ndarray = self.classes_.take(self.predict_proba(values).argmax(axis=1), axis=0)
        return said


class Single(Grown):
    """One tree, which looks at all columns (Breiman et al., Classification and regression trees, 1984).

    Parameters
    ----------
    max_depth : questions in a row; None: until every leaf has one verdict.
    random_state : seed of the order in which columns are looked at; None: by NumPy's global generator.
    """

    def __init__(self, max_depth: int | None, random_state: int | None) -> None:
        self._depth, self._seed = max_depth or _MOST, random_state

    def _grown(
        self, seen: np.ndarray, wanted: np.ndarray, weights: np.ndarray | None, missing: np.ndarray | None
    ) -> list[Any]:
        from sklearn.utils import check_random_state

        grow = self._grower(seen, seen.shape[1], self._depth, check_random_state(self._seed))
        return [grow(wanted, weights, missing)]


class Forest(Grown):
    """A random forest (Breiman, Machine Learning, 2001).

    Parameters
    ----------
    n_estimators : trees.
    random_state : seed of all that is drawn; None: by NumPy's global generator.
    """

    _drawn = True

    def __init__(self, n_estimators: int, random_state: int | None) -> None:
        self._count, self._seed = n_estimators, random_state

    def _grown(
        self, seen: np.ndarray, wanted: np.ndarray, weights: np.ndarray | None, missing: np.ndarray | None
    ) -> list[Any]:
        from sklearn.utils import check_random_state

        draw, own = check_random_state(self._seed), np.random.RandomState(0)
        rows, columns = seen.shape
        grow = self._grower(seen, max(1, int(np.sqrt(columns))), _MOST, own)
        trees = []
        for seed in [draw.randint(_MOST) for _ in range(self._count)]:
            if self._drawn:
                own.seed(seed)
                weights = np.bincount(own.randint(0, rows, rows), minlength=rows).astype(np.float64)
            own.seed(seed)  # the tree's own draws begin anew
            trees.append(grow(wanted, weights, missing))
        return trees


class Extremely(Forest):
    """Extremely randomized trees, each on all rows (Geurts et al., Machine Learning, 2006).

    Parameters
    ----------
    n_estimators, random_state : see `Forest`.
    min_samples_leaf : the fewest rows of a leaf.
    class_weight : ``"balanced"``: rare verdicts weigh as much as common ones; None: every row the same.
    """

    _splitter, _drawn = "random", False

    def __init__(
        self, n_estimators: int, random_state: int | None, min_samples_leaf: int = 1, class_weight: str | None = None
    ) -> None:
        super().__init__(n_estimators, random_state)
        self._leaf, self._balanced = min_samples_leaf, class_weight is not None

    @property
    def feature_importances_(self) -> np.ndarray:
        """How much of all impurity each column takes away, mean over the trees; shape (columns,), of sum 1."""
        split = [tree.compute_feature_importances() for tree in self._trees if tree.node_count > 1]
        if not split:
            return np.zeros(self._trees[0].n_features)
        mean = np.stack(split).mean(axis=0)
        found: np.ndarray = mean / mean.sum()
        return found


def _balancing(labels: np.ndarray, classes: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Return weights by which every label weighs the same, as scikit-learn has them; shape (n,)."""
    from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

    each = compute_class_weight("balanced", classes=classes, y=labels, sample_weight=weights)
    found: np.ndarray = compute_sample_weight(dict(zip(classes, each, strict=True)), labels)
    return found if weights is None else weights * found


#: Settings that are no numbers.
_NOT_NUMBERS: Final = ("random_state", "class_weight")
#: Classifier → what stands in for it, and which of its settings may be other than scikit-learn's.
_STANDING: Final[Mapping[str, tuple[Callable[..., Grown], tuple[str, ...]]]] = {
    "sklearn.ensemble._forest.RandomForestClassifier": (Forest, ("n_estimators", "random_state")),
    "sklearn.ensemble._forest.ExtraTreesClassifier": (
        Extremely,
        ("n_estimators", "random_state", "min_samples_leaf", "class_weight"),
    ),
    "sklearn.tree._classes.DecisionTreeClassifier": (Single, ("max_depth", "random_state")),
}
