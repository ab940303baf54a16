"""Coordinates: columns in forms that mean the same in every zoo.

A threshold on a raw measure means another thing in the next zoo, whose loss has another scale. A coordinate is a number of
one network alone, without a unit: a logarithm of a ratio, a share, or a logarithm of a count. It takes no label and no
other row, so that methods of every track may use it. What it takes from a network, `Coordinate.columns` says.

Errors in % have 0.1 added before their logarithm is taken, so that none is infinite.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mdbench.errors import MdbenchError

Array = NDArray[np.float64]

#: What is added to errors in %, and to other shares in %, before a logarithm: a tenth of a point.
TENTH: Final = 0.1


@dataclass(frozen=True)
class Coordinate:
    """A form of some columns that means the same everywhere.

    Attributes
    ----------
    name : what it is called.
    meaning : its formula, in one line.
    columns : what it is computed from; of ``a|b`` it is a, or b where there is no a.
    formula : the columns, each (n,), → the coordinate, (n,); what is not finite counts as missing.
    """

    name: str
    meaning: str
    columns: tuple[str, ...]
    formula: Callable[..., Array]


def _log(value: Array) -> Array:
    return np.log(value)


def _ratio(one: Array, other: Array) -> Array:
    """Return the logarithm of a ratio of positive numbers."""
    return np.log(one) - np.log(other)


def _errors(one: Array, other: Array) -> Array:
    """Return the logarithm of a ratio of errors in %."""
    return np.log(one + TENTH) - np.log(other + TENTH)


def _barrier(peak: Array, error: Array) -> Array:
    return np.tanh((-peak - error + 0.3) / 0.5)


_EVERY: Final = (
    Coordinate("log_loss", "ln training loss", ("train_loss",), _log),
    Coordinate("log_error", "ln(training error + 0.1)", ("train_error",), lambda error: np.log(error + TENTH)),
    Coordinate("log_trace", "ln trace of the Hessian", ("log_hessian_trace",), lambda trace: trace),
    Coordinate(
        "scaled_trace",
        "ln trace − ½ ln training loss: of the cross-entropy, curvature falls with the loss",
        ("log_hessian_trace", "train_loss"),
        lambda trace, loss: trace - np.log(loss) / 2,
    ),
    Coordinate(
        "relative_trace",
        "ln(trace / training loss), which does not depend on the loss's unit",
        ("log_hessian_trace", "train_loss"),
        lambda trace, loss: trace - np.log(loss),
    ),
    Coordinate(
        "log_rest",
        "ln(trace − largest eigenvalue): curvature without its first direction",
        ("hessian_trace", "hessian_top_eigenvalue"),
        lambda trace, top: np.log(trace - top),
    ),
    Coordinate(
        "top_share",
        "ln(largest eigenvalue / trace)",
        ("log_hessian_top_eigenvalue", "log_hessian_trace"),
        lambda top, trace: top - trace,
    ),
    Coordinate("log_effective_rank", "ln effective rank of the Hessian", ("hessian_effective_rank",), _log),
    Coordinate(
        "negative_mass", "share of the Hessian's spectrum below 0", ("hessian_negative_mass",), lambda mass: mass
    ),
    Coordinate(
        "relative_peak",
        "ln((p + 0.1) / (e + 0.1)), p the largest training error inside the curve between two seeds, e the training error",
        ("mode_connectivity_peak", "train_error"),
        lambda peak, error: _errors(-peak, error),
    ),
    Coordinate(
        "barrier",
        "tanh((p − e + 0.3) / 0.5): whether the inside of that curve is worse than, or as good as, its ends",
        ("mode_connectivity_peak", "train_error"),
        _barrier,
    ),
    Coordinate(
        "relative_peak_loss",
        "ln(p / l), p the largest training loss inside the curve between two seeds, l the training loss",
        ("mode_connectivity_peak_loss", "train_loss"),
        lambda peak, loss: _ratio(-peak, loss),
    ),
    Coordinate(
        "curve_log_loss",
        "mean of the ends' ln training loss − that where the curve between two seeds deviates most",
        ("mode_connectivity_log_loss",),
        lambda deviation: deviation,
    ),
    Coordinate(
        "line_log_loss",
        "ln(b + 0.05), b the barrier of ln training loss on the straight line between two seeds, 0 where it is negative",
        ("linear_barrier_log_loss",),
        lambda barrier: np.log(np.maximum(barrier, 0) + 0.05),
    ),
    Coordinate(
        "line_error",
        "ln((b + e + 0.1) / (e + 0.1)), b the barrier of the training error e on that line",
        ("linear_barrier", "train_error"),
        lambda barrier, error: _errors(barrier + error, error),
    ),
    Coordinate("similarity", "CKA between seeds", ("mixup_cka|output_cka",), lambda cka: cka),
    Coordinate(
        "disagreement",
        "ln of two seeds' disagreement on test inputs, over that on training inputs, both + 0.1",
        ("test_disagreement", "train_disagreement"),
        _errors,
    ),
    Coordinate(
        "train_disagreement_share",
        "ln of two seeds' disagreement on training inputs, over the training error, both + 0.1",
        ("train_disagreement", "train_error"),
        _errors,
    ),
    Coordinate(
        "margin",
        "10 % quantile of the margins of training examples, over the size of their mean",
        ("train_margin_p10", "train_margin"),
        lambda low, mean: low / np.abs(mean),
    ),
    Coordinate(
        "confidence",
        "ln((100 − mean confidence + 0.1) / (training error + 0.1)), in %",
        ("train_confidence", "train_error"),
        lambda confidence, error: _errors(100 - confidence, error),
    ),
    Coordinate(
        "loss_tail",
        "ln(99 % quantile of the training losses / their mean)",
        ("train_loss_p99", "train_loss"),
        _ratio,
    ),
    Coordinate(
        "loss_tail_share",
        "share of all training losses that the largest hundredth has",
        ("train_loss_tail_share",),
        lambda share: share / 100,
    ),
    Coordinate("membership", "AUC of telling training from test examples", ("membership_auc",), lambda auc: auc),
    Coordinate("loss_gap", "ln(test loss / training loss)", ("test_loss", "train_loss"), _ratio),
    Coordinate("error_gap", "ln((test error + 0.1) / (training error + 0.1))", ("test_error", "train_error"), _errors),
    Coordinate("log_test_error", "ln(test error + 0.1)", ("test_error",), lambda error: np.log(error + TENTH)),
    Coordinate(
        "noise_distance",
        "distance of the eigenvalues of weight matrices from the Marchenko–Pastur law, mean over layers",
        ("mp_distance_mean",),
        lambda distance: distance,
    ),
    Coordinate(
        "log_spikes",
        "ln(1 + eigenvalues of a weight matrix above what noise has, mean over layers)",
        ("mp_spikes_mean",),
        np.log1p,
    ),
    Coordinate("log_stable_rank", "ln stable rank of weight matrices, mean over layers", ("stable_rank_mean",), _log),
    Coordinate(
        "exponent",
        "Hill's exponent of weight matrices less that of fresh ones, mean over layers",
        ("alpha_hill_minus_fresh_mean",),
        lambda alpha: alpha,
    ),
    Coordinate(
        "window_exponent",
        "Hill's exponent of square windows of weight matrices, mean over layers",
        ("alpha_hill_windows_mean",),
        lambda alpha: alpha,
    ),
    Coordinate(
        "relative_sharpness",
        "ln(mean rise of the loss nearby / training loss)",
        ("sharpness_average", "train_loss"),
        _ratio,
    ),
    Coordinate(
        "relative_depth",
        "ln(least climb of the loss out of a grid of random directions / training loss)",
        ("topology_random_2d_depth", "train_loss"),
        _ratio,
    ),
    Coordinate(
        "prunable", "share of the weights that can be pruned", ("prunable_sparsity",), lambda share: share / 100
    ),
    Coordinate("log_examples", "ln training examples", ("data_amount",), _log),
    Coordinate("log_parameters", "ln parameters", ("parameter_count",), _log),
    Coordinate(
        "parameters_per_example",
        "ln(parameters / training examples)",
        ("parameter_count", "data_amount"),
        _ratio,
    ),
    Coordinate(
        "log_steps",
        "ln(epochs · steps an epoch)",
        ("recipe_epochs", "recipe_steps_per_epoch"),
        lambda epochs, steps: np.log(epochs * steps),
    ),
    Coordinate("log_steps_per_epoch", "ln steps an epoch", ("recipe_steps_per_epoch",), _log),
    Coordinate(
        "noise_scale",
        "ln(r s / (1 − m)), r the learning rate, s the steps an epoch, m the momentum: the temperature of gradient noise "
        "(Smith and Le, A Bayesian perspective on generalization and stochastic gradient descent, ICLR 2018)",
        ("recipe_learning_rate", "recipe_steps_per_epoch", "recipe_momentum"),
        lambda rate, steps, momentum: np.log(rate * steps / (1 - momentum)),
    ),
)

#: Name → coordinate.
COORDINATES: Final[dict[str, Coordinate]] = {coordinate.name: coordinate for coordinate in _EVERY}


def coordinates_of(models: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return some coordinates of networks, one row each.

    Parameters
    ----------
    models : columns of a zoo's table; those that a coordinate needs may be missing.
    names : of the coordinates.

    Returns
    -------
    float64 (n, names), same index; NaN where a column is missing, a number is, or the coordinate is not finite.

    Raises
    ------
    MdbenchError
        There is no such coordinate.
    """
    found: dict[str, Any] = {}
    for name in names:
        coordinate = _known(name)
        there = [next((one for one in column.split("|") if one in models), None) for column in coordinate.columns]
        values = np.full(len(models), np.nan)
        if None not in there:
            with np.errstate(all="ignore"):
                values = coordinate.formula(*(models[column].to_numpy(dtype=np.float64) for column in there))
        found[name] = np.where(np.isfinite(values), values, np.nan)
    return pd.DataFrame(found, index=models.index)


def columns_for(names: Iterable[str]) -> list[str]:
    """Return the columns that coordinates need, as a method declares them: each is left out where a zoo has none of it.

    Raises
    ------
    MdbenchError
        There is no such coordinate.
    """
    return list(dict.fromkeys(f"{column}|" for name in names for column in _known(name).columns))


def _known(name: str) -> Coordinate:
    if name not in COORDINATES:
        raise MdbenchError(f"there is no coordinate {name!r}; there are: {', '.join(COORDINATES)}")
    return COORDINATES[name]
