"""Every column of a zoo table: name, unit, family, meaning, source. The one place that says what a column is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Literal

from mdbench.errors import MdbenchError

ZHOU_2024 = "Zhou et al., MD tree (ICML 2024)"
LI_2018 = "Li et al., Visualizing the loss landscape of neural nets (NeurIPS 2018)"
XIE_2024 = "Xie et al., Evaluating loss landscapes from a topology perspective (NeurIPS 2024 workshop)"
CHINTAKUNTA_2015 = "Chintakunta et al., An entropy-based persistence barcode (Pattern Recognition 2015)"
YANG_2021 = "Yang et al., Taxonomizing local versus global structure in neural network loss landscapes (NeurIPS 2021)"
ENTEZARI_2022 = (
    "Entezari et al., The role of permutation invariance in linear mode connectivity of neural networks (ICLR 2022), "
    "definition 2.1"
)
AINSWORTH_2023 = "Ainsworth et al., Git Re-Basin: merging models modulo permutation symmetries (ICLR 2023)"
MEYER_2021 = "Meyer et al., Hutch++: optimal stochastic trace estimation (SOSA 2021)"
GHORBANI_2019 = (
    "Ghorbani et al., An investigation into neural net optimization via Hessian eigenvalue density (ICML 2019)"
)
GUO_2017 = "Guo et al., On calibration of modern neural networks (ICML 2017)"
JIANG_2020 = "Jiang et al., Fantastic generalization measures and where to find them (ICLR 2020)"
JIANG_2022 = "Jiang et al., Assessing generalization of SGD via disagreement (ICLR 2022)"
LIU_2020 = "Liu et al., Early-learning regularization prevents memorization of noisy labels (NeurIPS 2020)"
THEISEN_2023 = "Theisen et al., When are ensembles really effective? (NeurIPS 2023)"


class Family(StrEnum):
    """What kind of knowledge a column is. The family decides who may see it.

    `ID` holds names and the record of the runs, the only columns that need not be numbers.
    """

    ID = "id"
    KNOB = "knob"
    CONFIGURATION = "configuration"
    VALIDATION = "validation"
    LANDSCAPE = "landscape"
    RFI = "rfi"
    LABEL = "label"


#: A method sees columns of these families and of no other (rule 1 of docs/design.md).
VISIBLE_FAMILIES: Final = (Family.CONFIGURATION, Family.VALIDATION, Family.LANDSCAPE)


@dataclass(frozen=True)
class Column:
    """One column of a zoo table.

    Attributes
    ----------
    name : the column's name in every table, file and message.
    unit : unit of the values; ``"1"`` for pure numbers, ``""`` for text.
    family : what kind of knowledge it is.
    meaning : one sentence.
    source : the paper or formula it comes from.
    reveals_label : whether a batch of test rows with this column gives the labels away, because a label is a
        function of the test error over the whole grid, whose spread over seeds goes with it. Transductive methods do
        not get such columns.
    relative : whether it places a row among all rows of its zoo. Only transductive methods get such columns.
    of_layer : whether it stands in the table of layers alone.
    """

    name: str
    unit: str
    family: Family
    meaning: str
    source: str = ""
    reveals_label: bool = False
    relative: bool = False
    of_layer: bool = False


Kind = Literal["number", "whole", "flag", "text"]
_WHOLE: Final = ("seed", "steps", "diverged_at", "seeds", "diverged_seeds")


def _with_std(*columns: Column) -> Iterator[Column]:
    """Yield what is measured of every network: a configuration has the mean over its seeds, and their standard deviation."""
    for column in columns:
        yield replace(column, meaning=f"{column.meaning}; mean over seeds")
        yield Column(
            f"{column.name}_std",
            "points" if column.unit == "%" else column.unit,
            column.family,
            f"standard deviation over seeds of {column.name}",
            reveals_label=column.reveals_label,
        )


def _over_layers(*columns: Column) -> Iterator[Column]:
    """Yield what is measured of every layer: a network has its mean over the layers, its extremes and its imbalance.

    Layers without the number are left out.
    """
    for column in columns:
        said = {
            "mean": "mean over the layers that have it of",
            "min": "smallest over the layers that have it of",
            "max": "largest over the layers that have it of",
            "imbalance": "standard deviation over the layers that have it"
            f"{', divided by the mean,' if column.unit == '1' else ''} of",
        }
        yield replace(column, of_layer=True)
        yield from _with_std(
            *(
                replace(column, name=f"{column.name}_{over}", meaning=f"{meaning} {column.name}")
                for over, meaning in said.items()
            )
        )


_ALL = (
    Column("configuration", "", Family.ID, "name of the grid point, knob by knob"),
    # The record of the runs. It is of the family that no method sees: steps say what the batch size was.
    Column("checkpoint", "", Family.ID, "name of a trained network"),
    Column("seed", "1", Family.ID, "of the network's initialisation and data order; the same at every grid point"),
    Column("shard", "", Family.ID, "file that holds the network's tensors, relative to the zoo's folder"),
    Column("sha256", "", Family.ID, "digest of the network's tensors"),
    Column("steps", "1", Family.ID, "optimizer steps taken"),
    Column("diverged", "", Family.ID, "whether the training loss stopped being finite"),
    Column("diverged_at", "1", Family.ID, "optimizer step at which it did"),
    Column("seeds", "1", Family.ID, "networks that the means of a configuration are over"),
    Column("diverged_seeds", "1", Family.ID, "networks of a configuration that diverged, and are in no mean"),
    *(
        Column(f"{family}_reason", "", Family.ID, f"which {family} metrics could not be measured, and why")
        for family in (
            "performance",
            "hessian",
            "connectivity",
            "similarity",
            "sharpness",
            "spectra",
            "topology",
            "memorization",
            "prunability",
        )
    ),
    Column("width", "1", Family.KNOB, "width multiplier or number of channels; more makes the model larger"),
    Column("batch_size", "examples", Family.KNOB, "examples a step; fewer raise the temperature of learning"),
    Column("data_fraction", "%", Family.KNOB, "share of the training set that was used"),
    Column("depth", "1", Family.KNOB, "number of layers or blocks; more makes the model larger"),
    Column("label_noise", "%", Family.KNOB, "share of the training labels that were replaced by wrong ones"),
    Column("learning_rate", "1", Family.KNOB, "step size of the optimizer; more raises the temperature of learning"),
    Column("weight_decay", "1", Family.KNOB, "strength of the pull of the weights towards zero"),
    Column("epochs", "1", Family.KNOB, "passes over the training data"),
    Column("data_amount", "examples", Family.CONFIGURATION, "training examples"),
    Column("parameter_count", "1", Family.CONFIGURATION, "trainable parameters"),
    Column("test_error", "%", Family.VALIDATION, "100 − test accuracy, mean over seeds", reveals_label=True),
    Column(
        "test_error_std",
        "points",
        Family.VALIDATION,
        "standard deviation over seeds of the test error",
        reveals_label=True,
    ),
    Column(
        "test_loss", "nats", Family.VALIDATION, "mean cross-entropy on test data, mean over seeds", reveals_label=True
    ),
    Column(
        "test_loss_std", "nats", Family.VALIDATION, "standard deviation over seeds of the test loss", reveals_label=True
    ),
    Column("generalization_gap", "points", Family.VALIDATION, "test error − training error", reveals_label=True),
    Column(
        "generalization_gap_std",
        "points",
        Family.VALIDATION,
        "standard deviation over seeds of the generalization gap",
        reveals_label=True,
    ),
    Column("train_error", "%", Family.LANDSCAPE, "100 − training accuracy, mean over seeds"),
    Column("train_error_std", "points", Family.LANDSCAPE, "standard deviation over seeds of the training error"),
    Column("train_loss", "nats", Family.LANDSCAPE, "mean cross-entropy on training data, mean over seeds"),
    Column("train_loss_std", "nats", Family.LANDSCAPE, "standard deviation over seeds of the training loss"),
    Column(
        "log_hessian_trace",
        "ln",
        Family.LANDSCAPE,
        "natural logarithm of the seed mean of the trace of the training loss's Hessian; on the first 1,000 training "
        "examples where mdbench measured it",
        ZHOU_2024,
    ),
    Column(
        "log_hessian_top_eigenvalue",
        "ln",
        Family.LANDSCAPE,
        "natural logarithm of the seed mean of the largest eigenvalue of the training loss's Hessian; on the first "
        "1,000 training examples where mdbench measured it",
        ZHOU_2024,
    ),
    Column(
        "mode_connectivity",
        "points",
        Family.LANDSCAPE,
        "(e(0)+e(1))/2 − e(t*): training error along a trained quadratic Bézier curve between two seeds, "
        "t* where it deviates most; on the first 1,000 training examples, mean over neighbouring seeds around a ring, where "
        "mdbench measured it",
        ZHOU_2024,
    ),
    Column(
        "mode_connectivity_peak",
        "%",
        Family.LANDSCAPE,
        "minus the largest training error at the three interior points of that curve; on the same examples and seeds",
        ZHOU_2024,
    ),
    Column(
        "output_cka",
        "1",
        Family.LANDSCAPE,
        "linear CKA between the outputs of two seeds, mean over ordered seed pairs; on the first 1,000 training examples "
        "where mdbench measured it, over the pairs that have one",
        "Kornblith et al., Similarity of neural network representations revisited (ICML 2019)",
    ),
    # Performance.
    *_with_std(
        Column(
            "train_ece",
            "%",
            Family.LANDSCAPE,
            "expected calibration error on training data: mean |accuracy − confidence| over 15 equal bins of confidence",
            GUO_2017,
        ),
        Column(
            "train_confidence",
            "%",
            Family.LANDSCAPE,
            "mean probability of the predicted class on training data",
            GUO_2017,
        ),
        Column(
            "train_margin",
            "1",
            Family.LANDSCAPE,
            "mean over training examples of the label's logit minus the largest other",
            JIANG_2020,
        ),
        Column(
            "train_margin_p10",
            "1",
            Family.LANDSCAPE,
            "10th percentile over training examples of the label's logit minus the largest other",
            JIANG_2020,
        ),
        Column(
            "test_ece",
            "%",
            Family.VALIDATION,
            "expected calibration error on test data: mean |accuracy − confidence| over 15 equal bins of confidence",
            GUO_2017,
            reveals_label=True,
        ),
        Column(
            "test_confidence",
            "%",
            Family.VALIDATION,
            "mean probability of the predicted class on test data",
            GUO_2017,
            reveals_label=True,
        ),
    ),
    # Hessian.
    *_with_std(
        Column(
            "hessian_trace",
            "1",
            Family.LANDSCAPE,
            "trace of the Hessian of the mean loss on the first 1,000 training examples, evaluation mode, by deflated "
            "Hutchinson probes",
            MEYER_2021,
        ),
        Column(
            "hessian_trace_se",
            "1",
            Family.LANDSCAPE,
            "standard error of hessian_trace over its random probes; 0 where the trace is exact",
            MEYER_2021,
        ),
        Column(
            "hessian_top_eigenvalue",
            "1",
            Family.LANDSCAPE,
            "largest eigenvalue of the Hessian of the mean loss on the first 1,000 training examples, evaluation mode",
            GHORBANI_2019,
        ),
        Column(
            "hessian_top_eigenvalue_residual",
            "1",
            Family.ID,  # of the solver, not of the network
            "‖Hx − θx‖ / |θ| of hessian_top_eigenvalue θ and its unit eigenvector x, as Lanczos' recurrence tells it: an "
            "eigenvalue of H lies that close to θ; below the rounding of single precision, 1e-6, it says nothing",
            "Golub and Van Loan, Matrix computations (4th edition 2013), section 10.1",
        ),
        *(
            Column(
                f"hessian_eigenvalue_{at}",
                "1",
                Family.LANDSCAPE,
                f"{rank} largest eigenvalue of the Hessian of the mean loss on the first 1,000 training examples, "
                "evaluation mode",
                GHORBANI_2019,
            )
            for at, rank in ((2, "second"), (3, "third"), (4, "fourth"), (5, "fifth"))
        ),
        Column(
            "hessian_bottom_eigenvalue",
            "1",
            Family.LANDSCAPE,
            "smallest Ritz value of the Lanczos run on the Hessian of the mean loss on the first 1,000 training examples: an "
            "upper bound of the smallest eigenvalue, whose size can be many times larger",
            GHORBANI_2019,
        ),
        Column(
            "hessian_effective_rank",
            "1",
            Family.LANDSCAPE,
            "participation ratio (Σ|λ|)² / Σλ² of the eigenvalues of the Hessian of the mean loss on the first 1,000 "
            "training examples",
            "Roy and Vetterli, The effective rank (EUSIPCO 2007), with the Rényi entropy of order 2 for Shannon's",
        ),
        Column(
            "hessian_negative_mass",
            "1",
            Family.LANDSCAPE,
            "share of Σ|λ| that is the negative eigenvalues' of the Hessian of the mean loss on the first 1,000 training "
            "examples, by stochastic Lanczos quadrature from one random start; from start to start it varies by about "
            "30 %, and on average it is up to 24 % too large",
            GHORBANI_2019,
        ),
        Column(
            "hessian_products",
            "1",
            Family.ID,
            "Hessian–vector products that the Hessian's metrics took, those of layers included",
        ),
    ),
    # Mode connectivity.
    Column(
        "mode_connectivity_loss",
        "nats",
        Family.LANDSCAPE,
        "(l(0)+l(1))/2 − l(t*): loss on the first 1,000 training examples along a trained quadratic Bézier curve between "
        "two seeds, t* where it deviates most; mean over neighbouring seeds around a ring",
        YANG_2021,
    ),
    Column(
        "linear_barrier",
        "points",
        Family.LANDSCAPE,
        "how far the error on the first 1,000 training examples at t = 0.25, 0.5 or 0.75 of the straight line between two "
        "seeds rises at most above the line between the errors at its ends (not above their mean, as Frankle et al., ICML "
        "2020, have it); mean over neighbouring seeds around a ring",
        ENTEZARI_2022,
    ),
    Column(
        "linear_barrier_loss",
        "nats",
        Family.LANDSCAPE,
        "how far the loss on the first 1,000 training examples at t = 0.25, 0.5 or 0.75 of the straight line between two "
        "seeds rises at most above the line between the losses at its ends (not above their mean, as Frankle et al., ICML "
        "2020, have it); mean over neighbouring seeds around a ring",
        ENTEZARI_2022,
    ),
    Column(
        "aligned_barrier",
        "points",
        Family.LANDSCAPE,
        "linear_barrier after the hidden units of one of the two seeds were permuted by weight matching",
        AINSWORTH_2023,
    ),
    Column(
        "aligned_barrier_loss",
        "nats",
        Family.LANDSCAPE,
        "linear_barrier_loss after the hidden units of one of the two seeds were permuted by weight matching",
        AINSWORTH_2023,
    ),
    # Similarity.
    Column(
        "penultimate_cka",
        "1",
        Family.LANDSCAPE,
        "linear CKA between what the last linear layers of two seeds see of the first 1,000 training examples, mean over the "
        "seed pairs that have one",
        "Kornblith et al., Similarity of neural network representations revisited (ICML 2019)",
    ),
    Column(
        "train_disagreement",
        "%",
        Family.LANDSCAPE,
        "share of training examples on which two seeds predict different classes, mean over seed pairs",
        JIANG_2022,
    ),
    Column(
        "test_disagreement",
        "%",
        Family.VALIDATION,
        "share of test inputs on which two seeds predict different classes, mean over seed pairs; estimates the test error",
        JIANG_2022,
        reveals_label=True,
    ),
    # Sharpness and diversity.
    *_with_std(
        Column(
            "sharpness_worst",
            "nats",
            Family.LANDSCAPE,
            "largest rise of the loss on the first 1,000 training examples found within a distance of 0.1 of the parameters; "
            "a lower bound",
            "Foret et al., Sharpness-aware minimization (ICLR 2021)",
        ),
        Column(
            "sharpness_adaptive",
            "nats",
            Family.LANDSCAPE,
            "largest rise of the loss on the first 1,000 training examples found where ‖δ / |w|‖ ≤ 0.1, δ the change of "
            "parameters w; a lower bound",
            "Kwon et al., ASAM: adaptive sharpness-aware minimization (ICML 2021)",
        ),
        Column(
            "sharpness_average",
            "nats",
            Family.LANDSCAPE,
            "mean rise of the loss on the first 1,000 training examples over 20 random directions as long as 5 % of the "
            "parameters' norm",
            "Andriushchenko et al., A modern look at sharpness and generalization (ICML 2023)",
        ),
        Column(
            "sharpness_average_se",
            "nats",
            Family.LANDSCAPE,
            "standard error of sharpness_average over its 20 directions",
        ),
    ),
    Column(
        "ensemble_test_error",
        "%",
        Family.VALIDATION,
        "test error of the mean over seeds of the predicted probabilities",
        "Lakshminarayanan et al., Simple and scalable predictive uncertainty by deep ensembles (NeurIPS 2017)",
        reveals_label=True,
    ),
    Column(
        "ensemble_gain",
        "points",
        Family.VALIDATION,
        "mean test error of the seeds − ensemble_test_error: absolute, and of averaged probabilities (Theisen et al.'s "
        "improvement rate is relative to the mean error, and of majority votes)",
        THEISEN_2023,
        reveals_label=True,
    ),
    Column(
        "ensemble_diversity",
        "1",
        Family.VALIDATION,
        "disagreement-error ratio: test_disagreement / mean test error of the seeds",
        THEISEN_2023,
        reveals_label=True,
    ),
    Column(
        "ensemble_variance",
        "1",
        Family.VALIDATION,
        "mean over test inputs of the variance over seeds of the predicted probabilities, summed over classes",
        "Lu et al., Sharpness-diversity tradeoff: improving flat ensembles with SharpBalance (NeurIPS 2024)",
        reveals_label=True,
    ),
    # Heavy-tailed spectra.
    Column("layer", "", Family.ID, "path of a layer in its network"),
    Column("matrix_rows", "1", Family.ID, "rows of a layer's weight matrix: units or channels that go out"),
    Column(
        "matrix_columns",
        "1",
        Family.ID,
        "columns of a layer's weight matrix: units, or channels times kernel, that come in",
    ),
    Column(
        "alpha_ks",
        "1",
        Family.LANDSCAPE,
        "Kolmogorov–Smirnov distance between the tail of the eigenvalues of a layer's WᵀW and the power law of alpha",
        "Clauset et al., Power-law distributions in empirical data (SIAM Review 2009)",
        of_layer=True,
    ),
    *_over_layers(
        Column(
            "alpha",
            "1",
            Family.LANDSCAPE,
            "maximum-likelihood exponent of a power law in the tail of the eigenvalues of a layer's WᵀW; "
            "the tail begins where the Kolmogorov–Smirnov distance is the smallest",
            "Martin and Mahoney, Implicit self-regularization in deep neural networks (JMLR 2021)",
        ),
        Column(
            "alpha_hill",
            "1",
            Family.LANDSCAPE,
            "Hill's estimate of that exponent from the larger half of the nonzero eigenvalues",
            "Zhou et al., Temperature balancing, layer-wise weight analysis, and neural network training (NeurIPS 2023)",
        ),
        Column(
            "alpha_hat",
            "log10",
            Family.LANDSCAPE,
            "alpha times the decimal logarithm of the largest eigenvalue of a layer's WᵀW",
            "Martin et al., Predicting trends in the quality of state-of-the-art neural networks without access to "
            "training or testing data (Nature Communications 2021)",
        ),
        Column(
            "stable_rank",
            "1",
            Family.LANDSCAPE,
            "squared Frobenius norm of a layer's weight matrix, divided by its squared spectral norm",
            "Martin and Mahoney, Implicit self-regularization in deep neural networks (JMLR 2021)",
        ),
        Column(
            "log_spectral_norm",
            "log10",
            Family.LANDSCAPE,
            "decimal logarithm of the squared spectral norm of a layer's weight matrix",
            "Martin et al., Predicting trends in the quality of state-of-the-art neural networks without access to "
            "training or testing data (Nature Communications 2021)",
        ),
        Column(
            "log_frobenius_norm",
            "log10",
            Family.LANDSCAPE,
            "decimal logarithm of the squared Frobenius norm of a layer's weight matrix",
            "Martin et al., Predicting trends in the quality of state-of-the-art neural networks without access to "
            "training or testing data (Nature Communications 2021)",
        ),
        Column(
            "mp_spikes",
            "eigenvalues",
            Family.LANDSCAPE,
            "eigenvalues of a layer's WᵀW above the 95 % quantile of the largest one of a random matrix of the variance that "
            "the median eigenvalue tells; since that is uncertain, 7 to 21 % of random matrices have one",
            "Martin and Mahoney, Implicit self-regularization in deep neural networks (JMLR 2021)",
        ),
        Column(
            "mp_distance",
            "1",
            Family.LANDSCAPE,
            "Kolmogorov–Smirnov distance between the other eigenvalues and the Marchenko–Pastur law with that median",
            "Martin and Mahoney, Implicit self-regularization in deep neural networks (JMLR 2021)",
        ),
    ),
    *_with_std(
        Column(
            "alpha_hill_step_change",
            "1",
            Family.LANDSCAPE,
            "by how much alpha_hill, mean over the layers that have it, is larger after 5 steps of gradient descent with "
            "learning rate 0.1 on all of the first 1,000 training examples, in evaluation mode and without weight decay",
            "Kothapalli et al., Crafting heavy-tails in weight matrix spectrum without gradient noise (2024)",
        )
    ),
    # Topology.
    *_with_std(
        *(
            Column(
                f"topology_{plane}_{name}",
                unit,
                Family.LANDSCAPE,
                f"loss of the first 256 training examples on a grid along {where}: {meaning}",
                CHINTAKUNTA_2015 if name == "persistence_entropy" else taken,
            )
            for plane, where, taken in (
                ("eigen_2d", "2 top Hessian eigenvectors", XIE_2024),
                ("eigen_3d", "3 top Hessian eigenvectors", XIE_2024),
                ("random_2d", "2 filter-normalized random directions", LI_2018),
                ("random_3d", "3 filter-normalized random directions", LI_2018),
            )
            for name, unit, meaning in (
                ("minima", "1", "number of minima"),
                ("largest_persistence", "nats", "largest persistence of a minimum other than the lowest"),
                ("total_persistence", "nats", "sum of the persistences of the minima other than the lowest"),
                (
                    "persistence_entropy",
                    "nats",
                    "entropy of the minima's shares of their total persistence, the lowest persisting over the range",
                ),
                ("merge_tree_size", "1", "nodes of the merge tree, minima and merges"),
                ("depth", "nats", "least rise on a way from the network to the grid's rim"),
            )
        )
    ),
    # Memorization. What needs to know which labels are wrong is no method's to see: where it is missing, label_noise is 0.
    *_with_std(
        Column(
            "memorized_share",
            "%",
            Family.ID,
            "share of the training examples with deliberately wrong labels whose wrong label is predicted",
            LIU_2020,
        ),
        Column(
            "corrected_share",
            "%",
            Family.ID,
            "share of the training examples with deliberately wrong labels whose right label is predicted",
            LIU_2020,
        ),
        Column(
            "memorization_gap",
            "points",
            Family.ID,
            "accuracy on training examples whose label was left alone − memorized_share",
            LIU_2020,
        ),
        Column(
            "membership_auc",
            "1",
            Family.VALIDATION,
            "probability that a training example, with the label it was trained with, has a smaller loss than a test example",
            "Yeom et al., Privacy risk in machine learning (CSF 2018)",
            reveals_label=True,
        ),
        Column(
            "membership_auc_clean",
            "1",
            Family.ID,
            "probability that a training example whose label was left alone has a smaller loss than a test example",
            "Yeom et al., Privacy risk in machine learning (CSF 2018)",
        ),
        Column("train_loss_p99", "nats", Family.LANDSCAPE, "99th percentile of the losses of the training examples"),
        Column(
            "train_loss_tail_share",
            "%",
            Family.LANDSCAPE,
            "share of the sum of all training losses that the largest 1 % of them carry",
        ),
    ),
    # Prunability.
    *_with_std(
        *(
            Column(
                f"pruned_test_error_{way}_{sparsity}",
                "%",
                Family.VALIDATION,
                f"test error, on the first 2,000 examples, without the {sparsity} % of the weights that are smallest {among}",
                "Lu et al., AlphaPruning (NeurIPS 2024)",
                reveals_label=True,
            )
            for way, among in (
                ("global", "in the network"),
                ("layerwise", "in each layer"),
                ("alpha", "in their layer, layers with a larger alpha_hill losing more"),
            )
            for sparsity in (50, 70, 80, 90)
        ),
        *(
            Column(
                f"alpha_pruning_gain_{sparsity}",
                "points",
                Family.VALIDATION,
                f"pruned_test_error_layerwise_{sparsity} − pruned_test_error_alpha_{sparsity}",
                "Lu et al., AlphaPruning (NeurIPS 2024)",
            )
            for sparsity in (50, 70, 80, 90)
        ),
        Column(
            "prunable_sparsity",
            "%",
            Family.VALIDATION,
            "largest share of the weights, in steps of 5 %, that can be pruned globally before the test error, on the first "
            "2,000 examples, has risen by more than 5 points; 95 is the most that is tried, and means 95 or more; missing "
            "where 5 points more are at or above chance, 100 (1 − 1/K) % of K classes",
            "Lu et al., AlphaPruning (NeurIPS 2024)",
            reveals_label=True,
        ),
    ),
    Column(
        "rfi_temperature_up", "points", Family.RFI, "test accuracy to gain by raising the temperature alone", ZHOU_2024
    ),
    Column(
        "rfi_temperature_down",
        "points",
        Family.RFI,
        "test accuracy to gain by lowering the temperature alone",
        ZHOU_2024,
    ),
    Column("rfi_width", "points", Family.RFI, "test accuracy to gain by widening the model alone", ZHOU_2024),
    Column("rfi_data", "points", Family.RFI, "test accuracy to gain by training on more data alone", ZHOU_2024),
    *(
        Column(f"rfi_{move}_se", "points", Family.RFI, f"standard error over paired seeds of rfi_{move}")
        for move in ("temperature_up", "temperature_down", "width", "data")
    ),
    Column("optimizer", "", Family.LABEL, "is the temperature of learning too high or too low?", ZHOU_2024),
    Column("optimizer_margin", "points", Family.LABEL, "largest RFI among the verdicts − second largest"),
    Column("width_vs_optimizer", "", Family.LABEL, "would width or the optimizer have helped more?", ZHOU_2024),
    Column("width_vs_optimizer_margin", "points", Family.LABEL, "largest RFI among the verdicts − second largest"),
    Column("data_vs_optimizer", "", Family.LABEL, "would data or the optimizer have helped more?", ZHOU_2024),
    Column("data_vs_optimizer_margin", "points", Family.LABEL, "largest RFI among the verdicts − second largest"),
    Column("failure_source", "", Family.LABEL, "which knob, moved alone, would have helped most?"),
    Column("failure_source_margin", "points", Family.LABEL, "largest RFI among the verdicts − second largest"),
    *(
        Column(f"{task}_margin_se", "points", Family.LABEL, f"standard error over paired seeds of {task}_margin")
        for task in ("optimizer", "width_vs_optimizer", "data_vs_optimizer", "failure_source")
    ),
)

#: What the name of a column ends in that places a row among all rows of its zoo.
QUANTILE: Final = "_quantile"


def _with_quantiles(columns: Iterable[Column]) -> Iterator[Column]:
    """Yield columns and, behind all of them, the quantile of each measure of the landscape of a configuration."""
    every = tuple(columns)
    yield from every
    for column in every:
        spread = column.name.endswith(("_std", "_se"))
        if column.family is Family.LANDSCAPE and not spread and not column.of_layer:
            yield Column(
                f"{column.name}{QUANTILE}",
                "1",
                Family.LANDSCAPE,
                f"(rank − ½) / n of {column.name} among the n configurations of the zoo that have it, equal ones sharing "
                "their mean rank",
                relative=True,
            )


COLUMNS: Final[dict[str, Column]] = {column.name: column for column in _with_quantiles(_ALL)}


def of_family(*families: Family) -> list[str]:
    """Return the names of the columns of these families, in schema order."""
    return [column.name for column in COLUMNS.values() if column.family in families]


def kind(name: str) -> Kind:
    """Return what the values of a column are."""
    if name in _WHOLE:
        return "whole"
    if COLUMNS[name].unit:
        return "number"
    return "flag" if name == "diverged" else "text"


def check_visible(names: Iterable[str], *, transductive: bool = False) -> None:
    """Check that a method may see these columns.

    Parameters
    ----------
    names : columns that a method asks for.
    transductive : whether the method uses the test table as a batch. Such a method gets no column that reveals the label,
        and it alone gets those that place a row among all others.

    Raises
    ------
    MdbenchError
        A column is unknown, of a family that no method sees, gives labels away to a transductive method, or places a row
        among all others for an inductive one.
    """
    for name in names:
        column = COLUMNS.get(name)
        if column is None:
            raise MdbenchError(f"column {name!r} does not exist; `mdbench columns` lists those that do")
        if column.family not in VISIBLE_FAMILIES:
            raise MdbenchError(
                f"column {name!r} is forbidden: no method sees the {column.family} family "
                f"(allowed: {', '.join(VISIBLE_FAMILIES)})"
            )
        if column.relative and not transductive:
            raise MdbenchError(
                f"column {name!r} is forbidden on the inductive track: it places a row among all rows of its zoo; "
                'a method that uses it declares track = "transductive"'
            )
        if transductive and column.reveals_label:
            raise MdbenchError(
                f"column {name!r} is forbidden on the transductive track: "
                "a batch of test rows with it gives their labels away"
            )
