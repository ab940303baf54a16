"""Random forests of scikit-learn, grown to the last bit as it grows them, without what it checks again for every tree.

Of a forest on a hundred networks, nine tenths of the time are checks of input that the forest has checked already, copies of
settings, and joblib. What grows a tree is a compiled class; handing it the same rows and the same random numbers grows the same tree.
"""

from typing import Any, Final, Self

import numpy as np

#: Releases of scikit-learn whose compiled trees are called as this file calls them. Any other is asked in the ordinary way.
KNOWN: Final = ("1.9",)
#: Seeds of trees are below this.
_SEEDS: Final = np.iinfo(np.int32).max
#: What may be other than scikit-learn's defaults.
_FREE: Final = ("n_estimators", "random_state")


def stand_in(estimator: Any, *values: np.ndarray) -> Any:
    """Return a `Forest` in the place of a random forest that is as scikit-learn makes it; any other estimator itself.

    Parameters
    ----------
    estimator : not fitted.
    values : the rows that it will see, (n, columns); what is infinite in single precision is for scikit-learn to refuse.
    """
    if type(estimator).__module__ != "sklearn.ensemble._forest" or type(estimator).__name__ != "RandomForestClassifier":
        return estimator
    import sklearn

    own, usual = estimator.get_params(), type(estimator)().get_params()
    plain = all(own[name] == usual[name] for name in usual if name not in _FREE)
    count, seed = own["n_estimators"], own["random_state"]
    checked = type(count) is int and count > 0 and (seed is None or (type(seed) is int and 0 <= seed < 2**32))
    known = sklearn.__version__.rpartition(".")[0] in KNOWN
    with np.errstate(over="ignore"):
        infinite = any(np.isinf(some.astype(np.float32)).any() for some in values)
    return Forest(count, seed) if plain and checked and known and not infinite else estimator


class Forest:
    """A random forest with scikit-learn's defaults (Breiman, Machine Learning, 2001).

    Parameters
    ----------
    count : trees.
    seed : of all that is drawn; None: by NumPy's global generator.
    """

    def __init__(self, count: int, seed: int | None) -> None:
        self._count, self._seed = count, seed

    def fit(self, values: np.ndarray, labels: np.ndarray) -> Self:
        """Grow trees on rows (n, columns) with labels (n,)."""
        from sklearn.tree._criterion import Gini
        from sklearn.tree._splitter import BestSplitter
        from sklearn.tree._tree import DepthFirstTreeBuilder, Tree
        from sklearn.utils import check_random_state

        self.classes_, places = np.unique(labels, return_inverse=True)
        seen, wanted = np.ascontiguousarray(values, dtype=np.float32), places.astype(np.float64)[:, None]
        rows, columns = seen.shape
        verdicts = np.array([len(self.classes_)], dtype=np.intp)
        draw, own = check_random_state(self._seed), np.random.RandomState(0)
        looked_at = max(1, int(np.sqrt(columns)))
        # At least two rows to split, one in a leaf, as deep as it gets.
        splitter = BestSplitter(Gini(1, verdicts), looked_at, 1, 0.0, own, None)
        builder = DepthFirstTreeBuilder(splitter, 2, 1, 0.0, np.iinfo(np.int32).max, 0.0)
        missing = np.isnan(seen).any(axis=0)
        self._trees = []
        for seed in [draw.randint(_SEEDS) for _ in range(self._count)]:
            own.seed(seed)
            drawn = np.bincount(own.randint(0, rows, rows), minlength=rows).astype(np.float64)
            own.seed(seed)  # the tree's own draws begin anew
            tree = Tree(columns, verdicts, 1)
            builder.build(tree, seen, wanted, drawn, missing if missing.any() else None)
            self._trees.append(tree)
        return self

    def predict_proba(self, values: np.ndarray) -> np.ndarray:
        """Return the mean over the trees, in the order of ``classes_``; shape (n, classes)."""
        seen = np.ascontiguousarray(values, dtype=np.float32)
        total = np.zeros((len(seen), len(self.classes_)))
        for tree in self._trees:
            total += tree.predict(seen)
        total /= self._count
        return total

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return the likeliest verdicts; shape (n,)."""
        said: np.ndarray = self.classes_.take(self.predict_proba(values).argmax(axis=1), axis=0)
        return said
