"""From trained networks to the tables of a zoo."""

import hashlib
from collections.abc import Mapping, Sequence

import pandas as pd
from torch import Tensor

from mdbench.tables import InputFile, Predicted, Provenance, Zoo, knob_column
from zoo_builder.building.configuration import with_configuration
from zoo_builder.specification import Dataset, Trained, ZooSpec, configuration_name

#: What is measured on every network.
MEASURED = ("train_error", "train_loss", "test_error", "test_loss", "generalization_gap")


def digest_of(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a network's parameters and buffers: names, kinds, shapes and values."""
    said = hashlib.sha256()
    for name, value in sorted(state.items()):
        said.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        said.update(value.contiguous().numpy().tobytes())
    return said.hexdigest()


def rows(trained: Sequence[Trained]) -> pd.DataFrame:
    """Return one row a network: its grid point, what was measured on it, and the seconds it took.

    What was measured is null for a network that diverged.
    """
    every = []
    for one in trained:
        network, diverged = one.network, one.diverged_at is not None
        measured = (one.train_error, one.train_loss, one.test_error, one.test_loss, one.test_error - one.train_error)
        every.append(
            {
                "checkpoint": network.name,
                "configuration": network.configuration,
                "epochs": float(network.how.epochs),
                **{knob_column(knob): value for knob, value in network.point.items()},
                "seed": network.seed,
                "data_amount": float(network.examples),
                "parameter_count": float(one.parameters),
                **{name: None if diverged else value for name, value in zip(MEASURED, measured, strict=True)},
                "steps": network.steps,
                "diverged": diverged,
                "diverged_at": one.diverged_at,
                "sha256": digest_of(one.state),
                "seconds": one.seconds,
            }
        )
    kinds = {**dict.fromkeys(MEASURED, "float64"), "diverged_at": "Int64"}
    return pd.DataFrame(every).astype(kinds)


def predicted_of(dataset: Dataset) -> Predicted:
    """Return what networks of a data set predict."""
    solved = dataset.kind == "values" and dataset.baseline == "zero"
    return Predicted.SOLUTION if solved else Predicted(dataset.kind)


def assemble(
    spec: ZooSpec,
    table: pd.DataFrame,
    spec_sha256: str,
    made_by: str,
    predicted: Predicted = Predicted.CLASSES,
) -> Zoo:
    """Return the zoo that these networks are.

    Parameters
    ----------
    spec : its specification.
    table : one row a network, as from `rows`, with column ``shard``.
    spec_sha256 : digest of the specification's file.
    made_by : what trained them.
    predicted : what they predict.
    """
    order = {configuration_name(point): at for at, point in enumerate(spec.points())}
    table = table.assign(_at=table["configuration"].map(order)).sort_values(["_at", "seed"], ignore_index=True)
    checkpoints = table.drop(columns=["_at", "seconds"])
    knobs = [knob_column(axis.knob) for axis in spec.axes]
    by_point = checkpoints.groupby("configuration", sort=False)
    configurations = by_point[[*knobs, "data_amount", "parameter_count"]].first()
    configurations = with_configuration(spec, configurations, by_point["steps"].first())
    configurations["seeds"] = by_point["test_error"].count()
    configurations["diverged_seeds"] = by_point["diverged"].sum()
    for column in MEASURED:
        configurations[column] = by_point[column].mean()
        configurations[f"{column}_std"] = by_point[column].std(ddof=1)
    provenance = Provenance(
        source=f"zoo_builder, specification {spec.name}",
        license=spec.licence,
        inputs=(InputFile(path="spec.toml", sha256=spec_sha256),),
        made_by=made_by,
    )
    return Zoo.from_table(
        spec.name,
        spec.title or spec.name,
        configurations.reset_index(),
        spec.moves,
        provenance,
        checkpoints=checkpoints,
        predicted=predicted,
    )
