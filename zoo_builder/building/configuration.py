"""What a person knows of their own network's training, in one unit for all zoos: from a specification and a grid point.

The columns are of the family `configuration`, which a method may ask for and which sets it apart: diagnosis presumes that
the training configuration is unknown. Batch sizes are said in steps an epoch, for a batch of 64 is another thing on 500
examples than on 50,000.
"""

import pandas as pd

from zoo_builder.specification import Point, ZooSpec, configuration_name


def recipe_of(spec: ZooSpec, point: Point, examples: float, steps: float) -> dict[str, float]:
    """Return the columns of a grid point, all but data amount and parameter count: column → value.

    Parameters
    ----------
    spec : the specification.
    point : the grid point.
    examples : training examples that the networks of the point learn from.
    steps : optimizer steps that they take.
    """
    how = spec.training.at(point)
    batch_size = examples if how.full_batch else how.batch_size
    dropout = point.get("dropout", spec.architecture.options.get("dropout", 0.0))
    return {
        "recipe_epochs": float(how.epochs) if how.steps is None else steps * batch_size / examples,
        "recipe_steps_per_epoch": examples / batch_size,
        "recipe_learning_rate": how.learning_rate,
        "recipe_weight_decay": how.weight_decay,
        "recipe_momentum": how.momentum if how.optimizer == "sgd" else how.betas[0],
        "recipe_adaptive": float(how.optimizer != "sgd"),
        "recipe_sharpness": how.sharpness.rho if how.sharpness else 0.0,
        "recipe_layerwise": float(how.layerwise is not None),
        "recipe_dropout": float(dropout),
    }


def with_configuration(spec: ZooSpec, configurations: pd.DataFrame, steps: "pd.Series[int]") -> pd.DataFrame:
    """Return a table of configurations with these columns, in the place of what it had of them.

    Parameters
    ----------
    spec : the specification.
    configurations : one row a grid point, indexed by its name, with ``data_amount``.
    steps : optimizer steps of the networks of a grid point, indexed alike.
    """
    points = {configuration_name(point): point for point in spec.points()}
    taken = steps.reindex(configurations.index)
    amounts = zip(map(str, configurations.index), configurations["data_amount"], taken, strict=True)
    rows = [recipe_of(spec, points[name], float(examples), float(count)) for name, examples, count in amounts]
    found = pd.DataFrame(rows, index=configurations.index)
    return configurations.drop(columns=found.columns, errors="ignore").join(found)
