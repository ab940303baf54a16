"""How wrong predictions are, in %: what ``test_error`` and ``train_error`` are.

Of classes, the share of the examples that are misclassified; of positions, that of all positions which count. Of values, the
relative error ``100 ‖f − y‖ / ‖y − m‖`` over all examples and outputs, where m is the data set's `middle`: 100 is what
predicting the mean of the training targets, or zero, would have.
"""

from torch import Tensor

from zoo_builder.specification import MASKED, Kind


def error_parts(kind: Kind, outputs: Tensor, targets: Tensor, middle: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return what each example adds to an error, and what that is a share of: (S, B) each, float64.

    Parameters
    ----------
    kind : of the data.
    outputs : (S, K, …, B).
    targets : (S, …, B), of the kind's type; `MASKED` positions do not count.
    middle : of values, (K,).
    """
    if kind == "values":
        assert middle is not None
        away, spread = outputs.double() - targets.double(), targets.double() - middle.double()[:, None]
        return away.square().sum(1), spread.square().sum(1)
    counts = targets != MASKED
    wrong = (outputs.argmax(1) != targets) & counts
    if wrong.dim() == 2:
        return wrong.double(), counts.double()
    return wrong.flatten(1, -2).sum(1).double(), counts.flatten(1, -2).sum(1).double()


def percent(kind: Kind, wrong: Tensor, whole: Tensor) -> Tensor:
    """Return errors in % of sums of `error_parts`."""
    share = wrong / whole
    return 100 * (share.sqrt() if kind == "values" else share)


def error_of(kind: Kind, outputs: Tensor, targets: Tensor, middle: Tensor | None = None) -> Tensor:
    """Return the errors of networks in %, (S,), on all examples given; see `error_parts`."""
    wrong, whole = error_parts(kind, outputs, targets, middle)
    return percent(kind, wrong.sum(1), whole.sum(1))
