"""The published benchmark of Zhou et al. (ICML 2024), read from a clone of its repository.

The published names appear here and nowhere else. Only measurements are read: RFI and labels are derived again from the
test accuracies by `mdbench.tables.labels`. What is published as CKA is, by the code that it comes with, of probabilities on
mixtures of examples.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from mdbench.errors import MdbenchError
from mdbench.tables import InputFile, Move, Provenance, Zoo, sha256_of
from mdbench.version import __version__

REPOSITORY = "github.com/YefanZhou/ModelDiagnosis"

#: Published column → ours. Knobs are turned into the schema's units below.
COLUMNS: Final = {
    "width": "width",
    "bs": "batch_size",
    "data": "data_fraction",
    "data_amount": "data_amount",
    "para_amount": "parameter_count",
    "test_error": "test_error",
    "test_loss": "test_loss",
    "generalization_gap": "generalization_gap",
    "train_error": "train_error",
    "train_loss": "train_loss",
    "hessian_t": "log_hessian_trace",
    "hessian_e": "log_hessian_top_eigenvalue",
    "mode_connectivity": "mode_connectivity",
    "mode_connectivity_peak": "mode_connectivity_peak",
    "CKA": "mixup_cka",
}

#: File → name and title of the zoo.
TABLES: Final = {
    "dataframe_normal_public.csv": ("cifar10-resnet18", "ResNet-18 on CIFAR-10"),
    "dataframe_noise_public.csv": ("cifar10-resnet18-noise10", "ResNet-18 on CIFAR-10, 10 % label noise"),
}
FOLDER = Path("model_diagnosis_dataset", "dataframe")

MOVES: Final = (
    Move("temperature_up", "batch_size", "down"),
    Move("temperature_down", "batch_size", "up"),
    Move("width", "width", "up"),
    Move("data", "data_fraction", "up"),
)


def read_clone(clone: Path) -> list[Zoo]:
    """Read the two published tables.

    Parameters
    ----------
    clone : folder of a clone of the public repository.

    Returns
    -------
    The clean and the noisy zoo, 1,690 configurations each in the published state.

    Raises
    ------
    MdbenchError
        The folder is no clone, or a table has a missing, duplicated, non-numeric or NaN column, or a grid point twice.
    """
    for file in TABLES:
        if not (clone / FOLDER / file).is_file():
            raise MdbenchError(f"{clone} is no clone of {REPOSITORY}: {FOLDER / file} is not there")
    return [_read_table(clone / FOLDER / file, name, title) for file, (name, title) in TABLES.items()]


def _read_table(path: Path, name: str, title: str) -> Zoo:
    try:
        # As text first, without a header: pandas would rename a duplicated column and guess at a type.
        text = pd.read_csv(path, header=None, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise MdbenchError(f"{path} cannot be read as CSV: {error}") from error
    header = text.iloc[0].tolist()
    columns = {}
    for theirs, ours in COLUMNS.items():
        if header.count(theirs) != 1:
            problem = "is missing" if theirs not in header else "stands there more than once"
            raise MdbenchError(f"{path}: column {theirs!r} {problem}")
        columns[ours] = _numbers(text[header.index(theirs)].iloc[1:], f"{path}: column {theirs!r}")
    table = pd.DataFrame(columns)
    table["data_fraction"] *= 10.0  # published in tenths of the training set
    provenance = Provenance(
        source=REPOSITORY,
        license="MIT",
        citation="Zhou, Chen, Cao, Schürholt, Yang. MD tree: a model-diagnostic tree grown on loss landscape. ICML 2024.",
        inputs=(InputFile(path=(FOLDER / path.name).as_posix(), sha256=sha256_of(path)),),
        made_by=f"mdbench {__version__}",
    )
    try:
        return Zoo.from_table(name, title, table, MOVES, provenance)
    except MdbenchError as error:
        raise MdbenchError(f"{path}: {error}") from error


def _numbers(text: pd.Series, where: str) -> np.ndarray:
    values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=float)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise MdbenchError(f"{where}, line {bad[0] + 2}: {text.iloc[bad[0]]!r} is not a finite number")
    return values
